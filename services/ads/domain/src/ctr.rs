//! How often an ad is clicked: counts per line item and placement, smoothed by a Beta prior.

use rapport_types::Probability;
use std::collections::HashMap;

/// Impressions and clicks. Mergeable by addition.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct CtrCounts {
    /// Times seen.
    pub impressions: u64,
    /// Times clicked.
    pub clicks: u64,
}

impl CtrCounts {
    /// Adds another's counts.
    pub fn merge(&mut self, other: Self) {
        self.impressions = self.impressions.saturating_add(other.impressions);
        self.clicks = self.clicks.saturating_add(other.clicks);
    }
}

/// What is believed before anything was seen: `mean` as if from `strength` impressions.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct BetaPrior {
    /// The expected rate.
    pub mean: Probability,
    /// Impressions that the belief is worth, above 0.
    pub strength: f64,
}

impl Default for BetaPrior {
    fn default() -> Self {
        Self {
            mean: Probability::saturating(0.01),
            strength: 200.0,
        }
    }
}

impl BetaPrior {
    /// Computes the posterior mean `(clicks + mean * strength) / (impressions + strength)`.
    ///
    /// Clicks that arrive before their impressions count as clicked impressions, so that the rate
    /// stays a probability. Source: the Beta-binomial conjugate pair, Gelman et al., BDA3, 2.4.
    #[must_use]
    pub fn estimate(&self, counts: CtrCounts) -> Probability {
        let clicks = counts.clicks as f64;
        let impressions = (counts.impressions as f64).max(clicks);
        let strength = self.strength.max(f64::MIN_POSITIVE);
        Probability::saturating((clicks + self.mean.get() * strength) / (impressions + strength))
    }
}

/// Counts of every line item on every placement. Mergeable: associative and commutative.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CtrTable {
    counts: HashMap<String, HashMap<String, CtrCounts>>,
}

impl CtrTable {
    /// Adds counts of a line item on a placement.
    pub fn add(&mut self, line_item: &str, placement: &str, counts: CtrCounts) {
        let placements = match self.counts.get_mut(line_item) {
            Some(placements) => placements,
            None => self.counts.entry(line_item.to_owned()).or_default(),
        };
        match placements.get_mut(placement) {
            Some(known) => known.merge(counts),
            None => {
                placements.insert(placement.to_owned(), counts);
            }
        }
    }

    /// Adds another table.
    pub fn merge(&mut self, other: &Self) {
        for (line_item, placements) in &other.counts {
            placements
                .iter()
                .for_each(|(placement, counts)| self.add(line_item, placement, *counts));
        }
    }

    /// Computes the rate of a line item on a placement.
    ///
    /// The placement's belief starts from the line item's own rate over all placements, which starts
    /// from the prior: a new placement of a known ad is not a stranger.
    #[must_use]
    pub fn estimate(&self, line_item: &str, placement: &str, prior: &BetaPrior) -> Probability {
        let Some(placements) = self.counts.get(line_item) else {
            return prior.mean;
        };
        let mut everywhere = CtrCounts::default();
        placements
            .values()
            .for_each(|counts| everywhere.merge(*counts));
        let own = BetaPrior {
            mean: prior.estimate(everywhere),
            ..*prior
        };
        own.estimate(placements.get(placement).copied().unwrap_or_default())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn counts(impressions: u64, clicks: u64) -> CtrCounts {
        CtrCounts {
            impressions,
            clicks,
        }
    }

    #[test]
    fn estimates_match_values_worked_by_hand() {
        let prior = BetaPrior {
            mean: Probability::saturating(0.02),
            strength: 100.0,
        };
        let close = |counts, expected: f64| {
            assert!(
                (prior.estimate(counts).get() - expected).abs() < 1e-12,
                "{counts:?}"
            );
        };
        close(counts(0, 0), 0.02);
        close(counts(100, 8), 0.05); // (8 + 2) / 200
        close(counts(0, 3), 5.0 / 103.0); // clicks before impressions: three clicked ones
        let mut table = CtrTable::default();
        table.add("li", "home", counts(100, 8));
        assert_eq!(table.estimate("other", "home", &prior), prior.mean);
        // Elsewhere: the item's own 0.05; at home: (8 + 0.05 * 100) / 200.
        assert!((table.estimate("li", "cart", &prior).get() - 0.05).abs() < 1e-12);
        assert!((table.estimate("li", "home", &prior).get() - 0.065).abs() < 1e-12);
    }

    fn table() -> impl Strategy<Value = CtrTable> {
        prop::collection::vec(("[ab]", "[xy]", 0u64..50, 0u64..50), 0..12).prop_map(|rows| {
            let mut table = CtrTable::default();
            rows.iter().for_each(|(item, place, seen, clicked)| {
                table.add(item, place, counts(*seen, *clicked))
            });
            table
        })
    }

    fn merged(a: &CtrTable, b: &CtrTable) -> CtrTable {
        let mut sum = a.clone();
        sum.merge(b);
        sum
    }

    proptest! {
        #[test]
        fn merging_is_commutative_and_associative(a in table(), b in table(), c in table()) {
            prop_assert_eq!(merged(&a, &b), merged(&b, &a));
            prop_assert_eq!(merged(&merged(&a, &b), &c), merged(&a, &merged(&b, &c)));
        }

        #[test]
        fn the_estimate_lies_between_belief_and_evidence(seen in 1u64..10_000, part in 0.0f64..=1.0) {
            let clicks = (seen as f64 * part) as u64;
            let (prior, rate) = (BetaPrior::default(), clicks as f64 / seen as f64);
            let estimate = prior.estimate(counts(seen, clicks)).get();
            let (low, high) = (rate.min(prior.mean.get()), rate.max(prior.mean.get()));
            prop_assert!(estimate >= low - 1e-12 && estimate <= high + 1e-12);
        }
    }
}
