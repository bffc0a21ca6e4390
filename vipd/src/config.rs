//! wackamole.conf: the grammar of the original, and what we have added to it.
//!
//! Read as written for the original, with these relaxations: `=` needs no blanks around it behind
//! a keyword, times may be in `ms`, and addresses may be of IPv6. Modules and Perl are refused.

mod check;
mod notify;
mod sets;
mod value;

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::time::Duration;

use conf::{Dialect, Errors, Reader, Word};
use group::{Address, GroupName};

pub use check::{Check, Probe};
pub use notify::{Notify, Recipient};
pub use sets::{AddressSet, Attached};

use crate::balance::Failback;
use crate::indices::Indices;
use sets::Wishes;
use value::{command, node_name, time};

/// wackamole.conf has no strings.
const DIALECT: Dialect = Dialect {
    semicolons: false,
    multiline_strings: false,
};

/// Bound: sets in a file.
const SETS_MAX: usize = 10_000;

/// Other words of the original for `VirtualInterfaces`.
const SHORT_KEYWORDS: [&str; 2] = ["VIFs", "VIPs"];

const KEYWORDS: [&str; 21] = [
    "Spread",
    "SpreadRetryInterval",
    "Group",
    "Control",
    "Mature",
    "Balance",
    "Arp-Cache",
    "Prefer",
    "Preference",
    "VirtualInterfaces",
    "Notify",
    "LogFacility",
    "Node",
    "Weight",
    "Failback",
    "Grace",
    "OnExit",
    "OnAcquire",
    "OnRelease",
    "HookTimeout",
    "Check",
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
    /// When sets go back to members that prefer them.
    pub failback: Failback,
    /// How long a member without bus keeps its sets.
    pub grace: Duration,
    /// This member's share of the load.
    pub weight: u32,
    /// This member's name, if it is not to be the host's.
    pub node: Option<String>,
    /// The canonical list: in the order of their names, whatever the order in the file.
    pub sets: Vec<AddressSet>,
    /// The sets that this member wants before all others.
    pub prefers: Indices,
    /// Which nodes are to have a set, the first that can; by index.
    pub orders: BTreeMap<usize, Vec<String>>,
    /// Who is told of an address that has come.
    pub notify: Notify,
    /// How often members tell each other which neighbours they know.
    pub arp_cache: Duration,
    /// Whether addresses stay at an orderly stop, to be adopted by the next vipd.
    pub keep_on_exit: bool,
    /// The program that is started when a set was acquired.
    pub on_acquire: Option<Vec<String>>,
    /// The program that is started when a set was released.
    pub on_release: Option<Vec<String>>,
    /// How long such a program may run.
    pub hook_timeout: Duration,
    /// What is looked at to know whether this host is well.
    pub checks: Vec<Check>,
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

    /// What members compare: of each set its addresses with their bits. Interfaces may have other
    /// names on other hosts.
    pub fn descriptions(&self) -> Vec<String> {
        let describe = |set: &AddressSet| {
            let addresses = set.addresses.iter();
            let addresses: Vec<String> = addresses
                .map(|at| format!("{}/{}", at.address, at.prefix))
                .collect();
            addresses.join(" ")
        };
        self.sets.iter().map(describe).collect()
    }

    /// What a node of this name prefers, by rank.
    pub fn ranks(&self, node: &str) -> Vec<Indices> {
        let mut ranks = vec![self.prefers.clone()];
        for (&set, order) in &self.orders {
            let Some(rank) = order.iter().position(|name| name == node) else {
                continue;
            };
            if ranks.len() <= rank {
                ranks.resize(rank + 1, Indices::default());
            }
            ranks[rank].insert(set);
        }
        while ranks.last().is_some_and(|sets| sets.count() == 0) {
            ranks.pop();
        }
        ranks
    }
}

/// A file of which not everything has been read.
struct Draft {
    config: Config,
    wishes: Wishes,
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
                failback: Failback::After(Duration::ZERO),
                grace: Duration::from_secs(2),
                weight: 1,
                node: None,
                sets: Vec::new(),
                prefers: Indices::default(),
                orders: BTreeMap::new(),
                notify: Notify::default(),
                arp_cache: Duration::from_secs(60),
                keep_on_exit: false,
                on_acquire: None,
                on_release: None,
                hook_timeout: Duration::from_secs(10),
                checks: Vec::new(),
            },
            wishes: Wishes::default(),
        }
    }
}

impl Draft {
    fn statement(&mut self, reader: &mut Reader, keyword: &Word) -> Result<(), conf::Error> {
        let is = |word: &&&str| word.eq_ignore_ascii_case(&keyword.text);
        if let Some(module) = MODULE_KEYWORDS.iter().find(is) {
            return Err(keyword.error(format!("{module}: modules and Perl are not supported")));
        }
        if SHORT_KEYWORDS.iter().any(|word| is(&word)) {
            return self.virtual_interfaces(reader, keyword);
        }
        let Some(known) = KEYWORDS.iter().find(is) else {
            return Err(keyword.unknown(&KEYWORDS));
        };
        let config = &mut self.config;
        match *known {
            "VirtualInterfaces" => self.virtual_interfaces(reader, keyword)?,
            "Prefer" => self.prefer(reader, keyword)?,
            "Preference" => self.preference(reader, keyword)?,
            "Notify" => notify::read(reader, keyword, &mut config.notify)?,
            "Check" => {
                let check = check::read(reader, keyword)?;
                if config.checks.iter().any(|other| other.name == check.name) {
                    let message = format!("there is a Check {:?} already", check.name);
                    reader.note(keyword.error(message));
                }
                config.checks.push(check);
            }
            "OnAcquire" => config.on_acquire = Some(command(reader, keyword)?),
            "OnRelease" => config.on_release = Some(command(reader, keyword)?),
            "HookTimeout" => config.hook_timeout = time(&reader.value(keyword)?, known)?,
            "Failback" => config.failback = failback(reader, keyword)?,
            "OnExit" => {
                let choices = [("release", false), ("keep", true)];
                config.keep_on_exit = reader.value(keyword)?.choice("OnExit", &choices)?;
            }
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
            "Arp-Cache" => config.arp_cache = time(&reader.value(keyword)?, known)?,
            "LogFacility" => _ = reader.value(keyword)?,
            "Weight" => config.weight = reader.value(keyword)?.integer("Weight", 0..=1000)?,
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
        if self.config.checks.len() > check::CHECKS_MAX {
            let message = format!("at most {} Checks are allowed", check::CHECKS_MAX);
            reader.note(conf::Error::new(0, message));
        }
        self.grant(reader);
        self.config
    }
}

/// `Failback = never | balance | manual | after T`
fn failback(reader: &mut Reader, keyword: &Word) -> Result<Failback, conf::Error> {
    let choices = [
        ("never", Some(Failback::Never)),
        ("manual", Some(Failback::Manual)),
        ("balance", Some(Failback::After(Duration::ZERO))),
        ("after", None),
    ];
    match reader.value(keyword)?.choice("Failback", &choices)? {
        Some(failback) => Ok(failback),
        None => Ok(Failback::After(time(
            &reader.word("Failback = after")?,
            "Failback",
        )?)),
    }
}

#[cfg(test)]
mod tests;
