//! The guardian: a second process of the same program that outlives vipd and removes what it held.
//!
//! It watches vipd by a pidfd and by the heartbeat on the page that they share. When vipd is dead,
//! or silent for 300 ms, it removes all addresses with our tag and tells the group in vipd's name
//! that they are released. If both are killed, the addresses' lifetime is what is left.

use std::io::{self, ErrorKind};
use std::os::fd::{AsFd as _, AsRawFd as _, OwnedFd};
use std::time::{Duration, Instant};

use group::{Address, Event, GroupName, Name, Options, Service, Session};
use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Token};
use rustix::process::{Pid, PidfdFlags, getppid, pidfd_open};
use unixproc::log;
use unixproc::signal::{Signal, Signals};
use vipd::kernel::Kernel;
use vipd::page::{Page, Record, Silence};
use vipd::takeover::released_for;

/// The heartbeat is looked at this often.
const LOOK_INTERVAL: Duration = Duration::from_millis(50);

/// What was told is told again this often while vipd stays silent: a view may have come between.
const REPEAT_INTERVAL: Duration = Duration::from_millis(200);

/// Connecting holds the guardian up; less than the silence that it waits for.
const CONNECT_TIMEOUT: Duration = Duration::from_millis(100);

const RECONNECT_INTERVAL: Duration = Duration::from_secs(1);

/// How long the guardian of a dead vipd tries to be heard.
const LAST_WORDS: Duration = Duration::from_secs(2);

const PARENT: Token = Token(0);
const BUS: Token = Token(1);

/// The guardian's own process.
struct Guardian {
    poll: Poll,
    page: Page,
    kernel: Kernel,
    options: Options,
    group: GroupName,
    session: Option<Session>,
    connect_at: Instant,
    silence: Silence,
    repeat_at: Option<Instant>,
}

/// Work of the guardian's process: watches until vipd ends, then cleans up behind it.
///
/// `parent` is vipd's process number; the page is standard input.
///
/// # Errors
/// The kernel does not let it.
pub(crate) fn run(parent: i32, address: Address, group: GroupName) -> io::Result<()> {
    // Signals for the whole process group are vipd's; its end is what counts here.
    let _signals = Signals::install(&[Signal::Terminate, Signal::Interrupt, Signal::Hangup])?;
    let page = Page::from(io::stdin().as_fd().try_clone_to_owned()?);
    let mut options = Options::new(address);
    options.timeout = CONNECT_TIMEOUT;
    let mut guardian = Guardian {
        poll: Poll::new()?,
        page,
        kernel: Kernel::open()?,
        options,
        group,
        session: None,
        connect_at: Instant::now(),
        silence: Silence::default(),
        repeat_at: None,
    };
    let parent = watch_parent(parent)?;
    if let Some(parent) = &parent {
        guardian.poll.registry().register(
            &mut SourceFd(&parent.as_raw_fd()),
            PARENT,
            Interest::READABLE,
        )?;
        guardian.watch()?;
    }
    guardian.clean_up()
}

/// A descriptor that is readable when vipd is dead; none if it is already.
fn watch_parent(parent: i32) -> io::Result<Option<OwnedFd>> {
    let Some(pid) = Pid::from_raw(parent) else {
        return Err(ErrorKind::InvalidInput.into());
    };
    let watch = match pidfd_open(pid, PidfdFlags::empty()) {
        Ok(watch) => watch,
        Err(rustix::io::Errno::SRCH) => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    // The number may have gone to another process before it was opened.
    Ok((getppid() == Some(pid)).then_some(watch))
}

impl Guardian {
    /// Watches until vipd is dead.
    fn watch(&mut self) -> io::Result<()> {
        let mut events = Events::with_capacity(8);
        let mut look_at = Instant::now();
        loop {
            let timeout = look_at.saturating_duration_since(Instant::now());
            match self.poll.poll(&mut events, Some(timeout)) {
                Err(error) if error.kind() != ErrorKind::Interrupted => return Err(error),
                _ => {}
            }
            if events.iter().any(|event| event.token() == PARENT) {
                return Ok(());
            }
            self.hear(&mut |_| {});
            let now = Instant::now();
            if now < look_at {
                continue;
            }
            look_at = now + LOOK_INTERVAL;
            let silent = self.silence.look(self.page.beats()?);
            if !silent {
                self.repeat_at = None;
            } else if self.repeat_at.is_none_or(|at| at <= now) {
                self.fence(now)?;
            }
            self.connect(now);
        }
    }

    /// vipd is silent: its addresses are removed, and it will hear of that before it does anything.
    fn fence(&mut self, now: Instant) -> io::Result<()> {
        self.page.set_fenced(true)?;
        let record = self.page.read()?;
        let purged = self.kernel.purge()?;
        self.tell(&record);
        if self.repeat_at.is_none() {
            log::warning("vipd-silent", &[("purged", &purged)]);
        }
        self.repeat_at = Some(now + REPEAT_INTERVAL);
        Ok(())
    }

    /// vipd is dead: what it has left behind is removed, and the group is told.
    fn clean_up(&mut self) -> io::Result<()> {
        let record = self.page.read()?;
        if record.keep {
            return Ok(());
        }
        let purged = self.kernel.purge()?;
        if !record.sets.is_empty() {
            log::warning("vipd-dead", &[("purged", &purged)]);
            self.tell_last(&record);
        }
        Ok(())
    }

    /// Tells until it has heard itself, or for two seconds.
    fn tell_last(&mut self, record: &Record) {
        let deadline = Instant::now() + LAST_WORDS;
        let mut events = Events::with_capacity(8);
        let mut told = false;
        while Instant::now() < deadline {
            self.connect_at = self.connect_at.min(Instant::now() + LOOK_INTERVAL);
            self.connect(Instant::now());
            if self.session.is_none() {
                told = false;
            } else if !std::mem::replace(&mut told, true) {
                self.tell(record);
            }
            if self.poll.poll(&mut events, Some(LOOK_INTERVAL)).is_err() {
                continue;
            }
            let mut heard = false;
            self.hear(&mut |event| heard |= matches!(event, Event::Message(_)));
            if heard {
                return;
            }
        }
    }

    /// The group hears it, and this process: then it is ordered.
    fn tell(&mut self, record: &Record) {
        let Some(session) = &mut self.session else {
            return;
        };
        let data = released_for(&record.session, record.config, &record.sets);
        let to: [Name; 2] = [*self.group.as_ref(), session.private_group()];
        if session.multicast(Service::Agreed, &to, 0, &data).is_err() {
            self.session = None;
        }
    }

    fn connect(&mut self, now: Instant) {
        if self.session.is_some() || now < self.connect_at {
            return;
        }
        self.connect_at = now + RECONNECT_INTERVAL;
        let Ok(mut session) = Session::connect(self.options.clone()) else {
            return;
        };
        let fd = session.as_raw_fd();
        let registry = self.poll.registry();
        let usable = session.set_nonblocking(true).is_ok()
            && registry
                .register(&mut SourceFd(&fd), BUS, Interest::READABLE)
                .is_ok();
        self.session = usable.then_some(session);
    }

    /// Takes what the bus has for this process.
    fn hear(&mut self, take: &mut dyn FnMut(Event)) {
        while let Some(session) = &mut self.session {
            match session.try_receive() {
                Ok(Some(event)) => take(event),
                Ok(None) => return,
                Err(_) => self.session = None,
            }
        }
    }
}
