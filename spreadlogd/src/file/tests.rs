//! Files that are moved, missing, locked, full, and left by a crash.

use super::*;

struct Scratch(PathBuf);

impl Scratch {
    fn new(name: &str) -> Scratch {
        let path = std::env::temp_dir().join(format!("spreadlogd-{name}-{}", std::process::id()));
        fs::create_dir_all(&path).unwrap();
        Scratch(path)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        fs::remove_dir_all(&self.0).unwrap();
    }
}

#[test]
fn lines_are_appended_and_the_file_can_be_moved_away() {
    let scratch = Scratch::new("append");
    let path = scratch.0.join("log");
    fs::write(&path, "old\n").unwrap();
    let now = Instant::now();
    let mut file = LogFile::new(&path, false, now);
    file.append(b"one\ntwo\n", now);
    assert_eq!(file.write(now), 8);
    assert_eq!(fs::read(&path).unwrap(), b"old\none\ntwo\n");
    fs::rename(&path, scratch.0.join("log.1")).unwrap();
    file.close();
    file.append(b"three\n", now);
    file.write(now);
    assert_eq!(fs::read(&path).unwrap(), b"three\n");
}

#[test]
fn what_cannot_be_written_waits() {
    let scratch = Scratch::new("retry");
    let path = scratch.0.join("missing/log");
    let start = Instant::now();
    let mut file = LogFile::new(&path, false, start);
    file.append(b"one\n", start);
    assert_eq!((file.write(start), file.queued_bytes()), (0, 4));
    fs::create_dir(scratch.0.join("missing")).unwrap();
    assert_eq!(file.write(start), 0, "a failure is not retried at once");
    assert_eq!(file.retry_at(), Some(start + RETRY_DELAY));
    assert_eq!(file.write(start + RETRY_DELAY), 4);
    assert_eq!(file.retry_at(), None);
    assert_eq!(fs::read(&path).unwrap(), b"one\n");
}

#[test]
fn what_a_crash_has_left_is_passed_over_or_cut_off() {
    let scratch = Scratch::new("ahead");
    let path = scratch.0.join("log");
    let now = Instant::now();
    for (there, expected) in [
        ("old\n", "old\none\ntwo\n"),
        ("old\none\ntw", "old\none\ntwo\n"),
        ("old\none\ntwo\n", "old\none\ntwo\n"),
        ("old\none\ntwo\nthree\nfo", "old\none\ntwo\nthree\nfo"),
        ("old\none\nxx", "old\none\ntwo\n"),
    ] {
        fs::write(&path, "old\n").unwrap();
        let span = Span::new(&fs::metadata(&path).unwrap());
        fs::write(&path, there).unwrap();
        let mut file = LogFile::new_ahead(&path, span, now);
        for line in ["one\n", "two\n"] {
            file.append(line.as_bytes(), now);
            assert!(!file.needs_span());
            assert_eq!(file.write(now), 4);
            file.close();
        }
        assert_eq!(fs::read_to_string(&path).unwrap(), expected, "{there:?}");
        let span = file.change().unwrap();
        assert_eq!(file.change(), Some(span.clone()), "until it is noted");
        file.set_noted();
        assert_eq!(file.change(), None);
        assert_eq!((span.base, span.end(), span.lines), (4, 12, 2));
    }
}

#[test]
fn directories_are_made_where_names_vary() {
    let scratch = Scratch::new("dirs");
    let path = scratch.0.join("2000/10/log");
    let now = Instant::now();
    let mut file = LogFile::new(&path, true, now);
    file.append(b"one\n", now);
    assert_eq!(file.write(now), 4);
    assert_eq!(fs::read(&path).unwrap(), b"one\n");
}

#[test]
fn a_file_has_one_writer() {
    let scratch = Scratch::new("lock");
    let path = scratch.0.join("log");
    let now = Instant::now();
    let (mut first, mut second) = (
        LogFile::new(&path, false, now),
        LogFile::new(&path, false, now),
    );
    first.open().unwrap();
    assert_eq!(
        second.open().unwrap_err().kind(),
        io::ErrorKind::ResourceBusy
    );
    first.close();
    second.open().unwrap();
}

#[test]
fn half_a_line_is_taken_back_from_the_file() {
    let scratch = Scratch::new("half");
    let path = scratch.0.join("log");
    let now = Instant::now();
    let mut file = LogFile::new(&path, false, now);
    file.append(b"one\ntwo\n", now);
    file.open().unwrap();
    // What a full disk does: it takes a part, then refuses.
    file.file.as_mut().unwrap().write_all(b"one\ntw").unwrap();
    file.queue.consume(6);
    file.take_back_half_line();
    assert_eq!(fs::read(&path).unwrap(), b"one\n");
    file.write(now);
    assert_eq!(fs::read(&path).unwrap(), b"one\ntwo\n");
}
