//! What a cache must not forget when it stops: the purges in force, and when it last missed none.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::{FileExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};

use imgcache::rules::Rules;

use crate::space::Space;

const RULES: &str = "#rules";
const WHOLE: &str = "#whole";

/// The file of rules is written anew when it is longer than this, and twice as long as it was when
/// it was last new.
const RULES_BYTES_MIN: u64 = 1 << 20;

/// The file of rules ends with up to so many zero bytes: to write where there is something already is
/// many times quicker to get to the disk than to make the file longer.
const ROOM: u64 = 256 << 10;

/// The files.
#[derive(Debug)]
pub(crate) struct Journal {
    root: PathBuf,
    rules: File,
    /// Bytes of rules in the file.
    bytes: u64,
    /// Bytes of rules when the file was new.
    new_bytes: u64,
    /// Bytes of the file, with the zeros behind the rules.
    room: u64,
}

impl Journal {
    /// Reads what a former run has left.
    ///
    /// # Errors
    /// The disk refuses it.
    pub(crate) fn open(root: &Path) -> io::Result<(Journal, Rules)> {
        let text = match fs::read(root.join(RULES)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
            read => read?,
        };
        let rules = Rules::read(String::from_utf8_lossy(&text).trim_end_matches('\0'));
        Ok((Journal::create(root, &rules)?, rules))
    }

    /// A new file with these rules, which takes the place of the old one.
    fn create(root: &Path, rules: &Rules) -> io::Result<Journal> {
        let text = rules.text();
        let new = root.join("#tmp.rules");
        let mut journal = Journal {
            root: root.to_owned(),
            rules: File::create(&new)?,
            bytes: 0,
            new_bytes: text.len() as u64,
            room: 0,
        };
        journal.append(&text)?;
        fs::rename(&new, root.join(RULES))?;
        Ok(journal)
    }

    /// Appends lines of rules, and waits until they are on disk.
    ///
    /// # Errors
    /// The disk refuses it: they hold, but would not survive.
    pub(crate) fn append(&mut self, text: &str) -> io::Result<()> {
        let end = self.bytes + text.len() as u64;
        if end > self.room {
            self.rules.write_all_at(&vec![0; ROOM as usize], end)?;
            self.room = end + ROOM;
        }
        self.rules.write_all_at(text.as_bytes(), self.bytes)?;
        self.rules.sync_data()?;
        self.bytes = end;
        Ok(())
    }

    /// Whether it is time to write the rules anew.
    pub(crate) fn is_long(&self) -> bool {
        self.bytes > RULES_BYTES_MIN.max(2 * self.new_bytes)
    }

    /// Writes the rules into a new file, which takes the place of the old one.
    ///
    /// # Errors
    /// The disk refuses it; the old file goes on.
    pub(crate) fn renew(&mut self, rules: &Rules) -> io::Result<()> {
        *self = Journal::create(&self.root, rules)?;
        Ok(())
    }

    /// Counts the file's blocks.
    pub(crate) fn account(&self, space: &mut Space) {
        let blocks = self
            .rules
            .metadata()
            .map_or(0, |metadata| metadata.blocks());
        space.set(RULES, blocks * 512, true);
    }

    /// Notes that up to this time, in milliseconds, no purge was missed. It need not be on disk: an
    /// older time only means that more is asked for.
    pub(crate) fn note_whole(&self, now: i64) -> io::Result<()> {
        fs::write(self.root.join(WHOLE), format!("{now}\n"))
    }

    /// Up to when no purge was missed.
    pub(crate) fn whole(&self) -> Option<i64> {
        let text = fs::read_to_string(self.root.join(WHOLE)).ok()?;
        text.trim().parse().ok()
    }
}

#[cfg(test)]
mod tests {
    use purges::Purge;

    use super::*;

    #[test]
    fn rules_are_read_back() {
        let root = std::env::temp_dir().join(format!("covey-journal-{}", std::process::id()));
        fs::create_dir_all(&root).unwrap();
        let (mut journal, mut rules) = Journal::open(&root).unwrap();
        let purge = Purge::parse("/logo.gif").unwrap();
        let line = |number| imgcache::rules::line(number, &purge);
        for numbers in (1..=ROOM / 8).collect::<Vec<u64>>().chunks(64) {
            numbers.iter().for_each(|_| _ = rules.add(purge.clone()));
            let lines = numbers.iter().copied().map(line);
            journal.append(&lines.collect::<String>()).unwrap();
        }
        assert!(journal.bytes > ROOM && journal.room >= journal.bytes);
        // What is left of one whose writing was cut short.
        journal.append("70000 --si").unwrap();
        let (_, read) = Journal::open(&root).unwrap();
        assert_eq!(read.last(), 70_000);
        let after_last = |text: String| text.split_once('\n').map(|(_, rest)| rest.to_owned());
        assert_eq!(after_last(read.text()), after_last(rules.text()));
        let (journal, again) = Journal::open(&root).unwrap();
        assert_eq!(again.text(), read.text());
        assert_eq!(journal.bytes, read.text().len() as u64);
        fs::remove_dir_all(&root).unwrap();
    }
}
