//! Where a person stands between first look and gone, measured by its own rhythm of buying.

/// Days after the first purchase in which somebody is new.
const NEW_DAYS: i64 = 30;
/// Purchase days from which on somebody has a rhythm and is no longer new.
const RHYTHM_DAYS_MIN: usize = 3;
/// The gap expected of people without a rhythm: a month, as pay is.
const FALLBACK_GAP_DAYS: f64 = 30.0;
/// Bounds of a personal gap: below a week, a holiday would look like leaving; above four months,
/// nobody would ever be at risk within a year.
const GAP_DAYS: std::ops::RangeInclusive<f64> = 7.0..=120.0;

/// The stages, in the order people pass them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum LifecycleStage {
    /// Has not bought.
    Prospect,
    /// First bought at most 30 days ago, on fewer than 3 days.
    New,
    /// Within 1.5 expected gaps of the last purchase.
    Active,
    /// Within 3 expected gaps.
    AtRisk,
    /// Within 6 expected gaps.
    Dormant,
    /// Longer away than that.
    Lost,
}

/// A stage with what it was judged by.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Lifecycle {
    /// The stage.
    pub stage: LifecycleStage,
    /// Days since the last purchase; `None` for a prospect.
    pub days_since_purchase: Option<i64>,
    /// The gap expected between purchases, in days.
    pub expected_gap_days: f64,
    /// Whether the gap is the person's own (3 purchase days or more) or the fallback of 30 days.
    pub own_rhythm: bool,
}

/// Computes the stage at the end of day `as_of_day`.
///
/// * `purchase_days`: distinct days since 1970, rising; later ones than `as_of_day` are ignored.
/// * `first_day`: the first purchase ever, which may be older than the days that are kept.
/// * The expected gap is the median of the person's gaps, clamped to 7 to 120 days.
#[must_use]
pub fn lifecycle(purchase_days: &[i64], first_day: Option<i64>, as_of_day: i64) -> Lifecycle {
    let known = &purchase_days[..purchase_days.partition_point(|day| *day <= as_of_day)];
    let own_rhythm = known.len() >= RHYTHM_DAYS_MIN;
    let expected_gap_days = if own_rhythm {
        median_gap(known)
    } else {
        FALLBACK_GAP_DAYS
    };
    let days_since_purchase = known.last().map(|last| as_of_day - last);
    let stage = days_since_purchase.map_or(LifecycleStage::Prospect, |since| {
        let age = as_of_day - first_day.unwrap_or(as_of_day).min(known[0]);
        let gaps = since as f64 / expected_gap_days;
        match gaps {
            _ if age <= NEW_DAYS && !own_rhythm => LifecycleStage::New,
            gaps if gaps <= 1.5 => LifecycleStage::Active,
            gaps if gaps <= 3.0 => LifecycleStage::AtRisk,
            gaps if gaps <= 6.0 => LifecycleStage::Dormant,
            _ => LifecycleStage::Lost,
        }
    });
    Lifecycle {
        stage,
        days_since_purchase,
        expected_gap_days,
        own_rhythm,
    }
}

/// Returns the median gap of two or more rising days, clamped.
fn median_gap(days: &[i64]) -> f64 {
    let mut gaps: Vec<i64> = days.windows(2).map(|pair| pair[1] - pair[0]).collect();
    gaps.sort_unstable();
    let middle = gaps.len() / 2;
    let median = if gaps.len() % 2 == 1 {
        gaps[middle] as f64
    } else {
        (gaps[middle - 1] + gaps[middle]) as f64 / 2.0
    };
    median.clamp(*GAP_DAYS.start(), *GAP_DAYS.end())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[track_caller]
    fn check(days: &[i64], as_of: i64, stage: LifecycleStage, gap: f64) {
        let found = lifecycle(days, days.first().copied(), as_of);
        assert_eq!((found.stage, found.expected_gap_days), (stage, gap));
    }

    #[test]
    fn stages_worked_by_hand() {
        use LifecycleStage::{Active, AtRisk, Dormant, Lost, New, Prospect};
        check(&[], 100, Prospect, 30.0);
        check(&[200], 100, Prospect, 30.0); // bought, but later than asked
        check(&[90], 100, New, 30.0);
        check(&[70], 100, New, 30.0);
        check(&[69], 100, Active, 30.0); // 31 days: 1.03 gaps
        check(&[50], 100, AtRisk, 30.0); // 50 days: 1.67 gaps
        check(&[0], 100, Dormant, 30.0); // 3.3 gaps
        check(&[0], 181, Lost, 30.0);
        check(&[0, 10, 20, 40], 54, Active, 10.0); // gaps 10, 10, 20; 14 days: 1.4 gaps
        check(&[0, 10, 20, 40], 56, AtRisk, 10.0);
        check(&[0, 10, 20, 40], 100, Dormant, 10.0);
        check(&[0, 10, 20, 40], 101, Lost, 10.0);
        check(&[0, 10, 30], 40, Active, 15.0); // even: the mean of 10 and 20
        check(&[0, 1, 2], 10, Active, 7.0); // a daily buyer gets a week
        check(&[0, 200, 400], 640, AtRisk, 120.0);
    }

    #[test]
    fn an_old_customer_whose_first_days_were_dropped_is_not_new() {
        assert_eq!(
            lifecycle(&[990], Some(100), 1_000).stage,
            LifecycleStage::Active
        );
    }

    proptest! {
        #[test]
        fn without_purchases_time_only_moves_people_on(
            mut days in prop::collection::vec(0i64..300, 1..12), wait in 0i64..400, more in 0i64..400,
        ) {
            days.sort_unstable();
            days.dedup();
            let stage = |as_of| lifecycle(&days, days.first().copied(), as_of).stage;
            let last = days[days.len() - 1];
            prop_assert!(stage(last + wait) <= stage(last + wait + more));
        }
    }
}
