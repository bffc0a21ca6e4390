//! Threads that wait for the disk, so that no loop does.

use std::io;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use imgcache::freshness::Policy;

use crate::cache::Cache;
use crate::shared::{Content, ReturnAddress};

/// Reads that go on at the same time.
const THREADS: usize = 4;

/// Bound: reads that wait; beyond it a loop reads itself.
const QUEUE: usize = 1024;

/// A file to be looked at.
#[derive(Debug)]
pub(crate) struct Job {
    pub(crate) path: String,
    pub(crate) url: String,
    pub(crate) policy: Policy,
    pub(crate) reply: ReturnAddress,
}

/// The threads.
#[derive(Debug)]
pub(crate) struct Disk {
    jobs: SyncSender<Job>,
}

impl Disk {
    /// Starts the threads; they end with this.
    ///
    /// # Errors
    /// There are no threads to be had.
    pub(crate) fn start(cache: &Arc<Cache>) -> io::Result<Disk> {
        let (jobs, receiver) = sync_channel(QUEUE);
        let receiver = Arc::new(Mutex::new(receiver));
        for _ in 0..THREADS {
            let (receiver, cache) = (Arc::clone(&receiver), Arc::clone(cache));
            thread::Builder::new()
                .name("disk".to_owned())
                .spawn(move || work(&receiver, &cache))?;
        }
        Ok(Disk { jobs })
    }

    /// Has a file looked at; gives the job back if there are too many.
    pub(crate) fn submit(&self, job: Job) -> Result<(), Job> {
        self.jobs.try_send(job).map_err(|error| match error {
            std::sync::mpsc::TrySendError::Full(job)
            | std::sync::mpsc::TrySendError::Disconnected(job) => job,
        })
    }
}

fn work(receiver: &Mutex<Receiver<Job>>, cache: &Cache) {
    loop {
        let next = receiver
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .recv();
        let Ok(job) = next else { return };
        let entry = cache.load(&job.path, &job.url, job.policy);
        job.reply.send(Content::Loaded(entry));
    }
}
