//! `keygen`: 32 random bytes, in a file that only its owner can read or on stdout.

use std::fs::{self, OpenOptions};
use std::io::{ErrorKind, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use anyhow::Context;
use rand::TryRng;
use rand::rngs::SysRng;
use unixproc::exit::{DONE, Failure, print};

use crate::args::Keygen;
use crate::text::hex;

/// Bytes of a key: AES-256 takes so many.
const KEY_BYTES: usize = 32;

pub(crate) fn run(args: &Keygen) -> Result<u8, Failure> {
    let path = &args.file;
    if path == Path::new("-") {
        let key = random_key().map_err(Failure::fatal)?;
        print(&format!("{key}\n"))?;
        return Ok(DONE);
    }
    match write_key(path) {
        Ok(()) => {
            print(&format!(
                "{}: copy it to every daemon of the ring\n",
                path.display()
            ))?;
            Ok(DONE)
        }
        // The key in use must never be lost: that is a no, not a failure.
        Err(error) if is_there(&error) => {
            let message = format!(
                "{}: there is a file already, it stays as it is",
                path.display()
            );
            Err(Failure::failed(message))
        }
        Err(error) => Err(Failure::fatal(error)),
    }
}

/// A new key, in hexadecimal digits.
fn random_key() -> anyhow::Result<String> {
    let mut key = [0; KEY_BYTES];
    SysRng.try_fill_bytes(&mut key).context("no random bytes")?;
    Ok(hex(&key))
}

fn write_key(path: &Path) -> anyhow::Result<()> {
    let name = || path.display().to_string();
    let key = random_key()?;
    if let Some(directory) = path.parent() {
        fs::create_dir_all(directory).with_context(|| directory.display().to_string())?;
    }
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)
        .with_context(name)?;
    let written = writeln!(file, "{key}").and_then(|()| file.sync_all());
    if written.is_err() {
        // Half a key is worse than none; the first error is the one to tell.
        let _ = fs::remove_file(path);
    }
    written.with_context(name)
}

fn is_there(error: &anyhow::Error) -> bool {
    let cause = error.downcast_ref::<std::io::Error>();
    cause.is_some_and(|cause| cause.kind() == ErrorKind::AlreadyExists)
}
