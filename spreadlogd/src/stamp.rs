//! Times in file names and lines.

use std::fmt;

use jiff::fmt::strtime;
use jiff::tz::TimeZone;
use jiff::{Timestamp, Zoned};

/// The time stamp of the Common Log Format, with its brackets.
const COMMON_LOG_FORMAT: &str = "[%d/%b/%Y:%H:%M:%S %z]";

/// A text that may hold strftime's conversions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Pattern {
    text: String,
    /// Whether what it expands to changes with time.
    changes: bool,
}

impl Pattern {
    /// Takes a text, where `%%` stands for a percent sign.
    ///
    /// # Errors
    /// A conversion that is not known.
    pub(crate) fn new(text: &str) -> Result<Pattern, jiff::Error> {
        let expanded = strtime::format(text, &Zoned::new(Timestamp::UNIX_EPOCH, TimeZone::UTC))?;
        let changes = text.replace("%%", "").contains('%');
        // A text without conversions is expanded once and for all.
        Ok(Pattern {
            text: if changes { text.to_owned() } else { expanded },
            changes,
        })
    }

    /// `[10/Oct/2000:13:55:36 -0700]`
    pub(crate) fn common_log_format() -> Pattern {
        Pattern {
            text: COMMON_LOG_FORMAT.to_owned(),
            changes: true,
        }
    }

    /// Whether what it expands to changes with time.
    pub(crate) fn changes(&self) -> bool {
        self.changes
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// A pattern with what it expanded to in the last second that it was asked for.
#[derive(Clone, Debug)]
pub(crate) struct Expansion {
    pattern: Pattern,
    second: Option<i64>,
    text: String,
}

impl Expansion {
    /// Nothing is expanded yet.
    pub(crate) fn new(pattern: Pattern) -> Expansion {
        Expansion {
            pattern,
            second: None,
            text: String::new(),
        }
    }

    /// What the pattern stands for at this time.
    pub(crate) fn at(&mut self, time: &Time) -> &str {
        if !self.pattern.changes {
            return &self.pattern.text;
        }
        if self.second != Some(time.second) {
            let zoned = Zoned::new(time.timestamp(), time.zone.clone());
            // It was expanded once when it was read; should a time still not fit it, the text as
            // it stands is a name, too.
            self.text = strtime::format(&self.pattern.text, &zoned)
                .unwrap_or_else(|_| self.pattern.text.clone());
            self.second = Some(time.second);
        }
        &self.text
    }
}

/// A second of the wall clock, as people in a time zone see it.
#[derive(Clone, Debug)]
pub(crate) struct Time {
    second: i64,
    zone: TimeZone,
}

impl Time {
    /// The beginning of time, for what does not depend on it.
    pub(crate) const EPOCH: Time = Time {
        second: 0,
        zone: TimeZone::UTC,
    };

    /// The current second.
    pub(crate) fn now(zone: &TimeZone) -> Time {
        Time {
            second: Timestamp::now().as_second(),
            zone: zone.clone(),
        }
    }

    /// The second so many seconds after the epoch.
    pub(crate) fn from_second(second: i64, zone: &TimeZone) -> Time {
        Time {
            second,
            zone: zone.clone(),
        }
    }

    fn timestamp(&self) -> Timestamp {
        Timestamp::from_second(self.second).unwrap_or(Timestamp::UNIX_EPOCH)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn expand(text: &str, second: i64) -> String {
        let mut expansion = Expansion::new(Pattern::new(text).unwrap());
        expansion
            .at(&Time::from_second(second, &TimeZone::UTC))
            .to_owned()
    }

    #[test]
    fn names_follow_the_clock() {
        assert_eq!(
            expand("/logs/%Y/%m/%d-%H.log", 971_211_336),
            "/logs/2000/10/10-20.log"
        );
        assert_eq!(expand("/logs/100%%", 0), "/logs/100%");
        assert_eq!(expand("/logs/plain", 0), "/logs/plain");
        assert!(!Pattern::new("100%%").unwrap().changes());
        assert!(Pattern::new("%%%Y").unwrap().changes());
    }

    #[test]
    fn unknown_conversions_are_refused() {
        assert!(Pattern::new("/logs/%!").is_err());
        assert!(Pattern::new("/logs/%").is_err());
    }

    #[test]
    fn the_common_log_format_has_the_zone_of_its_time() {
        let zone = TimeZone::fixed(jiff::tz::offset(-7));
        let mut expansion = Expansion::new(Pattern::common_log_format());
        let time = Time::from_second(971_211_336, &zone);
        assert_eq!(expansion.at(&time), "[10/Oct/2000:13:55:36 -0700]");
        assert_eq!(expansion.at(&time), "[10/Oct/2000:13:55:36 -0700]");
        let later = Time::from_second(971_211_337, &zone);
        assert_eq!(expansion.at(&later), "[10/Oct/2000:13:55:37 -0700]");
    }
}
