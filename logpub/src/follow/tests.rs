//! A file that grows and moves, and a clock that only moves when told.

use std::fs::OpenOptions;
use std::io::Write as _;

use super::*;

/// A directory of its own, and a clock that only moves when told.
struct Scene {
    directory: PathBuf,
    now: Instant,
}

impl Scene {
    fn new(name: &str) -> Scene {
        let directory = std::env::temp_dir().join(format!("logpub-{name}-{}", std::process::id()));
        fs::create_dir_all(&directory).unwrap();
        Scene {
            directory,
            now: Instant::now(),
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.join(name)
    }

    fn append(&self, name: &str, text: &str) {
        let mut file = OpenOptions::new()
            .append(true)
            .create(true)
            .open(self.path(name))
            .unwrap();
        file.write_all(text.as_bytes()).unwrap();
    }

    fn follow(&self) -> Follow {
        Follow::new(&self.path("log"), &self.path("log.logpub"), self.now).unwrap()
    }

    /// Reads until nothing comes at this time; `|` stands for a break.
    fn read(&self, follow: &mut Follow) -> String {
        let mut text = String::new();
        let mut buffer = [0; 3];
        loop {
            match follow.read(&mut buffer, self.now).unwrap() {
                Input::Bytes(count) => {
                    text.push_str(std::str::from_utf8(&buffer[..count]).unwrap())
                }
                Input::Break => text.push('|'),
                Input::Nothing => return text,
                Input::End => panic!("a followed file has no end"),
            }
        }
    }

    /// A file was written to last so many seconds ago.
    fn age(&self, name: &str, seconds: u64) {
        let file = OpenOptions::new()
            .append(true)
            .open(self.path(name))
            .unwrap();
        let then = std::time::SystemTime::now() - Duration::from_secs(seconds);
        file.set_modified(then).unwrap();
    }

    fn pass(&mut self, time: Duration) {
        self.now += time;
    }
}

impl Drop for Scene {
    fn drop(&mut self) {
        fs::remove_dir_all(&self.directory).unwrap();
    }
}

#[test]
fn a_file_may_appear_and_grow() {
    let mut scene = Scene::new("grow");
    let mut follow = scene.follow();
    assert_eq!(scene.read(&mut follow), "");
    scene.append("log", "one\n");
    scene.pass(CHECK_INTERVAL);
    assert_eq!(scene.read(&mut follow), "");
    assert_eq!(scene.read(&mut follow), "one\n");
    scene.append("log", "two\n");
    assert_eq!(scene.read(&mut follow), "two\n");
}

#[test]
fn a_moved_file_is_read_until_it_is_quiet() {
    let mut scene = Scene::new("move");
    scene.append("log", "one\n");
    let mut follow = scene.follow();
    assert_eq!(scene.read(&mut follow), "one\n");
    fs::rename(scene.path("log"), scene.path("log.1")).unwrap();
    scene.append("log", "three\n");
    scene.pass(CHECK_INTERVAL);
    assert_eq!(scene.read(&mut follow), "");
    scene.pass(MOVED_QUIET / 2);
    scene.append("log.1", "two\n");
    assert_eq!(scene.read(&mut follow), "two\n");
    scene.pass(MOVED_QUIET / 2);
    assert_eq!(scene.read(&mut follow), "");
    scene.pass(MOVED_QUIET);
    assert_eq!(scene.read(&mut follow), "|three\n");
}

#[test]
fn a_truncated_file_is_read_from_its_beginning() {
    let mut scene = Scene::new("truncate");
    scene.append("log", "one\ntwo\n");
    let mut follow = scene.follow();
    assert_eq!(scene.read(&mut follow), "one\ntwo\n");
    fs::write(scene.path("log"), "new\n").unwrap();
    scene.pass(CHECK_INTERVAL);
    assert_eq!(scene.read(&mut follow), "|new\n");
}

#[test]
fn a_restart_goes_on_from_what_was_confirmed() {
    let scene = Scene::new("restart");
    scene.append("log", "one\ntwo\n");
    let mut follow = scene.follow();
    assert_eq!(scene.read(&mut follow), "one\ntwo\n");
    follow.confirm(4, scene.now);
    assert_eq!(scene.read(&mut scene.follow()), "two\n");
}

#[test]
fn a_restart_finds_a_file_that_was_moved() {
    let mut scene = Scene::new("moved");
    scene.append("log", "one\ntwo\n");
    let mut follow = scene.follow();
    scene.read(&mut follow);
    follow.confirm(4, scene.now);
    fs::rename(scene.path("log"), scene.path("log.1")).unwrap();
    scene.append("log", "three\n");
    let mut follow = scene.follow();
    assert_eq!(scene.read(&mut follow), "two\n");
    scene.pass(MOVED_QUIET);
    assert_eq!(scene.read(&mut follow), "|three\n");
    // The position stays in the old file until all of it is confirmed.
    follow.confirm(3, scene.now);
    assert_eq!(scene.read(&mut scene.follow()), "\n");
    scene.pass(SAVE_INTERVAL);
    follow.confirm(1, scene.now);
    assert_eq!(scene.read(&mut scene.follow()), "three\n");
}
#[test]
fn no_file_is_skipped_when_rotations_follow_closely() {
    for restarts in [false, true] {
        let mut scene = Scene::new(if restarts { "twice-down" } else { "twice" });
        scene.append("log", "one\n");
        let mut follow = scene.follow();
        assert_eq!(scene.read(&mut follow), "one\n");
        scene.pass(SAVE_INTERVAL);
        follow.confirm(4, scene.now);
        for (number, text) in [(2, "two\n"), (3, "three\n"), (4, "four\n")] {
            fs::rename(scene.path("log"), scene.path(&format!("log.{number}"))).unwrap();
            scene.append("log", text);
            scene.age(&format!("log.{number}"), 60 - 10 * number);
        }
        fs::write(scene.path("log.0.gz"), "packed").unwrap();
        if restarts {
            follow = scene.follow();
        }
        let mut text = String::new();
        for _ in 0..8 {
            scene.pass(MOVED_QUIET);
            text.push_str(&scene.read(&mut follow));
        }
        assert_eq!(text, "|two\n|three\n|four\n");
    }
}

#[test]
fn a_lost_position_begins_with_what_was_written_since() {
    let mut scene = Scene::new("lost");
    scene.append("log", "one\n");
    let mut follow = scene.follow();
    assert_eq!(scene.read(&mut follow), "one\n");
    follow.confirm(4, scene.now);
    drop(follow);
    scene.append("log.9", "long ago\n");
    scene.age("log.9", 1000);
    fs::rename(scene.path("log"), scene.path("gone")).unwrap();
    scene.age("log.logpub", 30);
    scene.append("log.1", "two\n");
    scene.age("log.1", 20);
    scene.append("log", "three\n");
    let mut follow = scene.follow();
    let mut text = scene.read(&mut follow);
    for _ in 0..3 {
        scene.pass(MOVED_QUIET);
        text.push_str(&scene.read(&mut follow));
    }
    assert_eq!(text, "two\n|three\n");
}

#[test]
fn a_new_file_that_cannot_be_opened_yet_is_waited_for() {
    let mut scene = Scene::new("refused");
    scene.append("log", "one\n");
    let mut follow = scene.follow();
    assert_eq!(scene.read(&mut follow), "one\n");
    fs::rename(scene.path("log"), scene.path("log.1")).unwrap();
    // What cannot be opened even by root: a link in a circle.
    std::os::unix::fs::symlink("log", scene.path("log")).unwrap();
    for _ in 0..3 {
        scene.pass(MOVED_QUIET);
        assert_eq!(scene.read(&mut follow), "");
    }
    fs::remove_file(scene.path("log")).unwrap();
    scene.append("log", "two\n");
    scene.pass(MOVED_QUIET);
    let mut text = scene.read(&mut follow);
    scene.pass(MOVED_QUIET);
    text.push_str(&scene.read(&mut follow));
    assert_eq!(text, "|two\n");
}
