//! Threads that wait for the disk, so that no loop does.

use std::io;
use std::ops::Range;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Instant;

use imgcache::freshness::Policy;
use unixproc::log;

use crate::cache::Cache;
use crate::commit::Commit;
use crate::entry::Entry;
use crate::prepared::Second;
use crate::purging::Enforced;
use crate::shared::{CLIENTS_MAX, Content, ReturnAddress};

/// Tasks that are worked on at the same time.
const THREADS: usize = 4;

/// Bound: tasks that wait, about one for each client.
const WAITING_MAX: usize = CLIENTS_MAX;

/// What a thread is to do.
#[derive(Debug)]
pub(crate) enum Task {
    /// Look at a file, for this client.
    Load {
        path: String,
        url: String,
        policy: Policy,
        reply: ReturnAddress,
    },
    /// Bring these bytes of an object into memory, to be sent to this client.
    Warm {
        entry: Arc<Entry>,
        bytes: Range<u64>,
        reply: ReturnAddress,
    },
    /// Prepare the answer that begins with this head, for those who ask for it next.
    Prepare {
        entry: Arc<Entry>,
        head: Vec<u8>,
        second: Second,
    },
    /// Drop answers whose second is over.
    Tidy,
    /// Give a body its name.
    Commit {
        commit: Box<Commit>,
        reply: ReturnAddress,
    },
    /// Delete what is purged.
    Settle(Enforced),
    /// Close what has been deleted.
    Close,
    /// Delete what was not used for long.
    Evict,
}

/// The threads.
#[derive(Debug)]
pub(crate) struct Disk {
    tasks: Sender<Task>,
    waiting: Arc<AtomicUsize>,
}

impl Disk {
    /// Starts the threads; they end with this.
    ///
    /// # Errors
    /// There are no threads to be had.
    pub(crate) fn start(cache: &Arc<Cache>) -> io::Result<Disk> {
        let (tasks, receiver) = channel();
        let receiver = Arc::new(Mutex::new(receiver));
        let waiting = Arc::new(AtomicUsize::new(0));
        for _ in 0..THREADS {
            let (receiver, cache) = (Arc::clone(&receiver), Arc::clone(cache));
            let waiting = Arc::clone(&waiting);
            thread::Builder::new()
                .name("disk".to_owned())
                .spawn(move || work(&receiver, &waiting, &cache))?;
        }
        Ok(Disk { tasks, waiting })
    }

    /// Has something done; gives it back if there is too much to do.
    pub(crate) fn submit(&self, task: Task) -> Result<(), Task> {
        if self.waiting.load(Ordering::Relaxed) >= WAITING_MAX {
            return Err(task);
        }
        self.waiting.fetch_add(1, Ordering::Relaxed);
        self.tasks.send(task).map_err(|error| error.0)
    }
}

fn work(receiver: &Mutex<Receiver<Task>>, waiting: &AtomicUsize, cache: &Cache) {
    loop {
        let next = receiver
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .recv();
        let Ok(task) = next else { return };
        waiting.fetch_sub(1, Ordering::Relaxed);
        match task {
            Task::Load {
                path,
                url,
                policy,
                reply,
            } => reply.send(Content::Loaded(cache.load(&path, &url, policy).is_some())),
            Task::Warm {
                entry,
                bytes,
                reply,
            } => {
                // What cannot be read will be seen by the loop, which cannot send it.
                let _ = entry.object.read_through(bytes, |_| Ok(()));
                reply.send(Content::Warmed);
            }
            Task::Prepare {
                entry,
                head,
                second,
            } => cache.prepare(&entry, &head, second),
            Task::Tidy => cache.answers.tidy(Instant::now()),
            Task::Commit { commit, reply } => {
                reply.send(Content::Committed(cache.commit(*commit)));
            }
            Task::Close => cache.close_deleted(),
            Task::Evict => cache.evict(),
            Task::Settle(enforced) => {
                if let Err(error) = cache.settle(enforced) {
                    log::error("write-failed", &[("file", &"#rules"), ("error", &error)]);
                }
            }
        }
    }
}
