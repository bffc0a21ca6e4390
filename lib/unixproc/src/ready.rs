//! systemd's notification socket: ready, reloading, stopping, alive (sd_notify(3)).

use std::env;
use std::ffi::{OsStr, OsString};
use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::time::{Duration, Instant};

/// Tells the service manager how the program is doing; does nothing where there is none.
#[derive(Debug)]
pub struct Notify {
    /// None without a service manager.
    socket: Option<UnixDatagram>,
    /// How often the manager wants to hear of the loop: half of what it allows.
    watchdog: Option<Duration>,
    alive_at: Option<Instant>,
}

impl Notify {
    /// The manager that `NOTIFY_SOCKET` names, a path or an abstract name (`@`).
    ///
    /// # Errors
    /// The variable names a socket that cannot be reached.
    pub fn from_env() -> io::Result<Notify> {
        let socket = env::var_os("NOTIFY_SOCKET")
            .map(|name| connect(&name))
            .transpose()?;
        let watchdog = watchdog_interval(
            env::var("WATCHDOG_USEC").ok().as_deref(),
            env::var("WATCHDOG_PID").ok().as_deref(),
        );
        Ok(Notify {
            socket,
            watchdog,
            alive_at: watchdog.map(|_| Instant::now()),
        })
    }

    /// The program does its work from now on; also the end of a reload.
    pub fn ready(&self) {
        self.send("READY=1");
    }

    /// A reload begins; [`ready`](Notify::ready) ends it.
    pub fn reloading(&self) {
        self.send(&format!(
            "RELOADING=1\nMONOTONIC_USEC={}",
            monotonic_microseconds()
        ));
    }

    /// An orderly stop begins.
    pub fn stopping(&self) {
        self.send("STOPPING=1");
    }

    /// The loop is alive; to be called by the loop itself, in each turn. The manager hears of it as
    /// often as it wants to.
    pub fn alive(&mut self, now: Instant) {
        if self.alive_at.is_some_and(|at| at <= now) {
            self.send("WATCHDOG=1");
            self.alive_at = self.watchdog.map(|interval| now + interval);
        }
    }

    /// When [`alive`](Notify::alive) is due, if the manager watches: the loop sleeps no longer.
    pub fn alive_at(&self) -> Option<Instant> {
        self.alive_at
    }

    fn send(&self, message: &str) {
        if let Some(socket) = &self.socket {
            // A manager that does not listen any more is no reason to stop working.
            let _ = socket.send(message.as_bytes());
        }
    }
}

fn connect(name: &OsStr) -> io::Result<UnixDatagram> {
    let address = match name.as_bytes() {
        [b'@', name @ ..] => SocketAddr::from_abstract_name(name)?,
        path => SocketAddr::from_pathname(OsString::from(OsStr::from_bytes(path)))?,
    };
    let socket = UnixDatagram::unbound()?;
    socket.connect_addr(&address)?;
    // The loop never waits for its manager: a message that does not fit is lost.
    socket.set_nonblocking(true)?;
    Ok(socket)
}

/// `WATCHDOG_USEC` counts for us unless `WATCHDOG_PID` names another process.
fn watchdog_interval(microseconds: Option<&str>, pid: Option<&str>) -> Option<Duration> {
    if pid.is_some_and(|pid| pid.parse() != Ok(std::process::id())) {
        return None;
    }
    let microseconds: u64 = microseconds?.parse().ok()?;
    (microseconds > 0).then(|| Duration::from_micros(microseconds / 2))
}

fn monotonic_microseconds() -> u64 {
    let mut time = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: fills the struct that it is given; CLOCK_MONOTONIC always exists on Linux.
    unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &mut time) };
    time.tv_sec as u64 * 1_000_000 + time.tv_nsec as u64 / 1000
}

#[cfg(test)]
mod tests {
    use super::*;

    fn received(socket: &UnixDatagram) -> String {
        let mut buffer = [0; 256];
        let length = socket.recv(&mut buffer).unwrap();
        String::from_utf8(buffer[..length].to_vec()).unwrap()
    }

    #[test]
    fn abstract_sockets_hear_us() {
        let name = format!("covey-ready-test-{}", std::process::id());
        let listener =
            UnixDatagram::bind_addr(&SocketAddr::from_abstract_name(&name).unwrap()).unwrap();
        let notify = Notify {
            socket: Some(connect(OsStr::new(&format!("@{name}"))).unwrap()),
            watchdog: None,
            alive_at: None,
        };
        notify.ready();
        assert_eq!(received(&listener), "READY=1");
        notify.reloading();
        let reloading = received(&listener);
        let microseconds = reloading
            .strip_prefix("RELOADING=1\nMONOTONIC_USEC=")
            .unwrap();
        assert!(microseconds.parse::<u64>().unwrap() > 0);
        notify.stopping();
        assert_eq!(received(&listener), "STOPPING=1");
    }

    #[test]
    fn the_watchdog_hears_of_the_loop_when_it_is_due() {
        let (ours, manager) = UnixDatagram::pair().unwrap();
        manager.set_nonblocking(true).unwrap();
        let (interval, start) = (Duration::from_secs(1), Instant::now());
        let mut notify = Notify {
            socket: Some(ours),
            watchdog: Some(interval),
            alive_at: Some(start),
        };
        notify.alive(start);
        assert_eq!(received(&manager), "WATCHDOG=1");
        notify.alive(start + interval / 2);
        assert!(manager.recv(&mut [0]).is_err(), "too early");
        assert_eq!(notify.alive_at(), Some(start + interval));
        notify.alive(start + interval);
        assert_eq!(received(&manager), "WATCHDOG=1");
    }

    #[test]
    fn the_watchdog_is_ours_or_nobodys() {
        let own = std::process::id().to_string();
        assert_eq!(
            watchdog_interval(Some("3000000"), None),
            Some(Duration::from_millis(1500))
        );
        assert_eq!(
            watchdog_interval(Some("3000000"), Some(&own)),
            Some(Duration::from_millis(1500))
        );
        assert_eq!(watchdog_interval(Some("3000000"), Some("1")), None);
        assert_eq!(watchdog_interval(Some("0"), None), None);
        assert_eq!(watchdog_interval(Some("soon"), None), None);
        assert_eq!(watchdog_interval(None, None), None);
    }
}
