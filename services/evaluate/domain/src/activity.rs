//! Active people per day, week and month.

use std::collections::{BTreeMap, BTreeSet};

use rapport_types::UnixMillis;

use crate::fold::Merge;

/// Milliseconds of a day; a day is a day of UTC, so it is the same for every reader.
const DAY_MS: i64 = 86_400_000;
/// Days of a trailing week.
const WEEK_DAYS: i32 = 7;
/// Days of a trailing month: 30, as the figure is compared between months.
const MONTH_DAYS: i32 = 30;
/// Days remembered per subject: the newest 400, a year with room to compare.
pub const ACTIVE_DAYS_MAX: usize = 400;

/// A day, counted from 1970-01-01.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Day(pub i32);

impl Day {
    /// Returns the day of a moment.
    #[must_use]
    pub fn of(at: UnixMillis) -> Self {
        let day = at.0.div_euclid(DAY_MS);
        Self(i32::try_from(day).unwrap_or(if day < 0 { i32::MIN } else { i32::MAX }))
    }
}

impl std::fmt::Display for Day {
    /// Prints `YYYY-MM-DD`, by the civil calendar (Hinnant, "chrono-compatible date algorithms").
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // Counted from 0000-03-01, so that the leap day ends its year; an era is 400 years.
        let days = i64::from(self.0) + 719_468;
        let era = days.div_euclid(146_097);
        let of_era = days.rem_euclid(146_097);
        let year_of_era = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
        let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
        let shifted_month = (5 * of_year + 2) / 153;
        let day = of_year - (153 * shifted_month + 2) / 5 + 1;
        let month = if shifted_month < 10 {
            shifted_month + 3
        } else {
            shifted_month - 9
        };
        let year = era * 400 + year_of_era + i64::from(month <= 2);
        write!(f, "{year:04}-{month:02}-{day:02}")
    }
}

/// The days on which a subject, or a person, did anything.
///
/// The fold is a union cut to its newest 400 days: associative, commutative, idempotent.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ActiveDays {
    days: BTreeSet<Day>,
}

impl ActiveDays {
    /// Takes the day of one event.
    pub fn record(&mut self, at: UnixMillis) {
        self.days.insert(Day::of(at));
        self.forget_oldest();
    }

    /// Returns the days, oldest first.
    pub fn iter(&self) -> impl Iterator<Item = Day> {
        self.days.iter().copied()
    }

    fn active_within(&self, last: Day, days: i32) -> bool {
        let first = Day(last.0.saturating_sub(days - 1));
        self.days.range(first..=last).next().is_some()
    }

    fn forget_oldest(&mut self) {
        while self.days.len() > ACTIVE_DAYS_MAX {
            self.days.pop_first();
        }
    }
}

impl Merge for ActiveDays {
    fn merge(&mut self, other: &Self) {
        self.days.extend(&other.days);
        self.forget_oldest();
    }
}

/// Active people up to a day.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ActivePeople {
    /// On the day itself (DAU).
    pub daily: u64,
    /// On it or the six days before (WAU).
    pub weekly: u64,
    /// On it or the 29 days before (MAU).
    pub monthly: u64,
}

impl ActivePeople {
    /// Returns DAU / MAU, the share of the month's people who came on the day; `None` without any.
    #[must_use]
    pub fn stickiness(&self) -> Option<f64> {
        (self.monthly > 0).then(|| self.daily as f64 / self.monthly as f64)
    }
}

/// Counts active people up to a day, each given by the folded days of all their subjects.
pub fn active_people<'a>(
    people: impl IntoIterator<Item = &'a ActiveDays>,
    as_of: Day,
) -> ActivePeople {
    let mut counts = ActivePeople::default();
    for person in people {
        counts.daily += u64::from(person.active_within(as_of, 1));
        counts.weekly += u64::from(person.active_within(as_of, WEEK_DAYS));
        counts.monthly += u64::from(person.active_within(as_of, MONTH_DAYS));
    }
    counts
}

/// Counts active people on each day of a range, ends included; days without anybody are absent.
/// Cost: one step per person and active day.
pub fn daily_series<'a>(
    people: impl IntoIterator<Item = &'a ActiveDays>,
    first: Day,
    last: Day,
) -> BTreeMap<Day, u64> {
    let mut series = BTreeMap::new();
    for person in people {
        for day in person.iter().filter(|day| (first..=last).contains(day)) {
            *series.entry(day).or_default() += 1;
        }
    }
    series
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn on(days: &[i32]) -> ActiveDays {
        let mut active = ActiveDays::default();
        days.iter()
            .for_each(|&day| active.record(UnixMillis(i64::from(day) * DAY_MS + 5)));
        active
    }

    #[test]
    fn days_print_by_the_calendar() {
        for (day, text) in [
            (0, "1970-01-01"),
            (-1, "1969-12-31"),
            (11_016, "2000-02-29"),
            (19_782, "2024-02-29"),
            (20_000, "2024-10-04"),
        ] {
            assert_eq!(Day(day).to_string(), text);
        }
        assert_eq!(Day::of(UnixMillis(-1)), Day(-1));
    }

    #[test]
    fn windows_end_on_the_day_itself() {
        let people = [
            on(&[100]),
            on(&[94]),
            on(&[93]),
            on(&[71]),
            on(&[70]),
            on(&[101]),
        ];
        let counts = active_people(&people, Day(100));
        assert_eq!(
            counts,
            ActivePeople {
                daily: 1,
                weekly: 2,
                monthly: 4
            }
        );
        assert_eq!(counts.stickiness(), Some(0.25));
        assert_eq!(ActivePeople::default().stickiness(), None);
        let series = daily_series(&people, Day(93), Day(100));
        assert_eq!(series, [(Day(93), 1), (Day(94), 1), (Day(100), 1)].into());
    }

    proptest! {
        #[test]
        fn folding_is_a_union(
            a in prop::collection::vec(0i32..900, 0..600), b in prop::collection::vec(0i32..900, 0..600),
        ) {
            let all = on(&[a.clone(), b.clone()].concat());
            let (mut one, mut two) = (on(&a), on(&b));
            one.merge(&on(&b));
            two.merge(&on(&a));
            prop_assert_eq!(&one, &all);
            prop_assert_eq!(&two, &all);
            prop_assert!(all.iter().count() <= ACTIVE_DAYS_MAX);
        }
    }
}
