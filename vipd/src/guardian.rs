//! The guardian: a second process of the same program that outlives vipd and removes what it held.
//!
//! It watches vipd by a pidfd and by the heartbeat on the page that they share. When vipd is dead,
//! or silent for 300 ms, it removes all addresses with our tag and tells the group in vipd's name
//! that they are released. If both are killed, the addresses' lifetime is what is left.

use std::io::{self, ErrorKind};
use std::os::fd::{AsFd as _, AsRawFd as _, OwnedFd};
use std::time::{Duration, Instant};

use group::{Address, Event, GroupName, Link, Name, Options, Received, Service};
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

/// The longest pause between attempts to reach groupd: there is little time for the last words.
const PAUSE_MAX: Duration = Duration::from_millis(200);

/// How long the guardian of a dead vipd tries to be heard.
const LAST_WORDS: Duration = Duration::from_secs(2);

const PARENT: Token = Token(0);
const BUS: Token = Token(1);

/// The guardian's own process.
struct Guardian {
    poll: Poll,
    page: Page,
    kernel: Kernel,
    link: Link,
    group: GroupName,
    silence: Silence,
    repeat_at: Option<Instant>,
}

/// What a turn of the loop has found.
#[derive(Default)]
struct Turn {
    /// vipd is dead.
    dead: bool,
    /// There is a new session.
    connected: bool,
    /// The bus has delivered the guardian's own word.
    heard: bool,
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
    let mut link = Link::new(Options::new(address), b"vg", BUS, Instant::now());
    link.set_pause_max(PAUSE_MAX);
    let mut guardian = Guardian {
        poll: Poll::new()?,
        page,
        kernel: Kernel::open()?,
        link,
        group,
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
        while !self.turn(&mut events, look_at)?.dead {
            let now = Instant::now();
            if now < look_at {
                continue;
            }
            look_at = now + LOOK_INTERVAL;
            if !self.silence.look(self.page.beats()?) {
                self.repeat_at = None;
            } else if self.repeat_at.is_none_or(|at| at <= now) {
                self.fence(now)?;
            }
        }
        Ok(())
    }

    /// Waits for events, until then at the latest, and goes on with the session.
    fn turn(&mut self, events: &mut Events, until: Instant) -> io::Result<Turn> {
        let connect_at = self.link.connect_at();
        let until = connect_at.map_or(until, |at| at.min(until));
        let timeout = until.saturating_duration_since(Instant::now());
        match self.poll.poll(events, Some(timeout)) {
            Err(error) if error.kind() != ErrorKind::Interrupted => return Err(error),
            _ => {}
        }
        let mut turn = Turn::default();
        for event in &*events {
            turn.dead |= event.token() == PARENT;
            self.link.handle_event(event);
        }
        let now = Instant::now();
        turn.connected = self.link.connect(self.poll.registry(), now);
        let own = self.link.private_group();
        while let Some(received) = self.link.receive(now) {
            if let Received::Event(Event::Message(message)) = received {
                turn.heard |= Some(message.sender) == own;
            }
        }
        Ok(turn)
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
            self.tell_last(&record)?;
        }
        Ok(())
    }

    /// Tells in each session, until it has heard itself, or for two seconds.
    fn tell_last(&mut self, record: &Record) -> io::Result<()> {
        let deadline = Instant::now() + LAST_WORDS;
        let mut events = Events::with_capacity(8);
        self.tell(record);
        while Instant::now() < deadline {
            let turn = self.turn(&mut events, deadline)?;
            if turn.heard {
                break;
            }
            if turn.connected {
                self.tell(record);
            }
        }
        Ok(())
    }

    /// The group hears it, and this process: then it is ordered.
    fn tell(&mut self, record: &Record) {
        let Some(session) = self.link.session() else {
            return;
        };
        let data = released_for(&record.session, record.config, &record.sets);
        let to: [Name; 2] = [*self.group.as_ref(), session.private_group()];
        if let Err(error) = session.multicast(Service::Agreed, &to, 0, &data) {
            self.link.lose(&error, Instant::now());
        }
    }
}
