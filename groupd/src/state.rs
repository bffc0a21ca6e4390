//! What a daemon must remember from one life to the next: the ring's counter, and its incarnation.
//!
//! One line of text, `counter N incarnation N`, in `STATEDIR/NAME.ring`, replaced as a whole. Where
//! no directory can be written, the wall clock alone has to make both grow.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use anyhow::Context;

/// The last values on stable storage.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct State {
    /// The highest ring counter that this daemon has let out.
    pub(crate) counter: u64,
    /// The incarnation of its last life.
    pub(crate) incarnation: u64,
}

/// The file, and what it holds.
pub(crate) struct StateFile {
    path: PathBuf,
    state: State,
}

impl StateFile {
    /// Opens the state of the daemon called `name` in `directory`, which is made if it is missing.
    pub(crate) fn open(directory: &Path, name: &str) -> anyhow::Result<StateFile> {
        let path = directory.join(format!("{name}.ring"));
        fs::create_dir_all(directory).with_context(|| directory.display().to_string())?;
        let state = match fs::read_to_string(&path) {
            Ok(text) => parse(&text)
                .with_context(|| format!("{}: not a state file of groupd", path.display()))?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => State::default(),
            Err(error) => return Err(error).context(path.display().to_string()),
        };
        let file = StateFile { path, state };
        // Now, and not at the first change of membership, is the time to hear that it is read-only.
        file.write(state)
            .with_context(|| file.path.display().to_string())?;
        Ok(file)
    }

    /// What the file holds.
    pub(crate) fn state(&self) -> State {
        self.state
    }

    /// Replaces it; on stable storage when this returns.
    pub(crate) fn store(&mut self, state: State) -> io::Result<()> {
        self.write(state)?;
        self.state = state;
        Ok(())
    }

    fn write(&self, state: State) -> io::Result<()> {
        let fresh = self.path.with_extension("ring.new");
        let mut file = File::create(&fresh)?;
        writeln!(
            file,
            "counter {} incarnation {}",
            state.counter, state.incarnation
        )?;
        file.sync_data()?;
        fs::rename(&fresh, &self.path)?;
        match self.path.parent() {
            Some(directory) => File::open(directory)?.sync_all(),
            None => Ok(()),
        }
    }
}

fn parse(text: &str) -> Option<State> {
    let mut words = text.split_whitespace();
    let mut field = |name| (words.next()? == name).then(|| words.next()?.parse().ok())?;
    let state = State {
        counter: field("counter")?,
        incarnation: field("incarnation")?,
    };
    words.next().is_none().then_some(state)
}

/// Where the state is kept if the configuration does not say: `/var/lib/groupd` for who can write
/// there, else the user's own directory for state.
pub(crate) fn default_directories() -> Vec<PathBuf> {
    let own = std::env::var_os("XDG_STATE_HOME")
        .filter(|value| !value.is_empty())
        .map(PathBuf::from)
        .or_else(|| Some(PathBuf::from(std::env::var_os("HOME")?).join(".local/state")));
    std::iter::once(PathBuf::from("/var/lib/groupd"))
        .chain(own.map(|directory| directory.join("groupd")))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scratch(test: &str) -> PathBuf {
        let directory = std::env::temp_dir().join(format!("groupd-{}-{test}", std::process::id()));
        // What an earlier run left under the same process number.
        drop(fs::remove_dir_all(&directory));
        directory
    }

    #[test]
    fn the_next_life_reads_what_the_last_one_stored() {
        let directory = scratch("state").join("deeper");
        let mut file = StateFile::open(&directory, "image-0-1").unwrap();
        assert_eq!(file.state(), State::default());
        let state = State {
            counter: u64::MAX,
            incarnation: 7,
        };
        file.store(state).unwrap();
        assert_eq!(
            StateFile::open(&directory, "image-0-1").unwrap().state(),
            state
        );
        assert_eq!(
            StateFile::open(&directory, "image-0-2").unwrap().state(),
            State::default()
        );
        fs::remove_dir_all(directory.parent().unwrap()).unwrap();
    }

    #[test]
    fn a_spoilt_file_is_named() {
        let directory = scratch("spoilt");
        fs::create_dir_all(&directory).unwrap();
        fs::write(directory.join("a.ring"), "counter 12 incarnation").unwrap();
        let error = StateFile::open(&directory, "a").err().unwrap();
        assert!(
            error
                .to_string()
                .ends_with("a.ring: not a state file of groupd"),
            "{error}"
        );
        fs::remove_dir_all(&directory).unwrap();
    }
}
