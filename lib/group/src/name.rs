//! Names on the bus: of groups, of sessions, and the 32-byte fields that hold them.
//!
//! [`Name`] is whatever a field held; the other types are names that passed a rule.

use std::fmt;
use std::str::FromStr;

/// Bytes of a name field on the wire.
pub const NAME_LENGTH: usize = 32;

/// Most bytes of a group's name: a field less its NUL.
pub const GROUP_NAME_MAX: usize = NAME_LENGTH - 1;

/// Most bytes of a private name, as in Spread.
pub const PRIVATE_NAME_MAX: usize = 10;

/// Most bytes of a daemon's name, so that `#name#daemon` fits a field.
pub const DAEMON_NAME_MAX: usize = 19;

/// A name field: up to 32 bytes, none of them NUL.
///
/// Names of other people's programs may break every rule, so this holds anything that a field
/// can. Ordered bytewise, as member lists are.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Name {
    /// Invariant: zeros after the first zero, so that derived comparisons are right.
    field: [u8; NAME_LENGTH],
}

impl Name {
    /// The empty name.
    pub const EMPTY: Name = Name {
        field: [0; NAME_LENGTH],
    };

    /// Makes a name of at most 31 bytes without NUL.
    ///
    /// Errors: what C programs could not read back (SP_ILLEGAL_GROUP).
    pub fn new(bytes: &[u8]) -> Result<Name, NameError> {
        if bytes.len() > GROUP_NAME_MAX {
            return Err(NameError::TooLong {
                length_max: GROUP_NAME_MAX,
            });
        }
        match bytes.contains(&0) {
            true => Err(NameError::IllegalByte(0)),
            false => Ok(Name::from_field(bytes)),
        }
    }

    /// Reads a field: what stands before the first NUL, or all of it. Bytes from 32 on are ignored.
    pub fn from_field(bytes: &[u8]) -> Name {
        let mut field = [0; NAME_LENGTH];
        for (to, &from) in field
            .iter_mut()
            .zip(bytes.iter().take_while(|&&byte| byte != 0))
        {
            *to = from;
        }
        Name { field }
    }

    /// The field as it goes on the wire, zeros after the name.
    pub fn to_field(self) -> [u8; NAME_LENGTH] {
        self.field
    }

    /// The name without padding.
    pub fn as_bytes(&self) -> &[u8] {
        let length = self
            .field
            .iter()
            .position(|&byte| byte == 0)
            .unwrap_or(NAME_LENGTH);
        &self.field[..length]
    }

    /// Whether it names a session (`#name#daemon`) rather than a group.
    pub fn is_private(&self) -> bool {
        self.field[0] == b'#'
    }
}

impl AsRef<[u8]> for Name {
    fn as_ref(&self) -> &[u8] {
        self.as_bytes()
    }
}

impl AsRef<Name> for Name {
    fn as_ref(&self) -> &Name {
        self
    }
}

impl FromStr for Name {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Name, NameError> {
        Name::new(text.as_bytes())
    }
}

/// Printable as it is; other bytes as `\x1b`, so that no name can steer a terminal.
impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.as_bytes().escape_ascii().to_string())
    }
}

impl fmt::Debug for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\"{self}\"")
    }
}

/// The name of a group that can be joined: 1 to 31 bytes from `$` to `~`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct GroupName(Name);

impl GroupName {
    /// Checks a group's name by the rule of SP_join.
    ///
    /// Errors: empty, too long, or a byte outside 36..=126 (SP_ILLEGAL_GROUP).
    pub fn new(bytes: &[u8]) -> Result<GroupName, NameError> {
        checked(bytes, GROUP_NAME_MAX).map(GroupName)
    }

    /// The name as a field.
    pub fn name(self) -> Name {
        self.0
    }
}

/// The private name of a session: 1 to 10 bytes from `$` to `~`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PrivateName(Name);

impl PrivateName {
    /// Checks a private name by the rule of the daemon.
    ///
    /// Errors: empty, too long, or a byte outside 36..=126 (REJECT_ILLEGAL_NAME).
    pub fn new(bytes: &[u8]) -> Result<PrivateName, NameError> {
        checked(bytes, PRIVATE_NAME_MAX).map(PrivateName)
    }

    /// The private group that the name has at a daemon: `#name#daemon`.
    pub fn at(self, daemon: DaemonName) -> Name {
        let mut group = Vec::with_capacity(NAME_LENGTH);
        group.push(b'#');
        group.extend_from_slice(self.0.as_bytes());
        group.push(b'#');
        group.extend_from_slice(daemon.0.as_bytes());
        Name::from_field(&group)
    }
}

/// The name of a daemon: 1 to 19 bytes from `$` to `~`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DaemonName(Name);

impl DaemonName {
    /// Checks a daemon's name.
    ///
    /// Errors: empty, too long, or a byte outside 36..=126.
    pub fn new(bytes: &[u8]) -> Result<DaemonName, NameError> {
        checked(bytes, DAEMON_NAME_MAX).map(DaemonName)
    }
}

/// Splits a private group, `#name#daemon`, into its two names.
///
/// None for anything else, among them a group's name.
pub fn split_private_group(group: &Name) -> Option<(PrivateName, DaemonName)> {
    let inner = group.as_bytes().strip_prefix(b"#")?;
    let hash = inner.iter().position(|&byte| byte == b'#')?;
    let name = PrivateName::new(&inner[..hash]).ok()?;
    let daemon = DaemonName::new(&inner[hash + 1..]).ok()?;
    Some((name, daemon))
}

fn checked(bytes: &[u8], length_max: usize) -> Result<Name, NameError> {
    if bytes.is_empty() {
        return Err(NameError::Empty);
    }
    if bytes.len() > length_max {
        return Err(NameError::TooLong { length_max });
    }
    match bytes.iter().find(|byte| !(b'$'..=b'~').contains(*byte)) {
        Some(&byte) => Err(NameError::IllegalByte(byte)),
        None => Ok(Name::from_field(bytes)),
    }
}

macro_rules! checked_name {
    ($type:ident) => {
        impl AsRef<[u8]> for $type {
            fn as_ref(&self) -> &[u8] {
                self.0.as_bytes()
            }
        }

        impl AsRef<Name> for $type {
            fn as_ref(&self) -> &Name {
                &self.0
            }
        }

        impl From<$type> for Name {
            fn from(name: $type) -> Name {
                name.0
            }
        }

        impl FromStr for $type {
            type Err = NameError;

            fn from_str(text: &str) -> Result<$type, NameError> {
                $type::new(text.as_bytes())
            }
        }

        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    };
}

checked_name!(GroupName);
checked_name!(PrivateName);
checked_name!(DaemonName);

/// Why bytes are not a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NameError {
    /// No bytes at all.
    Empty,
    /// More bytes than allowed.
    TooLong {
        /// How many are allowed.
        length_max: usize,
    },
    /// A byte that is not allowed.
    IllegalByte(u8),
}

impl NameError {
    /// The code of the C library: SP_ILLEGAL_GROUP.
    pub fn code(self) -> i32 {
        -14
    }
}

impl fmt::Display for NameError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            NameError::Empty => f.write_str("a name must not be empty"),
            NameError::TooLong { length_max } => {
                write!(f, "the name must have at most {length_max} bytes")
            }
            NameError::IllegalByte(byte) => write!(
                f,
                "a name has bytes from '$' to '~' only, not '{}'",
                byte.escape_ascii()
            ),
        }
    }
}

impl std::error::Error for NameError {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn private_names_follow_the_daemons_rule() {
        assert!(PrivateName::new(b"$~").is_ok());
        assert_eq!(PrivateName::new(b""), Err(NameError::Empty));
        assert_eq!(
            PrivateName::new(b"abcdefghijk"),
            Err(NameError::TooLong { length_max: 10 })
        );
        for byte in [b'#', b'"', b'!', b' ', 0x7f, 0x80, 0] {
            assert_eq!(
                PrivateName::new(&[b'a', byte]),
                Err(NameError::IllegalByte(byte))
            );
        }
    }

    #[test]
    fn group_names_have_31_bytes_at_most() {
        assert!(GroupName::new(&[b'g'; 31]).is_ok());
        assert_eq!(
            GroupName::new(&[b'g'; 32]),
            Err(NameError::TooLong { length_max: 31 })
        );
        assert_eq!(GroupName::new(b"#a#b"), Err(NameError::IllegalByte(b'#')));
    }

    #[test]
    fn private_groups_split_and_join() {
        let group = Name::new(b"#alice#localhost").unwrap();
        let (name, daemon) = split_private_group(&group).unwrap();
        assert_eq!(name.at(daemon), group);
        assert_eq!(name, PrivateName::new(b"alice").unwrap());
        for bad in [
            "grp1",
            "#alice",
            "#alice#",
            "##localhost",
            "#alice#local#host",
            "#",
        ] {
            assert_eq!(split_private_group(&bad.parse().unwrap()), None, "{bad}");
        }
    }

    #[test]
    fn fields_end_at_the_first_nul_or_not_at_all() {
        assert_eq!(Name::from_field(b"grp1\0junk").as_bytes(), b"grp1");
        assert_eq!(Name::from_field(b"grp1\0junk").to_field()[4..], [0; 28]);
        assert_eq!(Name::from_field(&[b'x'; 40]).as_bytes(), [b'x'; 32]);
        assert_eq!(Name::from_field(b"a\x1b[m").to_string(), "a\\x1b[m");
    }
}
