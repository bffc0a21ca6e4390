//! A purge as it travels on the bus: one line of text.

use std::fmt;

use crate::target::{Target, is_site_name};

/// What a purge is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Purge {
    /// One site; none means every site.
    pub site: Option<String>,
    /// Which objects.
    pub what: What,
    /// Whether they are kept for the time that the origin fails.
    pub soft: bool,
}

/// Which objects a purge is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum What {
    /// One target, with exactly this query.
    Exact(Target),
    /// Targets that match, `*` being any bytes; a pattern that ends in `?*` also matches without a
    /// query.
    Pattern(String),
    /// Those that carry this tag.
    Tag(String),
    /// All.
    All,
}

/// What the purges look at.
#[derive(Clone, Copy, Debug)]
pub struct Subject<'a> {
    /// The site's name.
    pub site: &'a str,
    /// The target.
    pub target: &'a Target,
    /// The object's tags.
    pub tags: &'a [String],
    /// The last purge that had been seen when it was asked for.
    pub number: u64,
}

impl Purge {
    /// Reads a command as it travels on the bus, without the word `purge`:
    /// `[--soft] [--site SITE] URL|PATH|--tag KEY|--all`.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn parse(text: &str) -> Result<Purge, String> {
        let mut words = text.split_ascii_whitespace();
        let (mut soft, mut site, mut what) = (false, None, None);
        while let Some(word) = words.next() {
            let mut argument = || words.next().ok_or_else(|| format!("{word} needs a value"));
            let next = match word {
                "--soft" => {
                    soft = true;
                    continue;
                }
                "--site" => {
                    site = Some(read_site(argument()?)?);
                    continue;
                }
                "--tag" => What::Tag(argument()?.to_owned()),
                "--all" => What::All,
                word if word.starts_with('/') => read_target(word)?,
                word => {
                    let (host, path) = split_url(word)?;
                    site = Some(read_site(host)?);
                    read_target(path)?
                }
            };
            if what.replace(next).is_some() {
                return Err("one purge is about one thing".to_owned());
            }
        }
        let what = what.ok_or("a purge needs a URL, a path, --tag or --all")?;
        Ok(Purge { site, what, soft })
    }

    /// Whether an object of this site and target, with these tags, is meant.
    pub fn matches(&self, subject: &Subject) -> bool {
        if self
            .site
            .as_deref()
            .is_some_and(|site| site != subject.site)
        {
            return false;
        }
        match &self.what {
            What::Exact(target) => target == subject.target,
            What::Pattern(pattern) => {
                let text = subject.target.to_string();
                let without = pattern
                    .strip_suffix("?*")
                    .filter(|_| subject.target.query.is_none());
                is_match(pattern.as_bytes(), text.as_bytes())
                    || without.is_some_and(|pattern| is_match(pattern.as_bytes(), text.as_bytes()))
            }
            What::Tag(tag) => subject.tags.contains(tag),
            What::All => true,
        }
    }
}

fn split_url(url: &str) -> Result<(&str, &str), String> {
    let bad = || format!("neither a URL nor a path: {url:?}");
    let rest = url
        .strip_prefix("http://")
        .or_else(|| url.strip_prefix("https://"))
        .ok_or_else(bad)?;
    let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    let host = authority
        .split_once(':')
        .map_or(authority, |(host, _)| host);
    Ok((host, if path.is_empty() { "/" } else { path }))
}

fn read_site(host: &str) -> Result<String, String> {
    let site = host.to_ascii_lowercase();
    let site = site.strip_suffix('.').unwrap_or(&site);
    if is_site_name(site) {
        Ok(site.to_owned())
    } else {
        Err(format!("no name of a site: {host:?}"))
    }
}

fn read_target(text: &str) -> Result<What, String> {
    let target = Target::parse(text.as_bytes()).map_err(|error| format!("{text:?}: {error}"))?;
    Ok(match text.contains('*') {
        true => What::Pattern(target.to_string()),
        false => What::Exact(target),
    })
}

impl fmt::Display for Purge {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.soft {
            f.write_str("--soft ")?;
        }
        if let Some(site) = &self.site {
            write!(f, "--site {site} ")?;
        }
        match &self.what {
            What::Exact(target) => target.fmt(f),
            What::Pattern(pattern) => f.write_str(pattern),
            What::Tag(tag) => write!(f, "--tag {tag}"),
            What::All => f.write_str("--all"),
        }
    }
}

/// Whether a text matches a pattern in which `*` stands for any bytes.
pub fn is_match(pattern: &[u8], text: &[u8]) -> bool {
    let (mut p, mut t) = (0, 0);
    // Where to go on when what follows the last star does not match: the star may take more.
    let mut retry = None;
    while t < text.len() {
        if pattern.get(p) == Some(&b'*') {
            retry = Some((p + 1, t));
            p += 1;
        } else if pattern.get(p) == Some(&text[t]) {
            (p, t) = (p + 1, t + 1);
        } else if let Some((after_star, taken)) = retry {
            retry = Some((after_star, taken + 1));
            (p, t) = (after_star, taken + 1);
        } else {
            return false;
        }
    }
    pattern[p..].iter().all(|&byte| byte == b'*')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn purge(text: &str) -> Purge {
        Purge::parse(text).unwrap_or_else(|error| panic!("{text}: {error}"))
    }

    #[test]
    fn commands_read_back() {
        for text in [
            "/logo.gif",
            "--site a.org /x?y",
            "--soft /news/*",
            "--tag k",
            "--site a.org --all",
            "/a?*",
        ] {
            assert_eq!(purge(text).to_string(), text);
        }
        assert_eq!(
            purge("https://A.org:443/x%7e").to_string(),
            "--site a.org /x~"
        );
        for text in [
            "",
            "x",
            "/a /b",
            "/..",
            "ftp://a/",
            "http:///a",
            "--tag",
            "--site a/b /x",
            "--what /a",
        ] {
            assert!(Purge::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn the_glob_does_not_run_away() {
        assert!(is_match(b"a*b*c", b"a-b-b-c"));
        assert!(!is_match(b"a*b*c", b"a-b-b-"));
        assert!(!is_match(&b"*a".repeat(40), &b"a".repeat(39)));
        assert!(is_match(b"*", b""));
    }
}
