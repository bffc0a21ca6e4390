//! `Notify`: whom announcements are repeated to, by unicast.

use std::net::IpAddr;

use conf::{Error, Next, Reader, Word};

use super::sets::{Attached, attached};

/// Bound: recipients of one network.
const HOSTS_MAX: u32 = 65_536;

/// Who is told of an address that has come, besides the broadcast.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Notify {
    /// Hosts and networks.
    pub recipients: Vec<Recipient>,
    /// Whether all neighbours are told that a member of the group knows.
    pub arp_cache: bool,
    /// Whether they are asked to answer, too.
    pub ping: bool,
}

/// A host, or all hosts of a network.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recipient {
    /// The network, and the interface that leads to it.
    pub network: Attached,
    /// Most of its hosts that are told in a second; none for no such limit.
    pub throttle: Option<u32>,
}

impl Recipient {
    /// Whether an address is one of them.
    pub fn contains(&self, address: IpAddr) -> bool {
        self.network.network().contains(address)
    }
}

/// `Notify none`, one recipient, or a block of them.
pub(super) fn read(reader: &mut Reader, keyword: &Word, notify: &mut Notify) -> Result<(), Error> {
    if reader.peek()? == Next::Open {
        reader.open(keyword)?;
        let mut first = true;
        while let Some(word) = reader.item("Notify") {
            if let Err(error) = item(reader, &word, first, notify) {
                reader.note(error);
            }
            first = false;
        }
        return Ok(());
    }
    // Without a block there is one recipient, and its options.
    let word = reader.word("Notify")?;
    item(reader, &word, true, notify)?;
    while let Next::Word(next) = reader.peek()? {
        let mut options = ["throttle", "ping"].into_iter();
        if !options.any(|option| next.text.eq_ignore_ascii_case(option)) {
            break;
        }
        let word = reader.word("Notify")?;
        item(reader, &word, false, notify)?;
    }
    Ok(())
}

/// Takes one word, and the number of a `throttle`, which is for the recipient before it.
fn item(reader: &mut Reader, word: &Word, first: bool, notify: &mut Notify) -> Result<(), Error> {
    let is = |keyword: &str| word.text.eq_ignore_ascii_case(keyword);
    if is("throttle") {
        let rate = reader.word("throttle")?.integer("throttle", 1..=u32::MAX)?;
        match notify.recipients.last_mut().filter(|_| !first) {
            Some(recipient) => recipient.throttle = Some(rate),
            None => return Err(word.error("throttle stands behind the hosts that it is for")),
        }
    } else if is("ping") {
        notify.ping = true;
    } else if is("arp-cache") {
        notify.arp_cache = true;
    } else if !is("none") {
        notify.recipients.push(recipient(word)?);
    }
    Ok(())
}

fn recipient(word: &Word) -> Result<Recipient, Error> {
    let network = attached(word)?;
    let longest = if network.address.is_ipv4() { 32 } else { 128 };
    let hosts = 1u32.checked_shl(longest - u32::from(network.prefix));
    if hosts.is_none_or(|hosts| hosts > HOSTS_MAX) {
        return Err(word.error(format!(
            "Notify takes networks of {HOSTS_MAX} hosts at most"
        )));
    }
    Ok(Recipient {
        network,
        throttle: None,
    })
}
