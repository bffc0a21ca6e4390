//! Tests of the programs as processes: what they share.
//!
//! A play is a script in `plays/` that starts the real programs, most often on several hosts made
//! of network namespaces. It prints `ok: ...` for each fact, exits 0 if all hold and 77 if this
//! machine does not let it run; then a note is left, which `make test` prints at its end.

#![forbid(unsafe_code)]

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, PoisonError};

/// Exit code of a play that could not run here.
const SKIPPED: i32 = 77;
/// How a line of a play begins that says which part of it could not run here.
const NOT_SHOWN: &str = "not shown here: ";

/// One play at a time: each one starts up to nine daemons with real timers.
static STAGE: Mutex<()> = Mutex::new(());

/// Where cargo has put the programs that belong to this test run.
pub fn programs() -> PathBuf {
    let test = std::env::current_exe().expect("the path of this test");
    let profile = test
        .ancestors()
        .nth(2)
        .expect("a test is in target/PROFILE/deps");
    profile.to_path_buf()
}

fn package() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The root of the repository.
pub fn root() -> PathBuf {
    package().join("..")
}

/// The text of a file of the repository.
///
/// # Panics
///
/// If it cannot be read.
pub fn read(file: &str) -> String {
    std::fs::read_to_string(root().join(file)).unwrap_or_else(|error| panic!("{file}: {error}"))
}

/// A directory that is removed at the end.
#[derive(Debug)]
pub struct Scratch {
    path: PathBuf,
}

impl Scratch {
    /// Makes an empty one; `test` is part of its name.
    ///
    /// # Panics
    ///
    /// If it cannot be made.
    pub fn new(test: &str) -> Scratch {
        let name = format!("covey-{test}-{}", std::process::id());
        let path = std::env::temp_dir().join(name);
        std::fs::create_dir(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        Scratch { path }
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // What is left in the directory for temporary files does no harm.
        let _ = std::fs::remove_dir_all(&self.path);
    }
}

/// Runs a play and fails with its output if it fails.
///
/// # Panics
///
/// If the play fails, or the programs are not built.
pub fn play(name: &str) {
    let groupd = programs().join("groupd");
    assert!(
        groupd.exists(),
        "{} is not built: run `make test`",
        groupd.display()
    );
    let _alone = STAGE.lock().unwrap_or_else(PoisonError::into_inner);
    // A play has real timers and shares its machine with others: where PLAY_RETRIES says so, one
    // that fails is played again, and the end of `make test` tells.
    let retries = std::env::var("PLAY_RETRIES").map_or(0, |text| {
        text.parse::<usize>().expect("a number of retries")
    });
    let mut failures: Vec<String> = Vec::new();
    loop {
        match perform(name) {
            Ok(text) => {
                if let Some(failure) = failures.first() {
                    note(&format!("{name} failed once"), failure);
                }
                return print!("{text}");
            }
            Err(report) if failures.len() == retries => panic!("{report}"),
            Err(report) => {
                let why = report.lines().find(|line| line.starts_with("FAILED"));
                failures.push(why.unwrap_or("it says nothing").to_owned());
            }
        }
    }
}

/// Plays once: what it printed, or all about its failure.
fn perform(name: &str) -> Result<String, String> {
    let script = package().join("plays").join(name);
    let output = Command::new("bash").arg(&script).arg(programs()).output();
    let output = output.unwrap_or_else(|error| panic!("bash {}: {error}", script.display()));
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    if output.status.code() == Some(SKIPPED) {
        skip(name, text.trim().trim_start_matches("skipped: "));
        return Ok(String::new());
    }
    let errors = String::from_utf8_lossy(&output.stderr);
    if output.status.success() && text.contains("ok") {
        // A part of a play may be impossible here, too.
        for part in text.lines().filter_map(|line| line.strip_prefix(NOT_SHOWN)) {
            note(&format!("{name}, in part"), part);
        }
        Ok(text)
    } else {
        Err(format!("{name}: {}\n{text}{errors}", output.status))
    }
}

/// Leaves a note that this test was skipped and why.
pub fn skip(name: &str, why: &str) {
    println!("skipped: {name}: {why}");
    note(name, why);
}

fn note(name: &str, text: &str) {
    let notes = package().join("../target/skipped");
    if notes.is_dir() {
        std::fs::write(notes.join(name), text).expect("a note for the end of make test");
    }
}
