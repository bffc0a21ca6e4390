//! Single rules, and records that no logger of ours would send.

use std::time::Duration;

use bytes::Bytes;

use super::*;
use crate::stream::{Entry, Publisher, StretchReader};

pub(super) const SELF: &[u8] = b"#=a#host";
pub(super) const OTHER: &[u8] = b"#=b#host";
pub(super) const THIRD: &[u8] = b"#=c#host";
pub(super) const PUBLISHER: &[u8] = b"#~p#host";

pub(super) fn logger(quorum: Quorum) -> Logger {
    Logger::new(LoggerConfig {
        name: "a".to_owned(),
        loggers: vec!["a".to_owned(), "b".to_owned(), "c".to_owned()],
        quorum,
        sync_interval: Duration::ZERO,
        learn_bytes: 1000,
        catchup_percent: 25,
    })
}

/// Lets the logger hear its own records, and its disk be fast, until nothing is left to do; gives
/// what it acknowledged.
pub(super) fn settle(logger: &mut Logger, now: Duration) -> Vec<(StreamId, u64)> {
    settle_into(logger, now, &mut Vec::new())
}

/// The same, with the journal's file.
fn settle_into(logger: &mut Logger, now: Duration, file: &mut Vec<u8>) -> Vec<(StreamId, u64)> {
    let mut acks = Vec::new();
    while let Some(action) = logger.poll_action() {
        match action {
            LoggerAction::Control(data) => {
                if let Some(Control::Ack(more)) = Control::decode(&data) {
                    acks.extend(more);
                }
                logger.handle_control(now, SELF, &data);
            }
            LoggerAction::Append(bytes) => file.extend(bytes),
            LoggerAction::Sync => logger.handle_synced(now),
            _ => {}
        }
    }
    acks
}

/// The lines of each entry in a journal's file.
fn texts(file: &[u8], logger: &Logger) -> Vec<String> {
    let mut texts = Vec::new();
    let mut reader = StretchReader::new(logger.stretch(0).unwrap());
    while let Some((at, length)) = reader.wants() {
        let bytes = &file[at as usize..];
        let take = |_, entry| match entry {
            Entry::Lines(lines) => texts.push(lines.escape_ascii().to_string()),
            other => texts.push(format!("{other:?}")),
        };
        let bytes = Bytes::copy_from_slice(&bytes[..length.min(bytes.len())]);
        reader.feed(&bytes, take).unwrap();
    }
    texts
}

pub(super) fn join(logger: &mut Logger, members: &[&[u8]]) {
    let members: Vec<SessionName> = members.iter().map(|&member| member.into()).collect();
    logger.handle_connected(SELF);
    logger.handle_membership(Duration::ZERO, ViewId([1; 12]), &members, true);
}

pub(super) fn header(stream: u8, offset: u64) -> Bytes {
    let stream = StreamId([stream; 16]);
    Control::Header { stream, offset }.encode()
}

#[test]
fn one_of_two_carries_on_alone_unless_most_must_be_there() {
    for (quorum, open) in [(Quorum::None, true), (Quorum::Majority, false)] {
        let mut logger = logger(quorum);
        join(&mut logger, &[SELF, PUBLISHER]);
        settle(&mut logger, Duration::ZERO);
        assert_eq!(logger.is_open(), open);
    }
}

#[test]
fn a_repeated_batch_is_taken_as_far_as_it_is_new() {
    let mut logger = logger(Quorum::None);
    let mut file = Vec::new();
    join(&mut logger, &[SELF, PUBLISHER]);
    settle_into(&mut logger, Duration::ZERO, &mut file);
    let mut say = |logger: &mut Logger, offset: u64, text: &'static str| {
        logger.handle_control(Duration::ZERO, PUBLISHER, &header(1, offset));
        let data = Bytes::from_static(text.as_bytes());
        logger.handle_data(Duration::ZERO, PUBLISHER, offset as u16, &data);
        let acks = settle_into(logger, Duration::ZERO, &mut file);
        acks.last().map(|ack| ack.1)
    };
    assert_eq!(say(&mut logger, 0, "one\ntwo\n"), Some(8));
    assert_eq!(say(&mut logger, 4, "two\nthree\n"), Some(14));
    assert_eq!(say(&mut logger, 0, "one\ntwo\n"), Some(8));
    assert_eq!(logger.position(), 2);
    let entries = texts(&file, &logger);
    assert_eq!(entries, ["one\\ntwo\\n", "three\\n"]);
    assert_eq!(logger.counts().repeated_batches, 1);
}

#[test]
fn a_wrong_hint_a_reset_and_a_transition_end_an_anchor() {
    let line = Bytes::from_static(b"line\n");
    let mut logger = logger(Quorum::None);
    join(&mut logger, &[SELF, PUBLISHER]);
    settle(&mut logger, Duration::ZERO);
    logger.handle_data(Duration::ZERO, PUBLISHER, 0, &line);
    assert_eq!(logger.counts().ignored_messages, 1);
    logger.handle_control(Duration::ZERO, PUBLISHER, &header(1, 0));
    logger.handle_data(Duration::ZERO, PUBLISHER, 7, &line);
    logger.handle_data(Duration::ZERO, PUBLISHER, 0, &line);
    assert_eq!(logger.counts().bad_hints, 1);
    logger.handle_control(Duration::ZERO, PUBLISHER, &header(1, 0));
    logger.handle_transition();
    logger.handle_data(Duration::ZERO, PUBLISHER, 0, &line);
    join(&mut logger, &[SELF, PUBLISHER]);
    settle(&mut logger, Duration::ZERO);
    logger.handle_data(Duration::ZERO, PUBLISHER, 0, &line);
    assert_eq!(
        (logger.position(), logger.counts().ignored_messages),
        (0, 4)
    );
}

#[test]
fn a_silent_logger_is_struck_out_and_the_rest_goes_on() {
    let mut logger = logger(Quorum::None);
    join(&mut logger, &[SELF, OTHER]);
    settle(&mut logger, Duration::ZERO);
    assert!(!logger.is_open());
    assert_eq!(logger.poll_timeout(), Some(round::SILENCE));
    logger.handle_timeout(round::SILENCE);
    settle(&mut logger, round::SILENCE);
    assert!(logger.is_open());
    let rejoin = Control::Rejoin { view: logger.view };
    logger.handle_control(round::SILENCE, OTHER, &rejoin.encode());
    settle(&mut logger, round::SILENCE);
    assert!(!logger.is_open());
}

#[test]
fn records_of_any_content_do_no_harm() {
    let mut state = 1_u64;
    let mut random = |bound: u64| {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        (state >> 33) % bound
    };
    let mut opened = 0;
    for quorum in [Quorum::None, Quorum::Majority] {
        let mut logger = logger(quorum);
        let mut publisher = Publisher::new(StreamId([1; 16]), 0);
        join(&mut logger, &[SELF, OTHER, PUBLISHER]);
        publisher.handle_membership(&[OTHER.into()], true);
        for step in 0..40_000 {
            let round = RoundId {
                view: logger.view,
                number: logger.number,
            };
            let extreme = [0, 1, 2, u64::MAX - 1, u64::MAX];
            let mut number = || extreme[random(5) as usize];
            let numbers = [number(), number(), number()];
            let prefix = Prefix {
                length: numbers[0],
                hash: numbers[1],
            };
            let id = logger.next_fetch;
            let record = match random(17) {
                0 => Control::State {
                    round,
                    state: State {
                        name: ["a", "b", "x"][random(3) as usize].to_owned(),
                        promise: numbers[0],
                        last_term: numbers[1],
                        length: numbers[2],
                        hash: numbers[0],
                        entry_bytes: numbers[1],
                        second: numbers[2],
                        list: [logger.config.list_hash(), numbers[0]][usize::from(numbers[2] == 0)],
                    },
                },
                1 => Control::Synced {
                    round,
                    hash: logger.journal.hash(),
                },
                2 => Control::Go { round },
                3 => Control::Durable {
                    round,
                    index: numbers[0],
                    prefix,
                },
                4 => Control::Strike {
                    round,
                    session: OTHER.into(),
                },
                5 => Control::Rejoin { view: logger.view },
                6 => Control::Fetch {
                    id,
                    position: numbers[0],
                    hash: None,
                },
                7 => Control::Chunk {
                    id,
                    offset: 0,
                    commit: numbers[1],
                    data: Bytes::from_static(
                        b"\0\0\0\x2c\x01 not much of a record at all, but one it is",
                    ),
                },
                8 => Control::End {
                    id,
                    position: numbers[0],
                },
                9 => Control::Mismatch { id },
                12 => Control::Gone { id, prefix },
                13 => Control::More {
                    id: numbers[0] as u32,
                    offset: numbers[1],
                },
                14 => Control::Tick {
                    round,
                    second: numbers[0],
                    marks: vec![("a".to_owned(), numbers[1])],
                },
                15 => Control::Forget {
                    name: ["b", "c", "x"][random(3) as usize].to_owned(),
                },
                16 => Control::Gap {
                    stream: StreamId([2; 16]),
                    start: numbers[0],
                    end: numbers[1],
                    lines: 1,
                },
                10 => Control::Ack(vec![(StreamId([1; 16]), numbers[0])]),
                _ => Control::Header {
                    stream: StreamId([2; 16]),
                    offset: numbers[0],
                },
            };
            let now = Duration::from_millis(step);
            let sender = [OTHER, PUBLISHER][random(2) as usize];
            logger.handle_control(now, sender, &record.encode());
            logger.handle_private(now, sender, &record.encode());
            publisher.handle_control(sender, &record.encode());
            let data = [&b""[..], b"line\n", b"no newline"][random(3) as usize];
            logger.handle_data(now, sender, numbers[0] as u16, &Bytes::from_static(data));
            settle(&mut logger, now);
            while publisher.poll_action().is_some() {}
            opened += u64::from(logger.is_open());
        }
        assert_eq!(publisher.acknowledged(), 0);
    }
    assert!(opened > 100, "open {opened} times");
}

/// What a logger says of itself at the beginning of a round.
fn own_state(logger: &mut Logger, file: &mut Vec<u8>) -> State {
    join(logger, &[SELF, OTHER]);
    own_state_of(logger, file)
}

pub(super) fn own_state_of(logger: &mut Logger, file: &mut Vec<u8>) -> State {
    let mut state = None;
    while let Some(action) = logger.poll_action() {
        match action {
            LoggerAction::Append(bytes) => file.extend(bytes),
            LoggerAction::Control(data) => match Control::decode(&data) {
                Some(Control::State { state: own, .. }) => state = Some(own),
                other => panic!("{other:?}"),
            },
            _ => {}
        }
    }
    state.unwrap()
}

/// The other logger's part of a round, up to its `Synced`.
pub(super) fn other_joins_in(logger: &mut Logger, own: &State) {
    let round = logger.round_id();
    let other = State {
        name: "b".to_owned(),
        ..own.clone()
    };
    for (sender, state) in [(SELF, own.clone()), (OTHER, other)] {
        let record = Control::State { round, state };
        logger.handle_control(Duration::ZERO, sender, &record.encode());
    }
}

#[test]
fn a_promise_is_on_disk_before_it_counts_and_is_not_forgotten() {
    let mut first = logger(Quorum::Majority);
    let mut file = Vec::new();
    let state = own_state(&mut first, &mut file);
    assert_eq!(state.promise, 0);
    other_joins_in(&mut first, &state);
    let mut said = Vec::new();
    let mut take = |logger: &mut Logger, said: &mut Vec<Control>| {
        while let Some(action) = logger.poll_action() {
            match action {
                LoggerAction::Append(bytes) => file.extend(bytes),
                LoggerAction::Control(data) => said.extend(Control::decode(&data)),
                _ => {}
            }
        }
    };
    take(&mut first, &mut said);
    assert_eq!(said, [], "the promise is not on disk yet");
    first.handle_synced(Duration::ZERO);
    take(&mut first, &mut said);
    assert!(matches!(said[..], [Control::Synced { .. }]), "{said:?}");
    // Killed before the round opens, it must not promise the same term to another round.
    let mut second = logger(Quorum::Majority);
    assert_eq!(second.replay(&file.clone().into()), file.len());
    assert_eq!(own_state(&mut second, &mut file).promise, 1);
}

#[test]
fn what_comes_behind_a_transitional_signal_is_neither_accepted_nor_counted() {
    let line = Bytes::from_static(b"line\n");
    let mut logger = logger(Quorum::None);
    join(&mut logger, &[SELF, PUBLISHER]);
    settle(&mut logger, Duration::ZERO);
    logger.handle_control(Duration::ZERO, PUBLISHER, &header(1, 0));
    logger.handle_data(Duration::ZERO, PUBLISHER, 0, &line);
    logger.handle_transition();
    // The other part of the network may not be given this: nobody may be told that it is safe.
    logger.handle_data(Duration::ZERO, PUBLISHER, 5, &line);
    let acks = settle(&mut logger, Duration::ZERO);
    assert_eq!(logger.position(), 1);
    assert_eq!(acks, [(StreamId([1; 16]), 0)], "the header's, before");
}

#[test]
fn a_clock_that_is_far_off_does_not_count_and_time_never_goes_back() {
    let mut logger = logger(Quorum::None);
    logger.set_clock(1_000);
    join(&mut logger, &[SELF, OTHER, THIRD]);
    let own = own_state_of(&mut logger, &mut Vec::new());
    let round = logger.round_id();
    for (sender, name, second) in [(SELF, "a", 1_000), (OTHER, "b", 4_600), (THIRD, "c", 1_001)] {
        let state = State {
            name: name.to_owned(),
            second,
            ..own.clone()
        };
        let record = Control::State { round, state };
        logger.handle_control(Duration::ZERO, sender, &record.encode());
    }
    assert_eq!(logger.time(), 1_001);
    let hash = logger.journal.hash();
    for sender in [SELF, OTHER, THIRD] {
        let record = Control::Synced { round, hash };
        logger.handle_control(Duration::ZERO, sender, &record.encode());
    }
    logger.handle_control(Duration::ZERO, SELF, &Control::Go { round }.encode());
    assert!(logger.is_open());
    let tick = |logger: &mut Logger, sender: &[u8], second: u64| {
        let marks = Vec::new();
        let record = Control::Tick {
            round,
            second,
            marks,
        };
        logger.handle_control(Duration::ZERO, sender, &record.encode());
        logger.append_time(logger.time());
        logger.time()
    };
    assert_eq!(tick(&mut logger, OTHER, 4_601), 1_001);
    assert_eq!(tick(&mut logger, SELF, 1_002), 1_002);
    assert_eq!(tick(&mut logger, THIRD, 1_002), 1_002);
    assert_eq!(tick(&mut logger, SELF, 10), 1_002, "never back");
}

#[test]
fn a_tick_tells_what_was_on_disk_at_the_last_sync_however_fast_lines_come() {
    for quorum in [Quorum::None, Quorum::Majority] {
        let mut logger = logger(quorum);
        let state = own_state(&mut logger, &mut Vec::new());
        other_joins_in(&mut logger, &state);
        let round = logger.round_id();
        let hash = logger.journal.hash();
        let synced = Control::Synced { round, hash };
        logger.handle_control(Duration::ZERO, OTHER, &synced.encode());
        settle(&mut logger, Duration::ZERO);
        assert!(logger.is_open());
        logger.handle_control(Duration::ZERO, PUBLISHER, &header(1, 0));
        let line = Bytes::from_static(b"line\n");
        logger.handle_data(Duration::ZERO, PUBLISHER, 0, &line);
        let mut told = None;
        for step in 1..10 {
            let now = Duration::from_millis(u64::from(step) * 500);
            // The next line is here before the last one is on disk.
            logger.handle_data(now, PUBLISHER, step * 5, &line);
            let durable = Control::Durable {
                round,
                index: logger.round.as_ref().unwrap().index,
                prefix: logger.journal.whole(),
            };
            for sender in [OTHER, SELF] {
                logger.handle_control(now, sender, &durable.encode());
            }
            logger.handle_synced(now);
            assert!(logger.needed_bytes > logger.synced_bytes);
            logger.handle_timeout(now);
            while let Some(action) = logger.poll_action() {
                if let LoggerAction::Control(data) = action
                    && let Some(Control::Tick { marks, .. }) = Control::decode(&data)
                {
                    told = marks.into_iter().find(|(name, _)| name == "b");
                }
            }
        }
        let (_, position) = told.expect("marks in a tick");
        assert!(position >= 3, "{quorum:?}: {position}");
    }
}

#[test]
fn a_journal_whose_committed_entries_are_not_those_of_the_others_takes_no_part() {
    let mut logger = logger(Quorum::Majority);
    let state = own_state(&mut logger, &mut Vec::new());
    other_joins_in(&mut logger, &state);
    let (round, hash) = (logger.round_id(), logger.journal.hash());
    let synced = Control::Synced { round, hash };
    logger.handle_control(Duration::ZERO, OTHER, &synced.encode());
    settle(&mut logger, Duration::ZERO);
    let durable = Control::Durable {
        round,
        // The term, and that both are heard.
        index: 3,
        prefix: logger.journal.whole(),
    };
    logger.handle_control(Duration::ZERO, OTHER, &durable.encode());
    settle(&mut logger, Duration::ZERO);
    assert_eq!((logger.position(), logger.committed()), (1, 1));
    // The other one has as much, and more, and another hash of it.
    let own = own_state(&mut logger, &mut Vec::new());
    let round = logger.round_id();
    let other = State {
        name: "b".to_owned(),
        last_term: own.last_term + 1,
        length: 7,
        hash: own.hash ^ 1,
        ..own.clone()
    };
    for (sender, state) in [(SELF, own), (OTHER, other)] {
        let record = Control::State { round, state };
        logger.handle_control(Duration::ZERO, sender, &record.encode());
    }
    let asked = std::iter::from_fn(|| logger.poll_action()).find_map(|action| match action {
        LoggerAction::Send { data, .. } => Control::decode(&data),
        _ => None,
    });
    let Some(Control::Fetch {
        id,
        position: 1,
        hash: Some(asked),
    }) = asked
    else {
        panic!("{asked:?}");
    };
    assert_eq!(asked, logger.journal.hash());
    let mismatch = Control::Mismatch { id };
    logger.handle_private(Duration::ZERO, OTHER, &mismatch.encode());
    assert!(logger.is_unfit() && logger.counts().diverged == 1);
    assert_eq!(
        logger.position(),
        1,
        "nothing that is committed is taken back"
    );
}
