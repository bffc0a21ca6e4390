//! imgcache.conf: its grammar.

use std::net::{SocketAddr, ToSocketAddrs as _};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

use conf::{Dialect, Errors, Next, Reader, Word};
use group::GroupName;
use imgcache::control::Site as SiteCount;
use imgcache::freshness::Policy;
use purges::{Target, is_site_name};

use crate::network::Network;

const GLOBAL_KEYWORDS: [&str; 14] = [
    "Listen",
    "CacheRoot",
    "CacheSize",
    "MemorySize",
    "Group",
    "Socket",
    "Control",
    "OnIsolation",
    "PurgeFrom",
    "AccessLog",
    "Loops",
    "ClientLimit",
    "MinimumRate",
    "Site",
];
const SITE_KEYWORDS: [&str; 4] = ["Origin", "HealthCheck", "StoreCookies", "NegativeSeconds"];

/// Bound: event loops.
const LOOPS_MAX: usize = 64;

/// What a configuration file says.
#[derive(Debug)]
pub(crate) struct Config {
    /// Never empty.
    pub(crate) listen: Vec<SocketAddr>,
    pub(crate) cache_root: PathBuf,
    /// Bytes on disk.
    pub(crate) cache_bytes_max: u64,
    /// Bytes of bodies in memory.
    pub(crate) memory_bytes_max: usize,
    /// Where purges come from; none if the bus is not wanted.
    pub(crate) group: Option<GroupName>,
    /// groupd's address.
    pub(crate) socket: Option<String>,
    /// Path of the control socket.
    pub(crate) control: PathBuf,
    pub(crate) on_isolation: OnIsolation,
    /// Who may send PURGE requests.
    pub(crate) purge_from: Vec<Network>,
    pub(crate) access_log: Option<AccessLog>,
    /// Event loops, at least one.
    pub(crate) loops: usize,
    /// Connections that one address may have; none if there is no limit.
    pub(crate) client_limit: Option<u32>,
    /// Bytes a second that a client must take or send.
    pub(crate) rate_min: u64,
    /// Never empty.
    pub(crate) sites: Vec<Arc<Site>>,
}

/// Where a line per request goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum AccessLog {
    /// To the end of this file.
    File(PathBuf),
    /// To this group of the bus.
    Group(GroupName),
}

/// What to do while purges may be missed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum OnIsolation {
    /// Validate each object, at most every 10 s.
    Revalidate,
    /// Serve as if nothing were.
    Serve,
    /// Ask the origin each time.
    Pass,
}

/// A Site block.
#[derive(Debug)]
pub(crate) struct Site {
    /// The first name is the directory's; the others are aliases.
    pub(crate) names: Vec<String>,
    /// In the order in which they are tried; never empty.
    pub(crate) origins: Vec<Origin>,
    pub(crate) policy: Policy,
    /// What its origins are asked for to see whether they are well; none if they are not asked.
    pub(crate) health: Option<String>,
    /// What it has served; lives on when the configuration is read again.
    pub(crate) counts: Arc<Counts>,
}

/// What a site has served.
#[derive(Debug, Default)]
pub(crate) struct Counts {
    hits: AtomicU64,
    misses: AtomicU64,
    bytes: AtomicU64,
}

impl Counts {
    pub(crate) fn add(&self, hit: bool, bytes: u64) {
        let count = if hit { &self.hits } else { &self.misses };
        count.fetch_add(1, Ordering::Relaxed);
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    /// What it has served; what of it is stored is not known here.
    pub(crate) fn read(&self) -> SiteCount {
        SiteCount {
            hits: self.hits.load(Ordering::Relaxed),
            misses: self.misses.load(Ordering::Relaxed),
            bytes: self.bytes.load(Ordering::Relaxed),
            ..SiteCount::default()
        }
    }
}

/// Where a site comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Origin {
    /// `HOST:PORT`, as the configuration has it.
    pub(crate) authority: String,
    /// What stands before each path; without a slash at its end.
    pub(crate) prefix: String,
}

impl Config {
    /// Reads a configuration; `file` is its name in messages.
    ///
    /// # Errors
    /// All that is wrong with it.
    pub(crate) fn parse(file: &str, text: &str) -> Result<Config, Errors> {
        let mut reader = Reader::new(file, text, Dialect::SPREADLOGD);
        let mut config = Config {
            listen: Vec::new(),
            cache_root: PathBuf::from("/var/cache/imgcache"),
            cache_bytes_max: 5_120_000 << 10,
            memory_bytes_max: 64 << 20,
            group: None,
            socket: None,
            control: PathBuf::from("/run/imgcache/control"),
            on_isolation: OnIsolation::Revalidate,
            purge_from: Vec::new(),
            access_log: None,
            loops: thread::available_parallelism().map_or(1, |count| count.get().min(LOOPS_MAX)),
            client_limit: Some(512),
            rate_min: 256,
            sites: Vec::new(),
        };
        while let Some(keyword) = reader.keyword() {
            if let Err(error) = config.statement(&mut reader, &keyword) {
                reader.reject(error);
            }
        }
        if config.sites.is_empty() {
            reader.note(conf::Error::new(0, "no Site block, at least one is needed"));
        }
        if config.listen.is_empty() {
            config.listen.push(SocketAddr::from(([0, 0, 0, 0], 80)));
        }
        reader.finish()?;
        Ok(config)
    }

    fn statement(&mut self, reader: &mut Reader, keyword: &Word) -> Result<(), conf::Error> {
        if keyword.text == "Site" {
            let site = Site::parse(reader, keyword)?;
            for name in &site.names {
                if self.sites.iter().any(|other| other.names.contains(name)) {
                    reader.note(keyword.error(format!("{name:?} is a name of two sites")));
                }
            }
            self.sites.push(Arc::new(site));
            return Ok(());
        }
        if !GLOBAL_KEYWORDS.contains(&keyword.text.as_str()) {
            return Err(keyword.unknown(&GLOBAL_KEYWORDS));
        }
        let word = reader.value(keyword)?;
        self.value(reader, keyword, word)
    }

    fn value(
        &mut self,
        reader: &mut Reader,
        keyword: &Word,
        word: Word,
    ) -> Result<(), conf::Error> {
        match keyword.text.as_str() {
            "Listen" => self.listen.push(listen_address(&word)?),
            "CacheRoot" => self.cache_root = PathBuf::from(&word.text),
            "CacheSize" => {
                self.cache_bytes_max = word.integer("CacheSize", 1024..=1u64 << 40)? << 10
            }
            "MemorySize" => {
                self.memory_bytes_max = word.integer("MemorySize", 0..=1usize << 30)? << 10
            }
            "Group" => {
                let bad = |error| word.error(format!("Group {:?}: {error}", word.text));
                self.group = Some(word.text.parse().map_err(bad)?);
            }
            "Socket" => self.socket = Some(word.text),
            "Control" => self.control = PathBuf::from(&word.text),
            "PurgeFrom" => {
                let bad = |()| word.error("PurgeFrom must be ADDRESS or ADDRESS/BITS");
                self.purge_from.push(word.text.parse().map_err(bad)?);
                while let Next::Word(next) = reader.peek()? {
                    let Ok(network) = next.text.parse() else {
                        break;
                    };
                    reader.word("PurgeFrom")?;
                    self.purge_from.push(network);
                }
            }
            "AccessLog" => self.access_log = Some(AccessLog::parse(reader, &word)?),
            "Loops" => self.loops = word.integer("Loops", 1..=LOOPS_MAX)?,
            "ClientLimit" => {
                let limit = word.integer("ClientLimit", 0..=1_000_000)?;
                self.client_limit = (limit > 0).then_some(limit);
            }
            "MinimumRate" => self.rate_min = word.integer("MinimumRate", 0..=1 << 30)?,
            _ => {
                let choices = [
                    ("revalidate", OnIsolation::Revalidate),
                    ("serve", OnIsolation::Serve),
                    ("pass", OnIsolation::Pass),
                ];
                self.on_isolation = word.choice("OnIsolation", &choices)?;
            }
        }
        Ok(())
    }

    /// The site of a host name.
    pub(crate) fn site(&self, host: &str) -> Option<&Arc<Site>> {
        let is_named = |site: &&Arc<Site>| site.names.iter().any(|name| name == host);
        self.sites.iter().find(is_named)
    }

    /// Goes on with the counts of a former configuration.
    pub(crate) fn inherit(&mut self, former: &Config) {
        for site in &mut self.sites {
            if let Some(old) = former.site(site.name())
                && let Some(site) = Arc::get_mut(site)
            {
                site.counts = Arc::clone(&old.counts);
            }
        }
    }
}

impl Site {
    fn parse(reader: &mut Reader, keyword: &Word) -> Result<Site, conf::Error> {
        let mut names = Vec::new();
        while let Next::Word(_) = reader.peek()? {
            let word = reader.word("Site")?;
            let name = word.text.to_ascii_lowercase();
            if !is_site_name(&name) {
                reader.note(word.error(format!(
                    "Site must be a host name without a port, got {:?}",
                    word.text
                )));
            }
            names.push(name);
        }
        if names.is_empty() {
            return Err(keyword.error("Site needs at least one host name"));
        }
        reader.open(keyword)?;
        let mut site = Site {
            names,
            origins: Vec::new(),
            policy: Policy {
                store_cookies: false,
                negative_seconds: 5,
            },
            health: None,
            counts: Arc::default(),
        };
        while let Some(keyword) = reader.keyword() {
            if let Err(error) = site.statement(reader, &keyword) {
                reader.reject(error);
            }
        }
        if site.origins.is_empty() {
            reader.note(keyword.error("this Site block has no Origin, at least one is needed"));
        }
        Ok(site)
    }

    fn statement(&mut self, reader: &mut Reader, keyword: &Word) -> Result<(), conf::Error> {
        if !SITE_KEYWORDS.contains(&keyword.text.as_str()) {
            return Err(keyword.unknown(&SITE_KEYWORDS));
        }
        let word = reader.value(keyword)?;
        match keyword.text.as_str() {
            "Origin" => self.origins.push(Origin::parse(&word)?),
            "HealthCheck" => self.health = Some(health_path(&word)?),
            "StoreCookies" => self.policy.store_cookies = word.boolean("StoreCookies")?,
            _ => self.policy.negative_seconds = word.integer("NegativeSeconds", 0..=86400)?,
        }
        Ok(())
    }

    /// The name of its directory.
    pub(crate) fn name(&self) -> &str {
        &self.names[0]
    }
}

impl AccessLog {
    /// `$GROUP` or a path, and the name of the format as mod_log_spread had it.
    fn parse(reader: &mut Reader, word: &Word) -> Result<AccessLog, conf::Error> {
        if let Next::Word(format) = reader.peek()?
            && format.text == "combined"
        {
            reader.word("AccessLog")?;
        }
        match word.text.strip_prefix('$') {
            Some(group) => {
                let bad = |error| word.error(format!("AccessLog {:?}: {error}", word.text));
                Ok(AccessLog::Group(group.parse().map_err(bad)?))
            }
            None => Ok(AccessLog::File(PathBuf::from(&word.text))),
        }
    }
}

impl Origin {
    fn parse(word: &Word) -> Result<Origin, conf::Error> {
        let bad = || {
            word.error(format!(
                "Origin must be http://HOST[:PORT]/[PATH], got {:?}",
                word.text
            ))
        };
        let rest = word.text.strip_prefix("http://").ok_or_else(bad)?;
        let (authority, prefix) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
        let (host, port) = match authority.rsplit_once(':') {
            Some((host, port)) if !port.ends_with(']') => (host, port),
            _ => (authority, "80"),
        };
        let legal = |byte: u8| byte.is_ascii_alphanumeric() || b"-._[]:".contains(&byte);
        let graphic = |byte: u8| byte.is_ascii_graphic() && !b"#?\\".contains(&byte);
        if host.is_empty()
            || !host.bytes().all(legal)
            || port.parse::<u16>().is_err()
            || !prefix.bytes().all(graphic)
        {
            return Err(bad());
        }
        Ok(Origin {
            authority: format!("{host}:{port}"),
            prefix: prefix.trim_end_matches('/').to_owned(),
        })
    }
}

/// What an origin is asked for.
fn health_path(word: &Word) -> Result<String, conf::Error> {
    let target = Target::parse(word.text.as_bytes());
    let bad = |_| word.error(format!("HealthCheck must be a path, got {:?}", word.text));
    Ok(target.map_err(bad)?.to_string())
}

/// A port, or an address and a port.
fn listen_address(word: &Word) -> Result<SocketAddr, conf::Error> {
    let bad = || {
        word.error(format!(
            "Listen must be PORT, ADDRESS:PORT or [ADDRESS]:PORT, got {:?}",
            word.text
        ))
    };
    if let Ok(port) = word.text.parse::<u16>() {
        return Ok(SocketAddr::from(([0, 0, 0, 0], port)));
    }
    let mut addresses = word.text.to_socket_addrs().map_err(|_| bad())?;
    addresses.next().ok_or_else(bad)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bad(text: &str) -> Vec<String> {
        let errors = Config::parse("f", text).unwrap_err().to_string();
        errors.lines().map(str::to_owned).collect()
    }

    #[test]
    fn the_whole_grammar() {
        let config = Config::parse(
            "f",
            "Listen = 8080 Listen=[::1]:81\nCacheRoot = /data/cache CacheSize = 5120000 MemorySize=1\n\
             Group = imgcache Socket = /s Control = /c OnIsolation = pass\n\
             PurgeFrom = 127.0.0.1 10.0.0.0/8 AccessLog = $example combined\n\
             Loops = 3 ClientLimit = 0 MinimumRate = 7\n\
             Site WWW.example.com img.example.com {\n Origin = http://10.0.0.5:8080/ Origin=http://b/x/\n\
             HealthCheck = /alive StoreCookies = yes NegativeSeconds = 9 }",
        )
        .unwrap_or_else(|errors| panic!("{errors}"));
        assert_eq!(
            config.listen,
            ["0.0.0.0:8080".parse().unwrap(), "[::1]:81".parse().unwrap()]
        );
        assert_eq!(
            (config.cache_bytes_max, config.memory_bytes_max),
            (5_242_880_000, 1024)
        );
        assert_eq!(config.on_isolation, OnIsolation::Pass);
        assert_eq!(config.purge_from.len(), 2);
        assert_eq!(
            config.access_log,
            Some(AccessLog::Group("example".parse().unwrap()))
        );
        assert_eq!(
            (config.loops, config.client_limit, config.rate_min),
            (3, None, 7)
        );
        let site = config.site("img.example.com").unwrap();
        assert_eq!(site.name(), "www.example.com");
        assert_eq!(
            (site.policy.store_cookies, site.policy.negative_seconds),
            (true, 9)
        );
        assert_eq!(site.health.as_deref(), Some("/alive"));
        assert!(config.site("example.com").is_none());
        let origins = &config.sites[0].origins;
        assert_eq!(
            (origins[0].authority.as_str(), origins[0].prefix.as_str()),
            ("10.0.0.5:8080", "")
        );
        assert_eq!(
            (origins[1].authority.as_str(), origins[1].prefix.as_str()),
            ("b:80", "/x")
        );
    }

    #[test]
    fn a_mistake_hides_no_other() {
        let text = "Loops = 0\nSite a:80 b {\n Origin = '{'\n NegativeSeconds = x StoreCookies = }\n\
                    Sit c { Origin = \"}\" }\nPurgeFrom = x 10.0.0.1\nMemorySize = \"";
        let errors = bad(text);
        let lines: Vec<&str> = errors
            .iter()
            .map(|error| error.split(": ").next().unwrap())
            .collect();
        assert_eq!(
            lines,
            [
                "f:1", "f:2", "f:2", "f:3", "f:4", "f:4", "f:5", "f:6", "f:7"
            ],
            "{errors:#?}"
        );
    }

    #[test]
    fn every_error_is_reported() {
        assert_eq!(
            bad(
                "Listen = x\nSite a/b { }\nSite a { Orgin = x }\nSite a { Origin = https://x/ }\nCacheSize = 0"
            ),
            [
                "f:1: Listen must be PORT, ADDRESS:PORT or [ADDRESS]:PORT, got \"x\"",
                "f:2: Site must be a host name without a port, got \"a/b\"",
                "f:2: this Site block has no Origin, at least one is needed",
                "f:3: unknown keyword \"Orgin\", did you mean \"Origin\"? allowed here: Origin, HealthCheck, StoreCookies, NegativeSeconds",
                "f:3: this Site block has no Origin, at least one is needed",
                "f:4: Origin must be http://HOST[:PORT]/[PATH], got \"https://x/\"",
                "f:4: this Site block has no Origin, at least one is needed",
                "f:4: \"a\" is a name of two sites",
                "f:5: CacheSize must be 1024 to 1099511627776, got \"0\"",
            ]
        );
    }
}
