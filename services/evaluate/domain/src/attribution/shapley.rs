//! Credit by Shapley value, exact, and the synergy of channels that meet.

use std::collections::BTreeMap;

use super::{Attribution, Journeys, named};

/// Credits each channel with its Shapley value.
///
/// * A coalition of channels is worth the conversions of journeys that meet no channel outside it.
///   A journey's conversions are then the dividend of exactly its own set of channels, and a
///   dividend is shared equally by its set: the sum over all orders of arrival has this closed
///   form, exact for any number of channels. Steps repeated on a path count once.
/// * Cost: `O(all steps)`. Sources: Zhao, Mahboobi and Bagheri, "Shapley value methods for
///   attribution modeling in online advertising", 2018, section 3; Harsanyi 1963 for dividends.
pub(super) fn attribute(journeys: &Journeys) -> Attribution {
    let channels = journeys.channels().count();
    let (mut credit, mut value_credit) = (vec![0.0; channels], vec![0.0; channels]);
    for (path, outcome) in journeys.paths() {
        let met = distinct(path);
        let share = 1.0 / met.len() as f64;
        for channel in met {
            credit[channel] += share * outcome.conversions;
            value_credit[channel] += share * outcome.value;
        }
    }
    Attribution {
        credit: named(journeys, &credit),
        value_credit: named(journeys, &value_credit),
        removal_effects: None,
    }
}

/// Conversions and nulls of a group of journeys.
#[derive(Debug, Clone, Copy, Default)]
struct Group {
    conversions: f64,
    ended: f64,
}

impl Group {
    fn rate(self) -> Option<f64> {
        (self.ended > 0.0).then(|| self.conversions / self.ended)
    }

    fn without(self, other: Self) -> Self {
        Self {
            conversions: self.conversions - other.conversions,
            ended: self.ended - other.ended,
        }
    }

    fn add(&mut self, conversions: f64, ended: f64) {
        self.conversions += conversions;
        self.ended += ended;
    }
}

pub(super) fn synergy(journeys: &Journeys) -> BTreeMap<String, Option<f64>> {
    let names: Vec<&str> = journeys.channels().collect();
    let mut all = Group::default();
    let mut single = vec![Group::default(); names.len()];
    let mut both = vec![Group::default(); names.len() * names.len()];
    for (path, outcome) in journeys.paths() {
        let ended = outcome.conversions + outcome.nulls;
        let met = distinct(path);
        all.add(outcome.conversions, ended);
        for (place, &first) in met.iter().enumerate() {
            single[first].add(outcome.conversions, ended);
            for &second in &met[place + 1..] {
                both[first * names.len() + second].add(outcome.conversions, ended);
            }
        }
    }
    let mut pairs = BTreeMap::new();
    for first in 0..names.len() {
        for second in first + 1..names.len() {
            let together = both[first * names.len() + second];
            let (only_first, only_second) = (
                single[first].without(together),
                single[second].without(together),
            );
            let neither = all.without(single[first]).without(only_second);
            let interaction = || {
                Some(together.rate()? - only_first.rate()? - only_second.rate()? + neither.rate()?)
            };
            pairs.insert(
                format!("{} + {}", names[first], names[second]),
                interaction(),
            );
        }
    }
    pairs
}

fn distinct(mut path: Vec<usize>) -> Vec<usize> {
    path.sort_unstable();
    path.dedup();
    path
}
