//! Purges carried out: in force first, then on disk, then the files deleted.

use std::collections::{HashMap, HashSet};
use std::io;
use std::sync::PoisonError;

use imgcache::freshness;
use imgcache::names::{self, FileName};
use imgcache::rules::{self, Verdict};
use purges::{Purge, Subject, Target, What};
use unixproc::log;

use crate::cache::Cache;
use crate::config::Config;
use crate::walk::Seen;

/// What is left to do for purges that are in force.
#[derive(Debug)]
pub(crate) struct Enforced {
    /// Their lines in the journal.
    text: String,
    /// Files that they mean.
    files: Vec<String>,
}

impl Enforced {
    /// Files that are to go without a purge.
    pub(crate) fn files(files: Vec<String>) -> Enforced {
        let text = String::new();
        Enforced { text, files }
    }
}

impl Cache {
    /// Puts purges in force and on disk, and deletes the objects of single targets with all their
    /// variants. Gives how many objects there were.
    ///
    /// # Errors
    /// The rules could not be written: they hold, but would not survive.
    pub(crate) fn purge(&self, purges: &[Purge], config: &Config) -> io::Result<u64> {
        self.settle(self.enforce(purges, config))
    }

    /// Puts purges in force: when this is over, no loop uses what is purged.
    pub(crate) fn enforce(&self, purges: &[Purge], config: &Config) -> Enforced {
        let mut text = String::new();
        let mut files = Vec::new();
        let mut inner = self.lock();
        for purge in purges {
            let mut purge = purge.clone();
            if let Some(name) = &purge.site {
                let Some(site) = config.site(name) else {
                    continue;
                };
                purge.site = Some(site.name().to_owned());
            }
            if let (What::Exact(target), false) = (&purge.what, purge.soft) {
                let sites = config.sites.iter().map(|site| site.name());
                let meant =
                    sites.filter(|name| purge.site.as_deref().is_none_or(|only| only == *name));
                files.extend(meant.filter_map(|name| names::file_of(name, target)));
            }
            text.push_str(&rules::line(inner.rules.last() + 1, &purge));
            inner.rules.add(purge);
        }
        Enforced { text, files }
    }

    /// Deletes the files of purges that are in force, and puts the purges on disk; gives how many
    /// objects there were. Takes the disk's time.
    ///
    /// # Errors
    /// The rules could not be written: they hold, but would not survive.
    pub(crate) fn settle(&self, enforced: Enforced) -> io::Result<u64> {
        let removed = self.remove_all(&enforced.files);
        if enforced.text.is_empty() {
            return Ok(removed);
        }
        let mut journal = self.journal.lock().unwrap_or_else(PoisonError::into_inner);
        journal.append(&enforced.text)?;
        if journal.is_long() {
            let now = self.read().rules.clone();
            journal.renew(&now)?;
        }
        journal.account(&mut self.lock().store.space);
        Ok(removed)
    }

    /// Deletes these files and the variants that belong to them; gives how many there were.
    fn remove_all(&self, files: &[String]) -> u64 {
        let any_vary = self.read().store.space.may_have_variants();
        let mut varied: HashMap<&str, HashSet<&str>> = HashMap::new();
        let mut remover = self.root.remover(self.room_for_deleted(files.len()));
        let mut count = 0;
        for file in files {
            // Only what varies can have more than one file.
            if any_vary
                && let Some(meta) = self.root.meta_of(file)
                && !meta.vary().is_empty()
                && let Some((directory, leaf)) = file.rsplit_once('/')
            {
                varied.entry(directory).or_default().insert(leaf);
            }
            count += u64::from(remover.remove(file));
        }
        let mut variants = Vec::new();
        for (directory, leaves) in varied {
            let is_meant = |name: &String| {
                name.rsplit_once("#v=")
                    .is_some_and(|(leaf, _)| leaves.contains(leaf))
            };
            let found = self.root.names_in(directory).into_iter().filter(is_meant);
            variants.extend(found.map(|name| format!("{directory}/{name}")));
        }
        variants.retain(|file| remover.remove(file));
        self.keep_deleted(remover.held);
        let gone = files.iter().chain(&variants).map(String::as_str);
        self.note_removed(&gone.collect::<Vec<&str>>());
        count + variants.len() as u64
    }

    /// All purges of many objects up to this number have been swept.
    pub(crate) fn end_sweep(&self, number: u64) {
        self.lock().rules.forget_swept(number);
        let mut journal = self.journal.lock().unwrap_or_else(PoisonError::into_inner);
        if let Err(error) = journal.append(&format!("swept {number}\n")) {
            // The next start sweeps again.
            log::warning("write-failed", &[("file", &"#rules"), ("error", &error)]);
        }
    }

    /// Takes note of what a walk has found, and deletes what is purged or left over.
    pub(crate) fn see(&self, seen: &Seen, sweep: bool) {
        let name = names::read_file_name(&seen.path);
        if seen.path.starts_with("#tmp.") {
            return;
        }
        let fixed = seen.directory || matches!(name, FileName::Foreign | FileName::Own);
        self.lock().store.space.see(&seen.path, seen.bytes, fixed);
        if seen.directory {
            return;
        }
        let useless = match name {
            FileName::Sidecar(body) => {
                self.root.expect_sidecars();
                !self.root.exists(&body)
            }
            FileName::Object { variant, .. } if variant && !self.root.exists(base(&seen.path)) => {
                true
            }
            FileName::Object { site, target, .. } if sweep => {
                self.is_purged(&seen.path, &site, target)
            }
            _ => false,
        };
        if useless {
            self.remove(&seen.path);
            if let Some((directory, _)) = seen.path.rsplit_once('/') {
                self.remove_empty(directory);
            }
        }
    }

    /// Whether the object in this file is purged. Where its name was cut, its metadata has the URL.
    fn is_purged(&self, path: &str, site: &str, target: Option<Target>) -> bool {
        let Some(meta) = self.root.meta_of(path) else {
            return false;
        };
        let of_url = || {
            let (_, path) = meta.url.strip_prefix("http://")?.split_once('/')?;
            Target::parse(format!("/{path}").as_bytes()).ok()
        };
        let Some(target) = target.or_else(of_url) else {
            return false;
        };
        let subject = Subject {
            site,
            target: &target,
            tags: &freshness::tags(&meta.headers),
            number: meta.rule,
        };
        self.read().rules.judge(&subject) == Verdict::Purged
    }
}

/// The file of the first variant.
fn base(path: &str) -> &str {
    path.rsplit_once("#v=").map_or(path, |(base, _)| base)
}
