//! A walk over the root in a thread of its own: it tells the loop what is there, a batch at a time.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, TryRecvError, sync_channel};
use std::thread;

use mio::Waker;

/// Entries that the loop looks at in one go.
const BATCH: usize = 64;

/// Bound: batches that wait for the loop; then the walk waits.
const BATCHES: usize = 4;

/// Something below the root.
#[derive(Debug)]
pub(crate) struct Seen {
    /// Relative to the root.
    pub(crate) path: String,
    /// Bytes of its blocks.
    pub(crate) bytes: u64,
    pub(crate) directory: bool,
}

/// A walk under way.
#[derive(Debug)]
pub(crate) struct Walk {
    batches: Receiver<Vec<Seen>>,
    /// The last purge of many objects when the walk began.
    pub(crate) sweeps: Option<u64>,
}

impl Walk {
    /// Starts a walk. At its end the file system is flushed if there is something to sweep, so that
    /// what was deleted stays deleted.
    ///
    /// # Errors
    /// There is no thread to be had.
    pub(crate) fn start(root: &Path, sweeps: Option<u64>, waker: Arc<Waker>) -> io::Result<Walk> {
        let (sender, batches) = sync_channel(BATCHES);
        let root = root.to_owned();
        let walker = move || {
            let mut walker = Walker {
                root,
                waker,
                sender,
                batch: Vec::new(),
            };
            // The receiver is gone when the program stops; and what cannot be read is not counted.
            let _ = walker.walk(PathBuf::new());
            let _ = walker.flush();
            if sweeps.is_some() {
                let _ = fs::File::open(&walker.root).map(|root| rustix::fs::syncfs(&root));
            }
            let waker = Arc::clone(&walker.waker);
            drop(walker);
            let _ = waker.wake();
        };
        thread::Builder::new()
            .name("walk".to_owned())
            .spawn(walker)?;
        Ok(Walk { batches, sweeps })
    }

    /// The next batch; none if there is none now, an error if the walk is at its end.
    pub(crate) fn next(&self) -> Result<Option<Vec<Seen>>, ()> {
        match self.batches.try_recv() {
            Ok(batch) => Ok(Some(batch)),
            Err(TryRecvError::Empty) => Ok(None),
            Err(TryRecvError::Disconnected) => Err(()),
        }
    }
}

struct Walker {
    root: PathBuf,
    waker: Arc<Waker>,
    sender: SyncSender<Vec<Seen>>,
    batch: Vec<Seen>,
}

impl Walker {
    fn walk(&mut self, directory: PathBuf) -> io::Result<()> {
        for entry in fs::read_dir(self.root.join(&directory))? {
            let entry = entry?;
            // Not followed, if it is a symbolic link.
            let Ok(metadata) = entry.metadata() else {
                continue;
            };
            let path = directory.join(entry.file_name());
            if let Some(text) = path.to_str() {
                self.batch.push(Seen {
                    path: text.to_owned(),
                    bytes: metadata.blocks() * 512,
                    directory: metadata.is_dir(),
                });
            }
            if self.batch.len() == BATCH {
                self.flush()?;
            }
            if metadata.is_dir() {
                match self.walk(path) {
                    Err(error) if error.kind() == io::ErrorKind::BrokenPipe => return Err(error),
                    _ => {}
                }
            }
        }
        Ok(())
    }

    fn flush(&mut self) -> io::Result<()> {
        let batch = std::mem::take(&mut self.batch);
        self.sender
            .send(batch)
            .map_err(|_| io::Error::from(io::ErrorKind::BrokenPipe))?;
        self.waker.wake()
    }
}
