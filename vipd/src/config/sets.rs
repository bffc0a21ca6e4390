//! Sets of addresses, and who prefers them.

use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;

use conf::{Error, Next, Reader, Word};

use super::Draft;
use super::value::node_name;

/// Bound: addresses of one set.
const SET_ADDRESSES_MAX: usize = 256;

/// Bound: nodes in an order of preference.
const ORDER_MAX: usize = 64;

/// Addresses that move together; never empty.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct AddressSet {
    /// In the order of the file; the first one names the set.
    pub addresses: Vec<Attached>,
}

/// An address on an interface.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Attached {
    /// The interface's name.
    pub interface: String,
    /// The address.
    pub address: IpAddr,
    /// Bits of its network.
    pub prefix: u8,
}

impl AddressSet {
    /// The set's name: its first address.
    pub fn name(&self) -> String {
        self.addresses[0].address.to_string()
    }
}

impl Attached {
    /// The network that it names, whatever the interface.
    pub(super) fn network(&self) -> Network {
        Network {
            address: self.address,
            prefix: self.prefix,
        }
    }
}

impl fmt::Display for Attached {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}/{}", self.interface, self.address, self.prefix)
    }
}

/// What `Prefer` and `Preference` say, to be looked for among the sets.
#[derive(Debug, Default)]
pub(super) struct Wishes {
    pub(super) own: Vec<(Network, Word)>,
    pub(super) orders: Vec<(IpAddr, Word, Vec<String>)>,
}

/// An address and the bits of its network.
#[derive(Clone, Copy, Debug)]
pub(super) struct Network {
    address: IpAddr,
    prefix: u8,
}

impl Network {
    /// Whether an address belongs to it.
    pub(super) fn contains(self, address: IpAddr) -> bool {
        let bits = u32::from(self.prefix);
        match (self.address, address) {
            (IpAddr::V4(own), IpAddr::V4(address)) => {
                let differ = own.to_bits() ^ address.to_bits();
                differ.checked_shr(32 - bits).unwrap_or(0) == 0
            }
            (IpAddr::V6(own), IpAddr::V6(address)) => {
                let differ = own.to_bits() ^ address.to_bits();
                differ.checked_shr(128 - bits).unwrap_or(0) == 0
            }
            _ => false,
        }
    }
}

impl Draft {
    /// `VirtualInterfaces { if:ip/len ... { if:ip/len if:ip/len } ... }`
    pub(super) fn virtual_interfaces(
        &mut self,
        reader: &mut Reader,
        block: &Word,
    ) -> Result<(), Error> {
        reader.open(block)?;
        loop {
            if reader.peek()? == Next::Open {
                let set = address_set(reader, block)?;
                self.config.sets.extend(set);
            } else if let Some(word) = reader.item("VirtualInterfaces") {
                let address = noted(reader, attached(&word));
                let set = address.map(|address| AddressSet {
                    addresses: vec![address],
                });
                self.config.sets.extend(set);
            } else {
                return Ok(());
            }
        }
    }

    /// `Prefer none`, one address, or a block of them.
    pub(super) fn prefer(&mut self, reader: &mut Reader, keyword: &Word) -> Result<(), Error> {
        if reader.peek()? != Next::Open {
            let word = reader.word("Prefer")?;
            if !word.text.eq_ignore_ascii_case("none") {
                self.wishes.own.push((wished(&word)?, word));
            }
            return Ok(());
        }
        reader.open(keyword)?;
        while let Some(word) = reader.item("Prefer") {
            let network = noted(reader, wished(&word));
            self.wishes
                .own
                .extend(network.map(|network| (network, word)));
        }
        Ok(())
    }

    /// `Preference { 192.0.2.1/32 { web1 web2 } ... }`: which node is to have a set, the first that
    /// can.
    pub(super) fn preference(&mut self, reader: &mut Reader, keyword: &Word) -> Result<(), Error> {
        reader.open(keyword)?;
        while let Some(word) = reader.keyword() {
            if let Err(error) = self.preference_of(reader, word) {
                reader.reject(error);
            }
        }
        Ok(())
    }

    fn preference_of(&mut self, reader: &mut Reader, word: Word) -> Result<(), Error> {
        let address = wished(&word)?.address;
        reader.open(&word)?;
        let (mut order, mut rejected) = (Vec::new(), false);
        while let Some(word) = reader.item("Preference") {
            let node = noted(reader, node_name(&word));
            rejected |= node.is_none();
            order.extend(node);
        }
        if rejected {
            return Ok(());
        }
        if !(1..=ORDER_MAX).contains(&order.len()) {
            return Err(word.error(format!("Preference takes 1 to {ORDER_MAX} nodes for a set")));
        }
        self.wishes.orders.push((address, word, order));
        Ok(())
    }

    /// The sets that are meant.
    pub(super) fn grant(&mut self, reader: &mut Reader) {
        let sets: BTreeMap<IpAddr, usize> = self
            .config
            .sets
            .iter()
            .enumerate()
            .flat_map(index)
            .collect();
        let unknown = |word: &Word, keyword: &str, address: IpAddr| {
            word.error(format!(
                "{keyword} names {address}, which is not in VirtualInterfaces"
            ))
        };
        for (network, word) in &self.wishes.own {
            if let Some(&set) = sets.get(&network.address) {
                self.config.prefers.insert(set);
                continue;
            }
            // As in the original, all addresses of a network are meant.
            let within = sets.iter().filter(|(at, _)| network.contains(**at));
            let within: Vec<usize> = within.map(|(_, &set)| set).collect();
            if within.is_empty() {
                reader.note(unknown(word, "Prefer", network.address));
            }
            for set in within {
                self.config.prefers.insert(set);
            }
        }
        for (address, word, order) in self.wishes.orders.drain(..) {
            match sets.get(&address) {
                Some(&set) => _ = self.config.orders.insert(set, order),
                None => reader.note(unknown(&word, "Preference", address)),
            }
        }
    }
}

/// `{ if:ip/len if:ip/len }`: addresses that move together; none if what is wrong was noted.
fn address_set(reader: &mut Reader, block: &Word) -> Result<Option<AddressSet>, Error> {
    reader.open(block)?;
    let (mut addresses, mut rejected) = (Vec::new(), false);
    while let Some(word) = reader.item("a set") {
        let address = noted(reader, attached(&word));
        rejected |= address.is_none();
        addresses.extend(address);
    }
    match addresses.len() {
        _ if rejected => return Ok(None),
        0 => reader.note(block.error("a set in VirtualInterfaces is empty")),
        1..=SET_ADDRESSES_MAX => return Ok(Some(AddressSet { addresses })),
        _ => {
            let message = format!("a set has at most {SET_ADDRESSES_MAX} addresses");
            reader.note(block.error(message));
        }
    }
    Ok(None)
}

fn index((set, of): (usize, &AddressSet)) -> impl Iterator<Item = (IpAddr, usize)> {
    of.addresses
        .iter()
        .map(move |attached| (attached.address, set))
}

/// The value, or none with its error noted: reading goes on behind the word.
fn noted<T>(reader: &mut Reader, result: Result<T, Error>) -> Option<T> {
    result.map_err(|error| reader.note(error)).ok()
}

/// `if:ip/len`, with the `nNET` that the original may have behind it.
pub(super) fn attached(word: &Word) -> Result<Attached, Error> {
    let bad = || {
        word.error(format!(
            "expected INTERFACE:ADDRESS/BITS, such as eth0:192.0.2.1/32, got {:?}",
            word.text
        ))
    };
    let (interface, network) = word.text.split_once(':').ok_or_else(bad)?;
    // IFNAMSIZ, with its zero byte.
    if !(1..16).contains(&interface.len()) || interface.contains('/') {
        return Err(bad());
    }
    let Network { address, prefix } = network_of(network).ok_or_else(bad)?;
    Ok(Attached {
        interface: interface.to_owned(),
        address,
        prefix,
    })
}

/// What `Prefer` and `Preference` name: `ip/len` or `if:ip/len`.
fn wished(word: &Word) -> Result<Network, Error> {
    match network_of(&word.text) {
        Some(network) => Ok(network),
        None => attached(word).map(|attached| attached.network()),
    }
}

fn network_of(text: &str) -> Option<Network> {
    let (address, bits) = text.split_once('/')?;
    let (bits, notified) = bits.split_once('n').unwrap_or((bits, "24"));
    let address: IpAddr = address.parse().ok()?;
    let limit = if address.is_ipv4() { 32 } else { 128 };
    let number = |text: &str| {
        let digits = text.bytes().all(|byte| byte.is_ascii_digit());
        text.parse::<u8>()
            .ok()
            .filter(|&bits| digits && (1..=limit).contains(&bits))
    };
    let usable = !address.is_unspecified() && !address.is_multicast();
    number(notified)?;
    let prefix = number(bits).filter(|_| usable)?;
    Some(Network { address, prefix })
}
