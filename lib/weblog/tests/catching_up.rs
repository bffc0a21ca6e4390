//! Two loggers as they are used: what one lacks comes by credit, in ranges of 1 MiB, two at a time.

use std::collections::VecDeque;
use std::time::Duration;

use bytes::Bytes;
use weblog::stream::{Logger, LoggerAction, LoggerConfig, Quorum, SessionName, ViewId};

const RANGE: usize = 1 << 20;
/// Lines in a message to another logger, at most.
const CHUNK: usize = 128 << 10;
/// What is read of a journal at a time.
const BLOCK: usize = 256 << 10;
const LINES: usize = 8 * RANGE;

const NOW: Duration = Duration::from_secs(1);

struct Host {
    logger: Logger,
    session: SessionName,
    file: Vec<u8>,
    /// What it has sent to the other one alone.
    sent: VecDeque<Bytes>,
}

impl Host {
    fn new(name: &str) -> Host {
        let logger = Logger::new(LoggerConfig {
            name: name.to_owned(),
            loggers: vec!["a".to_owned(), "b".to_owned()],
            quorum: Quorum::None,
            sync_interval: Duration::ZERO,
            learn_bytes: 1 << 20,
            catchup_percent: 25,
        });
        Host {
            logger,
            session: format!("#={name}#host").into_bytes().into(),
            file: Vec::new(),
            sent: VecDeque::new(),
        }
    }

    /// Does what the logger wants; gives what it multicasts.
    fn act(&mut self) -> Vec<Bytes> {
        let mut said = Vec::new();
        while let Some(action) = self.logger.poll_action() {
            match action {
                LoggerAction::Append(bytes) => self.file.extend_from_slice(&bytes),
                LoggerAction::Sync => self.logger.handle_synced(NOW),
                LoggerAction::Control(data) => said.push(data),
                LoggerAction::Send { data, .. } => self.sent.push_back(data),
                LoggerAction::Read { to, at, length } => {
                    let bytes = &self.file[at as usize..];
                    let bytes = Bytes::copy_from_slice(&bytes[..length.min(bytes.len())]);
                    self.logger.handle_read(&to, at, &bytes);
                }
                _ => {}
            }
        }
        said
    }
}

/// All are members of a view, and hear what they say to all of it.
fn meet(hosts: &mut [Host], view: u8) {
    let members: Vec<SessionName> = hosts.iter().map(|host| host.session.clone()).collect();
    for host in hosts.iter_mut() {
        host.logger.handle_connected(&host.session);
        host.logger
            .handle_membership(NOW, ViewId([view; 12]), &members, true);
    }
    settle(hosts);
}

fn settle(hosts: &mut [Host]) {
    loop {
        let said: Vec<(SessionName, Bytes)> = hosts
            .iter_mut()
            .flat_map(|host| {
                let session = host.session.clone();
                host.act()
                    .into_iter()
                    .map(move |data| (session.clone(), data))
            })
            .collect();
        if said.is_empty() {
            return;
        }
        for (sender, data) in said {
            for host in hosts.iter_mut() {
                host.logger.handle_control(NOW, &sender, &data);
            }
        }
    }
}

fn bytes(sent: &VecDeque<Bytes>) -> usize {
    sent.iter().map(Bytes::len).sum()
}

#[test]
fn what_is_missing_comes_in_ranges_of_1_mib_of_which_two_are_on_their_way() {
    let mut hosts = [Host::new("a"), Host::new("b")];
    meet(&mut hosts[..1], 1);
    assert!(hosts[0].logger.is_open());
    let line = [&[b'x'; 99_999][..], b"\n"].concat();
    for _ in 0..LINES / line.len() {
        let line = Bytes::copy_from_slice(&line);
        hosts[0].logger.handle_data(NOW, b"#web#host", 0, &line);
        settle(&mut hosts[..1]);
    }
    meet(&mut hosts, 2);
    let [a, b] = &mut hosts;
    let request = b.sent.pop_front().expect("a request");
    assert_eq!(b.sent.len(), 0);
    a.logger.handle_private(NOW, &b.session, &request);
    a.act();
    let given = bytes(&a.sent);
    let two = 2 * RANGE..2 * RANGE + BLOCK + CHUNK;
    assert!(two.contains(&given), "{given} bytes unasked");
    let (mut taken, mut told_at, mut asked) = (0, 0, 0);
    while let Some(chunk) = a.sent.pop_front() {
        assert!(chunk.len() <= CHUNK + 64);
        taken += chunk.len();
        b.logger.handle_private(NOW, &a.session, &chunk);
        b.act();
        while let Some(more) = b.sent.pop_front() {
            // The last word is that nothing more is wanted.
            let last = a.sent.len() <= 1;
            assert!(taken - told_at >= RANGE || last, "{taken} {told_at}");
            assert!(taken - told_at < RANGE + 2 * CHUNK, "{taken} {told_at}");
            (told_at, asked) = (taken, asked + 1);
            a.logger.handle_private(NOW, &b.session, &more);
            a.act();
            let ahead = bytes(&a.sent);
            assert!(ahead < 2 * RANGE + BLOCK + CHUNK, "{ahead} on their way");
        }
    }
    settle(&mut hosts);
    assert!(asked >= LINES / RANGE - 1, "{asked} ranges");
    assert!(taken > LINES - line.len());
}
