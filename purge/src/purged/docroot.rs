//! The directory that the web server serves: which of its files are meant, and deleting them.
//!
//! Everything is opened beneath a descriptor of the root and without symbolic links, so no name,
//! whoever made it up, leads out of it.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::path::Path;

use purges::{Purge, Subject, Target, What, is_match};
use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags, ResolveFlags};
use rustix::io::Errno;

/// Bound: directories below directories that are looked into.
const DEPTH_MAX: usize = 64;

/// The directory, and what may be deleted in it.
#[derive(Debug)]
pub(crate) struct Docroot {
    root: OwnedFd,
    allowed: Vec<String>,
    /// The site's names; none if any will do.
    sites: Vec<String>,
}

impl Docroot {
    /// Opens a directory.
    ///
    /// # Errors
    /// It cannot be opened.
    pub(crate) fn open(
        path: &Path,
        allowed: Vec<String>,
        sites: Vec<String>,
    ) -> io::Result<Docroot> {
        let root = File::open(path)?;
        if !root.metadata()?.is_dir() {
            return Err(io::ErrorKind::NotADirectory.into());
        }
        Ok(Docroot {
            root: root.into(),
            allowed,
            sites,
        })
    }

    /// Deletes what a purge means and what is allowed; gives how many files there were.
    ///
    /// # Errors
    /// A file that is meant could not be deleted.
    pub(crate) fn purge(&self, purge: &Purge) -> io::Result<u64> {
        let site = purge.site.as_ref();
        if site.is_some_and(|site| !self.sites.is_empty() && !self.sites.contains(site)) {
            return Ok(0);
        }
        match &purge.what {
            // The page is the same whatever the query; nobody has rendered one for each.
            What::Exact(target) => {
                let path = decode(&target.path);
                match self.is_allowed(&path) {
                    true => Ok(u64::from(self.delete(&path)?)),
                    false => Ok(0),
                }
            }
            // A file has no tags.
            What::Tag(_) => Ok(0),
            What::Pattern(_) | What::All => self.sweep(purge),
        }
    }

    /// Whether the path of a URL, decoded, is one of a page.
    fn is_allowed(&self, path: &[u8]) -> bool {
        let mut allowed = self.allowed.iter();
        allowed.any(|pattern| is_match(pattern.as_bytes(), path))
    }

    fn open_beneath(&self, path: &[u8], flags: OFlags) -> Result<OwnedFd, Errno> {
        let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS;
        let path = if path.is_empty() { b"." } else { path };
        let flags = flags | OFlags::CLOEXEC | OFlags::DIRECTORY;
        rustix::fs::openat2(&self.root, path, flags, Mode::empty(), resolve)
    }

    /// Deletes a regular file; whether there was one.
    fn delete(&self, path: &[u8]) -> io::Result<bool> {
        let relative = path.strip_prefix(b"/").unwrap_or(path);
        let at = relative.iter().rposition(|&byte| byte == b'/');
        let (directory, name) = match at {
            Some(at) => (&relative[..at], &relative[at + 1..]),
            None => (&b""[..], relative),
        };
        let odd = |name: &[u8]| name.is_empty() || name == b"." || name == b"..";
        if odd(name) || name.contains(&0) || directory.starts_with(b"/") {
            return Ok(false);
        }
        let parent = match self.open_beneath(directory, OFlags::PATH) {
            Ok(parent) => parent,
            Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP | Errno::XDEV) => return Ok(false),
            Err(error) => return Err(error.into()),
        };
        let name = OsStr::from_bytes(name);
        match rustix::fs::statat(&parent, name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) if FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile => {}
            Ok(_) | Err(Errno::NOENT) => return Ok(false),
            Err(error) => return Err(error.into()),
        }
        match rustix::fs::unlinkat(&parent, name, AtFlags::empty()) {
            Ok(()) => Ok(true),
            // Somebody was faster.
            Err(Errno::NOENT) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    /// Deletes all pages that a purge of many means.
    fn sweep(&self, purge: &Purge) -> io::Result<u64> {
        let (mut count, mut failure) = (0, None);
        let mut directories = vec![(Vec::new(), 0)];
        while let Some((directory, depth)) = directories.pop() {
            for (name, is_directory) in self.entries(&directory)? {
                let mut path = directory.clone();
                path.push(b'/');
                path.extend_from_slice(name.as_bytes());
                if is_directory {
                    if depth < DEPTH_MAX {
                        directories.push((path, depth + 1));
                    }
                } else if self.is_allowed(&path) && is_meant(purge, &path) {
                    match self.delete(&path) {
                        Ok(deleted) => count += u64::from(deleted),
                        Err(error) => failure = Some(error),
                    }
                }
            }
        }
        failure.map_or(Ok(count), Err)
    }

    /// The files and directories in a directory; links and the like are neither.
    fn entries(&self, path: &[u8]) -> io::Result<Vec<(OsString, bool)>> {
        let relative = path.strip_prefix(b"/").unwrap_or(path);
        let directory = match self.open_beneath(relative, OFlags::RDONLY) {
            Ok(directory) => directory,
            // Gone meanwhile, or not ours to look into.
            Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP | Errno::ACCESS) => {
                return Ok(Vec::new());
            }
            Err(error) => return Err(error.into()),
        };
        let mut found = Vec::new();
        for entry in Dir::new(directory)? {
            let entry = entry?;
            let name = entry.file_name().to_bytes();
            let is_directory = match entry.file_type() {
                FileType::Directory => true,
                FileType::RegularFile => false,
                _ => continue,
            };
            if name != b"." && name != b".." {
                found.push((OsString::from_vec(name.to_vec()), is_directory));
            }
        }
        Ok(found)
    }
}

/// Whether a purge of many means the page of this path.
fn is_meant(purge: &Purge, path: &[u8]) -> bool {
    let Ok(target) = Target::parse(encode(path).as_bytes()) else {
        return false;
    };
    let of_any_site = Purge {
        site: None,
        ..purge.clone()
    };
    of_any_site.matches(&Subject {
        site: "",
        target: &target,
        tags: &[],
        number: 0,
    })
}

/// A path as it stands on disk. The target is sound, so each `%` has its digits.
fn decode(path: &str) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(path.len());
    let mut rest = path.as_bytes();
    while let Some((&byte, after)) = rest.split_first() {
        let digits = after
            .get(..2)
            .and_then(|digits| std::str::from_utf8(digits).ok());
        match digits.and_then(|digits| u8::from_str_radix(digits, 16).ok()) {
            Some(decoded) if byte == b'%' => {
                bytes.push(decoded);
                rest = &after[2..];
            }
            _ => {
                bytes.push(byte);
                rest = after;
            }
        }
    }
    bytes
}

/// The inverse of [`decode`].
fn encode(path: &[u8]) -> String {
    let mut text = String::with_capacity(path.len());
    for &byte in path {
        match byte {
            b'%' | b'#' | b'?' | b'\\' | 0..=b' ' | 0x7f.. => {
                text.push_str(&format!("%{byte:02X}"));
            }
            _ => text.push(char::from(byte)),
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;
    use std::path::PathBuf;

    use super::*;

    /// A directory that is there as long as the test runs.
    struct Scratch(PathBuf);

    impl Scratch {
        fn new(name: &str) -> Scratch {
            let path = std::env::temp_dir().join(format!("purged-{}-{name}", std::process::id()));
            let _ = fs::remove_dir_all(&path); // of a former process with this number
            fs::create_dir_all(path.join("www/news/items")).unwrap();
            Scratch(path)
        }

        fn file(&self, path: &str) -> PathBuf {
            let path = self.0.join(path);
            fs::write(&path, "page").unwrap();
            path
        }

        fn docroot(&self, sites: &[&str]) -> Docroot {
            let allowed = vec!["/news/items/*.html".to_owned(), "/a b.html".to_owned()];
            let sites = sites.iter().map(|&site| site.to_owned()).collect();
            Docroot::open(&self.0.join("www"), allowed, sites).unwrap()
        }
    }

    impl Drop for Scratch {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0); // nothing that a later run would trip over
        }
    }

    fn purge(docroot: &Docroot, text: &str) -> u64 {
        docroot.purge(&Purge::parse(text).unwrap()).unwrap()
    }

    #[test]
    fn only_what_is_asked_for_and_allowed_goes() {
        let scratch = Scratch::new("allowed");
        let one = scratch.file("www/news/items/1.html");
        let two = scratch.file("www/news/items/2.html");
        let other = scratch.file("www/news/index.html");
        let blank = scratch.file("www/a b.html");
        let docroot = scratch.docroot(&[]);
        assert_eq!(purge(&docroot, "/news/index.html"), 0);
        assert_eq!(purge(&docroot, "/news/items/3.html"), 0);
        assert_eq!(purge(&docroot, "--tag news"), 0);
        assert_eq!(purge(&docroot, "http://a.org/news/items/1.html?page=2"), 1);
        assert_eq!(purge(&docroot, "--soft /a%20b.html"), 1);
        assert!(!one.exists() && !blank.exists() && two.exists());
        scratch.file("www/news/items/1.html");
        assert_eq!(purge(&docroot, "/news/*2.html"), 1);
        assert_eq!(purge(&docroot, "--all"), 1);
        assert!(other.exists(), "it is not allowed");
    }

    #[test]
    fn purges_of_other_sites_are_nothing() {
        let scratch = Scratch::new("sites");
        scratch.file("www/news/items/1.html");
        let docroot = scratch.docroot(&["a.org"]);
        assert_eq!(purge(&docroot, "--site b.org --all"), 0);
        assert_eq!(purge(&docroot, "http://b.org/news/items/1.html"), 0);
        assert_eq!(purge(&docroot, "http://a.org/news/items/1.html"), 1);
    }

    #[test]
    fn nothing_outside_goes_and_no_link_is_followed() {
        let scratch = Scratch::new("links");
        let outside = scratch.file("1.html");
        fs::create_dir(scratch.0.join("elsewhere")).unwrap();
        let elsewhere = scratch.file("elsewhere/2.html");
        let inside = scratch.file("www/other.html");
        let items = scratch.0.join("www/news/items");
        symlink(&outside, items.join("1.html")).unwrap();
        symlink(scratch.0.join("elsewhere"), items.join("dir")).unwrap();
        symlink("../../other.html", items.join("3.html")).unwrap();
        fs::create_dir(items.join("d.html")).unwrap();
        let docroot = scratch.docroot(&[]);
        for text in [
            "/news/items/1.html",
            "/news/items/dir/2.html",
            "/news/items/3.html",
            "/news/items/d.html",
            "/news/items/..%2F..%2F..%2F1.html",
            "/news/items/%2F1.html",
            "/news/items/dir%2F2.html",
            "--all",
            "/*",
        ] {
            assert_eq!(purge(&docroot, text), 0, "{text}");
        }
        assert!(outside.exists() && elsewhere.exists() && inside.exists());
        assert!(items.join("1.html").is_symlink());
    }
}
