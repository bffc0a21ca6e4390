//! The time of a line, as seconds since 1970.

/// Reads the stamps of lines; most lines are of the same second as the one before.
///
/// Known are Common's `10/Oct/2000:13:55:36 -0700`, ISO 8601 with a blank or a `T`, and seconds
/// since 1970 with or without a fraction. A stamp without a zone is taken for UTC.
#[derive(Clone, Debug, Default)]
pub struct Clock {
    /// The last stamp of 26 bytes, and what it said.
    last: Option<([u8; 26], u64)>,
}

impl Clock {
    /// Reads a stamp; none if it is not of a known form, or before 1970.
    pub fn read(&mut self, stamp: &[u8]) -> Option<u64> {
        let Ok(fixed) = <[u8; 26]>::try_from(stamp) else {
            return other(stamp);
        };
        if let Some((last, time)) = self.last
            && last == fixed
        {
            return Some(time);
        }
        let time = common(stamp).or_else(|| other(stamp))?;
        self.last = Some((fixed, time));
        Some(time)
    }
}

fn digits(text: &[u8]) -> Option<i64> {
    let all = !text.is_empty() && text.len() < 16 && text.iter().all(u8::is_ascii_digit);
    all.then(|| {
        text.iter()
            .fold(0, |number, digit| number * 10 + i64::from(digit - b'0'))
    })
}

fn common(stamp: &[u8]) -> Option<u64> {
    const MONTHS: &[u8] = b"JanFebMarAprMayJunJulAugSepOctNovDec";
    let separators = [2, 6, 11, 14, 17, 20].map(|at| stamp[at]);
    if separators != *b"//::: " {
        return None;
    }
    let month = MONTHS.chunks(3).position(|name| name == &stamp[3..6])? as i64 + 1;
    let date = (digits(&stamp[7..11])?, month, digits(&stamp[..2])?);
    let time = (
        digits(&stamp[12..14])?,
        digits(&stamp[15..17])?,
        digits(&stamp[18..20])?,
    );
    seconds(date, time, zone(&stamp[21..])?)
}

/// ISO 8601, or a number of seconds.
fn other(stamp: &[u8]) -> Option<u64> {
    if stamp.get(4) != Some(&b'-') || stamp.len() < 19 {
        let end = stamp
            .iter()
            .position(|&byte| byte == b'.')
            .unwrap_or(stamp.len());
        return digits(&stamp[..end])?.try_into().ok();
    }
    let date = (
        digits(&stamp[..4])?,
        digits(&stamp[5..7])?,
        digits(&stamp[8..10])?,
    );
    let time = (
        digits(&stamp[11..13])?,
        digits(&stamp[14..16])?,
        digits(&stamp[17..19])?,
    );
    let rest = &stamp[19..];
    let fraction = |byte: &u8| byte.is_ascii_digit() || b".,".contains(byte);
    let rest = &rest[rest.iter().take_while(|byte| fraction(byte)).count()..];
    let zone = match rest.trim_ascii() {
        b"" | b"Z" => 0,
        text => zone(text)?,
    };
    seconds(date, time, zone)
}

/// Seconds east of Greenwich out of `+0100` or `+01:00`.
fn zone(text: &[u8]) -> Option<i64> {
    let (sign, hours, minutes) = match text {
        [sign, h1, h2, b':', m1, m2] | [sign, h1, h2, m1, m2] => (sign, [*h1, *h2], [*m1, *m2]),
        _ => return None,
    };
    let east = digits(&hours)? * 3600 + digits(&minutes)? * 60;
    match sign {
        b'+' => Some(east),
        b'-' => Some(-east),
        _ => None,
    }
}

fn seconds(
    (year, month, day): (i64, i64, i64),
    (hour, minute, second): (i64, i64, i64),
    zone: i64,
) -> Option<u64> {
    let plausible = (1..=12).contains(&month)
        && (1..=31).contains(&day)
        && hour < 24
        && minute < 60
        && second <= 60;
    if !plausible {
        return None;
    }
    // Days from the civil calendar, the year beginning in March (Hinnant, chrono algorithms).
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    let days = era * 146_097 + day_of_era - 719_468;
    (days * 86_400 + hour * 3600 + minute * 60 + second - zone)
        .try_into()
        .ok()
}
