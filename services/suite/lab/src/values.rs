//! What a field of a file may say: truth values, numbers, dates. Pure parsing, no places.

const MS_PER_DAY: i64 = 86_400_000;

/// Returns the truth value of `0/1`, `true/false`, `yes/no` in any case.
pub(crate) fn truth(field: &str) -> Option<bool> {
    let is = |word: &str| field.eq_ignore_ascii_case(word);
    match field {
        "1" => Some(true),
        "0" => Some(false),
        _ if is("true") || is("yes") => Some(true),
        _ if is("false") || is("no") => Some(false),
        _ => None,
    }
}

/// Returns a finite number, or 1 and 0 for truth values.
pub(crate) fn number(field: &str) -> Option<f64> {
    match field.parse::<f64>() {
        Ok(value) => value.is_finite().then_some(value),
        Err(_) => truth(field).map(|value| f64::from(u8::from(value))),
    }
}

/// Returns a moment for ordering: a number as it is (a position, seconds or milliseconds), a date
/// (`YYYY-MM-DD` or RFC 3339) as milliseconds since 1970. `YYYYMMDD` is read as the number it is:
/// that orders it as rightly, and a file has dates of one kind.
pub(crate) fn moment(field: &str) -> Option<f64> {
    match field.parse::<f64>() {
        Ok(value) => value.is_finite().then_some(value),
        Err(_) => rfc3339_ms(field).map(|ms| ms as f64),
    }
}

/// Returns the days since 1970 of `YYYY-MM-DD`, `YYYYMMDD` or RFC 3339: the day as it is written, which
/// is that of the till, whatever the offset.
pub(crate) fn day(field: &str) -> Option<i64> {
    if digits(field, 8).is_some() {
        let part = |from: usize, to: usize| digits(&field[from..to], to - from);
        return valid_days(part(0, 4)?, part(4, 6)?, part(6, 8)?);
    }
    rfc3339_ms(field)?;
    date_days(field.get(..10)?)
}

/// Returns milliseconds since 1970 of `YYYY-MM-DD` or RFC 3339 (`T` or a space between, an offset or
/// `Z`, without either UTC).
fn rfc3339_ms(field: &str) -> Option<i64> {
    let (date, time) = field.split_at_checked(10)?;
    let days = date_days(date)?;
    let ms = if time.is_empty() {
        0
    } else {
        time_ms(time.strip_prefix(['T', 't', ' '])?)?
    };
    Some(days * MS_PER_DAY + ms)
}

fn date_days(date: &str) -> Option<i64> {
    let mut parts = date.split('-');
    let year = digits(parts.next()?, 4)?;
    let month = digits(parts.next()?, 2)?;
    let day = digits(parts.next()?, 2)?;
    if parts.next().is_some() {
        return None;
    }
    valid_days(year, month, day)
}

/// Days since 1970-01-01 of a Gregorian date, `None` if there is no such day.
fn valid_days(year: i64, month: i64, day: i64) -> Option<i64> {
    let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    let lengths = [
        31,
        if leap { 29 } else { 28 },
        31,
        30,
        31,
        30,
        31,
        31,
        30,
        31,
        30,
        31,
    ];
    let length = *lengths.get(usize::try_from(month).ok()?.checked_sub(1)?)?;
    (1..=length)
        .contains(&day)
        .then(|| days_from_civil(year, month, day))
}

/// Days since 1970-01-01 of a Gregorian date; the year begins in March, so that leap days come last.
/// Source: Hinnant, "chrono-compatible low-level date algorithms", `days_from_civil`.
fn days_from_civil(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    era * 146_097 + year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year - 719_468
}

fn time_ms(time: &str) -> Option<i64> {
    let zone_at = time.find(['Z', 'z', '+', '-']).unwrap_or(time.len());
    let (clock, zone) = time.split_at(zone_at);
    let (whole, fraction) = clock.split_once('.').unwrap_or((clock, ""));
    let mut parts = whole.split(':');
    let hours = digits(parts.next()?, 2).filter(|hours| *hours < 24)?;
    let minutes = digits(parts.next()?, 2).filter(|minutes| *minutes < 60)?;
    let seconds = parts.next().map_or(Some(0), |text| digits(text, 2))?;
    if parts.next().is_some() || seconds > 60 || !fraction.bytes().all(|byte| byte.is_ascii_digit())
    {
        return None;
    }
    let thousandths = format!("{fraction:0<3}");
    let ms: i64 = thousandths[..3].parse().ok()?;
    let offset_minutes = match zone.split_at_checked(1) {
        None | Some(("Z" | "z", "")) => 0,
        Some((sign, rest)) => {
            let (hours, minutes) = rest.split_once(':')?;
            let offset = digits(hours, 2)? * 60 + digits(minutes, 2)?;
            if sign == "-" { -offset } else { offset }
        }
    };
    Some(((hours * 60 + minutes - offset_minutes) * 60 + seconds) * 1_000 + ms)
}

fn digits(text: &str, count: usize) -> Option<i64> {
    let valid = text.len() == count && text.bytes().all(|byte| byte.is_ascii_digit());
    valid.then(|| text.parse().ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn truth_values_in_any_case() {
        for yes in ["1", "true", "TRUE", "Yes"] {
            assert_eq!(truth(yes), Some(true), "{yes}");
        }
        for no in ["0", "False", "NO"] {
            assert_eq!(truth(no), Some(false), "{no}");
        }
        assert_eq!((truth("2"), truth("")), (None, None));
        assert_eq!(number("FALSE"), Some(0.0));
        assert_eq!(
            (number("1e400"), number("nan"), number("-2.5")),
            (None, None, Some(-2.5))
        );
    }

    #[test]
    fn days_are_those_that_are_written() {
        for same in [
            "20000301",
            "2000-03-01",
            "2000-03-01 00:30:00",
            "2000-03-01T00:30:00+09:00",
            "2000-03-01T23:59:59Z",
        ] {
            assert_eq!(day(same), Some(11_017), "{same}");
        }
        for bad in [
            "20000230",
            "2000031",
            "2000-03-01T24:00",
            "11017",
            "",
            "२०००",
        ] {
            assert_eq!(day(bad), None, "{bad}");
        }
    }

    #[test]
    fn dates_are_moments() {
        let days = |days: i64| Some((days * MS_PER_DAY) as f64);
        assert_eq!(moment("1970-01-01"), days(0));
        assert_eq!(moment("2000-03-01"), days(11_017));
        assert_eq!(moment("2024-02-29T12:30:00.25Z"), Some(1_709_209_800_250.0));
        assert_eq!(
            moment("2024-02-29 14:30:00.250+02:00"),
            Some(1_709_209_800_250.0)
        );
        assert_eq!(moment("17"), Some(17.0));
        for bad in [
            "2023-02-29",
            "2024-13-01",
            "2024-1-1",
            "yesterday",
            "2024-01-01T25:00:00Z",
            "",
            "2024-01-01T00:00:00+1",
        ] {
            assert_eq!(moment(bad), None, "{bad}");
        }
    }
}
