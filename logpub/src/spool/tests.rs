//! A spool as several processes use it; the locks of two files opened here are as those of two
//! processes.

use std::io::Write as _;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::SystemTime;

use weblog::stream::{Gap, LINE_BREAK_BYTES};

use super::segments::SEGMENT_BYTES;
use super::*;

/// A directory of its own.
struct Scene {
    spool: Spool,
}

impl Scene {
    fn new() -> Scene {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("logpub-spool-{}-{number}", std::process::id());
        let spool = Spool::new(&std::env::temp_dir().join(name), group("www"));
        Scene {
            spool: spool.unwrap(),
        }
    }

    fn origin(&self, input: &str) -> Origin {
        Origin {
            boot: self.spool.boot.clone(),
            input: input.to_owned(),
        }
    }

    fn writer(&self, input: &str) -> (Identity, LaneWriter) {
        self.spool.writer(&self.origin(input)).unwrap()
    }

    fn reader(&self, identity: &Identity) -> LaneReader {
        self.spool.reader(identity).unwrap().unwrap()
    }

    fn segments(&self, identity: &Identity) -> usize {
        let directory = fs::read_dir(self.spool.path_of(identity)).unwrap();
        let names = directory.map(|entry| entry.unwrap().file_name());
        names
            .filter(|name| name.to_string_lossy().starts_with("spool."))
            .count()
    }
}

impl Drop for Scene {
    fn drop(&mut self) {
        fs::remove_dir_all(&self.spool.directory).unwrap();
    }
}

fn group(name: &str) -> GroupName {
    name.parse().unwrap()
}

fn append(writer: &mut LaneWriter, mut bytes: &[u8]) {
    while !bytes.is_empty() {
        let count = writer.append(bytes).unwrap();
        bytes = &bytes[count..];
    }
}

fn read(reader: &mut LaneReader, from: u64, to: u64) -> Vec<u8> {
    let mut bytes = vec![0; (to - from) as usize];
    reader.read(from, &mut bytes).unwrap();
    bytes
}

/// Lets go of a lane as a kill does.
fn kill<T>(lane: T) {
    drop(lane);
}

#[test]
fn a_line_goes_on_where_a_kill_has_cut_it() {
    let scene = Scene::new();
    let (identity, mut writer) = scene.writer("1:1");
    append(&mut writer, b"one\ntw");
    kill(writer);
    // Another pipe has a lane of its own.
    let (other, _) = scene.writer("1:2");
    assert_ne!(other.stream, identity.stream);
    let (again, mut writer) = scene.writer("1:1");
    assert_eq!(again, identity);
    assert_eq!((writer.publishable(), writer.end()), (4, 6));
    append(&mut writer, b"o\nth");
    let mut reader = scene.reader(&identity);
    let contents = reader.contents().unwrap();
    assert_eq!((contents.whole, contents.end), (8, 10));
    assert_eq!(read(&mut reader, 0, 8), b"one\ntwo\n");
}

#[test]
fn whoever_settles_a_lane_does_not_part_its_lines() {
    let scene = Scene::new();
    let (identity, mut writer) = scene.writer("1:1");
    append(&mut writer, b"half");
    kill(writer);
    for _ in 0..20 {
        let path = scene.spool.path_of(&identity).join(LANE);
        let settling = lock(File::open(&path).unwrap(), &path).unwrap().unwrap();
        thread::scope(|scope| {
            let again = scope.spawn(|| scene.writer("1:1").0);
            thread::yield_now();
            drop(settling);
            assert_eq!(again.join().unwrap(), identity);
        });
    }
}

#[test]
fn bytes_come_from_a_pipe() {
    let scene = Scene::new();
    let (identity, mut writer) = scene.writer("1:1");
    let (pipe, mut input) = io::pipe().unwrap();
    let text = b"line of a log\n".repeat(1000);
    input.write_all(&text).unwrap();
    input.write_all(b"rest").unwrap();
    drop(input);
    let mut count = 0;
    while let taken @ 1.. = writer.splice(&pipe, 5000).unwrap() {
        assert!(taken <= 5000);
        count += taken;
    }
    assert_eq!(count, text.len() + 4);
    assert_eq!(writer.publishable(), text.len() as u64);
    let mut reader = scene.reader(&identity);
    assert_eq!(read(&mut reader, 0, text.len() as u64), text);
    writer.end_line().unwrap();
    assert_eq!(writer.publishable(), text.len() as u64 + 5);
}

#[test]
fn a_lane_has_one_writer_and_one_publisher() {
    let scene = Scene::new();
    let (identity, mut writer) = scene.writer("1:1");
    append(&mut writer, b"one\n");
    assert_ne!(scene.writer("1:1").0, identity);
    let mut reader = scene.reader(&identity);
    assert!(scene.spool.reader(&identity).unwrap().is_none());
    // Whoever publishes for another does not take the lane away.
    reader.acknowledge(4).unwrap();
    assert_eq!(scene.spool.settle(&reader).unwrap(), Settled::Kept);
    append(&mut writer, b"two\n");
    assert_eq!(reader.contents().unwrap().whole, 8);
    kill(writer);
    let more = Settled::More { ended_line: false };
    assert_eq!(scene.spool.settle(&reader).unwrap(), more);
    reader.acknowledge(8).unwrap();
    assert_eq!(scene.spool.settle(&reader).unwrap(), Settled::Removed);
    assert!(scene.spool.reader(&identity).is_err());
}

#[test]
fn an_unfinished_line_waits_for_its_pipe_and_is_ended_later() {
    let scene = Scene::new();
    let old = Origin {
        boot: "another".to_owned(),
        input: "1:1".to_owned(),
    };
    for (origin, waits) in [(scene.origin("1:1"), true), (old, false)] {
        let (identity, mut writer) = scene.spool.writer(&origin).unwrap();
        append(&mut writer, b"unfinished");
        kill(writer);
        let mut reader = scene.reader(&identity);
        let settled = scene.spool.settle(&reader).unwrap();
        if waits {
            assert_eq!(settled, Settled::Kept);
            // However its pipe's next process is late, and whatever the clock on the wall says.
            for file in [LANE, GAPS, ACKNOWLEDGED] {
                let file = File::open(scene.spool.path_of(&identity).join(file)).unwrap();
                let then = SystemTime::now() - 60 * REST_PATIENCE;
                file.set_modified(then).unwrap();
            }
            let settled = scene.spool.settle(&reader).unwrap();
            assert_eq!(settled, Settled::Kept);
            // It comes, and is killed, too: the time begins anew.
            let idle = scene.spool.path_of(&identity).join(IDLE);
            let long = uptime().unwrap() - REST_PATIENCE.as_secs() as i64 - 1;
            fs::write(&idle, format!("{long}\n")).unwrap();
            kill(scene.writer("1:1"));
            assert!(!idle.exists());
            assert_eq!(scene.spool.settle(&reader).unwrap(), Settled::Kept);
            assert!(idle.exists());
            // A minute later it does not wait any more.
            fs::write(&idle, format!("{long}\n")).unwrap();
            let settled = scene.spool.settle(&reader).unwrap();
            assert_eq!(settled, Settled::More { ended_line: true });
        } else {
            assert_eq!(settled, Settled::More { ended_line: true });
        }
        let whole = reader.contents().unwrap().whole;
        assert_eq!(read(&mut reader, 0, whole), b"unfinished\n");
    }
}

#[test]
fn what_is_acknowledged_goes_segment_by_segment() {
    let scene = Scene::new();
    let (identity, mut writer) = scene.writer("1:1");
    let line = b"a line that is as long as any other\n";
    let mut text = line.repeat(3 * SEGMENT_BYTES as usize / line.len());
    append(&mut writer, &text);
    assert_eq!(scene.segments(&identity), 3);
    let mut reader = scene.reader(&identity);
    let whole = reader.contents().unwrap().whole;
    assert_eq!(whole, text.len() as u64);
    assert!(read(&mut reader, 0, whole) == text);
    reader.acknowledge(SEGMENT_BYTES - 1).unwrap();
    assert_eq!(scene.segments(&identity), 3);
    reader.acknowledge(SEGMENT_BYTES).unwrap();
    assert_eq!(scene.segments(&identity), 2);
    reader.acknowledge(whole).unwrap();
    assert_eq!(scene.segments(&identity), 1);
    // The reader finds what was written since.
    append(&mut writer, &text);
    let from = whole as usize;
    text.extend_from_within(..);
    let end = text.len() as u64;
    assert!(read(&mut reader, whole, end) == text[from..]);
    kill((reader, writer));
    let mut reader = scene.reader(&identity);
    let contents = reader.contents().unwrap();
    assert_eq!((contents.acknowledged, contents.whole), (whole, end));
}

#[test]
fn without_the_acknowledged_offset_everything_counts_as_new() {
    let scene = Scene::new();
    let (identity, mut writer) = scene.writer("1:1");
    let text = b"0123456789abcde\n".repeat(SEGMENT_BYTES as usize / 8);
    append(&mut writer, &text);
    let mut reader = scene.reader(&identity);
    reader.acknowledge(SEGMENT_BYTES + 16).unwrap();
    // None, or one that could not be kept any more.
    for kept in ["", "00000000000000000016\n"] {
        fs::write(scene.spool.path_of(&identity).join(ACKNOWLEDGED), kept).unwrap();
        let contents = reader.contents().unwrap();
        assert_eq!(contents.acknowledged, SEGMENT_BYTES);
        assert_eq!(contents.whole, text.len() as u64);
    }
}

#[test]
fn a_gap_keeps_its_place_over_kills() {
    let scene = Scene::new();
    let (identity, mut writer) = scene.writer("1:1");
    append(&mut writer, b"one\ntorn");
    let gap = writer.begin_gap().unwrap().unwrap();
    assert_eq!((gap.start, gap.end), (4, 8));
    writer.grow_gap(100, 3).unwrap();
    assert_eq!((writer.publishable(), writer.end()), (4, 108));
    kill(writer);
    // A gap that grows is not published: nobody knows its end.
    let mut reader = scene.reader(&identity);
    let contents = reader.contents().unwrap();
    assert_eq!((contents.whole, contents.gaps.len()), (4, 0));
    assert_eq!(scene.spool.settle(&reader).unwrap(), Settled::Kept);
    let (_, mut writer) = scene.writer("1:1");
    writer.grow_gap(50, 2).unwrap();
    let expected = Gap {
        start: 4,
        end: 158,
        lines: 5,
    };
    assert_eq!(writer.end_gap().unwrap(), Some(expected));
    append(&mut writer, b"two\n");
    assert_eq!(writer.waiting_bytes().unwrap(), 8);
    let contents = reader.contents().unwrap();
    assert_eq!((contents.gaps, contents.whole), (vec![expected], 162));
    assert_eq!(contents.damage, []);
    assert_eq!(read(&mut reader, 158, 162), b"two\n");
    kill(writer);
    let (_, writer) = scene.writer("1:1");
    assert_eq!((writer.publishable(), writer.end()), (162, 162));
    reader.acknowledge(158).unwrap();
    assert_eq!(reader.contents().unwrap().gaps, []);
}

#[test]
fn what_a_disk_has_lost_is_a_gap_of_whole_lines() {
    let scene = Scene::new();
    let (identity, mut writer) = scene.writer("1:1");
    let line = b"fifteen bytes.\n";
    append(&mut writer, &line.repeat(SEGMENT_BYTES as usize / 10));
    let first = scene
        .spool
        .path_of(&identity)
        .join(format!("spool.{:020}", 0));
    File::options()
        .write(true)
        .open(first)
        .unwrap()
        .set_len(100)
        .unwrap();
    let contents = scene.reader(&identity).contents().unwrap();
    let gap = contents.damage[0];
    assert_eq!(contents.gaps, [gap]);
    assert_eq!((gap.start, gap.lines), (90, 0));
    assert!(gap.end >= SEGMENT_BYTES && gap.end < SEGMENT_BYTES + 15 && gap.end.is_multiple_of(15));
    assert_eq!(contents.whole, writer.end());
}

#[test]
fn a_line_without_an_end_is_published_in_parts() {
    let scene = Scene::new();
    let (identity, mut writer) = scene.writer("1:1");
    append(&mut writer, b"one\n");
    append(&mut writer, &vec![b'x'; 2 * LINE_BREAK_BYTES as usize + 7]);
    assert_eq!(writer.publishable(), 4 + 2 * LINE_BREAK_BYTES);
    let contents = scene.reader(&identity).contents().unwrap();
    assert_eq!(contents.whole, writer.publishable());
    append(&mut writer, b"\n");
    assert_eq!(writer.publishable(), writer.end());
}

#[test]
fn lanes_of_other_groups_and_other_things_are_left_alone() {
    let scene = Scene::new();
    let other = Spool::new(&scene.spool.directory, group("other")).unwrap();
    let (identity, _) = other.writer(&scene.origin("1:1")).unwrap();
    let origin = scene.origin("1:1");
    assert_ne!(scene.spool.writer(&origin).unwrap().0, identity);
    assert!(scene.spool.reader(&identity).is_err());
    for name in ["lost+found", ".lane-x", ".ssh"] {
        fs::create_dir(scene.spool.directory.join(name)).unwrap();
    }
    let unfinished = scene
        .spool
        .directory
        .join(format!(".lane-{}", identity.name()));
    fs::create_dir(&unfinished).unwrap();
    Spool::new(&scene.spool.directory, group("www")).unwrap();
    assert!(!unfinished.exists());
    for name in ["lost+found", ".lane-x", ".ssh"] {
        assert!(scene.spool.directory.join(name).exists(), "{name}");
    }
    assert_eq!(scene.spool.lanes().unwrap().len(), 2);
}

#[test]
fn a_lane_that_is_being_made_is_not_taken_for_a_rest_whatever_the_clock_says() {
    let scene = Scene::new();
    let identity = Identity::new(scene.origin("1:1"), group("www")).unwrap();
    let name = format!("{UNFINISHED}{}", identity.name());
    let half = scene.spool.directory.join(name);
    let maker = scene.spool.lock_halves().unwrap();
    fs::create_dir(&half).unwrap();
    // The clock of whoever starts now is far ahead.
    let long_ago = SystemTime::now() - 60 * REST_PATIENCE;
    File::open(&half).unwrap().set_modified(long_ago).unwrap();
    Spool::new(&scene.spool.directory, group("www")).unwrap();
    assert!(half.exists(), "it was removed under its maker's hands");
    // The maker is killed.
    drop(maker);
    Spool::new(&scene.spool.directory, group("www")).unwrap();
    assert!(!half.exists());
}

/// What a lane is to hold, in the simplest way: every byte that was ever put in, with zeroes where
/// bytes were given up.
#[derive(Default)]
struct Model {
    bytes: Vec<u8>,
    gaps: Vec<Gap>,
    growing: Option<Gap>,
    acknowledged: u64,
}

impl Model {
    fn whole(&self) -> u64 {
        let gaps_end = self.gaps.last().map_or(0, |gap| gap.end);
        let limit = self
            .growing
            .map_or(self.bytes.len(), |gap| gap.start as usize);
        let newline = self.bytes[..limit].iter().rposition(|&byte| byte == b'\n');
        newline.map_or(0, |at| at as u64 + 1).max(gaps_end)
    }

    fn check(&self, contents: &Contents, reader: &mut LaneReader) {
        let open = |gap: &&Gap| gap.end > self.acknowledged && gap.end > gap.start;
        let gaps: Vec<Gap> = self.gaps.iter().filter(open).copied().collect();
        let found: Vec<Gap> = contents.gaps.iter().filter(open).copied().collect();
        assert_eq!((found, contents.whole), (gaps, self.whole()));
        assert_eq!(
            (contents.acknowledged, &contents.damage),
            (self.acknowledged, &vec![])
        );
        let mut at = self.acknowledged;
        for gap in &contents.gaps {
            assert!(
                read(reader, at, gap.start.max(at))
                    == self.bytes[at as usize..gap.start.max(at) as usize]
            );
            at = at.max(gap.end);
        }
        assert!(
            read(reader, at, contents.whole) == self.bytes[at as usize..contents.whole as usize]
        );
    }
}

#[test]
fn as_one_array_of_bytes_whoever_is_killed() {
    let mut state = 11_u64;
    let mut random = move |bound: usize| {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        (state >> 33) as usize % bound
    };
    for _ in 0..20 {
        let scene = Scene::new();
        let (identity, mut writer) = scene.writer("1:1");
        let mut reader = scene.reader(&identity);
        let mut model = Model::default();
        for _ in 0..60 {
            match random(10) {
                0..4 if model.growing.is_none() => {
                    let length = [10, 3000, 400_000][random(3)];
                    let line = |at: usize| {
                        if at % 50 == 49 {
                            b'\n'
                        } else {
                            b'a' + (at % 7) as u8
                        }
                    };
                    let bytes: Vec<u8> = (0..1 + random(length)).map(line).collect();
                    append(&mut writer, &bytes);
                    model.bytes.extend(bytes);
                }
                4 => {
                    kill(writer);
                    let (again, new) = scene.writer("1:1");
                    assert_eq!(again, identity);
                    writer = new;
                }
                5 => {
                    kill(reader);
                    reader = scene.reader(&identity);
                }
                6 if model.growing.is_none() && model.gaps.len() < 60 => {
                    let start = model.whole();
                    let gap = writer.begin_gap().unwrap().unwrap();
                    assert_eq!((gap.start, gap.end), (start, model.bytes.len() as u64));
                    model.bytes[start as usize..].fill(0);
                    model.growing = Some(gap);
                }
                7 if let Some(gap) = &mut model.growing => {
                    let bytes = random(100_000) as u64;
                    writer.grow_gap(bytes, 1).unwrap();
                    gap.end += bytes;
                    gap.lines += 1;
                    model.bytes.resize(gap.end as usize, 0);
                }
                8 if let Some(gap) = model.growing.take() => {
                    assert_eq!(writer.end_gap().unwrap(), Some(gap));
                    model.gaps.push(gap);
                }
                9 => {
                    // To the end of some line or gap.
                    let contents = reader.contents().unwrap();
                    let gap = contents.gaps.first().map(|gap| gap.end);
                    let end = [Some(contents.whole), gap][random(2)];
                    model.acknowledged = end.unwrap_or(contents.acknowledged);
                    reader.acknowledge(model.acknowledged).unwrap();
                }
                _ => {}
            }
            let contents = reader.contents().unwrap();
            model.check(&contents, &mut reader);
            assert_eq!(writer.publishable(), contents.whole);
        }
    }
}
