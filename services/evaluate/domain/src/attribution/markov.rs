//! Credit by removal effect in an absorbing Markov chain, solved exactly, no simulation.

use std::collections::BTreeMap;

use super::{Attribution, JourneyError, Journeys, ORDER_MAX, named};

/// Most states of a chain: a dense inverse of this size takes seconds, the next order minutes.
pub const STATES_MAX: usize = 2_000;

/// The chain's transient part. State 0 is the start.
struct Chain {
    /// Channel of each state's latest step; `None` for the start.
    channel: Vec<Option<usize>>,
    /// Transition counts between transient states, row major, `[states * states]`.
    moves: Vec<f64>,
    /// Conversions, and their value, straight from each state.
    conversions: Vec<f64>,
    value: Vec<f64>,
    /// Everything that ever left each state.
    departures: Vec<f64>,
}

/// Credits each channel in proportion to its removal effect: the share of conversions that would
/// be lost if every journey that reaches the channel ended there in nothing.
///
/// * A state is the last `order` channels. Removing a channel removes every state that a journey
///   can only be in after having met it.
/// * Value is credited by its own removal effects; `removal_effects` are those of conversions.
/// * Cost: `O(states^3)`. Source: Anderl, Becker, von Wangenheim and Schumann, "Mapping the customer
///   journey", IJRM 2016; the chain's algebra is Kemeny and Snell, "Finite Markov chains", chapter 3.
pub(super) fn attribute(journeys: &Journeys, order: usize) -> Result<Attribution, JourneyError> {
    if !(1..=ORDER_MAX).contains(&order) {
        return Err(JourneyError::Order(order));
    }
    let chain = Chain::count(journeys, order)?;
    let states = chain.channel.len();
    let visits = inverse(chain.identity_minus_moves(), states);
    let reach = |ends: &[f64]| -> Vec<f64> {
        let rate = |state: usize| {
            if ends[state] == 0.0 {
                0.0
            } else {
                ends[state] / chain.departures[state]
            }
        };
        let rates: Vec<f64> = (0..states).map(rate).collect();
        let dot = |row: &[f64]| row.iter().zip(&rates).map(|(a, b)| a * b).sum();
        visits.chunks(states).map(dot).collect()
    };
    let (conversions, value) = (reach(&chain.conversions), reach(&chain.value));
    let channels = journeys.channels().count();
    let (mut effects, mut value_effects) = (vec![0.0; channels], vec![0.0; channels]);
    for channel in 0..channels {
        let removed: Vec<usize> = (1..states)
            .filter(|&state| chain.channel[state] == Some(channel))
            .collect();
        let arrivals = first_arrivals(&visits, states, &removed);
        let lost = |from: &[f64]| -> f64 {
            removed
                .iter()
                .zip(&arrivals)
                .map(|(&state, arrival)| arrival * from[state])
                .sum()
        };
        effects[channel] = share(lost(&conversions), conversions[0]).clamp(0.0, 1.0);
        value_effects[channel] = share(lost(&value), value[0]);
    }
    let credit = in_proportion(&effects, journeys.conversions());
    let value_credit = in_proportion(&value_effects, journeys.value());
    let removal_effects = (conversions[0] > 0.0).then(|| named(journeys, &effects));
    Ok(Attribution {
        credit: named(journeys, &credit),
        value_credit: named(journeys, &value_credit),
        removal_effects,
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
        for (path, _) in &paths {
            for end in 1..=path.len() {
                numbers
                    .entry(&path[end.saturating_sub(order)..end])
                    .or_insert_with(|| {
                        channel.push(Some(path[end - 1]));
                        channel.len() - 1
                    });
            }
        }
        let states = channel.len();
        if states > STATES_MAX {
            return Err(JourneyError::TooManyStates {
                states,
                max: STATES_MAX,
            });
        }
        let mut chain = Self {
            channel,
            moves: vec![0.0; states * states],
            conversions: vec![0.0; states],
            value: vec![0.0; states],
            departures: vec![0.0; states],
        };
        for (path, outcome) in &paths {
            let times = outcome.conversions + outcome.nulls;
            let mut from = 0;
            for end in 1..=path.len() {
                let to = numbers[&path[end.saturating_sub(order)..end]];
                chain.moves[from * states + to] += times;
                chain.departures[from] += times;
                from = to;
            }
            chain.departures[from] += times;
            chain.conversions[from] += outcome.conversions;
            chain.value[from] += outcome.value;
        }
        Ok(chain)
    }

    fn identity_minus_moves(&self) -> Vec<f64> {
        let states = self.channel.len();
        let mut matrix = vec![0.0; states * states];
        for (from, row) in matrix.chunks_mut(states).enumerate() {
            for (to, cell) in row.iter_mut().enumerate() {
                let moved = self.moves[from * states + to];
                let rate = if moved == 0.0 {
                    0.0
                } else {
                    moved / self.departures[from]
                };
                *cell = f64::from(u8::from(from == to)) - rate;
            }
        }
        matrix
    }
}

/// Returns, for each removed state, the probability that it is the first of them to be reached
/// from the start. `visits` is the fundamental matrix: expected visits from row to column.
///
/// Expected visits satisfy `visits[start, removed] = first * visits[removed, removed]`.
fn first_arrivals(visits: &[f64], states: usize, removed: &[usize]) -> Vec<f64> {
    let size = removed.len();
    let mut transposed = Vec::with_capacity(size * size);
    for &to in removed {
        transposed.extend(removed.iter().map(|&from| visits[from * states + to]));
    }
    let from_start: Vec<f64> = removed.iter().map(|&to| visits[to]).collect();
    let solved = inverse(transposed, size);
    let dot = |row: &[f64]| row.iter().zip(&from_start).map(|(a, b)| a * b).sum();
    solved.chunks(size.max(1)).map(dot).collect()
}

/// Inverts a square matrix, row major, by Gauss-Jordan elimination with partial pivoting.
///
/// Every matrix here is `I - Q` of a chain that always ends, or a block of its inverse: regular.
fn inverse(mut matrix: Vec<f64>, size: usize) -> Vec<f64> {
    let mut result = vec![0.0; size * size];
    for i in 0..size {
        result[i * size + i] = 1.0;
    }
    for column in 0..size {
        let pivot = (column..size)
            .max_by(|&a, &b| {
                let (a, b) = (
                    matrix[a * size + column].abs(),
                    matrix[b * size + column].abs(),
                );
                a.total_cmp(&b)
            })
            .unwrap_or(column);
        for cell in 0..size {
            matrix.swap(column * size + cell, pivot * size + cell);
            result.swap(column * size + cell, pivot * size + cell);
        }
        let scale = 1.0 / matrix[column * size + column];
        for values in [&mut matrix, &mut result] {
            values[column * size..(column + 1) * size]
                .iter_mut()
                .for_each(|cell| *cell *= scale);
        }
        let pivot_row = matrix[column * size..(column + 1) * size].to_vec();
        let result_row = result[column * size..(column + 1) * size].to_vec();
        for row in (0..size).filter(|&row| row != column) {
            let factor = matrix[row * size + column];
            if factor != 0.0 {
                subtract(
                    &mut matrix[row * size..(row + 1) * size],
                    factor,
                    &pivot_row,
                );
                subtract(
                    &mut result[row * size..(row + 1) * size],
                    factor,
                    &result_row,
                );
            }
        }
    }
    result
}

fn subtract(row: &mut [f64], factor: f64, other: &[f64]) {
    row.iter_mut()
        .zip(other)
        .for_each(|(cell, value)| *cell -= factor * value);
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
