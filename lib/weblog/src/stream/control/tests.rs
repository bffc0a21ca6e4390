//! Records come back as they were, and nonsense does no harm.

use super::*;

fn every_kind() -> Vec<Control> {
    let stream = StreamId([3; 16]);
    let round = RoundId {
        view: ViewId([9; 12]),
        number: 2,
    };
    vec![
        Control::Header { stream, offset: 1 },
        Control::Ack(vec![(stream, 7), (StreamId([4; 16]), u64::MAX)]),
        Control::State {
            round,
            state: State {
                name: "a".to_owned(),
                promise: 1,
                last_term: 2,
                length: 3,
                hash: 4,
                entry_bytes: 5,
                second: 6,
                list: 7,
            },
        },
        Control::Synced { round, hash: 5 },
        Control::Go { round },
        Control::Durable {
            round,
            index: 1,
            prefix: Prefix { length: 2, hash: 3 },
        },
        Control::Alive { round },
        Control::Strike {
            round,
            session: (*b"#=a#host").into(),
        },
        Control::Rejoin { view: round.view },
        Control::Fetch {
            id: 1,
            position: 2,
            hash: Some(3),
        },
        Control::Fetch {
            id: 1,
            position: 2,
            hash: None,
        },
        Control::Chunk {
            id: 1,
            offset: 2,
            commit: 3,
            data: Bytes::from_static(b"data"),
        },
        Control::More { id: 1, offset: 7 },
        Control::End { id: 1, position: 4 },
        Control::Gone {
            id: 1,
            prefix: Prefix { length: 4, hash: 5 },
        },
        Control::Tick {
            round,
            second: 1_700_000_000,
            marks: vec![("b".to_owned(), 5), ("c".to_owned(), 6)],
        },
        Control::Forget {
            name: "b".to_owned(),
        },
        Control::Mismatch { id: 1 },
        Control::Gap {
            stream,
            start: 1,
            end: 2,
            lines: 3,
        },
    ]
}

#[test]
fn every_record_comes_back() {
    for record in every_kind() {
        assert_eq!(Control::decode(&record.encode()), Some(record));
    }
}

#[test]
fn nonsense_is_no_record_or_reads_as_written() {
    assert_eq!(Control::decode(&Bytes::new()), None);
    for record in every_kind() {
        let bytes = record.encode();
        for length in 0..bytes.len() {
            if let Some(other) = Control::decode(&bytes.slice(..length)) {
                assert_eq!(other.encode(), bytes.slice(..length));
            }
        }
        for index in 0..bytes.len() {
            for value in [0, 1, 0x7f, 0xff] {
                let mut changed = bytes.to_vec();
                changed[index] = value;
                if let Some(other) = Control::decode(&changed.clone().into()) {
                    assert_eq!(other.encode(), changed);
                }
            }
        }
    }
    let long = [&[VERSION, 2][..], &vec![0; 24 * (ACKS_MAX + 1)]].concat();
    assert_eq!(Control::decode(&long.into()), None);
}
