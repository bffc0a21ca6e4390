//! SIGHUP: the file is read again on a thread of its own, as a name in it may take long to resolve.

use std::io;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, TryRecvError, channel};
use std::thread;

use anyhow::anyhow;
use mio::unix::SourceFd;
use mio::{Interest, Registry, Token, Waker};
use unixproc::log;

use super::start::bounds;
use super::{Daemon, SEGMENT, Source};
use crate::config::{Config, Settings};
use crate::ports::Port;

/// What [`Source::load`] gives.
type Loaded = anyhow::Result<(Config, usize)>;

/// A reading of the file that goes on beside the loop.
pub(super) struct Reload {
    waker: Arc<Waker>,
    running: Option<Receiver<Loaded>>,
    /// The file is to be read again once it was read.
    again: bool,
}

impl Reload {
    /// Nothing is being read; when it has been, the loop sees an event on `token`.
    pub(super) fn new(registry: &Registry, token: Token) -> io::Result<Reload> {
        Ok(Reload {
            waker: Arc::new(Waker::new(registry, token)?),
            running: None,
            again: false,
        })
    }

    /// Begins to read, or to read again after what is being read now, which may be older.
    ///
    /// # Errors
    /// There can be no thread.
    fn begin(&mut self, source: Source) -> io::Result<()> {
        if self.running.is_some() {
            self.again = true;
            return Ok(());
        }
        let (sender, receiver) = channel();
        let waker = self.waker.clone();
        thread::Builder::new()
            .name("reload".to_owned())
            .spawn(move || {
                // Nobody is left to be told if either fails.
                drop(sender.send(source.load()));
                drop(waker.wake());
            })?;
        self.running = Some(receiver);
        Ok(())
    }

    /// What was read, once.
    fn take(&mut self) -> Option<Loaded> {
        let result = match self.running.as_ref()?.try_recv() {
            Ok(loaded) => loaded,
            Err(TryRecvError::Empty) => return None,
            Err(TryRecvError::Disconnected) => Err(anyhow!("the reading thread has failed")),
        };
        self.running = None;
        Some(result)
    }
}

impl Daemon {
    /// Begins to read the file again.
    pub(super) fn begin_reload(&mut self) {
        self.notify.reloading();
        let source = Source {
            path: self.source.path.clone(),
            name: Some(self.config.daemons[self.me].name.clone()),
        };
        if let Err(error) = self.reload.begin(source) {
            log::error("reload-failed", &[("reason", &error)]);
            self.notify.ready();
        }
    }

    /// The file's daemons and bounds take effect; what cannot change while the daemon runs does not.
    pub(super) fn finish_reload(&mut self) {
        let Some(loaded) = self.reload.take() else {
            return;
        };
        if let Err(error) = loaded.and_then(|(config, me)| self.apply(config, me)) {
            let reason = format!("{error:#}");
            log::error("reload-failed", &[("reason", &reason)]);
        }
        self.notify.ready();
        if std::mem::take(&mut self.reload.again) {
            self.begin_reload();
        }
    }

    fn apply(&mut self, config: Config, me: usize) -> anyhow::Result<()> {
        let (old, new) = (self.config.layout(self.me), config.layout(me));
        if config.daemons[me].id() != self.config.daemons[self.me].id() || old.local != new.local {
            return Err(anyhow!(
                "the address or port of this daemon changed: restart it"
            ));
        }
        if fixed(&config.settings) != fixed(&self.started_with) {
            log::warning(
                "restart-needed",
                &[(
                    "reason",
                    &"only daemons, SessionQueueBytes and QueueBytes change by a reload",
                )],
            );
        }
        self.ports.reconfigure(new)?;
        self.register_ports()?;
        self.config = config;
        self.me = me;
        self.sessions.set_bounds(bounds(&self.config));
        let now = self.now();
        self.bus.reconfigure(now, &self.config);
        log::notice("reloaded", &[("daemons", &self.config.daemons.len())]);
        Ok(())
    }

    /// The segment's socket may be another one now.
    fn register_ports(&mut self) -> anyhow::Result<()> {
        for (port, fd) in self.ports.descriptors() {
            if port == Port::Segment {
                // Gone with its socket if that was replaced, else to be made anew.
                drop(self.poll.registry().deregister(&mut SourceFd(&fd)));
                self.poll
                    .registry()
                    .register(&mut SourceFd(&fd), SEGMENT, Interest::READABLE)?;
            }
        }
        self.data_ready = true;
        Ok(())
    }
}

/// The settings that a reload does not change, wherever they stand in the file.
fn fixed(settings: &Settings) -> Settings {
    let mut settings = settings.clone();
    let words = [&mut settings.key, &mut settings.socket_group];
    for word in words.into_iter().flatten() {
        word.line = 0;
    }
    Settings {
        session_queue_bytes: 0,
        queue_bytes: 0,
        ignored: Vec::new(),
        ..settings
    }
}
