//! The file that holds a cluster's key: 64 hexadecimal digits, as `groupctl keygen` writes them.

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use anyhow::{Context, bail};
use totem::config::Key;

/// Where the key is if the configuration does not say.
pub(crate) const DEFAULT_PATH: &str = "/etc/groupd/key";

/// Reads the key; `None` if there is no such file.
pub(crate) fn read(path: &Path) -> anyhow::Result<Option<Key>> {
    let name = path.display();
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error).context(name.to_string()),
    };
    let mode = file
        .metadata()
        .with_context(|| name.to_string())?
        .permissions()
        .mode();
    if mode & 0o007 != 0 {
        bail!(
            "{name}: a key must not be open to everybody, mode is {:04o}",
            mode & 0o7777
        );
    }
    let mut text = String::new();
    file.take(256)
        .read_to_string(&mut text)
        .with_context(|| name.to_string())?;
    match parse(text.trim()) {
        Some(key) => Ok(Some(key)),
        None => bail!("{name}: a key must be 64 hexadecimal digits, as groupctl keygen makes it"),
    }
}

/// Reads the key that the configuration names, which must be there.
pub(crate) fn required(path: &Path) -> anyhow::Result<Key> {
    read(path)?.with_context(|| format!("{}: no such file", path.display()))
}

/// Whether the key is there, but not for this user.
pub(crate) fn is_denied(error: &anyhow::Error) -> bool {
    error
        .downcast_ref::<io::Error>()
        .is_some_and(|error| error.kind() == io::ErrorKind::PermissionDenied)
}

fn parse(text: &str) -> Option<Key> {
    if text.len() != 64 || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return None;
    }
    let mut key = [0; 32];
    for (byte, digits) in key.iter_mut().zip(text.as_bytes().chunks(2)) {
        *byte = u8::from_str_radix(str::from_utf8(digits).ok()?, 16).ok()?;
    }
    Some(Key(key))
}

#[cfg(test)]
mod tests {
    use std::fs::{self, Permissions};

    use super::*;

    #[test]
    fn only_a_guarded_whole_key_is_taken() {
        let path = std::env::temp_dir().join(format!("groupd-key-{}", std::process::id()));
        drop(fs::remove_file(&path));
        assert_eq!(read(&path).unwrap(), None);

        let digits = "00ff".repeat(16);
        fs::write(&path, format!("{digits}\n")).unwrap();
        fs::set_permissions(&path, Permissions::from_mode(0o644)).unwrap();
        let error = read(&path).unwrap_err().to_string();
        assert!(
            error.ends_with("open to everybody, mode is 0644"),
            "{error}"
        );

        fs::set_permissions(&path, Permissions::from_mode(0o640)).unwrap();
        let key = read(&path).unwrap().unwrap();
        assert_eq!(key.0[..4], [0, 255, 0, 255]);

        for wrong in [
            "",
            "+1".repeat(32).as_str(),
            &digits[..62],
            &format!("{digits}00"),
        ] {
            fs::write(&path, wrong).unwrap();
            let error = read(&path).unwrap_err().to_string();
            assert!(
                error.contains("64 hexadecimal digits"),
                "{wrong:?}: {error}"
            );
        }
        fs::remove_file(&path).unwrap();
    }
}
