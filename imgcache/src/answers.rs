//! What the program says about itself and its objects.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;
use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use imgcache::control::{Show, Site as SiteCount, Status};
use imgcache::freshness;
use imgcache::names::{self, FileName};
use imgcache::rules::Verdict;
use purges::{Subject, Target};
use serde_json::json;
use unixproc::log;

use crate::cache::Cache;
use crate::config::{Config, Site};
use crate::root::Found;
use crate::shared::{Shared, now_ms};

/// What there is about a URL, or about a file below the root.
///
/// # Errors
/// It is neither, or the disk cannot be read.
pub(crate) fn show(shared: &Shared, what: &str) -> Result<Show, String> {
    let config = shared.config();
    let cache = &shared.cache;
    let (site, target, file) = match what.strip_prefix("http://") {
        Some(rest) => {
            let (host, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
            let host = host.split_once(':').map_or(host, |(host, _)| host);
            let host = host.to_ascii_lowercase();
            let site = config
                .site(&host)
                .ok_or_else(|| format!("no site has the name {host:?}"))?;
            let path = if path.is_empty() { "/" } else { path };
            let target =
                Target::parse(path.as_bytes()).map_err(|error| format!("{path:?}: {error}"))?;
            let file = names::file_of(site.name(), &target);
            (site.name().to_owned(), target, file)
        }
        None => {
            // By the name in the configuration, or by that behind its symbolic links.
            let roots = [config.cache_root.as_path(), cache.root.path()];
            let below = |root: &Path| what.strip_prefix(&format!("{}/", root.display()));
            let file = roots.into_iter().find_map(below).unwrap_or(what);
            let neither = || format!("neither a URL nor a file of this cache: {what:?}");
            let (site, target) = match names::read_file_name(file) {
                FileName::Object { site, target, .. } => {
                    let target = target.or_else(|| target_in(cache, file));
                    (site, target.ok_or_else(neither)?)
                }
                _ => return Err(neither()),
            };
            (site, target, Some(file.to_owned()))
        }
    };
    let url = format!("http://{site}{target}");
    let (state, metadata) = match &file {
        Some(file) => look(cache, &site, &target, file, &url).map_err(|error| error.to_string())?,
        None => ("absent", None),
    };
    let file = file.map(|file| cache.root.path().join(file).display().to_string());
    Ok(Show {
        url,
        file: file.unwrap_or_default(),
        state: state.to_owned(),
        metadata,
    })
}

/// What there is about a file: its state, and its metadata.
fn look(
    cache: &Cache,
    site: &str,
    target: &Target,
    file: &str,
    url: &str,
) -> io::Result<(&'static str, Option<String>)> {
    let object = match cache.root.find(file, url)? {
        Found::Absent => return Ok(("absent", None)),
        Found::Foreign => return Ok(("foreign", None)),
        Found::Object(object) => object,
    };
    let tags = freshness::tags(&object.meta.headers);
    let text = String::from_utf8_lossy(&object.meta.write()).replace('\r', "");
    let subject = Subject {
        site,
        target,
        tags: &tags,
        number: object.meta.rule,
    };
    let state = match cache.read().rules.judge(&subject) {
        Verdict::Purged => "purged",
        _ => "stored",
    };
    Ok((state, Some(text)))
}

/// The target of a file whose name was cut, from its metadata.
fn target_in(cache: &Cache, file: &str) -> Option<Target> {
    let url = cache.root.meta_of(file)?.url;
    let (_, path) = url.strip_prefix("http://")?.split_once('/')?;
    Target::parse(format!("/{path}").as_bytes()).ok()
}

/// The cache at a glance.
pub(crate) fn status(
    shared: &Shared,
    session: Option<String>,
    members: Vec<String>,
    counted: bool,
    uptime: Duration,
) -> Status {
    let config = shared.config();
    let log = shared.log.as_ref();
    let origins_down = shared.origins.health.down();
    let inner = shared.cache.read();
    let store = &inner.store;
    let site = |site: &Arc<Site>| {
        let name = site.name();
        let count = SiteCount {
            objects: store.space.objects_of(name),
            evictions: store.evictions.get(name).copied().unwrap_or(0),
            ..site.counts.read()
        };
        (name.to_owned(), count)
    };
    let sites: BTreeMap<_, _> = config.sites.iter().map(site).collect();
    Status {
        session,
        isolated: inner.isolation.is_on(),
        members,
        purge: inner.rules.last(),
        connections: shared.clients() as u64,
        fetches: shared.fetches.load(Ordering::Relaxed) as u64,
        objects: store.space.objects(),
        open: inner.entries_open() as u64,
        used_bytes: store.space.used(),
        size_bytes: config.cache_bytes_max,
        counted,
        evictions: inner.store.evictions.values().sum(),
        origins_down,
        log_lines_dropped: log.map_or(0, |log| log.dropped.load(Ordering::Relaxed)),
        sites,
        uptime_seconds: uptime.as_secs(),
    }
}

/// The same in a line, for whoever looks after many programs.
pub(crate) fn brief(status: &Status) -> String {
    let sum = |count: fn(&imgcache::control::Site) -> u64| -> u64 {
        status.sites.values().map(count).sum()
    };
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    json!({
        "program": "imgcache",
        "host": host.trim(),
        "name": status.session,
        "isolated": status.isolated,
        "purge": status.purge,
        "objects": status.objects,
        "used_bytes": status.used_bytes,
        "size_bytes": status.size_bytes,
        "hits": sum(|site| site.hits),
        "misses": sum(|site| site.misses),
        "evictions": status.evictions,
    })
    .to_string()
}

/// Reads the configuration again and puts it in force, but for what needs a restart.
///
/// # Errors
/// What is wrong with it; nothing has changed.
pub(crate) fn reload(file: &Path, shared: &Arc<Shared>) -> Result<(), String> {
    let mut config = conf::read(file, Config::parse).map_err(|errors| errors.to_string())?;
    let old = shared.config();
    config.inherit(&old);
    for (keyword, same) in [
        ("Listen", config.listen == old.listen),
        ("CacheRoot", config.cache_root == old.cache_root),
        ("Group", config.group == old.group),
        ("Socket", config.socket == old.socket),
        ("Control", config.control == old.control),
        ("Loops", config.loops == old.loops),
        ("AccessLog", config.access_log == old.access_log),
    ] {
        if !same {
            log::warning("restart-needed", &[("keyword", &keyword)]);
        }
    }
    let mut inner = shared.cache.lock();
    inner.configure(config.memory_bytes_max, config.on_isolation);
    inner.store.space.set_limit(config.cache_bytes_max);
    drop(inner);
    shared.set_config(Arc::new(config));
    shared.wake_loops();
    shared.origins.hurry();
    Ok(())
}

/// How long ago the former run heard its last purge, if it is known.
pub(crate) fn missed(cache: &Cache) -> Option<Duration> {
    let journal = cache.journal.lock().unwrap_or_else(PoisonError::into_inner);
    let whole = journal.whole()?;
    let ago = u64::try_from(now_ms() - whole).ok()?;
    // The note may be a few seconds old, and so may be what it says.
    Some(Duration::from_millis(ago) + Duration::from_secs(20))
}

/// Notes that no purge was missed up to now.
pub(crate) fn note_whole(cache: &Cache) {
    let journal = cache.journal.lock().unwrap_or_else(PoisonError::into_inner);
    if let Err(error) = journal.note_whole(now_ms()) {
        log::warning("write-failed", &[("file", &"#whole"), ("error", &error)]);
    }
}
