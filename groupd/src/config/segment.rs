//! `Spread_Segment ADDRESS[:PORT] { NAME [IP] [{ D IP C IP ... }] ... }`.

use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4, ToSocketAddrs};

use conf::{Error, Next, Reader, Word};
use group::name::DaemonName;

use super::{Config, DEFAULT_PORT, Daemon, Interface, Segment};

/// Daemons of a cluster, as in Spread; also the bound of segments.
const DAEMONS_MAX: usize = 128;
/// Addresses in one interface stanza, as in Spread.
const INTERFACES_MAX: usize = 10;
/// Ports of a segment: the one above is the token's.
const PORTS: std::ops::RangeInclusive<u16> = 1..=65_534;

/// Reads a segment behind its keyword.
pub(super) fn read(reader: &mut Reader, keyword: &Word, config: &mut Config) -> Result<(), Error> {
    // What is wrong with the address must not hide what is wrong in the block.
    let segment = segment(&reader.word("Spread_Segment")?).unwrap_or_else(|error| {
        reader.note(error);
        Config::built_in().segments[0].clone()
    });
    if let Next::Word(second) = reader.peek()?
        && address_and_port(&second).is_ok()
    {
        return Err(second.error("a segment has one address here, Spread 5 allows several"));
    }
    reader.open(keyword)?;
    config.segments.push(segment);
    let mut is_empty = true;
    while let Some(name) = reader.item("a segment") {
        is_empty = false;
        match daemon(reader, &name, config) {
            Ok(daemon) => config.daemons.push(daemon),
            Err(error) => reader.note(error),
        }
    }
    if is_empty {
        reader.note(keyword.error("a segment needs at least one daemon"));
    }
    Ok(())
}

/// `ADDRESS[:PORT]`
fn segment(word: &Word) -> Result<Segment, Error> {
    let (address, port) = address_and_port(word)?;
    let bad = address.is_unspecified() || address.octets()[0] == 0 || address.octets()[0] >= 240;
    if bad && !address.is_broadcast() {
        return Err(word.error(format!(
            "a segment needs a multicast or broadcast address, or one of the loopback, got {address}"
        )));
    }
    Ok(Segment {
        address,
        port: port.unwrap_or(DEFAULT_PORT),
    })
}

/// Checks what concerns segments together, once all are read.
pub(super) fn check(config: &Config) -> Result<(), Error> {
    if config.daemons.is_empty() {
        return Err(Error::new(
            0,
            "no daemon: at least one Spread_Segment with one is needed",
        ));
    }
    if config.daemons.len() > DAEMONS_MAX {
        let count = config.daemons.len();
        return Err(Error::new(
            0,
            format!("{count} daemons, at most {DAEMONS_MAX} are allowed"),
        ));
    }
    let loopback = |segment: &&Segment| segment.address.is_loopback();
    let on_loopback = config.segments.iter().filter(loopback).count();
    if on_loopback != 0 && on_loopback != config.segments.len() {
        return Err(Error::new(
            0,
            "loopback segments (127.*) cannot be mixed with others",
        ));
    }
    Ok(())
}

/// Reads a daemon whose name is taken already.
fn daemon(reader: &mut Reader, name: &Word, config: &Config) -> Result<Daemon, Error> {
    if name.text == "VirtualID" {
        return Err(
            name.error("VirtualID of Spread 5 is not known here: the address says who a daemon is")
        );
    }
    let mut address = name.text.parse().ok();
    if address.is_none()
        && let Next::Word(word) = reader.peek()?
        && let Ok((given, _)) = address_and_port(&word)
    {
        // A port here is accepted and means nothing, as in Spread: it is the segment's.
        reader.word(&name.text)?;
        address = Some(given);
    }
    let interfaces = if reader.peek()? == Next::Open {
        interfaces(reader, name)?
    } else {
        Vec::new()
    };
    let valid = DaemonName::new(name.text.as_bytes());
    if valid.is_err() || name.text.contains('/') || name.text.starts_with('.') {
        return Err(name.error(format!(
            "a daemon's name must be 1 to 19 bytes from '$' to '~', without '/' and not beginning \
             with '.', got {:?}",
            name.text
        )));
    }
    let address = match address {
        Some(address) => address,
        None => resolve(name)?,
    };
    if address.is_unspecified() || address.is_multicast() || address.is_broadcast() {
        return Err(name.error(format!("{address} cannot be the address of a daemon")));
    }
    if config.daemons.iter().any(|daemon| daemon.name == name.text) {
        return Err(name.error(format!("there are two daemons called {:?}", name.text)));
    }
    if let Some(other) = config
        .daemons
        .iter()
        .find(|daemon| daemon.address == address)
    {
        return Err(name.error(format!(
            "{:?} and {:?} have the same address, {address}",
            other.name, name.text
        )));
    }
    let segment = config.segments.len() - 1;
    Ok(Daemon {
        name: name.text.clone(),
        address,
        segment,
        interfaces,
    })
}

/// Reads `{ [D|C|M ...] IP ... }`.
fn interfaces(reader: &mut Reader, name: &Word) -> Result<Vec<Interface>, Error> {
    reader.open(name)?;
    let mut interfaces = Vec::new();
    let mut letters = String::new();
    while let Some(word) = reader.item("an interface") {
        if matches!(word.text.as_str(), "C" | "D" | "M") {
            letters.push_str(&word.text);
            continue;
        }
        match interface(&word, &letters) {
            Ok(interface) => interfaces.push(interface),
            Err(error) => reader.note(error),
        }
        letters.clear();
    }
    if !letters.is_empty() {
        return Err(name.error(format!("an address is missing behind {letters}")));
    }
    if interfaces.len() > INTERFACES_MAX {
        return Err(name.error(format!("at most {INTERFACES_MAX} interfaces are allowed")));
    }
    Ok(interfaces)
}

/// What the address in `word` is for, with these letters before it.
fn interface(word: &Word, letters: &str) -> Result<Interface, Error> {
    let (address, _) = address_and_port(word)?;
    // Without a letter it is for everything. M, Spread's monitor, has no counterpart.
    let is_for = |letter| letters.is_empty() || letters.contains(letter);
    if is_for('D') && address.is_unspecified() {
        return Err(word.error("the address for daemons must be one that others can send to"));
    }
    Ok(Interface {
        address,
        daemons: is_for('D'),
        clients: is_for('C'),
    })
}

/// Reads `A.B.C.D` or `A.B.C.D:PORT`.
pub(super) fn address_and_port(word: &Word) -> Result<(Ipv4Addr, Option<u16>), Error> {
    let (address, port) = match word.text.split_once(':') {
        Some((address, port)) => (address, Some(port)),
        None => (&*word.text, None),
    };
    let address = address.parse().map_err(|_| {
        word.error(format!(
            "expected an IPv4 address, A.B.C.D or A.B.C.D:PORT, got {:?}",
            word.text
        ))
    })?;
    let port = port.map(|port| {
        let port = Word {
            text: port.to_owned(),
            ..word.clone()
        };
        port.integer("a port", PORTS)
    });
    Ok((address, port.transpose()?))
}

/// The address of a daemon that has only a name.
fn resolve(name: &Word) -> Result<Ipv4Addr, Error> {
    let found = (&*name.text, 0)
        .to_socket_addrs()
        .ok()
        .and_then(|mut addresses| {
            addresses.find_map(|address| match address {
                SocketAddr::V4(address) => Some(address),
                SocketAddr::V6(_) => None,
            })
        });
    found
        .as_ref()
        .map(SocketAddrV4::ip)
        .copied()
        .ok_or_else(|| {
            name.error(format!(
                "{:?} has no address here, and none is found by its name",
                name.text
            ))
        })
}
