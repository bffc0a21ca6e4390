//! What an empty journal is given where a head stands for what was removed.

use std::time::Duration;

use bytes::{Buf as _, Bytes};

use super::super::tests::{OTHER, SELF, join, logger};
use super::*;
use crate::stream::StreamId;
use crate::stream::journal::Journal;

const STREAM: StreamId = StreamId([7; 16]);

/// The file of a journal that began with a head, and these records after it; and where it begins.
fn file_behind_head(records: &[Record]) -> (u64, Vec<u8>) {
    let mut journal = Journal::new(true);
    let mut file = Vec::new();
    let mut append = |journal: &mut Journal, record: &Record| file.extend(journal.append(record));
    while !journal.wants_segment() {
        let offset = 500 * journal.length();
        let data = vec![b'x'; 500].into();
        let (stream, offset) = (STREAM, offset);
        let batch = Record::Batch {
            stream,
            offset,
            data,
        };
        append(&mut journal, &batch);
    }
    let commit = Record::Commit(journal.length());
    append(&mut journal, &commit);
    for record in journal.segment_head().iter().chain(records) {
        append(&mut journal, record);
    }
    (journal.remove_before(u64::MAX, u64::MAX), file)
}

/// What a peer with an empty journal is given of this file, whose journal begins there.
fn answer(begin: u64, file: &[u8]) -> (u64, Vec<Record>) {
    let mut logger = logger(Quorum::Majority);
    logger.begin_at(begin);
    logger.replay(&Bytes::copy_from_slice(&file[begin as usize..]));
    join(&mut logger, &[SELF, OTHER]);
    let (id, position) = (1, FROM_BASE);
    let hash = None;
    let fetch = Control::Fetch { id, position, hash };
    logger.handle_private(Duration::ZERO, OTHER, &fetch.encode());
    let (mut bytes, mut ended) = (Vec::new(), false);
    while let Some(action) = logger.poll_action() {
        match action {
            LoggerAction::Read { to, at, length } => {
                let read = &file[at as usize..];
                let read = Bytes::copy_from_slice(&read[..length.min(read.len())]);
                logger.handle_read(&to, at, &read);
            }
            LoggerAction::Send { data, .. } => match Control::decode(&data) {
                Some(Control::Chunk { data, .. }) => bytes.extend_from_slice(&data),
                Some(Control::End { .. }) => ended = true,
                other => panic!("{other:?}"),
            },
            _ => {}
        }
    }
    assert!(ended);
    let mut bytes = Bytes::from(bytes);
    let mut records = Vec::new();
    while !bytes.is_empty() {
        let length = bytes.get_u32() as usize;
        records.extend(Record::from_body(bytes.split_to(length)));
    }
    (logger.first_position(), records)
}

#[test]
fn a_head_is_given_whatever_was_taken_back_behind_it() {
    let position = {
        let (begin, file) = file_behind_head(&[]);
        assert!(begin > 0);
        answer(begin, &file).0
    };
    let back = Record::Truncate(position);
    for (behind, entries) in [
        (vec![], vec![]),
        (vec![Record::Term(8)], vec![Record::Term(8)]),
        (vec![Record::Term(8), back.clone()], vec![]),
        (
            vec![Record::Term(8), back, Record::Term(9)],
            vec![Record::Term(9)],
        ),
    ] {
        let (begin, file) = file_behind_head(&behind);
        let (_, given) = answer(begin, &file);
        let Some((head, rest)) = given.split_at_checked(3) else {
            panic!("{given:?}")
        };
        assert!(matches!(&head[0], Record::Base(base) if base.position == position));
        let end = 500 * position;
        let known = Record::Known {
            stream: STREAM,
            ranges: vec![(0, end)],
        };
        assert_eq!(head[1..], [known, Record::HeadEnd], "behind it {behind:?}");
        assert_eq!(rest, entries, "behind it {behind:?}");
    }
}
