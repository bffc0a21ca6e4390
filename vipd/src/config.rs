//! wackamole.conf: the grammar of the original, and what we have added to it.
//!
//! Read as written for the original, with these relaxations: `=` needs no blanks around it behind
//! a keyword, times may be in `ms`, and addresses may be of IPv6. Modules and Perl are refused.

use std::collections::BTreeSet;
use std::fmt;
use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use conf::{Dialect, Errors, Next, Reader, Word};
use group::{Address, GroupName};

use crate::digest::Digest;
use crate::indices::Indices;

/// wackamole.conf has no strings.
const DIALECT: Dialect = Dialect {
    semicolons: false,
    multiline_strings: false,
};

/// Bound: sets in a file.
const SETS_MAX: usize = 10_000;

/// Bound: addresses of one set.
const SET_ADDRESSES_MAX: usize = 256;

const KEYWORDS: [&str; 15] = [
    "Spread",
    "SpreadRetryInterval",
    "Group",
    "Control",
    "Mature",
    "Balance",
    "Arp-Cache",
    "Prefer",
    "VirtualInterfaces",
    "Notify",
    "LogFacility",
    "Node",
    "Weight",
    "Failback",
    "Grace",
];

const BALANCE_KEYWORDS: [&str; 2] = ["Interval", "AcquisitionsPerRound"];

const MODULE_KEYWORDS: [&str; 4] = ["RunDynamic", "ModuleDir", "PerlUseLib", "PerlUse"];

/// What a configuration file says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// Where groupd listens.
    pub spread: Option<String>,
    /// The longest pause between attempts to connect.
    pub retry_interval: Duration,
    /// The group that the members meet in.
    pub group: GroupName,
    /// Where vipctl asks.
    pub control: PathBuf,
    /// How long the first member waits for others.
    pub mature: Duration,
    /// How often planned moves are made.
    pub balance_interval: Duration,
    /// Most planned moves at a time; 0 for none.
    pub moves_max: usize,
    /// Whether sets go back to members that prefer them.
    pub failback: bool,
    /// How long a member without bus keeps its sets.
    pub grace: Duration,
    /// This member's share of the load.
    pub weight: u32,
    /// This member's name, if it is not to be the host's.
    pub node: Option<String>,
    /// The canonical list: in the order of their names, whatever the order in the file.
    pub sets: Vec<AddressSet>,
    /// The sets that this member wants.
    pub prefers: Indices,
}

/// Addresses that move together; never empty.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AddressSet {
    /// In the order of the file; the first one names the set.
    pub addresses: Vec<Attached>,
}

/// An address on an interface.
#[derive(Clone, Debug, PartialEq, Eq)]
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

impl fmt::Display for Attached {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}/{}", self.interface, self.address, self.prefix)
    }
}

impl Config {
    /// Reads a configuration; `file` is its name in messages.
    ///
    /// # Errors
    /// All that is wrong with it.
    pub fn parse(file: &str, text: &str) -> Result<Config, Errors> {
        let mut reader = Reader::new(file, text, DIALECT);
        let mut draft = Draft::default();
        while let Some(keyword) = reader.keyword() {
            if let Err(error) = draft.statement(&mut reader, &keyword) {
                reader.reject(error);
            }
        }
        let config = draft.finish(&mut reader);
        reader.finish()?;
        Ok(config)
    }

    /// The digest that members compare: which addresses belong together. Interfaces may have
    /// other names on other hosts.
    pub fn digest(&self) -> u64 {
        let mut digest = Digest::new();
        for set in &self.sets {
            digest = digest.number(set.addresses.len() as u64);
            for attached in &set.addresses {
                let text = format!("{}/{}", attached.address, attached.prefix);
                digest = digest.part(text.as_bytes());
            }
        }
        digest.value()
    }
}

/// A file of which not everything has been read.
struct Draft {
    config: Config,
    /// What `Prefer` names, to be looked for among the sets.
    prefers: Vec<(IpAddr, Word)>,
}

impl Default for Draft {
    fn default() -> Draft {
        Draft {
            config: Config {
                spread: None,
                retry_interval: Duration::from_secs(5),
                group: "wack1".parse().expect("a group's name"),
                control: PathBuf::from("/run/vipd/control"),
                mature: Duration::from_secs(5),
                balance_interval: Duration::from_secs(4),
                moves_max: 1,
                failback: true,
                grace: Duration::from_secs(2),
                weight: 1,
                node: None,
                sets: Vec::new(),
                prefers: Indices::default(),
            },
            prefers: Vec::new(),
        }
    }
}

impl Draft {
    fn statement(&mut self, reader: &mut Reader, keyword: &Word) -> Result<(), conf::Error> {
        let is = |word: &&&str| word.eq_ignore_ascii_case(&keyword.text);
        if let Some(module) = MODULE_KEYWORDS.iter().find(is) {
            return Err(keyword.error(format!("{module}: modules and Perl are not supported")));
        }
        let Some(known) = KEYWORDS.iter().find(is) else {
            return Err(keyword.unknown(&KEYWORDS));
        };
        let config = &mut self.config;
        match *known {
            "VirtualInterfaces" => self.virtual_interfaces(reader, keyword)?,
            "Prefer" => self.prefer(reader, keyword)?,
            "Notify" => notify(reader, keyword)?,
            "Balance" => self.balance(reader, keyword)?,
            "Spread" => {
                let word = reader.value(keyword)?;
                let bad = |error| word.error(format!("Spread: {error}"));
                word.text.parse::<Address>().map_err(bad)?;
                config.spread = Some(word.text);
            }
            "Group" => {
                let word = reader.value(keyword)?;
                let bad = |error| word.error(format!("Group {:?}: {error}", word.text));
                config.group = word.text.parse().map_err(bad)?;
            }
            "SpreadRetryInterval" => config.retry_interval = time(&reader.value(keyword)?, known)?,
            "Control" => config.control = PathBuf::from(reader.value(keyword)?.text),
            "Mature" => config.mature = time(&reader.value(keyword)?, known)?,
            "Grace" => config.grace = time(&reader.value(keyword)?, known)?,
            // Every announcement reaches all neighbours, so no list of them is shared.
            "Arp-Cache" => _ = time(&reader.value(keyword)?, known)?,
            "LogFacility" => _ = reader.value(keyword)?,
            "Weight" => config.weight = reader.value(keyword)?.integer("Weight", 0..=1000)?,
            "Failback" => {
                let choices = [("never", false), ("balance", true)];
                config.failback = reader.value(keyword)?.choice("Failback", &choices)?;
            }
            _ => config.node = Some(node_name(&reader.value(keyword)?)?),
        }
        Ok(())
    }

    fn balance(&mut self, reader: &mut Reader, block: &Word) -> Result<(), conf::Error> {
        reader.open(block)?;
        while let Some(keyword) = reader.keyword() {
            if let Err(error) = self.balance_statement(reader, &keyword) {
                reader.reject(error);
            }
        }
        Ok(())
    }

    fn balance_statement(
        &mut self,
        reader: &mut Reader,
        keyword: &Word,
    ) -> Result<(), conf::Error> {
        if keyword.text.eq_ignore_ascii_case("interval") {
            self.config.balance_interval = time(&reader.value(keyword)?, "Interval")?;
        } else if keyword.text.eq_ignore_ascii_case("AcquisitionsPerRound") {
            let word = reader.value(keyword)?;
            self.config.moves_max = if word.text.eq_ignore_ascii_case("all") {
                usize::MAX
            } else {
                word.integer("AcquisitionsPerRound (or \"all\")", 0..=SETS_MAX)?
            };
        } else {
            return Err(keyword.unknown(&BALANCE_KEYWORDS));
        }
        Ok(())
    }

    /// `VirtualInterfaces { if:ip/len ... { if:ip/len if:ip/len } ... }`
    fn virtual_interfaces(&mut self, reader: &mut Reader, block: &Word) -> Result<(), conf::Error> {
        reader.open(block)?;
        loop {
            match reader.peek()? {
                Next::Close | Next::End => break,
                Next::Open => {
                    reader.open(block)?;
                    let mut addresses = Vec::new();
                    let mut rejected = false;
                    while !matches!(reader.peek()?, Next::Close | Next::End) {
                        let word = reader.word("a set")?;
                        addresses.extend(noted(reader, attached(&word)));
                        rejected |= addresses.is_empty();
                    }
                    reader.close();
                    match addresses.len() {
                        0 if rejected => {}
                        0 => reader.note(block.error("a set in VirtualInterfaces is empty")),
                        1..=SET_ADDRESSES_MAX => self.config.sets.push(AddressSet { addresses }),
                        _ => reader.note(
                            block.error(format!("a set has at most {SET_ADDRESSES_MAX} addresses")),
                        ),
                    }
                }
                _ => {
                    let word = reader.word("VirtualInterfaces")?;
                    let address = noted(reader, attached(&word));
                    let set = address.map(|address| AddressSet {
                        addresses: vec![address],
                    });
                    self.config.sets.extend(set);
                }
            }
        }
        reader.close();
        Ok(())
    }

    /// `Prefer none`, one address, or a block of them.
    fn prefer(&mut self, reader: &mut Reader, keyword: &Word) -> Result<(), conf::Error> {
        if reader.peek()? != Next::Open {
            let word = reader.word("Prefer")?;
            if !word.text.eq_ignore_ascii_case("none") {
                self.prefers.push((preferred(&word)?, word));
            }
            return Ok(());
        }
        reader.open(keyword)?;
        while !matches!(reader.peek()?, Next::Close | Next::End) {
            let word = reader.word("Prefer")?;
            let address = noted(reader, preferred(&word));
            self.prefers.extend(address.map(|address| (address, word)));
        }
        reader.close();
        Ok(())
    }

    /// Checks what can only be checked with the whole file read.
    fn finish(mut self, reader: &mut Reader) -> Config {
        let sets = &mut self.config.sets;
        sets.sort_by_key(|set| set.addresses[0].address);
        if sets.is_empty() {
            reader.note(conf::Error::new(
                0,
                "no VirtualInterfaces, at least one is needed",
            ));
        }
        if sets.len() > SETS_MAX {
            reader.note(conf::Error::new(
                0,
                format!("at most {SETS_MAX} sets are allowed"),
            ));
            sets.truncate(SETS_MAX);
        }
        let mut seen = BTreeSet::new();
        for attached in sets.iter().flat_map(|set| &set.addresses) {
            if !seen.insert(attached.address) {
                let message = format!("{} stands in VirtualInterfaces twice", attached.address);
                reader.note(conf::Error::new(0, message));
            }
        }
        for (address, word) in &self.prefers {
            let of = |set: &AddressSet| set.addresses.iter().any(|other| other.address == *address);
            match sets.iter().position(of) {
                Some(set) => self.config.prefers.insert(set),
                None => reader.note(word.error(format!(
                    "Prefer names {address}, which is not in VirtualInterfaces"
                ))),
            }
        }
        self.config
    }
}

/// `Notify none`, one recipient, or a block of them. Every announcement is a broadcast, which
/// reaches them all; so they are checked, and not kept.
fn notify(reader: &mut Reader, keyword: &Word) -> Result<(), conf::Error> {
    let block = reader.peek()? == Next::Open;
    if block {
        reader.open(keyword)?;
    }
    let mut first = true;
    while let Next::Word(next) = reader.peek()? {
        let option = ["throttle", "ping"]
            .iter()
            .any(|word| next.text.eq_ignore_ascii_case(word));
        // Without a block there is one recipient, and its options.
        if !block && !first && !option {
            return Ok(());
        }
        let word = reader.word("Notify")?;
        if word.text.eq_ignore_ascii_case("throttle") {
            reader.word("throttle")?.integer("throttle", 1..=u32::MAX)?;
        } else if !option
            && !["none", "arp-cache"]
                .iter()
                .any(|w| word.text.eq_ignore_ascii_case(w))
        {
            attached(&word)?;
        }
        first = false;
    }
    if block && !reader.close() {
        return Err(keyword.error("Notify takes IF:ADDRESS/BITS, arp-cache, throttle N and ping"));
    }
    Ok(())
}

/// The value, or none with its error noted: reading goes on behind the word.
fn noted<T>(reader: &mut Reader, result: Result<T, conf::Error>) -> Option<T> {
    result.map_err(|error| reader.note(error)).ok()
}

/// `if:ip/len`, with the `nNET` that the original may have behind it.
fn attached(word: &Word) -> Result<Attached, conf::Error> {
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
    let (address, prefix) = network_of(network).ok_or_else(bad)?;
    Ok(Attached {
        interface: interface.to_owned(),
        address,
        prefix,
    })
}

/// The address that `Prefer` names: `ip/len` or `if:ip/len`.
fn preferred(word: &Word) -> Result<IpAddr, conf::Error> {
    match network_of(&word.text) {
        Some((address, _)) => Ok(address),
        None => attached(word).map(|attached| attached.address),
    }
}

fn network_of(text: &str) -> Option<(IpAddr, u8)> {
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
    Some((address, number(bits).filter(|_| usable)?))
}

/// A time: a whole number with `ms`, `s`, `m` or `h`; seconds if there is none.
fn time(word: &Word, name: &str) -> Result<Duration, conf::Error> {
    let text = word.text.to_ascii_lowercase();
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    let milliseconds: u64 = match unit {
        "ms" => 1,
        "" | "s" => 1000,
        "m" => 60_000,
        "h" => 3_600_000,
        _ => 0,
    };
    let time = number
        .parse::<u32>()
        .ok()
        .map(|number| u64::from(number) * milliseconds);
    // Bound: a day, so that no sum of times overflows.
    match time {
        Some(time) if (1..=86_400_000).contains(&time) => Ok(Duration::from_millis(time)),
        _ => Err(word.error(format!(
            "{name} must be a time from 1ms to 24h, such as 5s, got {:?}",
            word.text
        ))),
    }
}

fn node_name(word: &Word) -> Result<String, conf::Error> {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    if (1..=64).contains(&word.text.len()) && word.text.bytes().all(plain) {
        return Ok(word.text.clone());
    }
    Err(word.error(format!(
        "Node must be 1 to 64 letters, digits, '-', '_' or '.', got {:?}",
        word.text
    )))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn good(text: &str) -> Config {
        Config::parse("f", text).unwrap_or_else(|errors| panic!("{errors}"))
    }

    fn bad(text: &str) -> Vec<String> {
        let errors = Config::parse("f", text).unwrap_err().to_string();
        errors.lines().map(str::to_owned).collect()
    }

    /// The slide, with its addresses filled in.
    const TALK: &str = "Spread = 4803
SpreadRetryInterval = 5s
Group = wack1
Control = /var/run/wack.it
Prefer None
VirtualInterfaces {
    { fxp0:192.0.2.111/32 }
    { fxp0:192.0.2.112/32 }
}
Arp-Cache = 90s
Notify {
    fxp0:192.0.2.1/32
    fxp0:192.0.2.0/24 throttle 16
    arp-cache
}
balance {
    AcquisitionsPerRound = all
    interval = 4s
}
mature = 5s
";

    #[test]
    fn the_file_of_the_talk() {
        let config = good(TALK);
        assert_eq!(config.spread.as_deref(), Some("4803"));
        assert_eq!(config.group.to_string(), "wack1");
        assert_eq!(config.control, PathBuf::from("/var/run/wack.it"));
        let names: Vec<String> = config.sets.iter().map(AddressSet::name).collect();
        assert_eq!(names, ["192.0.2.111", "192.0.2.112"]);
        assert_eq!(config.moves_max, usize::MAX);
        assert_eq!(config.balance_interval, Duration::from_secs(4));
        assert_eq!(config.mature, Duration::from_secs(5));
        assert_eq!(config.prefers, Indices::default());
    }

    #[test]
    fn sets_of_both_families_in_any_order() {
        let text = "VIRTUALINTERFACES { eth1:10.0.0.9/32n24\n\
                    { eth0:2001:db8::7/128 eth0:192.0.2.7/32 } eth0:10.0.0.1/24 }\n\
                    prefer { 10.0.0.9/32 eth0:192.0.2.7/32 }\n\
                    Weight=0 Failback = NEVER Grace=500ms Node = web-1 Mature = 1H\n";
        let config = good(text);
        let names: Vec<String> = config.sets.iter().map(AddressSet::name).collect();
        assert_eq!(names, ["10.0.0.1", "10.0.0.9", "2001:db8::7"]);
        assert_eq!(config.sets[2].addresses[1].to_string(), "eth0:192.0.2.7/32");
        assert_eq!(config.prefers, [1, 2].into_iter().collect());
        assert_eq!((config.weight, config.failback), (0, false));
        assert_eq!(config.grace, Duration::from_millis(500));
        assert_eq!(config.mature, Duration::from_secs(3600));
        assert_eq!(config.node.as_deref(), Some("web-1"));
    }

    #[test]
    fn the_digest_is_of_the_addresses_and_of_nothing_else() {
        let digest = |text: &str| good(&format!("VirtualInterfaces {{ {text} }}")).digest();
        let one = digest("{ eth0:10.0.0.1/32 } { eth0:10.0.0.2/32 }");
        assert_eq!(digest("fxp0:10.0.0.2/32 eth0:10.0.0.1/32"), one);
        assert_ne!(digest("{ eth0:10.0.0.1/32 eth0:10.0.0.2/32 }"), one);
        assert_ne!(digest("eth0:10.0.0.1/32 eth0:10.0.0.2/24"), one);
    }

    #[test]
    fn every_error_is_reported() {
        let text = "Spread = x@y@z\nRunDynamic mod:f \"on up\"\nGrace = 0s\nWeight = 1001\n\
                    VirtualInterfaces { eth0:10.0.0.1/33 }\n\
                    Prefer { 10.0.0.5/32 }\nBalanc { }\n";
        let errors = bad(text);
        let lines: Vec<&str> = errors
            .iter()
            .map(|error| error.split(": ").next().unwrap())
            .collect();
        assert_eq!(
            lines,
            ["f", "f:1", "f:2", "f:3", "f:4", "f:5", "f:6", "f:7"],
            "{errors:#?}"
        );
        assert_eq!(
            errors[2],
            "f:2: RunDynamic: modules and Perl are not supported"
        );
        assert!(
            errors[7].contains("did you mean \"Balance\"?"),
            "{}",
            errors[7]
        );
    }

    #[test]
    fn an_address_belongs_to_one_set() {
        let errors = bad("VirtualInterfaces { eth0:10.0.0.1/32 eth1:10.0.0.1/24 }");
        assert_eq!(errors, ["f: 10.0.0.1 stands in VirtualInterfaces twice"]);
    }

    #[test]
    fn notify_is_checked() {
        let sets = "VirtualInterfaces { eth0:10.0.0.1/32 }\n";
        good(&format!("Notify none\n{sets}"));
        good(&format!("Notify arp-cache ping\n{sets}"));
        good(&format!("Notify eth0:10.0.0.0/24 throttle 8\n{sets}"));
        assert_eq!(bad(&format!("{sets}Notify {{ 10.0.0.1 }}")).len(), 1);
        assert_eq!(
            bad(&format!("{sets}Notify eth0:10.0.0.0/24 throttle x")).len(),
            1
        );
    }
}
