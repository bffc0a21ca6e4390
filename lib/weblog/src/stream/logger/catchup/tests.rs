//! Without a majority: what is fetched from a peer, by what its mark says.

use super::*;
use crate::stream::control::State;
use crate::stream::journal::Journal;
use crate::stream::{LoggerAction, LoggerConfig, StreamId, ViewId};

const SELF: &[u8] = b"#=a#host";
const OTHER: &[u8] = b"#=b#host";
const NOW: Duration = Duration::ZERO;

/// A logger that has had the other one's journal up to there.
fn logger(mark: Prefix) -> Logger {
    let mut logger = Logger::new(LoggerConfig {
        name: "a".to_owned(),
        loggers: vec!["a".to_owned(), "b".to_owned()],
        quorum: Quorum::None,
        sync_interval: NOW,
        learn_bytes: 1000,
        catchup_percent: 25,
    });
    logger.append(&Record::Mark {
        peer: "b".to_owned(),
        prefix: mark,
    });
    logger
}

/// Does what the logger wants, and gives what it sends to the other one.
fn sent(logger: &mut Logger) -> Vec<Control> {
    let mut sent = Vec::new();
    while let Some(action) = logger.poll_action() {
        match action {
            LoggerAction::Send { data, .. } => sent.extend(Control::decode(&data)),
            LoggerAction::Sync => logger.handle_synced(NOW),
            LoggerAction::Control(data) => logger.handle_control(NOW, SELF, &data),
            _ => {}
        }
    }
    sent
}

/// A round opens with the other logger, whose journal is this one; gives what it is asked for.
fn open(logger: &mut Logger, other: Prefix) -> Vec<Control> {
    logger.handle_connected(SELF);
    logger.handle_membership(NOW, ViewId([1; 12]), &[SELF.into(), OTHER.into()], true);
    let round = logger.round_id();
    let state = State {
        name: "b".to_owned(),
        promise: 0,
        last_term: 0,
        length: other.length,
        hash: other.hash,
        entry_bytes: 0,
        second: 0,
        list: logger.config.list_hash(),
    };
    sent(logger);
    for record in [
        Control::State { round, state },
        Control::Synced { round, hash: 0 },
    ] {
        logger.handle_control(NOW, OTHER, &record.encode());
        assert!(!logger.is_open());
    }
    sent(logger)
}

/// The other logger says something to this one alone.
fn hear(logger: &mut Logger, answer: Control) -> Vec<Control> {
    logger.handle_private(NOW, OTHER, &answer.encode());
    sent(logger)
}

fn mark(logger: &Logger) -> Prefix {
    logger.journal.mark("b")
}

#[test]
fn a_peer_with_a_new_journal_is_asked_for_all_of_it_however_long_it_is() {
    let old = Prefix {
        length: 5,
        hash: 55,
    };
    for new in [
        Prefix { length: 9, hash: 1 },
        Prefix { length: 5, hash: 1 },
        Prefix { length: 2, hash: 1 },
    ] {
        let mut logger = logger(old);
        let mut asked = open(&mut logger, new);
        assert!(logger.is_open());
        // Until it is known, the peer must not let go of anything for what was there before.
        assert!(logger.is_to_be_checked("b"));
        if new.length > old.length {
            let expected = Control::Fetch {
                id: 1,
                position: 5,
                hash: Some(55),
            };
            assert_eq!(asked, [expected]);
            asked = hear(&mut logger, Control::Mismatch { id: 1 });
            assert_eq!(mark(&logger), Prefix::default());
        }
        let all = matches!(
            asked[..],
            [Control::Fetch {
                position: 0,
                hash: Some(0),
                ..
            }]
        );
        assert!(all, "{asked:?}");
    }
    let mut logger = logger(old);
    assert_eq!(open(&mut logger, old), [], "nothing is new");
    assert!(!logger.is_to_be_checked("b"));
}

#[test]
fn a_fetch_that_is_cut_goes_on_where_it_was() {
    let batch = |number: u64| Record::Batch {
        stream: StreamId([1; 16]),
        offset: 5 * number,
        data: Bytes::from_static(b"line\n"),
    };
    let mut other = Journal::new(false);
    let mut answer = Vec::new();
    let mut last_mark = Prefix::default();
    for number in 0..MARK_INTERVAL + 3 {
        if number == MARK_INTERVAL {
            last_mark = other.whole();
        }
        let body = batch(number).to_body();
        answer.extend((body.len() as u32).to_be_bytes());
        answer.extend(body);
        other.append(&batch(number));
    }
    let all = Prefix {
        length: 1000,
        hash: 1,
    };
    let mut logger = logger(Prefix::default());
    open(&mut logger, all);
    let chunk = Control::Chunk {
        id: 1,
        offset: 0,
        commit: 0,
        data: answer.into(),
    };
    hear(&mut logger, chunk);
    assert_eq!(logger.position(), other.length());
    assert_eq!(mark(&logger), last_mark);
    assert!(!logger.is_to_be_checked("b"));
    let expected = Control::Fetch {
        id: 2,
        position: MARK_INTERVAL,
        hash: Some(last_mark.hash),
    };
    assert_eq!(open(&mut logger, all), [expected]);
}

#[test]
fn a_head_of_which_a_part_has_come_is_fetched_again() {
    let mut peer = Journal::new(true);
    let line = |offset: u64| Record::Batch {
        stream: StreamId([1; 16]),
        offset,
        data: Bytes::from_static(b"line\n"),
    };
    for record in [line(0), line(5), Record::Commit(2)] {
        peer.append(&record);
    }
    let removed = peer.whole();
    let told = |record: &&Record| !matches!(record, Record::Promise(_) | Record::Complete);
    let mut answer: Vec<Record> = peer.segment_head().iter().filter(told).cloned().collect();
    assert!(matches!(
        answer[..],
        [Record::Base(_), Record::Known { .. }, Record::HeadEnd]
    ));
    peer.append(&line(10));
    answer.push(line(10));
    let chunk = |id: u32, records: &[Record]| {
        let bodies = records.iter().map(Record::to_body);
        let framed = bodies.map(|body| [&(body.len() as u32).to_be_bytes()[..], &body].concat());
        let data = framed.collect::<Vec<_>>().concat().into();
        let (offset, commit) = (0, 2);
        Control::Chunk {
            id,
            offset,
            commit,
            data,
        }
    };
    let mut logger = super::super::tests::logger(Quorum::Majority);
    for (count, id) in [(1, 1), (2, 3), (4, 5)] {
        let asked = open(&mut logger, peer.whole());
        let [Control::Fetch { position: 0, .. }] = asked[..] else {
            panic!("{asked:?}");
        };
        let prefix = removed;
        let asked = hear(&mut logger, Control::Gone { id, prefix });
        let from_base = |control: &Control| {
            matches!(
                control,
                Control::Fetch {
                    position: FROM_BASE,
                    ..
                }
            )
        };
        assert!(matches!(&asked[..], [asked] if from_base(asked)));
        hear(&mut logger, chunk(id + 1, &answer[..count]));
        assert_eq!(logger.position(), if count < 4 { 0 } else { 3 });
    }
    assert_eq!(logger.journal.whole(), peer.whole());
    let missing = logger.journal.missing(StreamId([1; 16]), 0, 20);
    assert_eq!(missing, [(15, 20)]);

    // Nobody was told to keep anything for it: it begins anew with the next head, and what stands in
    // no file yet may be missing there.
    assert_eq!(logger.committed(), 0);
    peer.append(&line(15));
    peer.append(&Record::Commit(4));
    let removed = peer.whole();
    let answer: Vec<Record> = peer.segment_head().iter().filter(told).cloned().collect();
    let asked = open(&mut logger, peer.whole());
    assert!(matches!(asked[..], [Control::Fetch { position: 3, .. }]));
    let prefix = removed;
    hear(&mut logger, Control::Gone { id: 7, prefix });
    hear(&mut logger, chunk(8, &answer[..1]));
    assert_eq!(logger.position(), 2, "a part of a head is none");
    open(&mut logger, peer.whole());
    hear(&mut logger, Control::Gone { id: 9, prefix });
    hear(&mut logger, chunk(10, &answer));
    assert_eq!(logger.journal.whole(), peer.whole());
    let missing = logger.journal.missing(StreamId([1; 16]), 0, 30);
    assert_eq!(missing, [(20, 30)]);
    assert_eq!(logger.counts().too_late, 0);

    // One that is complete would have a hole.
    logger.append(&Record::Complete);
    assert_eq!(logger.journal.commit(), 4);
    let length = 9;
    open(&mut logger, Prefix { length, hash: 9 });
    let prefix = Prefix { length: 8, hash: 8 };
    hear(&mut logger, Control::Gone { id: 11, prefix });
    assert_eq!(logger.counts().too_late, 1);
}

#[test]
fn what_a_peer_has_removed_is_on_record_as_missed() {
    let mut logger = logger(Prefix::default());
    let removed = Prefix { length: 7, hash: 3 };
    open(&mut logger, Prefix { length: 9, hash: 1 });
    let asked = hear(
        &mut logger,
        Control::Gone {
            id: 1,
            prefix: removed,
        },
    );
    let expected = Control::Fetch {
        id: 2,
        position: 7,
        hash: Some(3),
    };
    assert_eq!(asked, [expected]);
    assert_eq!(logger.counts().missed_entries, 7);
    assert_eq!(logger.position(), 1, "an entry says so");
}
