//! A log file that grows, is moved away, or is truncated.
//!
//! The file is looked at a few times a second. When its name belongs to another file, the old one
//! is read on until nothing has come for a while (a web server writes to it until it has been told
//! to open the new one), then the new one from its beginning.

use std::collections::VecDeque;
use std::fs::{self, File};
use std::io::{self, Read as _, Seek as _, SeekFrom};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use unixproc::log;

use crate::position::{FileId, Position};
use crate::publisher::Input;

/// How often a file at whose end we are is looked at.
const CHECK_INTERVAL: Duration = Duration::from_millis(100);

/// A file that was moved away is left when nothing has come for so long.
const MOVED_QUIET: Duration = Duration::from_secs(2);

/// The position is written at most this often.
const SAVE_INTERVAL: Duration = Duration::from_secs(1);

/// A file that is followed, and how far the bus has confirmed it.
#[derive(Debug)]
pub(crate) struct Follow {
    path: PathBuf,
    position_path: PathBuf,
    /// None until the file appears.
    file: Option<(File, FileId)>,
    /// Where the next byte of the open file is.
    offset: u64,
    /// Bytes read so far, over all files.
    read_bytes: u64,
    /// Bytes confirmed so far, over all files.
    confirmed_bytes: u64,
    /// The files that are not confirmed to their ends, the oldest first. Bound: one per rotation
    /// that the queue can hold.
    parts: VecDeque<Part>,
    /// Whether the last attempt to read found nothing.
    at_end: bool,
    check_at: Instant,
    /// Since when the name has belonged to another file, and nothing more has come.
    moved_since: Option<Instant>,
    save_at: Instant,
    saved: Option<Position>,
}

/// The part of the input that is one file.
#[derive(Debug)]
struct Part {
    file: FileId,
    /// How many bytes of the whole input come before it.
    starts_at: u64,
    /// Where in the file it begins.
    offset: u64,
}

impl Follow {
    /// Follows the file of this name, from the position that was kept, or from its beginning.
    ///
    /// # Errors
    /// The position's file makes no sense, or the file cannot be read.
    pub(crate) fn new(path: &Path, position_path: &Path, now: Instant) -> io::Result<Follow> {
        let mut follow = Follow {
            path: path.to_owned(),
            position_path: position_path.to_owned(),
            file: None,
            offset: 0,
            read_bytes: 0,
            confirmed_bytes: 0,
            parts: VecDeque::new(),
            at_end: false,
            check_at: now,
            moved_since: None,
            save_at: now,
            saved: Position::load(position_path)?,
        };
        if let Some(position) = follow.saved {
            follow.resume(position)?;
        }
        if follow.file.is_none() {
            follow.open_path()?;
        }
        Ok(follow)
    }

    /// Where the position is kept if nothing else is said.
    pub(crate) fn default_position_path(path: &Path) -> PathBuf {
        let mut name = path.as_os_str().to_owned();
        name.push(".logpub");
        PathBuf::from(name)
    }

    /// Reads what is there.
    ///
    /// # Errors
    /// The file cannot be read.
    pub(crate) fn read(&mut self, buffer: &mut [u8], now: Instant) -> io::Result<Input> {
        if let Some((file, _)) = &mut self.file {
            let count = file.read(buffer)?;
            if count > 0 {
                self.offset += count as u64;
                self.read_bytes += count as u64;
                self.moved_since = self.moved_since.map(|_| now);
                self.at_end = false;
                return Ok(Input::Bytes(count));
            }
        }
        self.at_end = true;
        if now < self.check_at {
            return Ok(Input::Nothing);
        }
        self.check_at = now + CHECK_INTERVAL;
        self.check(now)
    }

    /// At the end of the file: has it been truncated or moved away?
    fn check(&mut self, now: Instant) -> io::Result<Input> {
        let named = match fs::metadata(&self.path) {
            Ok(metadata) => metadata,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Input::Nothing),
            Err(error) => return Err(error),
        };
        let Some((file, id)) = &mut self.file else {
            self.open_path()?;
            return Ok(Input::Nothing);
        };
        if FileId::of(&named) == *id {
            self.moved_since = None;
            if named.len() >= self.offset {
                return Ok(Input::Nothing);
            }
            log::notice(
                "file-truncated",
                &[("file", &self.path.display()), ("read-bytes", &self.offset)],
            );
            file.seek(SeekFrom::Start(0))?;
            let id = *id;
            self.begin_part(id, 0);
            return Ok(Input::Break);
        }
        let since = *self.moved_since.get_or_insert(now);
        if now < since + MOVED_QUIET {
            return Ok(Input::Nothing);
        }
        log::info(
            "file-rotated",
            &[("file", &self.path.display()), ("read-bytes", &self.offset)],
        );
        self.moved_since = None;
        self.file = None;
        self.open_path()?;
        Ok(Input::Break)
    }

    /// Goes on where an earlier process stopped, if its file can still be found.
    fn resume(&mut self, position: Position) -> io::Result<()> {
        let Some(path) = find(&self.path, position.file)? else {
            log::warning(
                "position-lost",
                &[("file", &self.path.display()), ("reason", &"rotated away")],
            );
            return Ok(());
        };
        let mut file = File::open(path)?;
        let metadata = file.metadata()?;
        if FileId::of(&metadata) != position.file {
            return Ok(());
        }
        // Shorter than what was read of it: it was truncated meanwhile.
        let offset = if metadata.len() < position.offset {
            0
        } else {
            position.offset
        };
        file.seek(SeekFrom::Start(offset))?;
        self.file = Some((file, position.file));
        self.begin_part(position.file, offset);
        Ok(())
    }

    /// Opens the file that has the name now, at its beginning, if there is one.
    fn open_path(&mut self) -> io::Result<()> {
        let file = match File::open(&self.path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(error),
        };
        let id = FileId::of(&file.metadata()?);
        self.file = Some((file, id));
        self.begin_part(id, 0);
        Ok(())
    }

    fn begin_part(&mut self, file: FileId, offset: u64) {
        self.offset = offset;
        self.parts.push_back(Part {
            file,
            starts_at: self.read_bytes,
            offset,
        });
    }

    /// So many more bytes of the input are on the bus; the position is saved now and then.
    pub(crate) fn confirm(&mut self, bytes: u64, now: Instant) {
        self.confirmed_bytes += bytes;
        while self
            .parts
            .get(1)
            .is_some_and(|next| next.starts_at <= self.confirmed_bytes)
        {
            self.parts.pop_front();
        }
        if now >= self.save_at {
            self.save_at = now + SAVE_INTERVAL;
            self.save();
        }
    }

    /// Saves the position if it has changed. One that cannot be saved is logged; it would only
    /// cause lines to be sent again.
    pub(crate) fn save(&mut self) {
        let Some(part) = self.parts.front() else {
            return;
        };
        let offset = part.offset + self.confirmed_bytes.saturating_sub(part.starts_at);
        let position = Position {
            file: part.file,
            offset,
        };
        if self.saved == Some(position) {
            return;
        }
        match position.save(&self.position_path) {
            Ok(()) => self.saved = Some(position),
            Err(error) => {
                let path = self.position_path.display();
                log::warning("position-not-saved", &[("file", &path), ("error", &error)]);
            }
        }
    }

    /// When it is to be read again, as nothing tells us that it has grown; none for at once.
    pub(crate) fn check_at(&self) -> Option<Instant> {
        self.at_end.then_some(self.check_at)
    }
}

/// The name under which a file is found now: its own, or one that begins so, as rotation makes it.
fn find(path: &Path, id: FileId) -> io::Result<Option<PathBuf>> {
    if fs::metadata(path).is_ok_and(|metadata| FileId::of(&metadata) == id) {
        return Ok(Some(path.to_owned()));
    }
    let (Some(directory), Some(name)) = (path.parent(), path.file_name()) else {
        return Ok(None);
    };
    let directory = if directory.as_os_str().is_empty() {
        Path::new(".")
    } else {
        directory
    };
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        let begins = entry
            .file_name()
            .as_encoded_bytes()
            .starts_with(name.as_encoded_bytes());
        if begins
            && entry
                .metadata()
                .is_ok_and(|metadata| FileId::of(&metadata) == id)
        {
            return Ok(Some(entry.path()));
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
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
            let directory =
                std::env::temp_dir().join(format!("logpub-{name}-{}", std::process::id()));
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
}
