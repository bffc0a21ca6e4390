//! The time of a line, as seconds since 1970.

/// Reads the stamps of lines; most lines are of the same second as the one before.
///
/// Known are Common's `10/Oct/2000:13:55:36 -0700`, also with a blank between date and time; ISO
/// 8601 with a blank or a `T`; and seconds since 1970, or thousandths, millionths or billionths of
/// one. All may have a fraction, which does not count. A stamp without a zone is taken for UTC.
#[derive(Clone, Debug, Default)]
pub struct Clock {
    /// The last stamp of 26 bytes, and what it said.
    last: Option<([u8; 26], u64)>,
}

impl Clock {
    /// Reads a stamp; none if it is not of a known form, or before 1970.
    #[inline]
    pub fn read(&mut self, stamp: &[u8]) -> Option<u64> {
        match &self.last {
            Some((last, time)) if stamp == last => Some(*time),
            _ => self.read_anew(stamp),
        }
    }

    fn read_anew(&mut self, stamp: &[u8]) -> Option<u64> {
        let Ok(fixed) = stamp.try_into() else {
            return read(stamp);
        };
        let time = read(stamp)?;
        self.last = Some((fixed, time));
        Some(time)
    }
}

fn read(stamp: &[u8]) -> Option<u64> {
    if stamp.len() >= 20 && stamp[2] == b'/' {
        common(stamp)
    } else if stamp.len() >= 19 && stamp[4] == b'-' {
        iso(stamp)
    } else {
        since_1970(stamp)
    }
}

fn digits(text: &[u8]) -> Option<i64> {
    // Bound: 18 digits always fit.
    let all = !text.is_empty() && text.len() <= 18 && text.iter().all(u8::is_ascii_digit);
    all.then(|| {
        text.iter()
            .fold(0, |number, digit| number * 10 + i64::from(digit - b'0'))
    })
}

fn common(stamp: &[u8]) -> Option<u64> {
    const MONTHS: &[u8] = b"JanFebMarAprMayJunJulAugSepOctNovDec";
    if [2, 6, 14, 17].map(|at| stamp[at]) != *b"//::" || !b": ".contains(&stamp[11]) {
        return None;
    }
    let month = MONTHS.chunks(3).position(|name| name == &stamp[3..6])? as i64 + 1;
    let date = (digits(&stamp[7..11])?, month, digits(&stamp[..2])?);
    seconds(date, &stamp[12..20], zone_after(&stamp[20..])?)
}

fn iso(stamp: &[u8]) -> Option<u64> {
    let date = (
        digits(&stamp[..4])?,
        digits(&stamp[5..7])?,
        digits(&stamp[8..10])?,
    );
    seconds(date, &stamp[11..19], zone_after(&stamp[19..])?)
}

/// A number of seconds, or of smaller units, which is told by how many digits it has.
fn since_1970(stamp: &[u8]) -> Option<u64> {
    let length = stamp.iter().position(|&byte| b".,".contains(&byte));
    let whole = &stamp[..length.unwrap_or(stamp.len())];
    let units = match whole.len() {
        0..=11 => whole,
        12..=14 => &whole[..whole.len() - 3],
        15..=17 => &whole[..whole.len() - 6],
        18..=20 => &whole[..whole.len() - 9],
        _ => return None,
    };
    let rest_is_number = whole.iter().all(u8::is_ascii_digit);
    digits(units).filter(|_| rest_is_number)?.try_into().ok()
}

/// The zone behind a time, and behind its fraction if it has one.
fn zone_after(text: &[u8]) -> Option<i64> {
    let fraction = |byte: &&u8| byte.is_ascii_digit() || b".,".contains(byte);
    let length = text.iter().take_while(fraction).count();
    match text[length..].trim_ascii() {
        b"" | b"Z" => Some(0),
        text => zone(text),
    }
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

/// Seconds since 1970 of a date, a time as `13:55:36`, and a zone.
fn seconds((year, month, day): (i64, i64, i64), time: &[u8], zone: i64) -> Option<u64> {
    let [hour, minute, second] = [&time[..2], &time[3..5], &time[6..8]].map(digits);
    let (hour, minute, second) = (hour?, minute?, second?);
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
