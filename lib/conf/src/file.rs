//! The file: where it is, and what it holds.

use std::fs::{self, File};
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use crate::error::{Error, Errors};

/// Bound: a larger file is not a configuration.
const FILE_BYTES_MAX: u64 = 1 << 20;

/// The file that is meant: the one that was given, or else the usual one; none if that does not
/// exist.
///
/// One that is there and cannot be read is meant, too, and [`read`] says why it cannot.
pub fn choose(given: Option<&Path>, usual: &str) -> Option<PathBuf> {
    let is_missing = |path: &Path| {
        let found = fs::symlink_metadata(path);
        found.is_err_and(|error| error.kind() == io::ErrorKind::NotFound)
    };
    let usual = Path::new(usual);
    match given {
        Some(path) => Some(path.to_owned()),
        None if is_missing(usual) => None,
        None => Some(usual.to_owned()),
    }
}

/// Reads a file, and parses its text: `parse` is given the file's name for messages, and the text.
///
/// # Errors
/// It cannot be read, or `parse` has some.
pub fn read<T>(
    path: &Path,
    parse: impl FnOnce(&str, &str) -> Result<T, Errors>,
) -> Result<T, Errors> {
    let name = path.display().to_string();
    parse(&name, &load(path, &name)?)
}

/// The text of a file, at most 1 MiB of UTF-8.
fn load(path: &Path, name: &str) -> Result<String, Errors> {
    let fail = |line, message| Errors::new(name, vec![Error { line, message }]);
    let mut bytes = Vec::new();
    File::open(path)
        .and_then(|file| file.take(FILE_BYTES_MAX + 1).read_to_end(&mut bytes))
        .map_err(|error| fail(0, format!("cannot read it: {error}")))?;
    if bytes.len() as u64 > FILE_BYTES_MAX {
        let message = format!("too long, at most {FILE_BYTES_MAX} bytes are read");
        return Err(fail(0, message));
    }
    String::from_utf8(bytes).map_err(|error| {
        let valid = &error.as_bytes()[..error.utf8_error().valid_up_to()];
        let line = 1 + valid.iter().filter(|&&byte| byte == b'\n').count() as u32;
        fail(line, "not UTF-8".to_owned())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_usual_file_is_meant_if_it_is_there() {
        let directory = std::env::temp_dir().join(format!("covey-conf-{}", std::process::id()));
        fs::create_dir(&directory).unwrap();
        let usual = directory.join("usual.conf");
        let name = usual.to_str().unwrap();
        assert_eq!(choose(None, name), None);
        assert_eq!(choose(Some(Path::new("x")), name), Some("x".into()));
        // One that leads nowhere was meant to be read.
        std::os::unix::fs::symlink("nowhere", &usual).unwrap();
        assert_eq!(choose(None, name), Some(usual.clone()));
        let whole = |_: &str, text: &str| Ok(text.to_owned());
        let error = read(&usual, whole).unwrap_err().to_string();
        assert!(
            error.starts_with(&format!("{name}: cannot read it: ")),
            "{error}"
        );
        fs::remove_file(&usual).unwrap();
        fs::write(&usual, b"a\nb\xff").unwrap();
        let error = read(&usual, whole).unwrap_err().to_string();
        assert_eq!(error, format!("{name}:2: not UTF-8"));
        fs::write(&usual, "a = b").unwrap();
        assert_eq!(read(&usual, whole).as_deref(), Ok("a = b"));
        fs::remove_dir_all(&directory).unwrap();
    }
}
