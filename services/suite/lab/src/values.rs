//! What a field of a file may say: truth values, numbers, dates. Pure parsing, no places.

use rapport_learn::date_ms;

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
        Err(_) => date_ms(field).map(|ms| ms as f64),
    }
}

/// Returns the days since 1970 of `YYYY-MM-DD`, `YYYYMMDD` or RFC 3339: the day as it is written, which
/// is that of the till, whatever the offset.
pub(crate) fn day(field: &str) -> Option<i64> {
    if field.len() == 8 && field.bytes().all(|byte| byte.is_ascii_digit()) {
        let (year, month, day) = (&field[..4], &field[4..6], &field[6..]);
        return self::day(&format!("{year}-{month}-{day}"));
    }
    date_ms(field)?;
    date_ms(field.get(..10)?).map(|ms| ms / MS_PER_DAY)
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
