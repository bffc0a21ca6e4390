//! Lanes that nobody publishes: their processes were killed, or could not wait at their end.
//!
//! They are published one after the other, on a session that lasts as long as there are any.

use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use mio::Registry;
use mio::event;
use unixproc::log;

use crate::outlet::{Outlet, report_lane};
use crate::publisher::REPORT_INTERVAL;
use crate::spool::{LaneReader, Settled, Spool};

/// How often lanes are looked for.
const LOOK_INTERVAL: Duration = Duration::from_secs(1);

/// The lanes of others, and the outlet for the one that is published.
#[derive(Debug)]
pub(crate) struct Orphans {
    outlet: Outlet,
    look_at: Instant,
    /// Lanes with which nothing can be done until then. Bound: one for each lane.
    put_off: BTreeMap<PathBuf, Instant>,
    throttle: log::Throttle,
}

impl Orphans {
    /// None known yet.
    pub(crate) fn new(outlet: Outlet, now: Instant) -> Orphans {
        Orphans {
            outlet,
            look_at: now,
            put_off: BTreeMap::new(),
            throttle: log::Throttle::new(REPORT_INTERVAL),
        }
    }

    /// Takes note of an event of the session's descriptor.
    pub(crate) fn handle_event(&mut self, event: &event::Event) {
        self.outlet.handle_event(event);
    }

    /// Looks for lanes at this time.
    pub(crate) fn look_at(&mut self, at: Instant) {
        self.look_at = at;
    }

    /// When [`work`](Self::work) is to be called again, if no event comes before.
    pub(crate) fn work_at(&self, now: Instant) -> Option<Instant> {
        if self.outlet.lane().is_none() {
            return Some(self.look_at);
        }
        let received = self.outlet.is_readable().then_some(now);
        received.or(self.outlet.connect_at())
    }

    /// Whether no lane was found the last time, and it is not time to look again.
    pub(crate) fn is_idle(&self, now: Instant) -> bool {
        now < self.look_at && self.outlet.lane().is_none()
    }

    /// Bytes of the lane that is published which are not acknowledged.
    pub(crate) fn waiting_bytes(&self) -> u64 {
        self.outlet.waiting_bytes()
    }

    /// Lines that were too long, and were broken, since the start.
    pub(crate) fn broken_lines(&self) -> u64 {
        self.outlet.broken_lines()
    }

    /// Publishes a lane, and looks for the next one when it is empty; gives whether anything was
    /// acknowledged. `own` is the lane of this process, which is none of them.
    pub(crate) fn work(
        &mut self,
        registry: &Registry,
        spool: &Spool,
        own: Option<&str>,
        now: Instant,
    ) -> bool {
        let progress = self.publish(registry, spool, now);
        if self.outlet.is_drained() {
            if let Some(reader) = self.outlet.close() {
                self.settle(spool, &reader, now);
            }
            self.look_at = now;
        }
        if self.outlet.lane().is_none() && now >= self.look_at {
            self.look(spool, own, now);
        }
        progress
    }

    fn publish(&mut self, registry: &Registry, spool: &Spool, now: Instant) -> bool {
        if self.outlet.lane().is_none() {
            return false;
        }
        self.outlet.work(registry, now).unwrap_or_else(|error| {
            if let Some(reader) = self.outlet.close() {
                report_lane(Some(&reader), &error);
                self.put_off(spool, &reader, now + REPORT_INTERVAL);
            }
            false
        })
    }

    fn look(&mut self, spool: &Spool, own: Option<&str>, now: Instant) {
        self.look_at = now + LOOK_INTERVAL;
        self.put_off.retain(|_, at| *at > now);
        match self.find(spool, own, now) {
            Ok(true) => {}
            Ok(false) => self.outlet.hang_up(now),
            Err(error) => {
                if self.throttle.admit(now).is_some() {
                    log::warning("spool-unreadable", &[("error", &error)]);
                }
            }
        }
    }

    /// Takes the first lane that has anything to publish; gives whether there is one.
    fn find(&mut self, spool: &Spool, own: Option<&str>, now: Instant) -> io::Result<bool> {
        for directory in spool.lanes()? {
            let name = directory.file_name().and_then(|name| name.to_str());
            if name == own || self.put_off.contains_key(&directory) {
                continue;
            }
            // One that cannot be opened may belong to another group, or be gone by now.
            let Ok(Some(reader)) = spool.reader_of(&directory) else {
                continue;
            };
            match self.outlet.open(reader) {
                Ok(contents) if contents.whole > contents.acknowledged => {
                    let waiting = contents.whole - contents.acknowledged;
                    let fields: log::Fields = &[("lane", &name.unwrap_or("")), ("bytes", &waiting)];
                    log::notice("lane-adopted", fields);
                    return Ok(true);
                }
                Ok(_) => {
                    if let Some(reader) = self.outlet.close() {
                        self.settle(spool, &reader, now);
                    }
                }
                Err(error) => {
                    let fields: log::Fields = &[("lane", &name.unwrap_or("")), ("error", &error)];
                    log::error("lane-unreadable", fields);
                    self.put_off.insert(directory, now + REPORT_INTERVAL);
                }
            }
        }
        Ok(false)
    }

    /// A lane has nothing to publish at present.
    fn settle(&mut self, spool: &Spool, reader: &LaneReader, now: Instant) {
        let lane = reader.identity().name();
        match spool.settle(reader) {
            Ok(Settled::Removed) => log::info("lane-removed", &[("lane", &lane)]),
            Ok(Settled::More { ended_line }) => {
                if ended_line {
                    log::warning("line-without-end", &[("lane", &lane)]);
                }
                self.look_at = now;
            }
            Ok(Settled::Kept) => self.put_off(spool, reader, now + LOOK_INTERVAL),
            Err(error) => {
                report_lane(Some(reader), &error);
                self.put_off(spool, reader, now + REPORT_INTERVAL);
            }
        }
    }

    fn put_off(&mut self, spool: &Spool, reader: &LaneReader, until: Instant) {
        self.put_off.insert(spool.path_of(reader.identity()), until);
    }
}
