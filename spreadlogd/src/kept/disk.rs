//! A thread that appends to a journal and syncs it, so that a slow disk does not stop the bus from
//! being read.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::{self, Receiver, Sender};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use bytes::Bytes;
use mio::Waker;
use unixproc::log;
use weblog::stream::SessionName;

use super::live::LiveFile;
use super::segments::{SegmentReader, Segments};

/// Appended records go to the file in pieces of about this length.
const WRITE_BYTES: usize = 1 << 20;

/// How long a full disk is left alone.
const RETRY_DELAY: Duration = Duration::from_secs(1);

/// A full disk is logged this often.
const REPORT_INTERVAL: Duration = Duration::from_secs(60);

/// What the thread is to do, in this order.
#[derive(Debug)]
pub(crate) enum Command {
    Segment,
    Append(Bytes),
    Sync,
    Read {
        to: SessionName,
        at: u64,
        length: usize,
    },
    /// Remove the segments before this offset.
    Remove(u64),
    /// Live lines, for the time when this logger has caught up.
    Keep {
        at: u64,
        data: Bytes,
    },
    ReadKept {
        at: u64,
        length: usize,
    },
    DropKept,
}

/// What it has done.
#[derive(Debug)]
pub(crate) enum Done {
    Synced,
    Read {
        to: SessionName,
        at: u64,
        bytes: Bytes,
    },
    /// Shorter than what was asked for if it cannot be read.
    KeptRead {
        at: u64,
        bytes: Bytes,
    },
    /// What was kept from here on is lost: there is no room for it.
    KeptLost {
        from: u64,
    },
    /// The disk is of no use any more.
    Failed(io::Error),
}

/// The thread, as the loop sees it. Dropping it has everything written, unless the disk is full.
#[derive(Debug)]
pub(crate) struct Disk {
    commands: Option<Sender<Command>>,
    done: Receiver<Done>,
    queued_bytes: Arc<AtomicUsize>,
    first_age_seconds: Arc<AtomicU64>,
    /// Whether a full disk is not waited for any more.
    stopping: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Disk {
    /// Starts the thread; what it has done is announced by `waker`.
    ///
    /// # Errors
    /// No threads are left.
    pub(crate) fn start(
        segments: Segments,
        directory: &Path,
        waker: Arc<Waker>,
    ) -> io::Result<Disk> {
        let (commands, input) = mpsc::channel();
        let (output, done) = mpsc::channel();
        let queued_bytes = Arc::new(AtomicUsize::new(0));
        let first_age_seconds = Arc::new(AtomicU64::new(0));
        let stopping = Arc::new(AtomicBool::new(false));
        let mut worker = Worker {
            segments,
            reader: SegmentReader::new(directory),
            live: LiveFile::new(directory)?,
            input,
            output,
            waker,
            queued_bytes: queued_bytes.clone(),
            first_age_seconds: first_age_seconds.clone(),
            stopping: stopping.clone(),
            pending: Vec::new(),
            throttle: log::Throttle::new(REPORT_INTERVAL),
        };
        let thread = thread::Builder::new()
            .name("journal".to_owned())
            .spawn(move || worker.run())?;
        Ok(Disk {
            commands: Some(commands),
            done,
            queued_bytes,
            first_age_seconds,
            stopping,
            thread: Some(thread),
        })
    }

    /// Has something done after all that was asked for before.
    pub(crate) fn ask(&self, command: Command) {
        if let Command::Append(bytes) | Command::Keep { data: bytes, .. } = &command {
            self.queued_bytes.fetch_add(bytes.len(), Ordering::Relaxed);
        }
        if let Some(commands) = &self.commands {
            // A thread that has failed has said so.
            let _ = commands.send(command);
        }
    }

    /// What was done since the last time.
    pub(crate) fn done(&self) -> Option<Done> {
        self.done.try_recv().ok()
    }

    /// Bytes that wait to be written. The loop does not read the bus while they are many.
    pub(crate) fn queued_bytes(&self) -> usize {
        self.queued_bytes.load(Ordering::Relaxed)
    }

    /// How long the first segment has been full, as it was at the last sync; zero if it is the only
    /// one.
    pub(crate) fn first_age(&self) -> Duration {
        Duration::from_secs(self.first_age_seconds.load(Ordering::Relaxed))
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        self.commands = None;
        self.stopping.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            // A panic there has been printed.
            let _ = thread.join();
        }
    }
}

struct Worker {
    segments: Segments,
    reader: SegmentReader,
    live: LiveFile,
    input: Receiver<Command>,
    output: Sender<Done>,
    waker: Arc<Waker>,
    queued_bytes: Arc<AtomicUsize>,
    first_age_seconds: Arc<AtomicU64>,
    stopping: Arc<AtomicBool>,
    /// What is to be appended. Bound: [`WRITE_BYTES`] and a record.
    pending: Vec<u8>,
    throttle: log::Throttle,
}

impl Worker {
    fn run(&mut self) {
        while let Ok(command) = self.input.recv() {
            if let Err(error) = self.work(command) {
                self.tell(Done::Failed(error));
                return;
            }
        }
        if let Err(error) = self.write().and_then(|()| self.segments.sync()) {
            log::error("journal-failed", &[("error", &error)]);
        }
    }

    fn work(&mut self, command: Command) -> io::Result<()> {
        match command {
            Command::Append(bytes) => {
                self.pending.extend_from_slice(&bytes);
                if self.pending.len() >= WRITE_BYTES {
                    self.write()?;
                }
            }
            Command::Segment => {
                self.write()?;
                self.segments.begin()?;
            }
            Command::Sync => {
                self.write()?;
                self.segments.sync()?;
                self.note_age();
                self.tell(Done::Synced);
            }
            Command::Read { to, at, length } => {
                self.write()?;
                // A peer that gets nothing asks again, or somebody else.
                match self.reader.read(at, length) {
                    Ok(bytes) => self.tell(Done::Read { to, at, bytes }),
                    Err(error) => log::warning("journal-unreadable", &[("error", &error)]),
                }
            }
            Command::Remove(offset) => {
                self.segments.remove_before(offset)?;
                self.note_age();
            }
            Command::Keep { at, data } => self.keep(at, &data),
            Command::ReadKept { at, length } => {
                let bytes = self.live.read(at, length).unwrap_or_default().into();
                self.tell(Done::KeptRead { at, bytes });
            }
            Command::DropKept => self.live.empty()?,
        }
        Ok(())
    }

    fn note_age(&self) {
        let age = self.segments.first_age().unwrap_or_default();
        self.first_age_seconds
            .store(age.as_secs(), Ordering::Relaxed);
    }

    fn keep(&mut self, at: u64, data: &[u8]) {
        self.queued_bytes.fetch_sub(data.len(), Ordering::Relaxed);
        if let Err(error) = self.live.write(at, data) {
            self.report_full(&error);
            self.tell(Done::KeptLost { from: at });
        }
    }

    fn report_full(&mut self, error: &io::Error) {
        if let Some(repeated) = self.throttle.admit(Instant::now()) {
            let fields: log::Fields = &[("error", error), ("repeated", &repeated)];
            log::error("journal-full", fields);
        }
    }

    /// Appends what is pending. A full disk is waited for; what a learner keeps beside the journal
    /// makes room for it.
    fn write(&mut self) -> io::Result<()> {
        while !self.pending.is_empty() {
            match self.segments.append(&self.pending) {
                Ok(()) => {
                    self.queued_bytes
                        .fetch_sub(self.pending.len(), Ordering::Relaxed);
                    self.pending.clear();
                }
                Err(error) if is_full(&error) && !self.live.is_empty() => {
                    self.report_full(&error);
                    self.live.empty()?;
                    self.tell(Done::KeptLost { from: 0 });
                }
                Err(error) if is_full(&error) && !self.stopping.load(Ordering::Relaxed) => {
                    self.report_full(&error);
                    thread::sleep(RETRY_DELAY);
                }
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    fn tell(&self, done: Done) {
        if self.output.send(done).is_ok() {
            // The loop that does not wake looks after its next timeout.
            let _ = self.waker.wake();
        }
    }
}

fn is_full(error: &io::Error) -> bool {
    let kind = error.kind();
    kind == io::ErrorKind::StorageFull || kind == io::ErrorKind::QuotaExceeded
}
