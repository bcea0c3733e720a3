//! Models by fixed rule: each gives the steps of one path their shares, which sum to 1.

use super::{Attribution, Journeys, named};

/// Gives credit by a rule from the number of steps to each step's share.
pub(super) fn attribute(journeys: &Journeys, shares: fn(usize) -> Vec<f64>) -> Attribution {
    let channels = journeys.channels().count();
    let (mut credit, mut value_credit) = (vec![0.0; channels], vec![0.0; channels]);
    for (path, outcome) in journeys.paths() {
        for (&channel, share) in path.iter().zip(shares(path.len())) {
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

pub(super) fn first(steps: usize) -> Vec<f64> {
    (0..steps)
        .map(|step| if step == 0 { 1.0 } else { 0.0 })
        .collect()
}

pub(super) fn last(steps: usize) -> Vec<f64> {
    (1..=steps)
        .map(|step| if step == steps { 1.0 } else { 0.0 })
        .collect()
}

pub(super) fn linear(steps: usize) -> Vec<f64> {
    vec![1.0 / steps as f64; steps]
}

/// 40 % to each end; with nothing between, the ends share what is left.
pub(super) fn position(steps: usize) -> Vec<f64> {
    if steps <= 2 {
        return linear(steps);
    }
    let mut shares = vec![0.2 / (steps - 2) as f64; steps];
    shares[0] = 0.4;
    shares[steps - 1] = 0.4;
    shares
}

pub(super) fn time_decay(steps: usize) -> Vec<f64> {
    let weights: Vec<f64> = (1..=steps)
        .map(|step| libm::exp2(-0.5 * (steps - step) as f64))
        .collect();
    let whole: f64 = weights.iter().sum();
    weights.into_iter().map(|weight| weight / whole).collect()
}
