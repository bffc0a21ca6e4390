//! vipd's side of its guardian: keeps one running, shows it that vipd lives, and tells it what
//! there is to release.

use std::io;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use group::{Address, GroupName};
use unixproc::log;
use vipd::capabilities;
use vipd::indices::Indices;
use vipd::page::{Page, Record};
use vipd::takeover::WAKE_INTERVAL;

/// A guardian that does not live is started again so often.
const RESTART_INTERVAL: Duration = Duration::from_secs(1);

/// Who is guarded.
#[derive(Debug)]
pub(crate) struct Ward {
    page: Page,
    record: Record,
    address: Address,
    group: GroupName,
    child: Option<Child>,
    restart_at: Option<Instant>,
    beat_at: Instant,
}

impl Ward {
    /// Nobody guards yet.
    ///
    /// # Errors
    /// No memory for the page.
    pub(crate) fn new(address: Address, group: GroupName) -> io::Result<Ward> {
        Ok(Ward {
            page: Page::create()?,
            record: Record::default(),
            address,
            group,
            child: None,
            restart_at: None,
            beat_at: Instant::now(),
        })
    }

    /// Shows that vipd lives, and starts a guardian if it is due.
    pub(crate) fn keep(&mut self, now: Instant) {
        if self.beat_at <= now {
            self.beat_at = now + WAKE_INTERVAL;
            report(self.page.beat());
        }
        if let Some(child) = &mut self.child
            && let Ok(Some(status)) = child.try_wait()
        {
            log::warning("guardian-ended", &[("status", &status)]);
            self.child = None;
            self.restart_at = Some(now + RESTART_INTERVAL);
        }
        if self.child.is_some() || self.restart_at.is_some_and(|at| at > now) {
            return;
        }
        match capabilities::lending(|| self.spawn()) {
            Ok(child) => {
                self.child = Some(child);
                self.restart_at = None;
            }
            Err(error) => {
                log::warning("guardian-not-started", &[("error", &error)]);
                self.restart_at = Some(now + RESTART_INTERVAL);
            }
        }
    }

    fn spawn(&self) -> io::Result<Child> {
        Command::new("/proc/self/exe")
            .arg("--guardian")
            .arg(std::process::id().to_string())
            .arg("--group")
            .arg(self.group.to_string())
            .arg("--socket")
            .arg(self.address.to_string())
            .stdin(self.page.stdin()?)
            .stdout(Stdio::null())
            .spawn()
    }

    /// When [`keep`](Ward::keep) is due.
    pub(crate) fn keep_at(&self) -> Instant {
        self.restart_at
            .map_or(self.beat_at, |at| at.min(self.beat_at))
    }

    /// Writes down what vipd holds, before it holds more and after it holds less; without a session
    /// the name of the last one stays.
    pub(crate) fn write(
        &mut self,
        session: Option<String>,
        config: u64,
        sets: Vec<(u64, Indices)>,
    ) {
        let record = Record {
            session: session.unwrap_or_else(|| self.record.session.clone()),
            config,
            sets,
            keep: false,
        };
        if record != self.record {
            report(self.page.write(&record));
            self.record = record;
        }
    }

    /// The addresses are to stay when vipd ends now.
    pub(crate) fn write_keep(&mut self) {
        self.record.keep = true;
        report(self.page.write(&self.record));
    }

    /// Whether the guardian has removed the addresses: vipd was silent for too long.
    pub(crate) fn is_fenced(&self) -> bool {
        self.page.is_fenced().unwrap_or(false)
    }

    /// vipd holds nothing any more, and begins anew.
    pub(crate) fn unfence(&mut self) {
        report(self.page.set_fenced(false));
    }
}

/// Memory that cannot be written is nothing that this program can mend.
fn report(result: io::Result<()>) {
    if let Err(error) = result {
        log::error("page-not-written", &[("error", &error)]);
    }
}
