//! Spreading a budget over its flight: the share of chances to take, from plan, spend and time.
//!
//! Proportional control against a plan that runs a little ahead of the clock: on plan the share is 1,
//! an hour's worth ahead of it 0, and between them in proportion. One controller per line item.

use rapport_types::{Micros, Probability, UnixMillis};

/// How far the spend may run ahead of an even plan before it stops.
const AHEAD_MS: i64 = 3_600_000;
/// The largest part of a flight that this may be: short flights are paced, too.
const AHEAD_SHARE_MAX: f64 = 0.05;
/// A flight without end is paced as if it lasted this long from its start, again and again.
const OPEN_FLIGHT_MS: i64 = 30 * 86_400_000;

/// How a budget is spread over a flight.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub enum Pacing {
    /// The same amount in every hour.
    #[default]
    Even,
    /// More at the beginning: three quarters in the first half.
    FrontLoaded,
    /// Every chance, until the budget is gone.
    Unpaced,
}

/// The time and money of one line item.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Flight {
    /// The first instant.
    pub starts_at: UnixMillis,
    /// The end, exclusive; `None` for never, which is paced month by month.
    pub ends_at: Option<UnixMillis>,
    /// What may be spent, above 0.
    pub budget: Micros,
}

impl Pacing {
    /// Computes the share of the budget that should be spent after `elapsed` of the flight, in
    /// `[0, 1]`, both; monotone.
    #[must_use]
    pub fn plan(self, elapsed: f64) -> f64 {
        let elapsed = elapsed.clamp(0.0, 1.0);
        match self {
            Self::Even => elapsed,
            Self::FrontLoaded => 1.0 - (1.0 - elapsed) * (1.0 - elapsed),
            Self::Unpaced => 1.0,
        }
    }

    /// Computes the probability with which a chance is taken. 0 outside the flight and when the
    /// budget is gone; never rises with spend, never falls with time.
    #[must_use]
    pub fn share(self, flight: &Flight, spent: Micros, now: UnixMillis) -> Probability {
        let is_over = flight.ends_at.is_some_and(|end| now >= end);
        if now < flight.starts_at || is_over || spent >= flight.budget {
            return Probability::ZERO;
        }
        if self == Self::Unpaced {
            return Probability::ONE;
        }
        let length = flight
            .ends_at
            .map_or(OPEN_FLIGHT_MS, |end| end.since(flight.starts_at))
            .max(1);
        let elapsed = now.since(flight.starts_at) as f64 / length as f64;
        let ahead = (AHEAD_MS as f64 / length as f64).min(AHEAD_SHARE_MAX);
        let spent = spent.0.max(0) as f64 / flight.budget.0.max(1) as f64;
        // The band in money that `ahead` is worth at the end of it; a floor keeps the last hour,
        // where a front-loaded plan is flat, from dividing by nothing.
        let target = self.plan(elapsed + ahead);
        let band = (target - self.plan(elapsed)).max(ahead / 10.0);
        Probability::saturating((target - spent) / band)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::draw;
    use proptest::prelude::*;

    const HOUR: i64 = 3_600_000;

    fn flight(hours: i64) -> Flight {
        Flight {
            starts_at: UnixMillis(0),
            ends_at: Some(UnixMillis(hours * HOUR)),
            budget: Micros::from_units(100),
        }
    }

    #[track_caller]
    fn check(pacing: Pacing, spent: i64, hour: f64, expected: f64) {
        let now = UnixMillis((hour * HOUR as f64) as i64);
        let share = pacing
            .share(&flight(100), Micros::from_units(spent), now)
            .get();
        assert!(
            (share - expected).abs() < 1e-9,
            "{share} instead of {expected}"
        );
    }

    #[test]
    fn shares_match_the_table() {
        // 100 hours, 100 units: one unit an hour, and one hour may be ahead.
        check(Pacing::Even, 0, 0.0, 1.0);
        check(Pacing::Even, 50, 50.0, 1.0); // on plan
        check(Pacing::Even, 50, 49.5, 0.5); // half an hour ahead
        check(Pacing::Even, 50, 49.0, 0.0); // an hour ahead
        check(Pacing::Even, 10, 50.0, 1.0); // behind
        check(Pacing::Even, 100, 50.0, 0.0); // gone
        check(Pacing::Even, 0, 100.0, 0.0); // over
        check(Pacing::Even, 0, -1.0, 0.0); // not begun
        check(Pacing::FrontLoaded, 75, 50.0, 1.0); // three quarters in the first half
        check(Pacing::FrontLoaded, 77, 50.0, 0.0);
        check(Pacing::Unpaced, 99, 1.0, 1.0);
    }

    /// A day with three times the chances that the budget can pay for, busier in the evening.
    fn spend_by_hour(pacing: Pacing) -> [i64; 24] {
        let flight = flight(24);
        let (mut spent, mut by_hour, mut key) = (Micros::ZERO, [0; 24], 0);
        for (hour, count) in by_hour.iter_mut().enumerate() {
            let chances = if hour < 12 { 600 } else { 1_200 };
            for at in 0..chances {
                let now = UnixMillis(hour as i64 * HOUR + at * HOUR / chances);
                key += 1;
                if draw::unit(key, "li") < pacing.share(&flight, spent, now).get() {
                    spent += Micros(13_888); // 1/7,200 of the budget
                    *count += 1;
                }
            }
        }
        by_hour
    }

    #[test]
    fn an_uneven_day_is_spent_evenly_and_whole() {
        let even = spend_by_hour(Pacing::Even);
        let total: i64 = even.iter().sum();
        assert!(
            (7_128..=7_201).contains(&total),
            "{total} of 7,200 paid chances: 99 % or more"
        );
        let mut spent = 0;
        for (hour, count) in even.iter().enumerate() {
            spent += count;
            let plan = 300 * (hour as i64 + 1);
            assert!(
                (plan - 15..=plan + 300).contains(&spent),
                "hour {hour}: {spent}, plan {plan}"
            );
            // The balance point is half of the hour that may be ahead by day, three quarters of it in
            // the evening; what runs ahead is missing in the last hour.
            let change = match hour {
                0 => 150,
                12 => 75,
                23 => -225,
                _ => 0,
            };
            assert!(count.abs_diff(300 + change) <= 45, "hour {hour}: {count}");
        }
        // The control: without pacing the evening gets nothing.
        let unpaced = spend_by_hour(Pacing::Unpaced);
        assert!(
            unpaced[12..].iter().sum::<i64>() <= 1,
            "one chance is paid by rounding"
        );
    }

    proptest! {
        #[test]
        fn shares_fall_with_spend_and_rise_with_time(
            hours in 1i64..2_000, spent in 0i64..100, more in 0i64..100, at in 0.0f64..1.0, later in 0.0f64..1.0,
            is_front: bool,
        ) {
            let pacing = if is_front { Pacing::FrontLoaded } else { Pacing::Even };
            let flight = flight(hours);
            let now = |part: f64| UnixMillis((part * (hours * HOUR - 1) as f64) as i64);
            let share = |spent, part| pacing.share(&flight, Micros::from_units(spent), now(part)).get();
            prop_assert!(share(spent + more, at) <= share(spent, at));
            let later = at.max(later);
            if !is_front {
                prop_assert!(share(spent, later) >= share(spent, at) - 1e-9);
            }
        }
    }
}
