//! Credit by removal effect in an absorbing Markov chain, solved exactly, no simulation. Short chains
//! are solved by elimination (`direct.rs`), long ones by sweeps (`sweep.rs`).

mod direct;
mod sweep;

use std::collections::BTreeMap;

use super::{Attribution, JourneyError, Journeys, ORDER_MAX, named};

/// Most states of a chain; its memory is that of its distinct moves, at most one per step.
pub const STATES_MAX: usize = 1_000_000;
/// Up to so many states elimination is the faster way.
const STATES_DIRECT_MAX: usize = 200;

/// The chain's transient part. State 0 is the start.
struct Chain {
    /// Channel of each state's latest step; `None` for the start.
    channel: Vec<Option<usize>>,
    /// Moves out of each state, by number of the state they lead to: probabilities.
    moves: Vec<Vec<(usize, f64)>>,
    /// Conversions, and their value, straight from each state: per departure.
    ends: Vec<[f64; 2]>,
}

/// What is expected from the start, conversions and value, and what each channel's removal costs.
struct Losses {
    whole: [f64; 2],
    lost: Vec<[f64; 2]>,
}

/// Credits each channel in proportion to its removal effect: the share of conversions that would
/// be lost if every journey that reaches the channel ended there in nothing.
///
/// * A state is the last `order` channels. Removing a channel removes every state that a journey
///   can only be in after having met it.
/// * Value is credited by its own removal effects; `removal_effects` are those of conversions.
/// * Cost: `O(states^3)` for a short chain, else `O(channels * moves * sweeps)`. Source: Anderl, Becker,
///   von Wangenheim and Schumann, "Mapping the customer journey", IJRM 2016; the chain's algebra is
///   Kemeny and Snell, "Finite Markov chains", chapter 3.
pub(super) fn attribute(journeys: &Journeys, order: usize) -> Result<Attribution, JourneyError> {
    if !(1..=ORDER_MAX).contains(&order) {
        return Err(JourneyError::Order(order));
    }
    let chain = Chain::count(journeys, order)?;
    let channels = journeys.channels().count();
    let Losses { whole, lost } = if chain.ends.len() <= STATES_DIRECT_MAX {
        direct::losses(&chain, channels)
    } else {
        sweep::losses(&chain, channels)?
    };
    let effects: Vec<f64> = lost
        .iter()
        .map(|lost| share(lost[0], whole[0]).clamp(0.0, 1.0))
        .collect();
    let value_effects: Vec<f64> = lost.iter().map(|lost| share(lost[1], whole[1])).collect();
    let credit = in_proportion(&effects, journeys.conversions());
    let value_credit = in_proportion(&value_effects, journeys.value());
    Ok(Attribution {
        credit: named(journeys, &credit),
        value_credit: named(journeys, &value_credit),
        removal_effects: (whole[0] > 0.0).then(|| named(journeys, &effects)),
    })
}

impl Chain {
    fn count(journeys: &Journeys, order: usize) -> Result<Self, JourneyError> {
        let paths: Vec<_> = journeys
            .paths()
            .into_iter()
            .filter(|(_, outcome)| outcome.conversions + outcome.nulls > 0.0)
            .collect();
        let mut numbers: BTreeMap<&[usize], usize> = BTreeMap::from([(&[][..], 0)]);
        let mut channel = vec![None];
        let mut moves: Vec<BTreeMap<usize, f64>> = vec![BTreeMap::new()];
        let mut ends = vec![[0.0; 2]];
        let mut departures = vec![0.0];
        for (path, outcome) in &paths {
            let times = outcome.conversions + outcome.nulls;
            let mut from = 0;
            for end in 1..=path.len() {
                let next = channel.len();
                let to = *numbers
                    .entry(&path[end.saturating_sub(order)..end])
                    .or_insert(next);
                if to == next {
                    channel.push(Some(path[end - 1]));
                    moves.push(BTreeMap::new());
                    ends.push([0.0; 2]);
                    departures.push(0.0);
                }
                *moves[from].entry(to).or_default() += times;
                departures[from] += times;
                from = to;
            }
            departures[from] += times;
            ends[from][0] += outcome.conversions;
            ends[from][1] += outcome.value;
        }
        if channel.len() > STATES_MAX {
            return Err(too_many(channel.len()));
        }
        let rate = |count: f64, state: usize| share(count, departures[state]);
        let rates = |(state, row): (usize, BTreeMap<usize, f64>)| {
            row.into_iter()
                .map(|(to, count)| (to, rate(count, state)))
                .collect()
        };
        let ends = ends.into_iter().enumerate();
        Ok(Self {
            channel,
            ends: ends
                .map(|(state, end)| end.map(|count| rate(count, state)))
                .collect(),
            moves: moves.into_iter().enumerate().map(rates).collect(),
        })
    }
}

fn too_many(states: usize) -> JourneyError {
    JourneyError::TooManyStates {
        states,
        max: STATES_MAX,
    }
}

fn share(part: f64, whole: f64) -> f64 {
    if whole == 0.0 { 0.0 } else { part / whole }
}

/// Splits a whole in proportion; where no channel has any effect, evenly, so that nothing is lost.
fn in_proportion(effects: &[f64], whole: f64) -> Vec<f64> {
    let sum: f64 = effects.iter().sum();
    if sum == 0.0 {
        return vec![share(whole, effects.len() as f64); effects.len()];
    }
    effects.iter().map(|effect| whole * effect / sum).collect()
}
