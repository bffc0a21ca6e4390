//! A line per request, in the Combined format, to a file or to a group of the bus.
//!
//! The loops hand over whole lines; a thread writes them, so that neither a slow disk nor the bus
//! holds up a loop. What does not fit is dropped and counted.

use std::fs::File;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use group::{Address, Event, GroupName, Link, Options, Received, Service, Session};
use mio::{Events, Poll, Token};
use unixproc::log;
use weblog::stream::{Cutter, Limits, Outbox, Outgoing, WhenFull};

/// Bound: batches of lines that wait for the thread.
const BATCHES: usize = 256;

/// Bound: bytes that wait for the bus.
const OUTBOX_BYTES: usize = 16 << 20;

/// Lines wait at most this long.
const FLUSH: Duration = Duration::from_millis(200);

/// What private names of access logs begin with.
const MARK: &str = "il";

/// At the end, what waits is sent within this time.
const DRAIN: Duration = Duration::from_secs(3);

/// The way in.
#[derive(Debug)]
pub(crate) struct Lines {
    batches: Mutex<Option<SyncSender<Vec<u8>>>>,
    writer: Mutex<Option<JoinHandle<()>>>,
    reopen: Arc<AtomicBool>,
    pub(crate) dropped: AtomicU64,
}

impl Lines {
    fn start(
        write: impl FnOnce(&Receiver<Vec<u8>>, &AtomicBool) + Send + 'static,
    ) -> io::Result<Lines> {
        let (batches, receiver) = sync_channel(BATCHES);
        let reopen = Arc::new(AtomicBool::new(false));
        let flag = Arc::clone(&reopen);
        let writer = thread::Builder::new()
            .name("access-log".to_owned())
            .spawn(move || write(&receiver, &flag))?;
        Ok(Lines {
            batches: Mutex::new(Some(batches)),
            writer: Mutex::new(Some(writer)),
            reopen,
            dropped: AtomicU64::new(0),
        })
    }

    /// Appends to a file, which is opened again after a signal.
    ///
    /// # Errors
    /// The file cannot be written.
    pub(crate) fn to_file(path: &Path) -> io::Result<Lines> {
        let path = path.to_owned();
        let file = open(&path)?;
        Lines::start(move |batches, reopen| write_file(file, &path, batches, reopen))
    }

    /// Publishes to a group.
    ///
    /// # Errors
    /// There is no thread or no descriptor to be had.
    pub(crate) fn to_group(address: Address, group: GroupName) -> io::Result<Lines> {
        let bus = Publisher::new(address, group)?;
        Lines::start(move |batches, _| publish(bus, batches))
    }

    /// Hands over whole lines.
    pub(crate) fn push(&self, lines: Vec<u8>) {
        let batches = self.batches.lock().unwrap_or_else(PoisonError::into_inner);
        let count = memchr::memchr_iter(b'\n', &lines).count() as u64;
        let sender = batches.as_ref();
        if sender.is_none_or(|sender| sender.try_send(lines).is_err()) {
            self.dropped.fetch_add(count, Ordering::Relaxed);
        }
    }

    /// The file may have been moved away.
    pub(crate) fn reopen(&self) {
        self.reopen.store(true, Ordering::Relaxed);
    }

    /// Waits until what has been handed over is written.
    pub(crate) fn finish(&self) {
        self.batches
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        let writer = self
            .writer
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        if writer.is_some_and(|writer| writer.join().is_err()) {
            log::error("access-log-failed", &[]);
        }
    }
}

fn open(path: &PathBuf) -> io::Result<File> {
    File::options().create(true).append(true).open(path)
}

fn write_file(mut file: File, path: &PathBuf, batches: &Receiver<Vec<u8>>, reopen: &AtomicBool) {
    let mut failing = false;
    while let Ok(batch) = batches.recv() {
        if reopen.swap(false, Ordering::Relaxed) {
            match open(path) {
                Ok(new) => file = new,
                Err(error) => log::error(
                    "write-failed",
                    &[("file", &path.display()), ("error", &error)],
                ),
            }
        }
        let result = file.write_all(&batch);
        if let (Err(error), false) = (&result, failing) {
            log::error(
                "write-failed",
                &[("file", &path.display()), ("error", error)],
            );
        }
        failing = result.is_err();
    }
}

/// Publishes lines until the sender is gone; without the bus, as many are kept as fit.
fn publish(mut bus: Publisher, batches: &Receiver<Vec<u8>>) {
    let mut cutter = Cutter::new(Limits::BATCHED);
    let mut outbox = Outbox::new(WhenFull::Drop, OUTBOX_BYTES);
    loop {
        let ended = match batches.recv_timeout(FLUSH) {
            Ok(batch) => {
                cutter.push(&batch);
                false
            }
            Err(RecvTimeoutError::Timeout) => {
                cutter.flush();
                false
            }
            Err(RecvTimeoutError::Disconnected) => {
                cutter.finish();
                true
            }
        };
        while let Some(message) = cutter.poll_message() {
            outbox.push(message);
        }
        bus.work(&mut outbox);
        if ended {
            let deadline = Instant::now() + DRAIN;
            while !outbox.is_drained() && Instant::now() < deadline {
                thread::sleep(Duration::from_millis(5));
                bus.work(&mut outbox);
            }
            return bus.close();
        }
    }
}

/// A session that sends, and hears what it sent to itself.
struct Publisher {
    link: Link,
    group: GroupName,
    poll: Poll,
    events: Events,
}

impl Publisher {
    fn new(address: Address, group: GroupName) -> io::Result<Publisher> {
        let mut options = Options::new(address);
        options.name = format!("{MARK}{}", std::process::id()).parse().ok();
        Ok(Publisher {
            link: Link::new(options, MARK.as_bytes(), Token(0), Instant::now()),
            group,
            poll: Poll::new()?,
            events: Events::with_capacity(16),
        })
    }

    /// Sends what the outbox has, as far as the bus takes it now.
    fn work(&mut self, outbox: &mut Outbox) {
        let now = Instant::now();
        // If it fails, there is nothing to be told: the next turn asks again.
        let _ = self.poll.poll(&mut self.events, Some(Duration::ZERO));
        for event in &self.events {
            self.link.handle_event(event);
        }
        self.link.connect(self.poll.registry(), now);
        while let Some(received) = self.link.receive(now) {
            match received {
                Received::Event(Event::Message(message)) => {
                    let own = self.link.private_group() == Some(message.sender);
                    if let (true, Ok(number)) = (own, <[u8; 8]>::try_from(&message.data[..])) {
                        outbox.handle_marker(u64::from_be_bytes(number));
                    }
                }
                Received::Event(_) => {}
                Received::Lost => outbox.handle_bus_lost(),
            }
        }
        if let Some(session) = self.link.session()
            && let Err(error) = send(session, self.group, outbox)
        {
            self.link.lose(&error, now);
            outbox.handle_bus_lost();
        }
    }

    fn close(mut self) {
        if let Some(session) = self.link.close(Instant::now()) {
            // The end of the connection says the same a little less politely.
            let _ = session.disconnect();
        }
    }
}

fn send(session: &mut Session, group: GroupName, outbox: &mut Outbox) -> anyhow::Result<()> {
    session.flush()?;
    while !session.wants_write() {
        let own = [session.private_group()];
        match outbox.poll_send() {
            Some(Outgoing::Data(data)) => session.queue(Service::Agreed, &[group], 0, &data)?,
            Some(Outgoing::Marker(number)) => {
                session.queue(Service::Agreed, &own, 0, &number.to_be_bytes())?
            }
            None => break,
        };
        session.flush()?;
    }
    Ok(())
}
