//! What a campaign did: counts kept per subject, folded by person, turned into rates at read.
//! An undefined rate is `None`, never 0: nobody clicked on what nobody saw.

use rapport_math::{Interval, wilson};
use rapport_types::Micros;

use crate::fold::Merge;

/// One whole, in the millionths that integer ratios are counted in.
const WHOLE: i128 = 1_000_000;

/// What one subject, or one person, did with one campaign.
///
/// Sums, so the fold is associative and commutative; counting an event once is the projection's
/// task (offset and state move together). Money saturates at the ends of its range.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct CampaignActivity {
    /// Times the campaign was shown.
    pub impressions: u64,
    /// Clicks on it.
    pub clicks: u64,
    /// Purchases, or other goals, that it is credited with.
    pub conversions: u64,
    /// Money that those brought; refunds make it less.
    pub revenue: Micros,
    /// Money that showing it cost.
    pub cost: Micros,
}

impl Merge for CampaignActivity {
    fn merge(&mut self, other: &Self) {
        self.impressions += other.impressions;
        self.clicks += other.clicks;
        self.conversions += other.conversions;
        self.revenue = Micros(self.revenue.0.saturating_add(other.revenue.0));
        self.cost = Micros(self.cost.0.saturating_add(other.cost.0));
    }
}

/// A share of trials with its 95 % Wilson interval.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Rate {
    /// Successes over trials, in `[0, 1]`.
    pub value: f64,
    /// Where the true rate lies.
    pub interval: Interval,
}

/// The measures of one campaign over a population.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct CampaignReport {
    /// Sums over everybody.
    pub totals: CampaignActivity,
    /// People who saw it.
    pub people_reached: u64,
    /// People who clicked.
    pub people_clicked: u64,
    /// People who converted.
    pub people_converted: u64,
    /// Click-through rate, clicks per impression; `None` without impressions.
    pub ctr: Option<Rate>,
    /// Conversion rate, conversions per click; `None` without clicks.
    pub cvr: Option<Rate>,
    /// People who clicked among people reached; `None` if nobody was reached.
    pub people_ctr: Option<Rate>,
    /// People who clicked and converted among people who clicked; `None` without clicks.
    pub people_cvr: Option<Rate>,
    /// Return on investment `(revenue - cost) / cost` in millionths; `None` without cost.
    pub roi_ppm: Option<i64>,
    /// Return on ad spend `revenue / cost` in millionths; `None` without cost.
    pub roas_ppm: Option<i64>,
    /// Money per click, rounded to a micro; `None` without clicks.
    pub cost_per_click: Option<Micros>,
    /// Money per conversion, rounded to a micro; `None` without conversions.
    pub cost_per_conversion: Option<Micros>,
}

/// The sums behind a campaign's measures, person by person, so that a population need not be held.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Tally {
    totals: CampaignActivity,
    reached: u64,
    clicked: u64,
    converted: u64,
    clicked_and_converted: u64,
}

impl Tally {
    /// Takes one person, given by the folded activity of all their subjects.
    pub fn push(&mut self, person: &CampaignActivity) {
        self.totals.merge(person);
        self.reached += u64::from(person.impressions > 0 || person.clicks > 0);
        self.clicked += u64::from(person.clicks > 0);
        self.converted += u64::from(person.conversions > 0);
        self.clicked_and_converted += u64::from(person.clicks > 0 && person.conversions > 0);
    }

    /// Computes the measures.
    ///
    /// The clicks of one eager person are not independent trials, so the interval of `ctr` is too
    /// narrow where few people make most of them; that of `people_ctr` is right. No rate exceeds 1:
    /// clicks beyond the impressions, and conversions beyond the clicks, stay in the totals only, and
    /// a person who clicked without a recorded impression counts as reached.
    #[must_use]
    pub fn report(&self) -> CampaignReport {
        let totals = self.totals;
        let (revenue, cost) = (i128::from(totals.revenue.0), i128::from(totals.cost.0));
        let paid = cost > 0;
        CampaignReport {
            totals,
            people_reached: self.reached,
            people_clicked: self.clicked,
            people_converted: self.converted,
            ctr: rate(totals.clicks, totals.impressions),
            cvr: rate(totals.conversions, totals.clicks),
            people_ctr: rate(self.clicked, self.reached),
            people_cvr: rate(self.clicked_and_converted, self.clicked),
            roi_ppm: paid.then(|| divide((revenue - cost) * WHOLE, cost)),
            roas_ppm: paid.then(|| divide(revenue * WHOLE, cost)),
            cost_per_click: ratio(cost, totals.clicks).map(Micros),
            cost_per_conversion: ratio(cost, totals.conversions).map(Micros),
        }
    }
}

/// Computes a campaign's measures over people: [`Tally::report`] of all of them.
pub fn report<'a>(people: impl IntoIterator<Item = &'a CampaignActivity>) -> CampaignReport {
    let mut tally = Tally::default();
    people.into_iter().for_each(|person| tally.push(person));
    tally.report()
}

fn rate(successes: u64, trials: u64) -> Option<Rate> {
    let interval = wilson(successes, trials, 0.95)?;
    let successes = successes.min(trials);
    Some(Rate {
        value: successes as f64 / trials as f64,
        interval,
    })
}

fn ratio(numerator: i128, denominator: u64) -> Option<i64> {
    (denominator > 0).then(|| divide(numerator, i128::from(denominator)))
}

/// Divides, rounding half away from zero and saturating; `denominator > 0`.
fn divide(numerator: i128, denominator: i128) -> i64 {
    let half = if numerator < 0 {
        -denominator / 2
    } else {
        denominator / 2
    };
    let rounded = (numerator + half) / denominator;
    i64::try_from(rounded).unwrap_or(if rounded < 0 { i64::MIN } else { i64::MAX })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fold::by_person;
    use proptest::prelude::*;
    use rapport_types::SubjectId;

    fn activity(impressions: u64, clicks: u64, conversions: u64, revenue: i64) -> CampaignActivity {
        let cost = Micros(impressions as i64 * 1_500);
        CampaignActivity {
            impressions,
            clicks,
            conversions,
            revenue: Micros(revenue),
            cost,
        }
    }

    #[test]
    fn values_worked_by_hand() {
        let people = [
            activity(3, 2, 1, 20_000_000),
            activity(1, 0, 0, 0),
            activity(4, 1, 0, 0),
            activity(2, 0, 1, 5_000_000),
        ];
        let found = report(&people);
        assert_eq!(
            (
                found.people_reached,
                found.people_clicked,
                found.people_converted
            ),
            (4, 2, 2)
        );
        assert_eq!(found.ctr.unwrap().value, 0.3); // 3 of 10
        assert_eq!(found.cvr.unwrap().value, 2.0 / 3.0);
        assert_eq!(found.people_ctr.unwrap().value, 0.5);
        assert_eq!(found.people_cvr.unwrap().value, 0.5); // of the two who clicked, one converted
        assert_eq!(found.totals.cost, Micros(15_000));
        assert_eq!(found.roas_ppm, Some(1_666_666_667)); // 25 / 0.015
        assert_eq!(found.roi_ppm, Some(1_665_666_667));
        assert_eq!(found.cost_per_click, Some(Micros(5_000)));
        assert_eq!(found.cost_per_conversion, Some(Micros(7_500)));
    }

    #[test]
    fn nothing_is_undefined_not_zero() {
        let found = report(&[]);
        assert_eq!(
            (found.ctr, found.cvr, found.roi_ppm, found.roas_ppm),
            (None, None, None, None)
        );
        assert_eq!(
            (found.cost_per_click, found.cost_per_conversion),
            (None, None)
        );
        assert_eq!(report(&[activity(5, 0, 0, 0)]).roi_ppm, Some(-1_000_000));
    }

    #[test]
    fn two_devices_of_one_person_are_one_person() {
        let (phone, laptop) = (SubjectId::new([1; 16]), SubjectId::new([2; 16]));
        let states = [
            (phone, activity(1, 0, 0, 0)),
            (laptop, activity(1, 1, 1, 7)),
        ];
        let apart = by_person(states, |subject| subject);
        assert_eq!(report(apart.values()).people_ctr.unwrap().value, 0.5);
        let linked = by_person(states, |_| phone);
        let found = report(linked.values());
        assert_eq!(
            (found.people_reached, found.people_ctr.unwrap().value),
            (1, 1.0)
        );
        assert_eq!(found.totals, report(apart.values()).totals);
    }

    proptest! {
        #[test]
        fn folding_is_associative_and_commutative_and_rates_stay_rates(
            raw in prop::collection::vec((0u64..50, 0u64..50, 0u64..5, -1_000i64..1_000_000), 3..20),
        ) {
            let states: Vec<CampaignActivity> =
                raw.into_iter().map(|(i, c, v, r)| activity(i, c, v, r)).collect();
            let fold = |parts: &[CampaignActivity]| parts.iter().fold(CampaignActivity::default(), |mut sum, part| {
                sum.merge(part);
                sum
            });
            let mut reversed = states.clone();
            reversed.reverse();
            prop_assert_eq!(fold(&states), fold(&reversed));
            let (left, right) = states.split_at(states.len() / 2);
            prop_assert_eq!(fold(&[fold(left), fold(right)]), fold(&states));
            let found = report(&states);
            for rate in [found.ctr, found.cvr, found.people_ctr, found.people_cvr].into_iter().flatten() {
                prop_assert!((0.0..=1.0).contains(&rate.value) && rate.interval.contains(rate.value));
            }
        }
    }
}
