//! What a member says of its configuration in each HELLO, and where that differs from ours.
//!
//! Members whose files differ only in the list of daemons, or in its order, must talk, so nothing
//! here is an obstacle,
//! and nothing is a digest of a whole file: what two members compare concerns these two, or all.

use std::net::{IpAddr, SocketAddrV4};
use std::time::Duration;

use crate::event::{Difference, Notice};
use crate::node::Totem;
use crate::view::MemberId;

/// The longest name that is told, in bytes; what is longer is cut.
pub(crate) const NAME_BYTES_MAX: usize = 31;

/// A member's configuration, as far as others must agree.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Outline {
    /// The sender's own name.
    pub(crate) name: String,
    /// The address of the sender's own segment.
    pub(crate) segment: SocketAddrV4,
    pub(crate) token_loss_ms: u32,
    pub(crate) datagram_bytes: u32,
}

impl Totem {
    /// What others are told of my configuration.
    pub(crate) fn outline(&self) -> Outline {
        let own = self.config.members.iter().find(|m| m.id == self.me.id);
        let own = own.expect("a member is in its own configuration");
        Outline {
            name: told_name(&own.name).to_owned(),
            segment: own.segment_address,
            token_loss_ms: token_loss_ms(self.config.timers.token_loss),
            datagram_bytes: self.config.datagram_bytes as u32,
        }
    }

    /// Notes if `sender` is not where my configuration has it: its file names another address of
    /// it, or a second daemon runs with a copy of its file.
    pub(crate) fn compare_address(&mut self, sender: MemberId, from: IpAddr) {
        let known = self.config.members.iter().find(|m| m.id == sender);
        if known.is_some_and(|known| from != known.address) {
            self.notice(Notice::ForeignConfig {
                member: sender,
                difference: Difference::Address(from),
            });
        }
    }

    /// Notes where the configuration of `sender` differs from mine.
    pub(crate) fn compare_outline(&mut self, sender: MemberId, theirs: &Outline) {
        let Some(known) = self.config.members.iter().find(|m| m.id == sender) else {
            return;
        };
        let mut differences = Vec::new();
        if told_name(&known.name) != theirs.name {
            differences.push(Difference::Name(theirs.name.clone()));
        }
        if known.segment_address != theirs.segment {
            differences.push(Difference::Segment(theirs.segment));
        }
        if token_loss_ms(self.config.timers.token_loss) != theirs.token_loss_ms {
            let theirs = Duration::from_millis(theirs.token_loss_ms.into());
            differences.push(Difference::TokenLoss(theirs));
        }
        if self.config.datagram_bytes as u32 != theirs.datagram_bytes {
            differences.push(Difference::DatagramBytes(theirs.datagram_bytes));
        }
        for difference in differences {
            self.notice(Notice::ForeignConfig {
                member: sender,
                difference,
            });
        }
    }
}

fn told_name(name: &str) -> &str {
    let mut end = name.len().min(NAME_BYTES_MAX);
    while !name.is_char_boundary(end) {
        end -= 1;
    }
    &name[..end]
}

fn token_loss_ms(token_loss: Duration) -> u32 {
    u32::try_from(token_loss.as_millis()).unwrap_or(u32::MAX)
}
