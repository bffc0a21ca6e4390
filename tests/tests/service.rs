//! How all daemons live: start, pid file, readiness, signals, watchdog, background, stop.

use std::fs::{self, File};
use std::io::ErrorKind;
use std::net::{TcpListener, UdpSocket};
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use tests::{Scratch, programs, skip};

/// Generous: a fact that does not come in this time does not come on a busy machine either.
const DEADLINE: Duration = Duration::from_secs(60);

/// A daemon, in a directory of its own.
struct Service {
    name: &'static str,
    /// Runs it, the path of the program and its options behind.
    runner: &'static [&'static str],
    args: Vec<String>,
    scratch: Scratch,
}

/// vipd takes its addresses on a loopback device that is nobody else's.
const ALONE: &[&str] = &[
    "unshare",
    "-Urn",
    "sh",
    "-c",
    "ip link set lo up && exec \"$0\" \"$@\"",
];

impl Service {
    fn new(name: &'static str, test: &str) -> Service {
        let scratch = Scratch::new(&format!("{test}-{name}"));
        let at = |file: &str| scratch.path().join(file).display().to_string();
        let config = |text: String| -> String {
            let path = at("conf");
            fs::write(&path, text).expect("a configuration");
            path
        };
        let socket = format!("--socket={}", at("no-bus"));
        let args = match name {
            "groupd" => {
                let (port, state) = (port_for_ring(), at("state"));
                let text = format!(
                    "Spread_Segment 127.0.0.255:{port} {{ a 127.0.0.1 }}\n\
                     SpreadSocket = no StateDir = {state}\n"
                );
                fs::create_dir(state).expect("a directory");
                vec![
                    "-c".into(),
                    config(text),
                    format!("--socket={}", at("socket")),
                ]
            }
            "imgcache" => {
                let text = format!(
                    "Listen = 127.0.0.1:{} CacheRoot = {} Control = {} Loops = 1\n\
                     Site a {{ Origin = http://127.0.0.1:1/ }}\n",
                    port(),
                    at("cache"),
                    at("control")
                );
                vec!["-c".into(), config(text), socket]
            }
            "vipd" => {
                let text = format!(
                    "VirtualInterfaces {{ lo:192.0.2.1/32 }}\nControl = {}\n",
                    at("control")
                );
                vec!["-c".into(), config(text), socket]
            }
            "spreadlogd" => vec!["-gexample".into(), format!("-o{}", at("log")), socket],
            "whosonline" => vec![
                "example".into(),
                format!("--control={}", at("control")),
                socket,
            ],
            "logmon" => vec!["example".into(), "--listen=127.0.0.1:0".into(), socket],
            _ => {
                let root = format!("--root={}", scratch.path().display());
                vec![root, "--allow=/a".into(), "imgcache".into(), socket]
            }
        };
        let runner = if name == "vipd" { ALONE } else { &[] };
        Service {
            name,
            runner,
            args,
            scratch,
        }
    }

    fn path(&self, file: &str) -> PathBuf {
        self.scratch.path().join(file)
    }

    fn command(&self) -> Command {
        let program = programs().join(self.name);
        assert!(
            program.exists(),
            "{} is not built: run `make test`",
            program.display()
        );
        let mut command = match self.runner {
            [] => Command::new(program),
            [runner, rest @ ..] => {
                let mut command = Command::new(runner);
                command.args(rest).arg(program);
                command
            }
        };
        command.args(&self.args);
        command.arg(format!("--pidfile={}", self.path("pid").display()));
        command.stdin(Stdio::null()).stdout(Stdio::null());
        command.stderr(self.log());
        command
    }

    /// The log's file, to write at its end.
    fn log(&self) -> File {
        let mut options = File::options();
        let file = options.create(true).append(true).open(self.path("err"));
        file.expect("a log")
    }

    fn logged(&self) -> String {
        fs::read_to_string(self.path("err")).expect("a log")
    }

    fn fail(&self, what: &str) -> ! {
        panic!("{}: {what}\n{}", self.name, self.logged())
    }

    /// Waits for a fact.
    fn until(&self, what: &str, holds: impl Fn() -> bool) {
        let deadline = Instant::now() + DEADLINE;
        while !holds() {
            if Instant::now() > deadline {
                self.fail(&format!("not in time: {what}"));
            }
            thread::sleep(Duration::from_millis(10));
        }
    }

    fn until_logged(&self, event: &str) {
        let begin = format!("{}: {event}", self.name);
        self.until(event, || {
            self.logged().lines().any(|line| line.starts_with(&begin))
        });
    }

    fn pid(&self) -> Option<u32> {
        let text = fs::read_to_string(self.path("pid")).ok()?;
        text.strip_suffix('\n')?.parse().ok()
    }

    /// Waits for an orderly end.
    fn must_end(&self, mut child: Child) {
        let status = wait(&mut child).unwrap_or_else(|| self.fail("it goes on after TERM"));
        if !status.success() {
            self.fail(&format!("an orderly stop ended with {status}"));
        }
    }
}

/// How a child ended; none if it does not, and was killed.
fn wait(child: &mut Child) -> Option<ExitStatus> {
    let deadline = Instant::now() + DEADLINE;
    while Instant::now() < deadline {
        if let Some(status) = child.try_wait().expect("a child") {
            return Some(status);
        }
        thread::sleep(Duration::from_millis(10));
    }
    child.kill().expect("a child");
    child.wait().expect("a child");
    None
}

fn signal(pid: u32, name: &str) {
    let kill = format!("kill -{name} {pid}");
    let status = Command::new("sh").args(["-c", &kill]).status();
    assert!(status.expect("sh").success(), "{kill}");
}

fn port() -> u16 {
    let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a port");
    listener.local_addr().expect("an address").port()
}

/// A port whose next one is free, too.
fn port_for_ring() -> u16 {
    for _ in 0..1000 {
        let data = UdpSocket::bind(("127.0.0.1", 0)).expect("a port");
        let port = data.local_addr().expect("an address").port();
        if port < 65_535 && UdpSocket::bind(("127.0.0.1", port + 1)).is_ok() {
            return port;
        }
    }
    panic!("no two ports");
}

/// Hears what a daemon tells its service manager.
fn manager(path: &Path) -> UnixDatagram {
    let socket = UnixDatagram::bind(path).expect("a socket");
    socket.set_read_timeout(Some(DEADLINE)).expect("a socket");
    socket
}

fn expect(service: &Service, manager: &UnixDatagram, wanted: &str) {
    let mut buffer = [0; 256];
    loop {
        match manager.recv(&mut buffer) {
            Ok(length) if buffer[..length].starts_with(wanted.as_bytes()) => return,
            Ok(_) => {}
            // As after SIGSTOP, or where somebody traces it (signal(7)).
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => service.fail(&format!("the manager did not hear {wanted}: {error}")),
        }
    }
}

/// From the start to the end under a service manager.
fn live(name: &'static str) {
    let service = Service::new(name, "live");
    let manager = manager(&service.path("manager"));
    let mut command = service.command();
    command.env("NOTIFY_SOCKET", service.path("manager"));
    command.env("WATCHDOG_USEC", "400000");
    let child = command.spawn().expect("a daemon");
    expect(&service, &manager, "READY=1");
    assert_eq!(
        service.pid(),
        Some(child.id()),
        "{name}: the pid file of one that is ready"
    );
    service.until_logged("ready");
    expect(&service, &manager, "WATCHDOG=1");
    expect(&service, &manager, "WATCHDOG=1");

    let second = service
        .command()
        .stderr(Stdio::piped())
        .output()
        .expect("a daemon");
    let errors = String::from_utf8_lossy(&second.stderr);
    let pid = service.path("pid");
    let held = "another process holds this pid file";
    let message = format!("{name}: {}: {held}, {}\n", pid.display(), child.id());
    assert_eq!(
        (errors.as_ref(), second.status.code()),
        (message.as_str(), Some(1))
    );

    // With nothing to read again, HUP is nothing to die of; and it is the first of the two.
    signal(child.id(), "HUP");
    signal(child.id(), "USR1");
    service.until_logged("status");
    signal(child.id(), "TERM");
    expect(&service, &manager, "STOPPING=1");
    service.must_end(child);
    assert!(!pid.exists(), "{name}: the pid file is left");
    for line in service.logged().lines() {
        // The guardian of a vipd is another process, and says so.
        let event = line
            .strip_prefix(name)
            .map(|rest| rest.strip_prefix("-guardian").unwrap_or(rest))
            .and_then(|rest| rest.strip_prefix(": "))
            .and_then(|event| event.split(' ').next());
        let is_word = |word: &str| {
            word.bytes()
                .all(|byte| byte.is_ascii_lowercase() || byte == b'-')
        };
        assert!(event.is_some_and(is_word), "{line}");
    }
}

/// In the background: whoever starts it has its prompt back when it is ready, or knows that it failed.
fn go_into_the_background(name: &'static str) {
    let service = Service::new(name, "background");
    let status = service
        .command()
        .arg("--daemonize")
        .status()
        .expect("a daemon");
    let Some(pid) = service.pid() else {
        service.fail("no pid file of one that is ready");
    };
    assert!(status.success(), "{name}: {status}");
    let input = fs::read_link(format!("/proc/{pid}/fd/0")).expect("a process");
    assert_eq!(input, Path::new("/dev/null"), "{name}");

    let mut second = service.command();
    second.arg("--daemonize").stderr(Stdio::piped());
    let second = second.output().expect("a daemon");
    let said = String::from_utf8_lossy(&second.stderr).contains("another process holds");
    assert!(
        said && second.status.code() == Some(1),
        "{name}: {second:?}"
    );
    signal(pid, "TERM");
    service.until("the pid file is gone", || !service.path("pid").exists());
}

/// A log that nobody reads is no reason to stop.
fn go_on_without_a_log(name: &'static str) {
    let service = Service::new(name, "mute");
    let (reader, writer) = std::io::pipe().expect("a pipe");
    let mut child = service.command().stderr(writer).spawn().expect("a daemon");
    drop(reader);
    service.until("the pid file", || service.pid() == Some(child.id()));
    signal(child.id(), "USR1");
    signal(child.id(), "HUP");
    thread::yield_now();
    assert!(
        child.try_wait().expect("a child").is_none(),
        "{name} has ended"
    );
    signal(child.id(), "TERM");
    service.must_end(child);
}

fn whole_life(name: &'static str) {
    if name == "vipd" {
        let mut probe = Command::new("unshare");
        probe.args(["-Urn", "ip", "link", "set", "lo", "up"]);
        let works = probe.stderr(Stdio::null()).status();
        if !works.is_ok_and(|status| status.success()) {
            let why = "this kernel does not let users make namespaces (unshare -Urn)";
            return skip("service-vipd", why);
        }
    }
    live(name);
    go_into_the_background(name);
    go_on_without_a_log(name);
}

#[test]
fn groupd() {
    whole_life("groupd");
}

#[test]
fn imgcache() {
    whole_life("imgcache");
}

#[test]
fn logmon() {
    whole_life("logmon");
}

#[test]
fn purged() {
    whole_life("purged");
}

#[test]
fn spreadlogd() {
    whole_life("spreadlogd");
}

#[test]
fn vipd() {
    whole_life("vipd");
}

#[test]
fn whosonline() {
    whole_life("whosonline");
}
