//! Dates as texts. Pure parsing: the calendar is the Gregorian one, before 1582 too.

const MS_PER_DAY: i64 = 86_400_000;

/// Returns milliseconds since 1970 of `YYYY-MM-DD` or RFC 3339 (`T` or a space between, an offset or
/// `Z`, without either UTC). A number is no date.
#[must_use]
pub fn date_ms(field: &str) -> Option<i64> {
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
    fn dates_are_told_from_what_looks_like_them() {
        assert_eq!(date_ms("1970-01-01"), Some(0));
        assert_eq!(date_ms("2000-03-01"), Some(11_017 * MS_PER_DAY));
        assert_eq!(
            date_ms("2000-03-01T01:00:00+01:00"),
            Some(11_017 * MS_PER_DAY)
        );
        for other in [
            "1.5e-05",
            "2023-02-29",
            "2024-1-01",
            "20240101",
            "17",
            "2024-01-01x",
            "",
        ] {
            assert_eq!(date_ms(other), None, "{other}");
        }
    }
}
