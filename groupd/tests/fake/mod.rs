//! A daemon that serves clients with one table of groups under one lock: the lock is the order.

use std::collections::BTreeMap;
use std::fs;
use std::io::{Read, Write};
use std::net::Shutdown;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex};
use std::thread;
use std::time::Duration;

use group::handshake::{DaemonHandshake, DaemonStep};
use group::name::{DaemonName, Name, PrivateName};
use group::wire::{
    ByteOrder, Cause, FrameDecoder, GroupId, Header, Limits, Request, encode_membership,
    encode_message,
};
use groupd::control;
use mio::{Events, Poll, Token};
use status::ControlServer;

const PATIENCE: Duration = Duration::from_secs(20);

/// A directory that goes away with the test.
pub(crate) struct Scratch(PathBuf);

impl Scratch {
    pub(crate) fn new(name: &str) -> Scratch {
        let directory = format!("groupctl.{name}.{}", std::process::id());
        let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(directory);
        fs::create_dir_all(&path).unwrap();
        Scratch(path)
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        fs::remove_dir_all(&self.0).unwrap();
    }
}

/// Answers questions on `control` until the test ends.
pub(crate) fn control(scratch: &Scratch, answer: fn(control::Request) -> control::Answer) {
    let mut poll = Poll::new().unwrap();
    let mut server =
        ControlServer::bind(&scratch.path("control"), 0o600, poll.registry(), Token(0)).unwrap();
    thread::spawn(move || {
        let mut events = Events::with_capacity(8);
        loop {
            poll.poll(&mut events, None).unwrap();
            for event in &events {
                server
                    .handle_event(poll.registry(), event.token(), answer)
                    .unwrap();
            }
        }
    });
}

/// The daemon, listening on `socket`.
pub(crate) struct FakeDaemon(Arc<Shared>);

#[derive(Default)]
struct Shared {
    table: Mutex<Table>,
    changed: Condvar,
}

#[derive(Default)]
struct Table {
    sessions: BTreeMap<Name, Session>,
    groups: BTreeMap<Name, Vec<Name>>,
}

struct Session {
    stream: UnixStream,
    membership: bool,
}

impl FakeDaemon {
    pub(crate) fn start(scratch: &Scratch) -> FakeDaemon {
        let listener = UnixListener::bind(scratch.path("socket")).unwrap();
        let shared = Arc::new(Shared::default());
        let daemon = FakeDaemon(Arc::clone(&shared));
        thread::spawn(move || {
            for (number, stream) in listener.incoming().enumerate() {
                let shared = Arc::clone(&shared);
                thread::spawn(move || shared.serve(number, stream.unwrap()));
            }
        });
        daemon
    }

    pub(crate) fn wait_for_members(&self, group: &str, count: usize) {
        let group: Name = group.parse().unwrap();
        let too_few = |table: &mut Table| table.groups.get(&group).map_or(0, Vec::len) < count;
        let table = self.0.table.lock().unwrap();
        let (_table, wait) = self
            .0
            .changed
            .wait_timeout_while(table, PATIENCE, too_few)
            .unwrap();
        assert!(!wait.timed_out(), "{group} never had {count} members");
    }

    pub(crate) fn close_all(&self) {
        for session in self.0.table.lock().unwrap().sessions.values() {
            session.stream.shutdown(Shutdown::Both).unwrap();
        }
    }
}

impl Shared {
    fn serve(&self, number: usize, mut stream: UnixStream) {
        let mut decoder = FrameDecoder::for_requests(Limits::DAEMON);
        let (own, membership, leftover) = shake_hands(number, &mut stream);
        let session = Session {
            stream: stream.try_clone().unwrap(),
            membership,
        };
        self.table.lock().unwrap().sessions.insert(own, session);
        decoder.feed(&leftover);
        let mut buffer = vec![0; 65536];
        loop {
            while let Some(frame) = decoder.next_frame().unwrap() {
                let group = frame.groups.iter().next().unwrap();
                let mut table = self.table.lock().unwrap();
                match frame.header.request().unwrap() {
                    Request::Join => table.join(own, group),
                    Request::Leave => table.leave(own, group, Cause::Leave),
                    Request::Kill => return table.end(own),
                    Request::Multicast(delivery) => {
                        let mut bytes = Vec::new();
                        let header = Header {
                            kind: delivery.kind(),
                            order: ByteOrder::NATIVE,
                            ..frame.header
                        };
                        let fields = frame.groups.iter().map(Name::to_field);
                        encode_message(&mut bytes, &header, fields, &frame.data);
                        table.deliver(group, &bytes, |_| true);
                    }
                }
                self.changed.notify_all();
            }
            match stream.read(&mut buffer) {
                Ok(0) | Err(_) => return self.table.lock().unwrap().end(own),
                Ok(count) => decoder.feed(&buffer[..count]),
            }
        }
    }
}

impl Table {
    fn join(&mut self, own: Name, group: Name) {
        let members = self.groups.entry(group).or_default();
        members.push(own);
        members.sort();
        self.announce(own, group, Cause::Join);
    }

    fn leave(&mut self, own: Name, group: Name, cause: Cause) {
        self.groups
            .entry(group)
            .or_default()
            .retain(|member| *member != own);
        self.announce(own, group, cause);
    }

    fn announce(&mut self, who: Name, group: Name, cause: Cause) {
        let gid = GroupId {
            proc_id: 1,
            time: 1,
            index: 1,
        };
        let bytes = encode_membership(&group, cause, gid, &self.groups[&group], &[[who]], 0);
        self.deliver(group, &bytes, |session| session.membership);
    }

    fn deliver(&self, group: Name, bytes: &[u8], wanted: impl Fn(&Session) -> bool) {
        for member in self.groups.get(&group).into_iter().flatten() {
            let session = &self.sessions[member];
            if wanted(session) {
                // A client that has just gone is found by the thread that reads from it.
                let _ = (&session.stream).write_all(bytes);
            }
        }
    }

    fn end(&mut self, own: Name) {
        let groups: Vec<Name> = self.groups.keys().copied().collect();
        for group in groups {
            if self.groups[&group].contains(&own) {
                self.leave(own, group, Cause::Disconnect);
            }
        }
        self.sessions
            .remove(&own)
            .unwrap()
            .stream
            .shutdown(Shutdown::Both)
            .unwrap_or_default();
    }
}

fn shake_hands(number: usize, stream: &mut UnixStream) -> (Name, bool, bytes::Bytes) {
    let mut handshake = DaemonHandshake::new(DaemonName::new(b"fake").unwrap());
    let mut membership = false;
    let mut step = DaemonStep::NeedMore;
    loop {
        step = match step {
            DaemonStep::NeedMore => {
                let mut buffer = [0; 1024];
                let count = stream.read(&mut buffer).unwrap();
                assert_ne!(count, 0, "the client left in the middle of the handshake");
                handshake.feed(&buffer[..count])
            }
            DaemonStep::Greeted(greeting) => {
                membership = greeting.membership;
                let invented = format!("r{number}-9");
                let invented = PrivateName::new(invented.as_bytes()).unwrap();
                handshake.admit(greeting.name.unwrap_or(invented))
            }
            DaemonStep::Reply(reply) => {
                stream.write_all(&reply).unwrap();
                DaemonStep::NeedMore
            }
            DaemonStep::Accepted {
                reply,
                private_group,
                leftover,
            } => {
                stream.write_all(&reply).unwrap();
                return (private_group, membership, leftover);
            }
            DaemonStep::Reject(reject) => panic!("rejected: {reject}"),
        }
    }
}
