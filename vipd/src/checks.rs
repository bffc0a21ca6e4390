//! Looks at what a configuration's checks name, each in a thread of its own: whatever hangs there
//! holds up nothing else.

use std::fs::File;
use std::io::{self, ErrorKind, Read as _, Write as _};
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process_group};

use crate::config::{Check, Probe};
use crate::frames;
use crate::health::Look;
use crate::kernel::{Kernel, Kind, Wire};

/// How often a running program is looked at.
const LOOK_INTERVAL: Duration = Duration::from_millis(10);

/// Bound: what is read of an answer or a file.
const READ_MAX: u64 = 1024;

/// The threads of a configuration; they end when this is dropped.
#[derive(Debug)]
pub struct Checks {
    looks: Receiver<(String, Look)>,
    /// Never sent to: a thread whose end of it is closed ends.
    _stops: Vec<Sender<()>>,
}

impl Checks {
    /// Begins with all checks; `wake` is called behind each look.
    ///
    /// # Errors
    /// A thread cannot be started.
    pub fn start(checks: &[Check], wake: impl Fn() + Clone + Send + 'static) -> io::Result<Checks> {
        let (sender, looks) = channel();
        let mut stops = Vec::new();
        for check in checks {
            let (stop, stopped) = channel();
            stops.push(stop);
            let (check, sender, wake) = (check.clone(), sender.clone(), wake.clone());
            thread::Builder::new()
                .name("check".into())
                .spawn(move || watch(&check, &sender, &stopped, &wake))?;
        }
        Ok(Checks {
            looks,
            _stops: stops,
        })
    }

    /// The next look that has been taken.
    pub fn next(&self) -> Option<(String, Look)> {
        self.looks.try_recv().ok()
    }
}

/// Looks at one thing until nobody wants to know any more.
fn watch(check: &Check, looks: &Sender<(String, Look)>, stopped: &Receiver<()>, wake: &impl Fn()) {
    loop {
        let begin = Instant::now();
        let look = look(&check.probe, check.timeout).err();
        if looks.send((check.name.clone(), look)).is_err() {
            return;
        }
        wake();
        let rest = check.interval.saturating_sub(begin.elapsed());
        if stopped.recv_timeout(rest) != Err(RecvTimeoutError::Timeout) {
            return;
        }
    }
}

/// Takes one look.
///
/// # Errors
/// What is wrong, in few words.
pub fn look(probe: &Probe, timeout: Duration) -> Result<(), String> {
    match probe {
        Probe::Exec(command) => exec(command, timeout),
        Probe::Tcp(address) => connect(*address, timeout).map(drop),
        Probe::Http {
            address,
            host,
            path,
        } => http(*address, host, path, timeout),
        Probe::File(path) => file(path),
        Probe::Gateway { interface, address } => gateway(interface, *address, timeout),
    }
}

fn exec(command: &[String], timeout: Duration) -> Result<(), String> {
    let said = |error: io::Error| format!("not started: {error}");
    let (program, arguments) = command.split_first().ok_or("no program")?;
    let mut child = Command::new(program)
        .args(arguments)
        .current_dir("/")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .process_group(0)
        .spawn()
        .map_err(said)?;
    let deadline = Instant::now() + timeout;
    loop {
        match child.try_wait().map_err(said)? {
            Some(status) if status.success() => return Ok(()),
            Some(status) => return Err(status.to_string()),
            None if Instant::now() < deadline => thread::sleep(LOOK_INTERVAL),
            None => break,
        }
    }
    if let Ok(group) = i32::try_from(child.id())
        && let Some(group) = Pid::from_raw(group)
    {
        // It has ended meanwhile, then; it is waited for next.
        let _ = kill_process_group(group, Signal::KILL);
    }
    let _ = child.wait();
    Err(format!("runs longer than {timeout:?}"))
}

fn connect(address: SocketAddr, timeout: Duration) -> Result<TcpStream, String> {
    TcpStream::connect_timeout(&address, timeout).map_err(|error| format!("{address}: {error}"))
}

fn http(address: SocketAddr, host: &str, path: &str, timeout: Duration) -> Result<(), String> {
    let deadline = Instant::now() + timeout;
    let mut stream = connect(address, timeout)?;
    let said = |error: io::Error| format!("{address}: {error}");
    stream.set_write_timeout(Some(timeout)).map_err(said)?;
    let request = format!(
        "GET {path} HTTP/1.1\r\nHost: {host}\r\nUser-Agent: vipd\r\nConnection: close\r\n\r\n"
    );
    stream.write_all(request.as_bytes()).map_err(said)?;
    // `HTTP/1.1 200`: the status stands in the first twelve bytes.
    let mut start = [0; 12];
    let mut filled = 0;
    while filled < start.len() {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(format!("{address}: no answer within {timeout:?}"));
        }
        stream.set_read_timeout(Some(left)).map_err(said)?;
        match stream.read(&mut start[filled..]) {
            Ok(0) => return Err(format!("{address}: no answer")),
            Ok(length) => filled += length,
            Err(error) if is_timeout(&error) => {}
            Err(error) => return Err(said(error)),
        }
    }
    let status = start
        .strip_prefix(b"HTTP/1.")
        .and_then(|rest| rest.get(2..5));
    match status {
        Some([b'2' | b'3', ..]) => Ok(()),
        Some(status) => Err(format!("{address}: status {}", status.escape_ascii())),
        None => Err(format!("{address}: no HTTP")),
    }
}

/// Whoever puts the file there says what is wrong in its first line.
fn file(path: &Path) -> Result<(), String> {
    let mut text = Vec::new();
    match File::open(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(format!("{}: {error}", path.display())),
        Ok(file) => _ = file.take(READ_MAX).read_to_end(&mut text),
    }
    let text = String::from_utf8_lossy(&text);
    match text.lines().next().map(str::trim) {
        Some(line) if !line.is_empty() => Err(line.to_owned()),
        _ => Err(format!("{} is there", path.display())),
    }
}

/// Asks a neighbour on the wire, three times within the timeout.
fn gateway(interface: &str, address: IpAddr, timeout: Duration) -> Result<(), String> {
    let said = |error: io::Error| error.to_string();
    let links = Kernel::open()
        .and_then(|mut kernel| kernel.links())
        .map_err(said)?;
    let link = links
        .get(interface)
        .ok_or(format!("no interface {interface}"))?;
    if !link.running {
        return Err(format!("{interface} has no carrier"));
    }
    let mac = link.mac.ok_or(format!("{interface} is no Ethernet"))?;
    let kind = match address.is_ipv4() {
        true => Kind::Arp,
        false => Kind::Advertisement,
    };
    let mut wire = Wire::open(kind).map_err(said)?;
    let question = frames::question(address, mac, None);
    for _ in 0..3 {
        wire.send(link.index, &question).map_err(said)?;
        let deadline = Instant::now() + timeout / 3;
        while let Some(left) = deadline.checked_duration_since(Instant::now()) {
            let Some(frame) = wire.wait(left).map_err(said)? else {
                break;
            };
            if frames::claim(frame).is_some_and(|(by, _)| by == address) {
                return Ok(());
            }
        }
    }
    Err(format!("{address} does not answer on {interface}"))
}

fn is_timeout(error: &io::Error) -> bool {
    use ErrorKind::{Interrupted, TimedOut, WouldBlock};
    matches!(error.kind(), WouldBlock | TimedOut | Interrupted)
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn command(script: &str) -> Probe {
        Probe::Exec(["/bin/sh", "-c", script].map(str::to_owned).to_vec())
    }

    #[test]
    fn programs() {
        assert_eq!(look(&command("exit 0"), 20 * SECOND), Ok(()));
        assert_eq!(
            look(&command("exit 3"), 20 * SECOND),
            Err("exit status: 3".into())
        );
        let begin = Instant::now();
        let hangs = look(&command("sleep 1000"), SECOND / 10);
        assert_eq!(hangs, Err("runs longer than 100ms".into()));
        assert!(begin.elapsed() < 500 * SECOND);
        assert!(look(&Probe::Exec(vec!["/nonexistent".into()]), SECOND).is_err());
    }

    #[test]
    fn listeners_and_web_servers() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let server = thread::spawn(move || {
            for answer in [
                "",
                "HTTP/1.1 200 OK\r\n\r\n",
                "HTTP/1.0 503 No\r\n\r\n",
                "SSH-2.0-x y z",
            ] {
                let (mut stream, _) = listener.accept().unwrap();
                if !answer.is_empty() {
                    stream.read_exact(&mut [0; 20]).unwrap();
                }
                stream.write_all(answer.as_bytes()).unwrap();
            }
        });
        assert_eq!(look(&Probe::Tcp(address), 20 * SECOND), Ok(()));
        let http = Probe::Http {
            address,
            host: "x".into(),
            path: "/".into(),
        };
        assert_eq!(look(&http, 20 * SECOND), Ok(()));
        assert_eq!(
            look(&http, 20 * SECOND),
            Err(format!("{address}: status 503"))
        );
        assert_eq!(look(&http, 20 * SECOND), Err(format!("{address}: no HTTP")));
        server.join().unwrap();
        assert!(look(&Probe::Tcp(address), 20 * SECOND).is_err());
    }

    #[test]
    fn a_web_server_that_says_nothing_is_not_waited_for() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let http = Probe::Http {
            address: listener.local_addr().unwrap(),
            host: "x".into(),
            path: "/".into(),
        };
        let look = look(&http, SECOND / 10);
        assert!(look.unwrap_err().ends_with("no answer within 100ms"));
    }

    #[test]
    fn a_file_says_what_is_wrong() {
        let path = std::env::temp_dir().join(format!("vipd-check-{}", std::process::id()));
        let probe = Probe::File(path.clone());
        assert_eq!(look(&probe, SECOND), Ok(()));
        std::fs::write(&path, "disk full \nsince noon\n").unwrap();
        assert_eq!(look(&probe, SECOND), Err("disk full".into()));
        std::fs::write(&path, "").unwrap();
        assert_eq!(
            look(&probe, SECOND),
            Err(format!("{} is there", path.display()))
        );
        std::fs::remove_file(&path).unwrap();
    }

    #[test]
    fn threads_end_when_nobody_wants_to_know() {
        let check = Check {
            name: "x".into(),
            probe: command("exit 1"),
            interval: Duration::from_millis(1),
            timeout: 20 * SECOND,
            rise: 1,
            fall: 1,
        };
        let (sender, woken) = channel();
        let checks = Checks::start(&[check], move || _ = sender.send(())).unwrap();
        woken.recv_timeout(60 * SECOND).unwrap();
        assert_eq!(
            checks.next(),
            Some(("x".into(), Some("exit status: 1".into())))
        );
        drop(checks);
        // Its end of this channel is closed when the thread has ended.
        while woken.recv_timeout(60 * SECOND) != Err(RecvTimeoutError::Disconnected) {}
    }
}
