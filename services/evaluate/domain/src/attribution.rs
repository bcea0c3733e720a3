//! Which channels deserve the credit for conversions. Journeys are counted here; each family of
//! models has a file of its own: fixed rules, the Markov chain, Shapley values.

mod journeys;
mod markov;
mod rules;
mod shapley;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

pub use journeys::{
    CHANNEL_BYTES_MAX, CHANNELS_MAX, JourneyError, Journeys, ORDER_MAX, PATHS_MAX, STEPS_MAX,
    Touch, journeys_of,
};
pub use markov::STATES_MAX;

/// How credit is given.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Model {
    /// All to the first step.
    First,
    /// All to the last step.
    Last,
    /// The same to every step.
    Linear,
    /// 40 % to the first, 40 % to the last, 20 % to those between.
    Position,
    /// Halved every two steps back from the conversion.
    TimeDecay,
    /// By what would be lost without the channel, in a Markov chain of this order (1 to 4).
    Markov {
        /// Steps that the chain remembers.
        order: usize,
    },
    /// By the Shapley value of the channel.
    Shapley,
}

impl Model {
    /// Every model, the Markov chain at order 1.
    pub const ALL: [Self; 7] = [
        Self::First,
        Self::Last,
        Self::Linear,
        Self::Position,
        Self::TimeDecay,
        Self::Markov { order: 1 },
        Self::Shapley,
    ];

    /// Returns the name: `first, last, linear, position, time-decay, markov, shapley`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::First => "first",
            Self::Last => "last",
            Self::Linear => "linear",
            Self::Position => "position",
            Self::TimeDecay => "time-decay",
            Self::Markov { .. } => "markov",
            Self::Shapley => "shapley",
        }
    }

    /// Returns the model of a name (the Markov chain at order 1), or `None` for another word.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|model| model.name() == name)
    }
}

/// What a model says of every channel. All maps hold every channel of the journeys.
#[derive(Debug, Clone, PartialEq)]
pub struct Attribution {
    /// Conversions credited; they sum to all conversions.
    pub credit: BTreeMap<String, f64>,
    /// Value credited; it sums to all value.
    pub value_credit: BTreeMap<String, f64>,
    /// Share of conversions lost without the channel, in `[0, 1]`; `None` for models that do not
    /// ask, and without conversions.
    pub removal_effects: Option<BTreeMap<String, f64>>,
}

/// Gives the credit of all journeys by one model.
///
/// # Errors
/// Only the Markov chain can fail: an order outside 1 to 4, or more states than it solves exactly.
pub fn attribute(journeys: &Journeys, model: Model) -> Result<Attribution, JourneyError> {
    match model {
        Model::First => Ok(rules::attribute(journeys, rules::first)),
        Model::Last => Ok(rules::attribute(journeys, rules::last)),
        Model::Linear => Ok(rules::attribute(journeys, rules::linear)),
        Model::Position => Ok(rules::attribute(journeys, rules::position)),
        Model::TimeDecay => Ok(rules::attribute(journeys, rules::time_decay)),
        Model::Markov { order } => markov::attribute(journeys, order),
        Model::Shapley => Ok(shapley::attribute(journeys)),
    }
}

/// Computes how much more often journeys convert when two channels meet than the two explain
/// apart: `rate(both) - rate(first only) - rate(second only) + rate(neither)`, in `[-2, 2]`.
///
/// * Keyed by `"a + b"`, `a < b`; `None` where one of the four groups of journeys is empty. The
///   rate of a group is conversions over conversions and nulls.
/// * Cost: `O(paths * channels^2)`.
#[must_use]
pub fn synergy(journeys: &Journeys) -> BTreeMap<String, Option<f64>> {
    shapley::synergy(journeys)
}

/// Names per-channel numbers.
fn named(journeys: &Journeys, values: &[f64]) -> BTreeMap<String, f64> {
    journeys
        .channels()
        .map(str::to_owned)
        .zip(values.iter().copied())
        .collect()
}
