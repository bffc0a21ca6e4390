//! What a journal says, at work and after a crash.

use super::*;

const STREAM: StreamId = StreamId([7; 16]);

fn batch(offset: u64, text: &'static [u8]) -> Record {
    Record::Batch {
        stream: STREAM,
        offset,
        data: Bytes::from_static(text),
    }
}

fn every_kind() -> Vec<Record> {
    vec![
        batch(0, b"one\ntwo\n"),
        Record::Plain {
            data: Bytes::from_static(b"\0\xff\r\n"),
        },
        Record::Promise(3),
        Record::Term(3),
        Record::Time(1_700_000_000),
        batch(8, b"three\n"),
        Record::Gap {
            stream: STREAM,
            start: 14,
            end: 20,
            lines: 2,
        },
        Record::Forget("c".to_owned()),
        Record::Missed(5),
        Record::Commit(2),
        Record::Truncate(3),
        Record::HeadEnd,
        Record::Complete,
        Record::Mark {
            peer: "b".to_owned(),
            prefix: Prefix { length: 9, hash: 8 },
        },
        Record::Known {
            stream: STREAM,
            ranges: vec![(0, 8)],
        },
        Record::Forgotten("d".to_owned()),
        Record::Heard("d".to_owned()),
        batch(8, b"three\nfour\n"),
    ]
}

fn summary(journal: &Journal) -> impl PartialEq + std::fmt::Debug + use<> {
    (
        (journal.length(), journal.hash(), journal.commit()),
        (journal.promise(), journal.last_term(), journal.mark("b")),
        (journal.missing(STREAM, 0, 99), journal.file_bytes()),
        (journal.time(), journal.gap_bytes(), journal.entry_bytes()),
        (journal.is_forgotten("c"), journal.is_forgotten("d")),
        (journal.points.clone(), journal.segments.clone()),
    )
}

#[test]
fn a_replay_says_the_same_and_stops_at_a_torn_record() {
    let mut journal = Journal::new(true);
    let mut file = Vec::new();
    let mut summaries = vec![(0, summary(&journal))];
    for record in every_kind() {
        file.extend(journal.append(&record));
        summaries.push((file.len(), summary(&journal)));
    }
    for length in 0..=file.len() {
        let mut replayed = Journal::new(true);
        let taken = replayed.replay(&Bytes::copy_from_slice(&file[..length]));
        let expected = summaries.iter().rfind(|(end, _)| *end <= length).unwrap();
        assert_eq!((taken, summary(&replayed)), *expected);
    }
    for at in 0..file.len() {
        let mut torn = file.clone();
        torn[at] ^= 0x10;
        let expected = summaries.iter().rfind(|(end, _)| *end <= at).unwrap();
        assert_eq!(
            Journal::new(true).replay(&torn.into()),
            expected.0,
            "byte {at}"
        );
    }
}

#[test]
fn who_was_given_up_is_known_when_the_segment_that_says_so_is_gone() {
    let mut journal = Journal::new(false);
    let mut file = Vec::new();
    file.extend(journal.append(&Record::Forget("c".to_owned())));
    while !journal.wants_segment() {
        file.extend(journal.append(&Record::Plain {
            data: vec![b'x'; 500].into(),
        }));
    }
    for record in journal.segment_head() {
        file.extend(journal.append(&record));
    }
    let begin = journal.remove_before(journal.length(), u64::MAX);
    assert!(begin > 0, "the first segment is not needed");
    let replay = |file: &[u8]| {
        let mut journal = Journal::new(false);
        journal.begin_at(begin);
        journal.replay(&Bytes::copy_from_slice(&file[begin as usize..]));
        journal.is_forgotten("c")
    };
    assert!(replay(&file));
    file.extend(journal.append(&Record::Heard("c".to_owned())));
    assert!(!replay(&file), "it has come back");
}

#[test]
fn what_is_taken_back_is_as_if_it_had_not_been() {
    let mut journal = Journal::new(true);
    let records = every_kind();
    for record in &records[..9] {
        journal.append(record);
    }
    assert_eq!((journal.length(), journal.gap_bytes()), (8, 6));
    assert!(journal.is_forgotten("c"));
    journal.append(&Record::Commit(2));
    journal.append(&Record::Truncate(0));
    // The commit point is where taking back ends.
    assert_eq!((journal.length(), journal.last_term()), (2, 0));
    assert_eq!((journal.promise(), journal.time()), (3, 0));
    assert_eq!((journal.gap_bytes(), journal.is_forgotten("c")), (0, false));
    for record in [Record::Forget("c".to_owned()), Record::Commit(3)] {
        journal.append(&record);
    }
    journal.append(&Record::Heard("c".to_owned()));
    assert!(!journal.is_forgotten("c"));
    journal.append(&Record::Truncate(3));
    assert!(journal.is_forgotten("c"));
    assert_eq!(journal.missing(STREAM, 0, 25), [(8, 25)]);
    let mut other = Journal::new(true);
    for record in [&records[0], &records[1], &records[7]] {
        other.append(record);
    }
    assert_eq!(
        (journal.hash(), journal.entry_bytes()),
        (other.hash(), other.entry_bytes())
    );
}

#[test]
fn bytes_of_another_place_are_no_record() {
    let mut bytes = Vec::new();
    batch(0, b"line\n").encode(100, &mut bytes);
    let mut long = bytes.clone();
    long[..4].fill(0xff);
    assert_eq!(Record::parse(&long.into(), 100), Parsed::Damaged);
    let bytes = bytes.into();
    assert!(matches!(Record::parse(&bytes, 100), Parsed::Record(..)));
    assert_eq!(Record::parse(&bytes, 99), Parsed::Damaged);
    for kind in 0..=255 {
        for length in 0..70 {
            let body = [vec![kind], vec![0xff; length]].concat();
            if let Some(record) = Record::from_body(body.clone().into()) {
                assert_eq!(record.to_body(), body);
            }
        }
    }
}

#[test]
fn a_segment_of_whose_head_a_crash_has_left_a_part_is_no_place_to_begin() {
    let mut journal = Journal::new(true);
    let mut file = Vec::new();
    for record in every_kind() {
        file.extend(journal.append(&record));
    }
    while !journal.wants_segment() {
        file.extend(journal.append(&batch(8, &[b'x'; 1000])));
    }
    file.extend(journal.append(&Record::Commit(journal.length())));
    let head: Vec<Record> = journal.segment_head();
    let begin = file.len() as u64;
    for count in 0..=head.len() {
        let mut replayed = Journal::new(true);
        replayed.replay(&Bytes::copy_from_slice(&file));
        let whole = count == head.len();
        assert_eq!(replayed.wants_segment(), !whole, "{count} records");
        let length = replayed.length();
        assert_eq!(replayed.remove_before(length, u64::MAX) == begin, whole);
        if let Some(record) = head.get(count) {
            file.extend(journal.append(record));
        }
    }
}

fn append(journal: &mut Journal, file: &mut Vec<u8>, records: &[Record]) {
    for record in records {
        file.extend(journal.append(record));
    }
}

#[test]
fn an_empty_journal_begins_with_a_head_that_is_whole_or_not_at_all() {
    let mut peer = Journal::new(true);
    for record in every_kind() {
        peer.append(&record);
    }
    peer.append(&Record::Commit(peer.length()));
    let head = peer.segment_head();
    let known = |journal: &Journal| {
        (
            (journal.whole(), journal.commit(), journal.time()),
            (journal.last_term(), journal.gap_bytes()),
            (journal.is_forgotten("c"), journal.missing(STREAM, 0, 99)),
        )
    };
    for count in 0..head.len() {
        let mut file = Vec::new();
        let mut journal = Journal::new(true);
        append(&mut journal, &mut file, &head[..count]);
        let mut replayed = Journal::new(true);
        assert_eq!(
            replayed.replay(&Bytes::copy_from_slice(&file)),
            file.len(),
            "{count} records"
        );
        for mut journal in [journal, replayed] {
            let mut file = file.clone();
            assert_eq!(
                known(&journal),
                known(&Journal::new(true)),
                "{count} records"
            );
            append(&mut journal, &mut file, &head);
            assert_eq!(known(&journal), known(&peer));
            assert_eq!(journal.first_position(), peer.length());
            append(&mut journal, &mut file, &[batch(99, b"next\n")]);
            let mut again = Journal::new(true);
            again.replay(&file.into());
            assert_eq!(known(&again), known(&journal));
        }
    }
    // All entries came after all: what was said of them does not count.
    let mut journal = Journal::new(true);
    for record in head[..head.len() - 1].iter().chain([&batch(0, b"one\n")]) {
        journal.append(record);
    }
    journal.append(&Record::HeadEnd);
    assert_eq!((journal.length(), journal.is_forgotten("c")), (1, false));
    assert_eq!(journal.missing(STREAM, 0, 99), [(4, 99)]);
}

/// A peer's head that stands for `count` lines.
fn head_of(count: u64) -> Vec<Record> {
    let mut peer = Journal::new(true);
    for number in 0..count {
        peer.append(&batch(4 * number, b"one\n"));
    }
    peer.append(&Record::Commit(count));
    let head = peer.segment_head();
    let told = |record: &Record| !matches!(record, Record::Promise(_) | Record::Complete);
    head.into_iter().filter(told).collect()
}

#[test]
fn a_draft_begins_anew_with_each_head_that_stands_for_more_until_it_is_complete() {
    let mut journal = Journal::new(true);
    let mut file = Vec::new();
    append(&mut journal, &mut file, &[Record::Promise(7)]);
    append(&mut journal, &mut file, &head_of(5));
    // Provisional entries go with what was before them.
    append(&mut journal, &mut file, &[batch(20, b"two\n")]);
    let torn = head_of(9);
    append(&mut journal, &mut file, &torn[..torn.len() - 1]);
    assert_eq!((journal.length(), journal.commit()), (6, 5));
    append(&mut journal, &mut file, &torn);

    // What was given up stays in the file until a segment of its own follows, and is on disk.
    assert_eq!(journal.remove_before(9, u64::MAX), 0);
    let mut later = Journal::new(true);
    later.replay(&Bytes::copy_from_slice(&file));
    let begin = later.file_bytes();
    for record in later.segment_head() {
        later.append(&record);
    }
    assert_eq!(later.remove_before(9, begin), 0);
    assert_eq!(later.remove_before(9, begin + 1), begin);

    // A head that does not stand for more is none to begin with.
    append(&mut journal, &mut file, &head_of(9));
    append(&mut journal, &mut file, &head_of(3));
    assert_eq!((journal.length(), journal.commit()), (9, 9));
    assert_eq!(journal.missing(STREAM, 0, 50), [(36, 50)]);
    assert_eq!((journal.first_position(), journal.promise()), (9, 7));
    assert!(journal.is_draft());

    append(&mut journal, &mut file, &[Record::Complete]);
    append(&mut journal, &mut file, &head_of(12));
    append(&mut journal, &mut file, &[batch(36, b"two\n")]);
    assert_eq!((journal.length(), journal.first_position()), (10, 9));
    let mut again = Journal::new(true);
    again.replay(&file.into());
    assert_eq!(summary(&again), summary(&journal));
    assert!(!again.is_draft());

    // The segments behind it say so, too: what was before may be removed.
    let mut file = Vec::new();
    let head = journal.segment_head();
    let mut later = Journal::new(true);
    append(&mut later, &mut file, &head);
    assert!(!later.is_draft());
    assert!(!Journal::new(false).is_draft());
}

/// The entries of a journal from a position on, read from its file as it is.
fn read(journal: &Journal, file: &[u8], mut position: u64) -> Vec<Record> {
    let mut records = Vec::new();
    while position < journal.length() {
        let mut reader = reader::StretchReader::new(journal.stretch(position).unwrap());
        while let Some((at, length)) = reader.wants() {
            let bytes = &file[at as usize..];
            let take = |rest: &Stretch, record: Record| {
                if record.is_entry() && rest.position == position {
                    records.push(record);
                    position += 1;
                }
            };
            let bytes = Bytes::copy_from_slice(&bytes[..length.min(bytes.len())]);
            reader.feed_records(&bytes, take).unwrap();
        }
    }
    records
}

/// Random appending and taking back, against a list of entries.
#[test]
fn entries_are_found_where_they_are_in_force() {
    let mut state = 5_u64;
    let mut random = |bound: u64| {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        (state >> 33) % bound
    };
    let mut journal = Journal::new(true);
    let (mut file, mut model, mut removed) = (Vec::new(), Vec::new(), 0);
    let mut offset = 0;
    for step in 0..4000 {
        let record = match random(40) {
            0 => Record::Truncate(random(journal.length() + 1)),
            1..10 => Record::Commit(random(journal.length() + 1)),
            _ => {
                offset += 1000;
                let data = vec![b'x'; random(200) as usize];
                Record::Batch {
                    stream: STREAM,
                    offset,
                    data: data.into(),
                }
            }
        };
        if record.is_entry() && journal.wants_segment() {
            for record in journal.segment_head() {
                file.extend(journal.append(&record));
            }
        }
        file.extend(journal.append(&record));
        match record {
            Record::Truncate(_) => model.truncate(journal.length() as usize),
            record if record.is_entry() => model.push(record),
            _ => {}
        }
        if step % 97 == 0 {
            let begin = journal.remove_before(random(journal.length() + 1), u64::MAX);
            let mut replayed = Journal::new(true);
            replayed.begin_at(begin);
            replayed.replay(&Bytes::copy_from_slice(&file[begin as usize..]));
            removed = removed.max(journal.first_position());
            let first = journal.first_position();
            let from = first + random(journal.length() - first + 1);
            for journal in [&journal, &replayed] {
                assert_eq!(read(journal, &file, from), model[from as usize..]);
                assert_eq!(
                    journal.missing(STREAM, 0, 1 << 30),
                    replayed.missing(STREAM, 0, 1 << 30)
                );
            }
            let here = |journal: &Journal| (journal.length(), journal.hash(), journal.file_bytes());
            assert_eq!(here(&replayed), here(&journal));
            assert!(journal.commit() <= replayed.commit());
            assert!(journal.stretch(journal.length() + 1).is_none());
            assert_eq!(first > 0, journal.stretch(0).is_none());
        }
    }
    assert!(removed > 100, "{removed} removed");
}
