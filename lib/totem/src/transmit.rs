//! What leaves: packets, sealed one behind the other into a buffer, and whom they go to.

use std::collections::BTreeSet;
use std::sync::Arc;

use bytes::Bytes;

use crate::config::Config;
use crate::event::{Class, Destination, Transmit};
use crate::node::Totem;
use crate::ring::Outgoing;
use crate::seal::Kind;
use crate::view::{MemberId, View};
use crate::wire::{Control, DATA_HEADER_BYTES, DataHeader, Token};

/// Datagrams of one [`Transmit`]: the kernel's limit for UDP_SEGMENT is 64, or 64 KiB.
const BATCH_MAX: usize = 64;
const BATCH_BYTES_MAX: usize = 65_000;

/// Something to transmit, in this order.
#[derive(Debug)]
pub(crate) enum Queued {
    Data(Outgoing),
    Token(Token),
    Control(MemberId, Control),
    /// A datagram of another segment, passed on in mine as it is.
    Relay(Bytes),
}

/// Whom my data goes to, in the ring whose packets are sealed now.
#[derive(Debug)]
pub(crate) struct Routes {
    local: Arc<[MemberId]>,
    remote: Arc<[MemberId]>,
    /// I pass on what other segments send.
    pub(crate) relay: bool,
}

impl Totem {
    /// Fills `buffer` with datagrams for one destination; `None` if there is nothing to send.
    pub fn poll_transmit(&mut self, buffer: &mut Vec<u8>) -> Option<Transmit> {
        if self.persisting.is_some() || self.has_left() {
            return None;
        }
        buffer.clear();
        loop {
            let transmit = match self.outgoing.pop_front()? {
                Queued::Data(first) => self.transmit_data(first, buffer),
                Queued::Token(token) => Some(self.transmit_token(&token, buffer)),
                Queued::Control(to, control) => {
                    self.sealer.seal_control(buffer, |out| control.put(out));
                    Some(self.whole(Destination::Member(to), Class::Control, buffer))
                }
                Queued::Relay(datagram) => {
                    buffer.extend_from_slice(&datagram);
                    let to = Destination::Segment(self.routes.local.clone());
                    Some(self.whole(to, Class::Data, buffer))
                }
            };
            if transmit.is_some() {
                return transmit;
            }
        }
    }

    fn whole(&self, destination: Destination, class: Class, buffer: &[u8]) -> Transmit {
        Transmit {
            destination,
            class,
            segment_size: buffer.len(),
        }
    }

    fn transmit_token(&mut self, token: &Token, buffer: &mut Vec<u8>) -> Transmit {
        self.sealer
            .seal_ring(Kind::Token, buffer, |out| token.put(out));
        let ring = self.current_ring();
        let to = ring.view.members[usize::from(ring.successor())].id;
        self.whole(Destination::Member(to), Class::Token, buffer)
    }

    /// Seals a run of packets of equal length; the last one may be shorter. `None` if none of
    /// them is needed any more.
    fn transmit_data(&mut self, first: Outgoing, buffer: &mut Vec<u8>) -> Option<Transmit> {
        let mut segment_size = 0;
        let mut next = Some(first);
        let mut count = 0;
        while let Some(outgoing) = next {
            let body = self.packet(outgoing).map(|packet| {
                let Outgoing { old_ring, seq, .. } = outgoing;
                let (hop, origin) = (packet.hop, packet.origin);
                (
                    DataHeader {
                        seq,
                        hop,
                        origin,
                        old_ring,
                    },
                    packet.body.clone(),
                )
            });
            if let Some((header, body)) = body {
                let length = self.sealer.sealed_length(DATA_HEADER_BYTES + body.len());
                let unlike = count > 0 && (length > segment_size || outgoing.only != first.only);
                if unlike || count == BATCH_MAX || buffer.len() + length > BATCH_BYTES_MAX {
                    self.outgoing.push_front(Queued::Data(outgoing));
                    break;
                }
                self.sealer.seal_ring(Kind::Data, buffer, |out| {
                    header.put(out);
                    out.extend_from_slice(&body);
                });
                self.stats.data_sent += 1;
                count += 1;
                segment_size = segment_size.max(length);
                if length < segment_size {
                    break;
                }
            }
            next = match self.outgoing.front() {
                Some(&Queued::Data(outgoing)) => {
                    self.outgoing.pop_front();
                    Some(outgoing)
                }
                _ => None,
            };
        }
        let Routes { local, remote, .. } = &self.routes;
        let destination = match first.only {
            Some(member) => Destination::Member(member),
            None => Destination::Set(local.clone(), remote.clone()),
        };
        (count > 0).then_some(Transmit {
            destination,
            class: Class::Data,
            segment_size,
        })
    }

    fn packet(&self, outgoing: Outgoing) -> Option<&crate::store::Packet> {
        let ring = if outgoing.old_ring > 0 {
            &self.ring
        } else {
            self.current_ring()
        };
        ring.store.get(outgoing.seq)
    }
}

/// One copy for my segment, and one for the first member of each other one.
pub(crate) fn routes(config: &Config, view: &View) -> Routes {
    let segment = |id: MemberId| {
        config
            .members
            .iter()
            .find(|member| member.id == id)
            .map(|member| member.segment)
    };
    let mine = segment(config.me);
    let (mut local, mut remote) = (Vec::new(), Vec::new());
    let mut seen = BTreeSet::new();
    let mut first = None;
    for member in view.members.iter() {
        let at = segment(member.id);
        if at == mine {
            first = first.or(Some(member.id));
            if member.id != config.me {
                local.push(member.id);
            }
        } else if seen.insert(at) {
            remote.push(member.id);
        }
    }
    let relay = first == Some(config.me) && !local.is_empty() && !remote.is_empty();
    Routes {
        local: local.into(),
        remote: remote.into(),
        relay,
    }
}
