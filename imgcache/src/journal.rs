//! What a cache must not forget when it stops: the purges in force, and when it last missed none.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use imgcache::rules::Rules;

use crate::space::Space;

const RULES: &str = "#rules";
const WHOLE: &str = "#whole";

/// The file of rules is written anew when it is longer than this, and twice as long as it was when
/// it was last new.
const RULES_BYTES_MIN: u64 = 1 << 20;

/// The files.
#[derive(Debug)]
pub(crate) struct Journal {
    root: PathBuf,
    rules: File,
    /// Length of the file when it was new.
    new_bytes: u64,
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
        let rules = Rules::read(&String::from_utf8_lossy(&text));
        let (file, new_bytes) = write_new(root, &rules)?;
        let journal = Journal {
            root: root.to_owned(),
            rules: file,
            new_bytes,
        };
        Ok((journal, rules))
    }

    /// Appends lines of rules, and waits until they are on disk.
    ///
    /// # Errors
    /// The disk refuses it: they hold, but would not survive.
    pub(crate) fn append(&mut self, text: &str) -> io::Result<()> {
        self.rules.write_all(text.as_bytes())?;
        self.rules.sync_data()
    }

    /// Whether it is time to write the rules anew.
    pub(crate) fn is_long(&self) -> bool {
        let length = self.rules.metadata().map_or(0, |metadata| metadata.len());
        length > RULES_BYTES_MIN.max(2 * self.new_bytes)
    }

    /// Writes the rules into a new file, which takes the place of the old one.
    ///
    /// # Errors
    /// The disk refuses it; the old file goes on.
    pub(crate) fn renew(&mut self, rules: &Rules) -> io::Result<()> {
        (self.rules, self.new_bytes) = write_new(&self.root, rules)?;
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

fn write_new(root: &Path, rules: &Rules) -> io::Result<(File, u64)> {
    let (new, path) = (root.join("#tmp.rules"), root.join(RULES));
    let text = rules.text();
    let mut file = File::create(&new)?;
    file.write_all(text.as_bytes())?;
    file.sync_data()?;
    fs::rename(&new, &path)?;
    Ok((file, text.len() as u64))
}
