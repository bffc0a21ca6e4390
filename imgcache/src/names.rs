//! Where a URL lives on disk, and which URL a file stands for.
//!
//! The mapping is stateless, injective and readable: `/img/logo.gif` of `www.example.com` is
//! `www.example.com/img/logo.gif`. A request target never holds a `#`, so `#` is the only marker:
//!
//! | URL | file |
//! |---|---|
//! | a directory that looks like a file, `/x.gif/` | `x.gif#d` |
//! | a leaf that does not look like a file, `/a` | `a#f` |
//! | an empty directory segment, `//` | `#` |
//! | an empty leaf, `/dir/` | `dir/#index` |
//! | a query, `/a.gif?x=/y` | `a.gif?x=#2Fy` |
//! | a component of more than 220 bytes | its first 180, `#h=` and a hash of it |
//! | a variant (Vary) | the leaf, `#v=` and a hash of the selecting headers |
//! | metadata where xattrs are refused | the leaf and `#m` |
//!
//! Names at the top that begin with `#` are the cache's own. A directory's name never equals a
//! leaf's, so `/a` and `/a/b` can both be there.

use aws_lc_rs::digest::{SHA256, digest};
pub use purges::Target;
use purges::is_site_name;

/// Bound: longer components are cut and hashed; 35 bytes of markers still fit into NAME_MAX.
const COMPONENT_MAX: usize = 220;

/// What is kept of a component that is cut.
const KEPT: usize = 180;

/// Bound: longer paths, or deeper ones, are not stored on disk.
const PATH_MAX: usize = 3900;
const DEPTH_MAX: usize = 64;

/// The file of a target, below the cache's root; none if it is too long or too deep for a disk.
///
/// `site` is a name from the configuration, see [`purges::is_site_name`].
pub fn file_of(site: &str, target: &Target) -> Option<String> {
    let mut file = site.to_owned();
    let mut segments = target.path[1..].split('/').peekable();
    let mut depth = 0;
    while let Some(segment) = segments.next() {
        file.push('/');
        let component = match segments.peek() {
            Some(_) => directory(segment),
            None => leaf(segment, target.query.as_deref()),
        };
        file.push_str(&shorten(component));
        depth += 1;
    }
    (file.len() <= PATH_MAX && depth <= DEPTH_MAX).then_some(file)
}

fn directory(segment: &str) -> String {
    match segment {
        "" => "#".to_owned(),
        name if looks_like_file(name) => format!("{name}#d"),
        name => name.to_owned(),
    }
}

fn leaf(segment: &str, query: Option<&str>) -> String {
    let mut name = match segment {
        "" => "#index".to_owned(),
        name if looks_like_file(name) => name.to_owned(),
        name => format!("{name}#f"),
    };
    if let Some(query) = query {
        name.push('?');
        name.push_str(&query.replace('/', "#2F"));
    }
    name
}

/// A stem, a dot, and an extension of one to five characters that begins with a letter.
fn looks_like_file(name: &str) -> bool {
    let Some((stem, extension)) = name.rsplit_once('.') else {
        return false;
    };
    let mut bytes = extension.bytes();
    !stem.is_empty()
        && !stem.starts_with('.')
        && extension.len() <= 5
        && bytes.next().is_some_and(|byte| byte.is_ascii_alphabetic())
        && bytes.all(|byte| byte.is_ascii_alphanumeric())
}

fn shorten(component: String) -> String {
    if component.len() <= COMPONENT_MAX {
        return component;
    }
    format!(
        "{}#h={}",
        &component[..KEPT],
        hash(component.as_bytes(), 16)
    )
}

/// The first bytes of a SHA-256, in hexadecimal.
fn hash(bytes: &[u8], length: usize) -> String {
    hex(&digest(&SHA256, bytes).as_ref()[..length])
}

/// Bytes in lower-case hexadecimal.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The file of a variant: `base` is that of its URL, `selecting` the headers that choose it.
pub fn variant_of(base: &str, selecting: &[u8]) -> String {
    format!("{base}#v={}", hash(selecting, 8))
}

/// Where metadata is if it does not fit into the file's own attributes.
pub fn sidecar_of(file: &str) -> String {
    format!("{file}#m")
}

/// What a file below the root stands for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FileName {
    /// A body of this site's target.
    Object {
        /// The site's name.
        site: String,
        /// None if a component was cut: then only the metadata has the URL.
        target: Option<Target>,
        /// Whether it is a further variant rather than the first.
        variant: bool,
    },
    /// Metadata of the file that has this name.
    Sidecar(String),
    /// Temporary and own files of the cache.
    Own,
    /// Nothing that the cache has made.
    Foreign,
}

/// Reads a path relative to the root, the inverse of [`file_of`].
pub fn read_file_name(file: &str) -> FileName {
    if file.starts_with('#') {
        return FileName::Own;
    }
    if let Some(body) = file.strip_suffix("#m") {
        return FileName::Sidecar(body.to_owned());
    }
    read_object(file).unwrap_or(FileName::Foreign)
}

fn read_object(file: &str) -> Option<FileName> {
    let (base, variant) = match file.rsplit_once("#v=") {
        Some((base, hash)) if is_hash(hash, 16) => (base, true),
        Some(_) => return None,
        None => (file, false),
    };
    let (site, path) = base.split_once('/')?;
    if !is_site_name(site) {
        return None;
    }
    let cut = |component: &str| {
        component
            .rsplit_once("#h=")
            .is_some_and(|(_, hash)| is_hash(hash, 32))
    };
    if path.split('/').any(cut) {
        let (site, target) = (site.to_owned(), None);
        return Some(FileName::Object {
            site,
            target,
            variant,
        });
    }
    let (directories, leaf) = match path.rsplit_once('/') {
        Some((directories, leaf)) => (Some(directories), leaf),
        None => (None, path),
    };
    let mut target = String::from("/");
    for component in directories.into_iter().flat_map(|all| all.split('/')) {
        let segment = if component == "#" { "" } else { component };
        target.push_str(segment.strip_suffix("#d").unwrap_or(segment));
        target.push('/');
    }
    let (name, query) = match leaf.split_once('?') {
        Some((name, query)) => (name, Some(query)),
        None => (leaf, None),
    };
    let segment = if name == "#index" { "" } else { name };
    target.push_str(segment.strip_suffix("#f").unwrap_or(segment));
    if let Some(query) = query {
        target.push('?');
        target.push_str(&query.replace("#2F", "/"));
    }
    let target = Target::parse(target.as_bytes()).ok()?;
    // Only the one spelling that this cache writes is its own.
    (file_of(site, &target).as_deref() == Some(base)).then(|| FileName::Object {
        site: site.to_owned(),
        target: Some(target),
        variant,
    })
}

fn is_hash(text: &str, length: usize) -> bool {
    text.len() == length
        && text
            .bytes()
            .all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn file(target: &str) -> String {
        let target =
            Target::parse(target.as_bytes()).unwrap_or_else(|error| panic!("{target}: {error}"));
        file_of("h", &target).unwrap()
    }

    #[test]
    fn ordinary_names_are_the_urls() {
        for (target, expected) in [
            ("/logo.gif", "h/logo.gif"),
            ("/jquery/3.7.1/x.js", "h/jquery/3.7.1/x.js"),
            ("/a", "h/a#f"),
            ("/a/b", "h/a/b#f"),
            ("/x.gif/y.gif", "h/x.gif#d/y.gif"),
            ("/", "h/#index"),
            ("//", "h/#/#index"),
            ("/dir/", "h/dir/#index"),
            ("/a.gif?w=1/2", "h/a.gif?w=1#2F2"),
            ("/a.gif?", "h/a.gif?"),
            ("/a%20b%2f%7e.gif", "h/a%20b%2F~.gif"),
            ("/...", "h/...#f"),
        ] {
            assert_eq!(file(target), expected);
        }
    }

    #[test]
    fn long_components_are_cut_and_stay_apart() {
        let one = file(&format!("/{}1.gif", "x".repeat(300)));
        let two = file(&format!("/{}2.gif", "x".repeat(300)));
        assert_ne!(one, two);
        assert!(one.len() < 2 + 255, "{one}");
        let FileName::Object { target: None, .. } = read_file_name(&one) else {
            panic!("{one}");
        };
        let deep = Target::parse("/a".repeat(70).as_bytes()).unwrap();
        assert_eq!(file_of("h", &deep), None);
    }

    #[test]
    fn foreign_files_are_told_apart() {
        for name in [
            "h/a",
            "h/x.gif#f",
            "h/a#d/b.gif",
            "h",
            "H/a.gif",
            "../a.gif",
            "h/../a.gif",
            "h/a.gif#v=1",
        ] {
            assert_eq!(read_file_name(name), FileName::Foreign, "{name}");
        }
        assert_eq!(read_file_name("#tmp.1"), FileName::Own);
        assert_eq!(
            read_file_name("h/a.gif#m"),
            FileName::Sidecar("h/a.gif".into())
        );
        let variant = variant_of("h/a.gif", b"accept: x");
        assert!(matches!(
            read_file_name(&variant),
            FileName::Object { variant: true, .. }
        ));
    }

    fn targets() -> impl Strategy<Value = String> {
        let piece = prop_oneof![
            "[a-c.]{0,4}",
            "[!-~]{0,6}",
            "[a-z]{1,4}\\.(gif|js|c)",
            Just("..".to_owned()),
            Just("%2e".to_owned()),
            Just("%2F".to_owned()),
            Just("#d".to_owned()),
            Just("x".repeat(260)),
        ];
        let path = prop::collection::vec(piece, 1..6);
        (path, proptest::option::of("[!-~]{0,8}")).prop_map(|(path, query)| {
            let path = format!("/{}", path.join("/"));
            query.map_or(path.clone(), |query| format!("{path}?{query}"))
        })
    }

    proptest! {
        #[test]
        fn nothing_is_outside_the_root(text in targets()) {
            if let Ok(target) = Target::parse(text.as_bytes())
                && let Some(file) = file_of("www.example.com", &target)
            {
                prop_assert!(file.starts_with("www.example.com/"));
                for component in file.split('/') {
                    prop_assert!(!component.is_empty() && component != "." && component != "..");
                    prop_assert!(component.len() <= 255 - 35 && !component.contains('\0'));
                }
            }
        }

        #[test]
        fn files_read_back_as_their_targets(text in targets()) {
            if let Ok(target) = Target::parse(text.as_bytes())
                && let Some(file) = file_of("h", &target)
            {
                match read_file_name(&file) {
                    FileName::Object { target: Some(read), variant: false, .. } => prop_assert_eq!(read, target),
                    FileName::Object { target: None, .. } => prop_assert!(file.contains("#h=")),
                    other => prop_assert!(false, "{} is {:?}", file, other),
                }
            }
        }

        #[test]
        fn different_targets_have_different_files(one in targets(), two in targets()) {
            if let (Ok(one), Ok(two)) = (Target::parse(one.as_bytes()), Target::parse(two.as_bytes()))
                && file_of("h", &one).is_some() && file_of("h", &one) == file_of("h", &two)
            {
                prop_assert_eq!(one, two);
            }
        }

        #[test]
        fn no_leaf_is_a_directory(one in targets(), two in targets()) {
            if let (Ok(one), Ok(two)) = (Target::parse(one.as_bytes()), Target::parse(two.as_bytes()))
                && let (Some(one), Some(two)) = (file_of("h", &one), file_of("h", &two))
            {
                prop_assert!(!two.starts_with(&format!("{one}/")), "{} {}", one, two);
            }
        }
    }
}
