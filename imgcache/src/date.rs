//! Dates of HTTP (RFC 9110 section 5.6.7), in seconds since 1970.

const MONTHS: [&str; 12] = [
    "jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec",
];
const DAYS: [&str; 7] = ["Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat"];
const LONG_DAYS: [&str; 7] = [
    "sunday",
    "monday",
    "tuesday",
    "wednesday",
    "thursday",
    "friday",
    "saturday",
];

/// Reads any of the three formats. Letters may have any case, and the day of the week may be
/// wrong; all else is exact.
///
/// `now` places the two-digit years of RFC 850: at most 50 years in the future.
pub fn parse(text: &[u8], now: i64) -> Option<i64> {
    let text = std::str::from_utf8(text).ok()?.to_ascii_lowercase();
    let words: Vec<&str> = text.split(' ').collect();
    match words.as_slice() {
        [day, date, month, year, time, "gmt"] if is_day(day.strip_suffix(',')?) => {
            seconds(number(year, 4)?, month, number(date, 2)?, time)
        }
        [day, date, time, "gmt"] if LONG_DAYS.contains(&day.strip_suffix(',')?) => {
            let [date, month, year] = date.split('-').collect::<Vec<_>>().try_into().ok()?;
            let (this_year, ..) = civil(now.div_euclid(86400));
            let mut year = number(year, 2)? + this_year.div_euclid(100) * 100;
            if year > this_year + 50 {
                year -= 100;
            }
            seconds(year, month, number(date, 2)?, time)
        }
        [day, month, date, time, year] if is_day(day) => {
            seconds(number(year, 4)?, month, number(date, 2)?, time)
        }
        // A day below 10 has a blank instead of a zero here.
        [day, month, "", date, time, year] if is_day(day) => {
            seconds(number(year, 4)?, month, number(date, 1)?, time)
        }
        _ => None,
    }
}

/// Writes the one format that is still to be written.
pub fn format(time: i64) -> String {
    let (days, second) = (time.div_euclid(86400), time.rem_euclid(86400));
    let (year, month, day) = civil(days);
    let name = MONTHS[month as usize - 1];
    format!(
        "{}, {day:02} {}{} {year:04} {:02}:{:02}:{:02} GMT",
        DAYS[(days + 4).rem_euclid(7) as usize],
        name[..1].to_ascii_uppercase(),
        &name[1..],
        second / 3600,
        second / 60 % 60,
        second % 60
    )
}

/// Writes a time as web logs have it, in UTC: `06/Nov/1994:08:49:37 +0000`.
pub fn common_log(time: i64) -> String {
    let text = format(time);
    let (date, time) = (&text[5..16], &text[17..25]);
    format!("{}:{time} +0000", date.replace(' ', "/"))
}

fn is_day(word: &str) -> bool {
    DAYS.iter().any(|day| day.eq_ignore_ascii_case(word))
}

fn number(text: &str, digits: usize) -> Option<i64> {
    (text.len() == digits && text.bytes().all(|byte| byte.is_ascii_digit()))
        .then(|| text.parse().ok())?
}

fn seconds(year: i64, month: &str, day: i64, time: &str) -> Option<i64> {
    let month = MONTHS.iter().position(|name| *name == month)? as i64 + 1;
    let [hour, minute, second] = time.split(':').collect::<Vec<_>>().try_into().ok()?;
    let (hour, minute, second) = (number(hour, 2)?, number(minute, 2)?, number(second, 2)?);
    // 60 is a leap second.
    let days = days(year, month, day);
    if hour > 23 || minute > 59 || second > 60 || civil(days) != (year, month, day) {
        return None;
    }
    Some(days * 86400 + hour * 3600 + minute * 60 + second)
}

/// Days since 1970 of a date of the Gregorian calendar.
fn days(year: i64, month: i64, day: i64) -> i64 {
    // Years that begin in March have their leap day at the end.
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let of_era = year.rem_euclid(400);
    let of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719_468
}

/// The inverse of [`days`]: year, month, day.
fn civil(days: i64) -> (i64, i64, i64) {
    let days = days + 719_468;
    let era = days.div_euclid(146_097);
    let of_era = days.rem_euclid(146_097);
    let year = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let shifted = (5 * of_year + 2) / 153;
    let month = if shifted < 10 {
        shifted + 3
    } else {
        shifted - 9
    };
    let year = year + era * 400 + i64::from(month <= 2);
    (year, month, of_year - (153 * shifted + 2) / 5 + 1)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// 1994-11-06 08:49:37.
    const EXAMPLE: i64 = 784_111_777;

    #[test]
    fn the_three_formats() {
        for text in [
            "Sun, 06 Nov 1994 08:49:37 GMT",
            "Mon, 06 NOV 1994 08:49:37 gmt",
            "Sunday, 06-Nov-94 08:49:37 GMT",
            "Sun Nov  6 08:49:37 1994",
        ] {
            assert_eq!(parse(text.as_bytes(), EXAMPLE), Some(EXAMPLE), "{text}");
        }
        assert_eq!(format(EXAMPLE), "Sun, 06 Nov 1994 08:49:37 GMT");
        assert_eq!(common_log(EXAMPLE), "06/Nov/1994:08:49:37 +0000");
    }

    #[test]
    fn what_is_no_date() {
        for text in [
            "",
            "0",
            "Sun, 06 Nov 1994 08:49:37 UTC",
            "Sun, 06 Nov 94 08:49:37 GMT",
            "Sun 06 Nov 1994 08:49:37 GMT",
            "Sun, 06  Nov 1994 08:49:37 GMT",
            "Sun, 06-Nov-1994 08:49:37 GMT",
            "Sun, 06 Nov 1994 08.49.37 GMT",
            "Sun, 06 Nov 1994 8:49:37 GMT",
            "Sun, 31 Feb 1994 08:49:37 GMT",
            "Sun, 06 Nov 1994 24:49:37 GMT",
        ] {
            assert_eq!(parse(text.as_bytes(), EXAMPLE), None, "{text}");
        }
    }

    proptest! {
        #[test]
        fn dates_read_back(time in 0i64..253_402_300_800) {
            prop_assert_eq!(parse(format(time).as_bytes(), time), Some(time));
        }
    }
}
