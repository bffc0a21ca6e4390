//! Names of groups and of sessions.

use std::fmt;

use crate::view::MemberId;

/// The longest name of a daemon, in bytes; longer ones are cut.
pub const DAEMON_NAME_BYTES_MAX: usize = 19;

/// The private name of a session: unique at its daemon, 1 to 10 bytes from `$` to `~`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PrivateName {
    // Zeros behind the name, so that the derived order is bytewise.
    bytes: [u8; PrivateName::BYTES_MAX],
    length: u8,
}

impl PrivateName {
    /// The longest private name.
    pub const BYTES_MAX: usize = 10;

    /// Takes a name; `None` if its length or one of its bytes is not allowed.
    pub fn new(name: &[u8]) -> Option<PrivateName> {
        let allowed = name.iter().all(|byte| (b'$'..=b'~').contains(byte));
        if name.is_empty() || name.len() > PrivateName::BYTES_MAX || !allowed {
            return None;
        }
        let mut bytes = [0; PrivateName::BYTES_MAX];
        bytes[..name.len()].copy_from_slice(name);
        Some(PrivateName {
            bytes,
            length: name.len() as u8,
        })
    }

    /// The name, without padding.
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes[..usize::from(self.length)]
    }
}

impl fmt::Display for PrivateName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.as_bytes().escape_ascii())
    }
}

impl fmt::Debug for PrivateName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

/// The name of a group or of a private group (`#name#daemon`), as clients send it: 32 raw bytes.
///
/// Whatever a client sent is carried unchanged. What it names ends at the first zero byte.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct GroupName([u8; GroupName::BYTES]);

impl GroupName {
    /// Size of a name field in the client protocol.
    pub const BYTES: usize = 32;

    /// Takes a name field as it is.
    pub fn from_field(field: [u8; GroupName::BYTES]) -> GroupName {
        GroupName(field)
    }

    /// Takes a name of at most 32 bytes; `None` if it is longer.
    pub fn new(name: &[u8]) -> Option<GroupName> {
        let mut field = [0; GroupName::BYTES];
        field.get_mut(..name.len())?.copy_from_slice(name);
        Some(GroupName(field))
    }

    /// The private group of a session of a daemon.
    pub fn private(name: PrivateName, daemon: &str) -> GroupName {
        let mut field = [0; GroupName::BYTES];
        let daemon = daemon.as_bytes();
        let daemon = &daemon[..daemon.len().min(DAEMON_NAME_BYTES_MAX)];
        let mut rest = &mut field[..];
        for part in [b"#", name.as_bytes(), b"#", daemon] {
            let (head, tail) = rest.split_at_mut(part.len());
            head.copy_from_slice(part);
            rest = tail;
        }
        GroupName(field)
    }

    /// All 32 bytes, for a name field of the client protocol.
    pub fn field(&self) -> &[u8; GroupName::BYTES] {
        &self.0
    }

    /// The name: what precedes the first zero byte.
    pub fn as_bytes(&self) -> &[u8] {
        let end = self.0.iter().position(|byte| *byte == 0);
        &self.0[..end.unwrap_or(GroupName::BYTES)]
    }

    /// The bytes that must travel: all but the zeros at the end.
    pub(crate) fn significant(&self) -> &[u8] {
        let end = self.0.iter().rposition(|byte| *byte != 0);
        &self.0[..end.map_or(0, |last| last + 1)]
    }

    /// The name of a group that can have members: not empty, not private, ended within the field,
    /// and without anything behind its end.
    pub(crate) fn joinable(&self) -> Option<GroupName> {
        match self.as_bytes() {
            [] | [b'#', ..] => None,
            name if name.len() == GroupName::BYTES => None,
            name => GroupName::new(name),
        }
    }

    /// The private name and the daemon's name in a private group.
    pub(crate) fn parse_private(&self) -> Option<(PrivateName, &[u8])> {
        let rest = self.as_bytes().strip_prefix(b"#")?;
        let end = rest.iter().position(|byte| *byte == b'#')?;
        Some((PrivateName::new(&rest[..end])?, &rest[end + 1..]))
    }
}

impl fmt::Display for GroupName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.as_bytes().escape_ascii())
    }
}

impl fmt::Debug for GroupName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.significant().escape_ascii())
    }
}

/// A session somewhere in the ring.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Member {
    pub(crate) daemon: MemberId,
    pub(crate) name: PrivateName,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_private_name_has_one_to_ten_bytes_from_dollar_to_tilde() {
        assert_eq!(PrivateName::new(b"$~").unwrap().as_bytes(), b"$~");
        assert_eq!(
            PrivateName::new(b"tenletters").unwrap().as_bytes(),
            b"tenletters"
        );
        for refused in [
            &b""[..],
            b"elevenbytes",
            b"a#b",
            b"a b",
            b"a\"",
            b"a!",
            b"\x7f",
            b"\x80",
        ] {
            assert_eq!(PrivateName::new(refused), None, "{refused:?}");
        }
    }

    #[test]
    fn private_groups_sort_as_their_strings_do() {
        let order = |a: &[u8], b: &[u8]| {
            let (a, b) = (PrivateName::new(a).unwrap(), PrivateName::new(b).unwrap());
            assert_eq!(
                a.cmp(&b),
                GroupName::private(a, "d").cmp(&GroupName::private(b, "d"))
            );
            a.cmp(&b)
        };
        assert!(order(b"ab", b"abc").is_lt());
        assert!(order(b"abc", b"ab$").is_gt());
        assert!(order(b"~", b"$$$$").is_gt());
    }

    #[test]
    fn the_longest_private_group_fits_the_field() {
        let group = GroupName::private(PrivateName::new(b"tenletters").unwrap(), &"d".repeat(30));
        assert_eq!(group.as_bytes().len(), 31);
        let (name, daemon) = group.parse_private().unwrap();
        assert_eq!(
            (name.as_bytes(), daemon.len()),
            (&b"tenletters"[..], DAEMON_NAME_BYTES_MAX)
        );
    }

    #[test]
    fn what_follows_a_zero_byte_is_carried_but_names_nothing() {
        let name = GroupName::new(b"g\0junk").unwrap();
        assert_eq!(name.significant(), b"g\0junk");
        assert_eq!(name.as_bytes(), b"g");
        assert_eq!(name.joinable(), GroupName::new(b"g"));
    }

    #[test]
    fn only_a_plain_name_can_be_joined() {
        for refused in [&b""[..], b"#a#d", b"\0x", &[b'x'; 32]] {
            assert_eq!(
                GroupName::new(refused).unwrap().joinable(),
                None,
                "{refused:?}"
            );
        }
        assert_eq!(GroupName::new(&[b'x'; 33]), None);
        let blank = GroupName::new(b" \x01").unwrap();
        assert_eq!(blank.joinable(), Some(blank));
    }
}
