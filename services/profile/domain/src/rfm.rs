//! Recency, frequency and monetary value: the measures, their scores and the value segments.

use rapport_types::{Currency, Micros};

/// The measures over the window before `as_of`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rfm {
    /// Whole days since the last purchase, `>= 0`.
    pub recency_days: u32,
    /// Distinct orders in the window, at least 1.
    pub frequency: u32,
    /// Paid less returned in the window, in `currency`. Below 0 when old orders came back.
    pub monetary: Micros,
    /// The currency of `monetary`: the asked one, else that of the most orders. `None` if no code was valid.
    pub currency: Option<Currency>,
}

/// Scores from 1 (worst fifth) to 5 (best).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RfmScore {
    /// 5 is the most recent.
    pub recency: u8,
    /// 5 is the most frequent.
    pub frequency: u8,
    /// 5 is the most spent.
    pub monetary: u8,
}

/// What a person is worth to the shop, and so which strategy fits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ValueSegment {
    /// Recent, frequent and spending: `R >= 4`, `F >= 4`, `M >= 4`.
    Champion,
    /// Keeps coming: `R >= 3`, `F >= 3`.
    Loyal,
    /// Came lately, not often yet: `R >= 4`.
    Potential,
    /// Was worth something and stays away: `R <= 2`, and `F >= 3` or `M >= 4`.
    AtRisk,
    /// Gone, and never bought much: `R = 1`.
    Lost,
    /// None of the above.
    Occasional,
}

/// The four borders between five scores, for each measure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RfmTable {
    /// At most this many days for a score of 5, 4, 3, 2. Rising.
    pub recency_days: [u32; 4],
    /// At least this many orders for a score of 5, 4, 3, 2. Falling.
    pub frequency: [u32; 4],
    /// At least this much for a score of 5, 4, 3, 2. Falling.
    pub monetary: [Micros; 4],
}

impl Default for RfmTable {
    /// For a shop without a history: a fortnight, a month, a quarter, half a year; 10, 5, 3, 2 orders;
    /// 5,000, 2,000, 500 and 100 units of currency. A shop with one takes [`RfmTable::from_population`].
    fn default() -> Self {
        Self {
            recency_days: [14, 30, 90, 180],
            frequency: [10, 5, 3, 2],
            monetary: [5_000, 2_000, 500, 100].map(Micros::from_units),
        }
    }
}

impl RfmTable {
    /// Computes the borders that cut a population into fifths, measure by measure.
    ///
    /// * Returns `None` for fewer than 5 people. Equal values get equal scores, so fifths of a lumpy
    ///   measure (most people order once) are uneven.
    /// * Cost: `O(n log n)`. Source: Hughes, "Strategic Database Marketing", 1994, chapter on RFM.
    #[must_use]
    pub fn from_population(people: &[Rfm]) -> Option<Self> {
        if people.len() < 5 {
            return None;
        }
        Some(Self {
            recency_days: borders(people.iter().map(|rfm| rfm.recency_days)),
            frequency: falling(borders(
                people.iter().map(|rfm| std::cmp::Reverse(rfm.frequency)),
            )),
            monetary: falling(borders(
                people.iter().map(|rfm| std::cmp::Reverse(rfm.monetary)),
            )),
        })
    }

    /// Returns the scores of one person.
    #[must_use]
    pub fn score(&self, rfm: &Rfm) -> RfmScore {
        let passed =
            |reached: [bool; 4]| 1 + reached.into_iter().filter(|reached| *reached).count() as u8;
        RfmScore {
            recency: passed(self.recency_days.map(|most| rfm.recency_days <= most)),
            frequency: passed(self.frequency.map(|least| rfm.frequency >= least)),
            monetary: passed(self.monetary.map(|least| rfm.monetary >= least)),
        }
    }
}

impl RfmScore {
    /// Returns the value segment: the first rule of [`ValueSegment`] that holds.
    #[must_use]
    pub fn segment(self) -> ValueSegment {
        let Self {
            recency,
            frequency,
            monetary,
        } = self;
        match self {
            _ if recency >= 4 && frequency >= 4 && monetary >= 4 => ValueSegment::Champion,
            _ if recency >= 3 && frequency >= 3 => ValueSegment::Loyal,
            _ if recency >= 4 => ValueSegment::Potential,
            _ if recency <= 2 && (frequency >= 3 || monetary >= 4) => ValueSegment::AtRisk,
            _ if recency == 1 => ValueSegment::Lost,
            _ => ValueSegment::Occasional,
        }
    }
}

/// Returns the last value of each of the first four fifths, best first.
fn borders<T: Ord + Copy>(values: impl Iterator<Item = T>) -> [T; 4] {
    let mut sorted: Vec<T> = values.collect();
    sorted.sort_unstable();
    [1, 2, 3, 4].map(|fifth| sorted[(sorted.len() * fifth).div_ceil(5) - 1])
}

fn falling<T>(borders: [std::cmp::Reverse<T>; 4]) -> [T; 4] {
    borders.map(|std::cmp::Reverse(value)| value)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rfm(recency_days: u32, frequency: u32, units: i64) -> Rfm {
        Rfm {
            recency_days,
            frequency,
            monetary: Micros::from_units(units),
            currency: None,
        }
    }

    #[track_caller]
    fn check(rfm: Rfm, scores: [u8; 3], segment: ValueSegment) {
        let score = RfmTable::default().score(&rfm);
        assert_eq!([score.recency, score.frequency, score.monetary], scores);
        assert_eq!(score.segment(), segment);
    }

    #[test]
    fn scores_and_segments_worked_by_hand() {
        check(rfm(3, 12, 8_000), [5, 5, 5], ValueSegment::Champion);
        check(rfm(14, 10, 5_000), [5, 5, 5], ValueSegment::Champion); // borders belong to the better score
        check(rfm(15, 9, 4_999), [4, 4, 4], ValueSegment::Champion);
        check(rfm(60, 4, 300), [3, 3, 2], ValueSegment::Loyal);
        check(rfm(10, 1, 50), [5, 1, 1], ValueSegment::Potential);
        check(rfm(120, 6, 900), [2, 4, 3], ValueSegment::AtRisk);
        check(rfm(300, 1, 2_500), [1, 1, 4], ValueSegment::AtRisk);
        check(rfm(300, 1, 20), [1, 1, 1], ValueSegment::Lost);
        check(rfm(100, 2, -5), [2, 2, 1], ValueSegment::Occasional);
    }

    #[test]
    fn a_population_is_cut_into_fifths() {
        let people: Vec<Rfm> = (1..=10)
            .map(|n| rfm(n * 10, n, i64::from(n) * 100))
            .collect();
        let table = RfmTable::from_population(&people).unwrap();
        assert_eq!(table.recency_days, [20, 40, 60, 80]);
        assert_eq!(table.frequency, [9, 7, 5, 3]);
        assert_eq!(table.monetary, [900, 700, 500, 300].map(Micros::from_units));
        let scores = people.iter().map(|one| table.score(one).frequency);
        assert_eq!(scores.collect::<Vec<_>>(), [1, 1, 2, 2, 3, 3, 4, 4, 5, 5]);
        assert_eq!(RfmTable::from_population(&people[..4]), None);
    }
}
