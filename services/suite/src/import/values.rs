//! Values as files write them: whole numbers, prices, times. Each refusal quotes what was there.

use prost::{Message, Name};

/// Longest text of an event, in characters, as docs/events.md says.
pub(super) const TEXT_CHARS_MAX: usize = 1_024;
/// Millionths in one unit.
const MICROS: i64 = 1_000_000;
/// Characters of a value that an error quotes.
const QUOTED_CHARS_MAX: usize = 40;

/// Wraps an event as an append request carries it.
pub(crate) fn any<M: Message + Name>(message: &M) -> prost_types::Any {
    prost_types::Any {
        type_url: M::type_url(),
        value: message.encode_to_vec(),
    }
}

/// Checks what a service would refuse later, when other lines are sent: a text of more than `max`
/// characters.
pub(super) fn at_most(text: &str, max: usize) -> Result<(), String> {
    let count = text.chars().count();
    if count > max {
        return Err(format!("has {count} characters, at most {max} are allowed"));
    }
    Ok(())
}

/// Parses a whole number.
pub(super) fn whole(text: &str) -> Result<i64, String> {
    text.trim()
        .parse()
        .map_err(|_not_a_number| format!("`{}` is not a whole number", quoted(text)))
}

/// Parses a decimal amount exactly, to the millionth.
pub(super) fn decimal_micros(text: &str) -> Result<i64, String> {
    let bad = || format!("`{}` is not an amount such as 12.50", quoted(text));
    let trimmed = text.trim();
    let (negative, digits) = match trimmed.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, trimmed),
    };
    let (units, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    let all_digits = |part: &str| part.bytes().all(|digit| digit.is_ascii_digit());
    if units.is_empty() || !all_digits(units) || !all_digits(fraction) || fraction.len() > 6 {
        return Err(bad());
    }
    let units: i64 = units.parse().map_err(|_too_large| bad())?;
    let fraction: i64 = format!("{fraction:0<6}")
        .parse()
        .map_err(|_too_large| bad())?;
    let micros = units
        .checked_mul(MICROS)
        .and_then(|units| units.checked_add(fraction));
    micros
        .map(|micros| if negative { -micros } else { micros })
        .ok_or_else(bad)
}

/// Parses `YYYY-MM-DD`, `YYYY-MM-DD HH:MM:SS`, RFC 3339 in UTC, or milliseconds since 1970. Fractions of
/// a second count to the millisecond.
pub(super) fn date_time(text: &str) -> Result<i64, String> {
    let bad = || {
        format!(
            "`{}` is not a time such as 2010-12-01 08:26:00",
            quoted(text)
        )
    };
    let text = text.trim();
    if text.len() >= 11 && text.bytes().all(|digit| digit.is_ascii_digit()) {
        return text.parse().map_err(|_too_large| bad());
    }
    let (date, time) = match text.split_at_checked(10) {
        Some((date, rest)) => (
            date,
            rest.trim_start_matches([' ', 'T']).trim_end_matches('Z'),
        ),
        None => return Err(bad()),
    };
    let parts: Vec<i64> = date
        .split('-')
        .map(str::parse)
        .collect::<Result<_, _>>()
        .map_err(|_not_a_number| bad())?;
    let [year, month, day] = parts[..] else {
        return Err(bad());
    };
    if !(1..=12).contains(&month) || !(1..=days_of(year, month)).contains(&day) {
        return Err(bad());
    }
    let millis = if time.is_empty() {
        0
    } else {
        millis_of_day(time).ok_or_else(bad)?
    };
    Ok(days_from_epoch(year, month, day) * 86_400_000 + millis)
}

fn millis_of_day(time: &str) -> Option<i64> {
    let (whole, fraction) = time.split_once('.').unwrap_or((time, "0"));
    if fraction.is_empty() || !fraction.bytes().all(|digit| digit.is_ascii_digit()) {
        return None; // an offset from UTC stands here, too
    }
    let millis: i64 = format!("{fraction:0<3}").get(..3)?.parse().ok()?;
    let parts: Vec<i64> = whole
        .split(':')
        .map(str::parse)
        .collect::<Result<_, _>>()
        .ok()?;
    let (hour, minute, second) = match parts[..] {
        [hour, minute] => (hour, minute, 0),
        [hour, minute, second] => (hour, minute, second),
        _ => return None,
    };
    let valid = (0..24).contains(&hour) && (0..60).contains(&minute) && (0..60).contains(&second);
    valid.then_some((hour * 3_600 + minute * 60 + second) * 1_000 + millis)
}

fn days_of(year: i64, month: i64) -> i64 {
    match month {
        2 if year % 4 == 0 && (year % 100 != 0 || year % 400 == 0) => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

/// Counts days from 1970-01-01 in the Gregorian calendar, for any year.
///
/// Years are taken to begin in March, so that the leap day is the last of its year.
fn days_from_epoch(year: i64, month: i64, day: i64) -> i64 {
    let (year, month) = if month <= 2 {
        (year - 1, month + 9)
    } else {
        (year, month - 3)
    };
    let leap_days = year.div_euclid(4) - year.div_euclid(100) + year.div_euclid(400);
    let day_of_year = (153 * month + 2) / 5 + day - 1;
    365 * year + leap_days + day_of_year - 719_468
}

fn quoted(text: &str) -> String {
    text.chars().take(QUOTED_CHARS_MAX).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_are_exact() {
        assert_eq!(decimal_micros("2.55"), Ok(2_550_000));
        assert_eq!(decimal_micros("-11062.06"), Ok(-11_062_060_000));
        assert_eq!(decimal_micros("0.001"), Ok(1_000));
        assert_eq!(decimal_micros("3"), Ok(3_000_000));
        for bad in ["", "1,5", "1.2345678", "--1", "1e3", "99999999999999999999"] {
            assert!(decimal_micros(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn times_are_utc() {
        assert_eq!(date_time("1970-01-01"), Ok(0));
        assert_eq!(date_time("2010-12-01 08:26:00"), Ok(1_291_191_960_000));
        assert_eq!(date_time("2024-02-29T23:59:59Z"), Ok(1_709_251_199_000));
        assert_eq!(date_time("1291191960000"), Ok(1_291_191_960_000));
        let half = Ok(1_291_191_960_500);
        assert_eq!(date_time("2010-12-01T08:26:00.5Z"), half);
        assert_eq!(date_time("2010-12-01 08:26:00.500999"), half);
        for bad in [
            "",
            "2023-02-29",
            "2010-13-01",
            "2010-12-01 24:00:00",
            "01/12/2010",
            "20.1.01",
            "2010-12-01 08:26:00+09:00",
            "2010-12-01 08:26:00.5+09:00",
            "2010-12-01 08:26:00.",
        ] {
            assert!(date_time(bad).is_err(), "{bad}");
        }
    }
}
