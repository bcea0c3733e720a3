//! Journeys: the steps that people took before they converted, or did not.

use std::collections::BTreeSet;

use hashbrown::HashMap;
use rapport_types::{Micros, UnixMillis};

/// Most distinct channels.
pub const CHANNELS_MAX: usize = 256;
/// Most steps of one journey.
pub const STEPS_MAX: usize = 1_000;
/// Steps that most journeys do not pass: room for them is made at once.
const STEPS_USUAL: usize = 8;
/// Most distinct paths.
pub const PATHS_MAX: usize = 5_000_000;
/// Most bytes of a channel's name.
pub const CHANNEL_BYTES_MAX: usize = 128;
/// Highest order of the Markov chain.
pub const ORDER_MAX: usize = 4;

/// Why a journey, or a model of journeys, was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum JourneyError {
    /// There is nobody to give credit to.
    #[error("a journey needs 1 to {STEPS_MAX} steps, not {0}")]
    Steps(usize),
    /// A channel has no name, or too long a one.
    #[error("channel name {0:?} is not 1 to {CHANNEL_BYTES_MAX} bytes")]
    Channel(String),
    /// Too many channels to tell apart.
    #[error("more than {CHANNELS_MAX} channels")]
    TooManyChannels,
    /// Too many paths to hold.
    #[error("more than {PATHS_MAX} distinct paths")]
    TooManyPaths,
    /// Value is not a finite number.
    #[error("value is not a finite number")]
    Value,
    /// The chain is asked to remember too little or too much.
    #[error("order {0} is not 1 to {ORDER_MAX}")]
    Order(usize),
    /// The chain has more states than are solved exactly.
    #[error("a chain of {states} states is above {max}: choose a lower order")]
    TooManyStates {
        /// States that the journeys have.
        states: usize,
        /// States that are solved.
        max: usize,
    },
}

/// How often one path was taken.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(super) struct Outcome {
    pub conversions: f64,
    pub value: f64,
    pub nulls: f64,
}

/// Counted journeys. Equal paths are one entry, so order of arrival does not matter.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Journeys {
    /// Name to number, in order of arrival.
    numbers: HashMap<String, u16>,
    paths: HashMap<Vec<u16>, Outcome>,
}

impl Journeys {
    /// Counts a path: how often it ended in a conversion, what those were worth, and how often it
    /// ended in nothing. A path that ended in neither adds its channels only.
    ///
    /// # Errors
    /// A limit is broken; nothing is counted then, though its channels may be known.
    pub fn add<'a>(
        &mut self,
        steps: impl IntoIterator<Item = &'a str>,
        conversions: u64,
        value: f64,
        nulls: u64,
    ) -> Result<(), JourneyError> {
        if !value.is_finite() {
            return Err(JourneyError::Value);
        }
        let mut path = Vec::with_capacity(STEPS_USUAL);
        for step in steps {
            if path.len() == STEPS_MAX {
                return Err(JourneyError::Steps(STEPS_MAX + 1));
            }
            path.push(self.number(step)?);
        }
        if path.is_empty() {
            return Err(JourneyError::Steps(0));
        }
        if self.paths.len() == PATHS_MAX && !self.paths.contains_key(&path) {
            return Err(JourneyError::TooManyPaths);
        }
        let outcome = self.paths.entry(path).or_default();
        outcome.conversions += conversions as f64;
        outcome.value += value;
        outcome.nulls += nulls as f64;
        Ok(())
    }

    fn number(&mut self, channel: &str) -> Result<u16, JourneyError> {
        if let Some(&number) = self.numbers.get(channel) {
            return Ok(number);
        }
        if !(1..=CHANNEL_BYTES_MAX).contains(&channel.len()) {
            return Err(JourneyError::Channel(channel.to_owned()));
        }
        if self.numbers.len() == CHANNELS_MAX {
            return Err(JourneyError::TooManyChannels);
        }
        let number = self.numbers.len() as u16;
        self.numbers.insert(channel.to_owned(), number);
        Ok(number)
    }

    /// Returns the channels by name.
    pub fn channels(&self) -> impl Iterator<Item = &str> {
        let names: BTreeSet<&str> = self.numbers.keys().map(String::as_str).collect();
        names.into_iter()
    }

    /// Returns all conversions.
    #[must_use]
    pub fn conversions(&self) -> f64 {
        // Whole numbers: their sum is the same in any order.
        self.paths.values().map(|outcome| outcome.conversions).sum()
    }

    /// Returns the value of all conversions.
    #[must_use]
    pub fn value(&self) -> f64 {
        let mut values: Vec<f64> = self.paths.values().map(|outcome| outcome.value).collect();
        values.sort_unstable_by(f64::total_cmp);
        values.iter().sum()
    }

    /// Returns every path, its steps given by the channel's place among the sorted names.
    pub(super) fn paths(&self) -> Vec<(Vec<usize>, Outcome)> {
        let mut place = vec![0; self.numbers.len()];
        for (sorted, name) in self.channels().enumerate() {
            place[usize::from(self.numbers[name])] = sorted;
        }
        let mut paths: Vec<(u64, Vec<usize>, Outcome)> = self
            .paths
            .iter()
            .map(|(path, &outcome)| {
                let steps = path.iter().map(|&number| place[usize::from(number)]);
                let steps: Vec<usize> = steps.collect();
                (first_steps(&steps), steps, outcome)
            })
            .collect();
        // Sums of floats depend on their order; names, unlike arrival, are the same in every run. Most
        // paths differ early: one number tells them apart.
        paths.sort_unstable_by(|a, b| a.0.cmp(&b.0).then_with(|| a.1.cmp(&b.1)));
        paths
            .into_iter()
            .map(|(_, steps, outcome)| (steps, outcome))
            .collect()
    }
}

/// The first eight steps as one number.
fn first_steps(steps: &[usize]) -> u64 {
    steps
        .iter()
        .take(8)
        .fold(0, |key, step| key << 8 | *step as u64)
}

/// One meeting of a person with a channel.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Touch {
    /// When.
    pub at: UnixMillis,
    /// Through which channel.
    pub channel: String,
}

/// Cuts one person's life into journeys and counts them.
///
/// * A conversion takes the touches at or before it, after the previous conversion and at most
///   `window_ms` old; one without such touches is nobody's, and is returned as a count. Touches
///   after the last conversion are a journey that ended in nothing.
/// * Longer journeys keep their last 1,000 touches. Neither input need be sorted.
///
/// # Errors
/// As [`Journeys::add`].
pub fn journeys_of(
    journeys: &mut Journeys,
    mut touches: Vec<Touch>,
    mut conversions: Vec<(UnixMillis, Micros)>,
    window_ms: i64,
) -> Result<u64, JourneyError> {
    touches.sort();
    conversions.sort();
    let mut rest = touches.as_slice();
    let mut unexplained = 0;
    for (at, value) in conversions {
        let (before, after) = rest.split_at(rest.partition_point(|touch| touch.at <= at));
        let old = before.partition_point(|touch| at.since(touch.at) > window_ms);
        if old == before.len() {
            unexplained += 1;
        } else {
            journeys.add(last_steps(&before[old..]), 1, value.to_units_f64(), 0)?;
        }
        rest = after;
    }
    if !rest.is_empty() {
        journeys.add(last_steps(rest), 0, 0.0, 1)?;
    }
    Ok(unexplained)
}

fn last_steps(touches: &[Touch]) -> impl Iterator<Item = &str> {
    touches[touches.len().saturating_sub(STEPS_MAX)..]
        .iter()
        .map(|touch| touch.channel.as_str())
}
