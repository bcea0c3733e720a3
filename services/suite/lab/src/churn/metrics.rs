//! What probabilities of leaving are worth: ranking, squared error, calibration.

use rapport_learn::logit_slope;
use rayon::prelude::*;

use crate::resample::intervals;
use crate::row::Row;

/// Bins of the expected calibration error, each with about as many rows.
const BINS: f64 = 10.0;
/// The headline metrics, in the order of [`Scored::metrics`].
const METRICS: [&str; 4] = ["auc", "brier", "calibration_slope", "ece"];

/// One answer for every test row.
#[derive(Debug, Clone)]
pub(crate) struct Scored {
    logits: Vec<f64>,
    labels: Vec<bool>,
    /// Places of the rows by rising logit.
    order: Vec<u32>,
}

impl Scored {
    /// * `logits`, shape `[rows]`, finite; `labels`, shape `[rows]`.
    pub(crate) fn new(logits: Vec<f64>, labels: Vec<bool>) -> Self {
        let mut order: Vec<u32> = (0..logits.len() as u32).collect();
        order.par_sort_by(|a, b| {
            let of = |row: u32| logits[row as usize];
            of(*a).total_cmp(&of(*b)).then(a.cmp(b))
        });
        Self {
            logits,
            labels,
            order,
        }
    }

    /// Returns area under the curve, Brier score, calibration slope and expected calibration error
    /// where row `i` counts `times[i]` times. NaN where undefined.
    pub(crate) fn metrics(&self, times: &[u32]) -> [f64; 4] {
        let weight = |row: usize| f64::from(times[row]);
        let slope = logit_slope(&self.logits, &self.labels, weight);
        [
            self.auc(times),
            self.brier(times),
            slope.unwrap_or(f64::NAN),
            self.ece(times),
        ]
    }

    fn probability(&self, row: usize) -> f64 {
        1.0 / (1.0 + libm::exp(-self.logits[row]))
    }

    /// The probability that one who left was thought likelier to than one who stayed, ties a half.
    fn auc(&self, times: &[u32]) -> f64 {
        let (mut below, mut area, mut leavers) = (0.0, 0.0, 0.0);
        let equal = |a: &u32, b: &u32| self.logits[*a as usize] == self.logits[*b as usize];
        for equals in self.order.chunk_by(equal) {
            let (mut left, mut stayed) = (0.0, 0.0);
            for row in equals {
                let row = *row as usize;
                *(if self.labels[row] {
                    &mut left
                } else {
                    &mut stayed
                }) += f64::from(times[row]);
            }
            area += left * (below + 0.5 * stayed);
            below += stayed;
            leavers += left;
        }
        area / (below * leavers)
    }

    fn brier(&self, times: &[u32]) -> f64 {
        let (mut sum, mut rows) = (0.0, 0.0);
        for (row, label) in self.labels.iter().enumerate() {
            let times = f64::from(times[row]);
            sum += times * (self.probability(row) - f64::from(u8::from(*label))).powi(2);
            rows += times;
        }
        sum / rows
    }

    /// The mean over rows of how far a bin's share of leavers is from its mean probability; the bins are
    /// tenths of the rows by rising probability. Rows of one probability have no order among them: each
    /// counts with the mean of all, so that the order of the file says nothing, and they may straddle bins.
    fn ece(&self, times: &[u32]) -> f64 {
        let total: f64 = times.iter().map(|times| f64::from(*times)).sum();
        let size = total / BINS;
        let (mut error, mut excess, mut room) = (0.0, 0.0f64, size);
        let equal = |a: &u32, b: &u32| self.logits[*a as usize] == self.logits[*b as usize];
        for equals in self.order.chunk_by(equal) {
            let (mut rest, mut left) = (0.0, 0.0);
            for row in equals {
                let times = f64::from(times[*row as usize]);
                rest += times;
                left += times * f64::from(u8::from(self.labels[*row as usize]));
            }
            if rest == 0.0 {
                continue;
            }
            let gap = left / rest - self.probability(equals[0] as usize);
            while rest > room {
                error += (excess + room * gap).abs();
                rest -= room;
                (excess, room) = (0.0, size);
            }
            excess += rest * gap;
            room -= rest;
        }
        (error + excess.abs()) / total
    }
}

/// Puts the metrics of one or more answers to the same rows: their means over the answers, and intervals
/// from resampled rows, drawn for all answers at once.
pub(crate) fn put_metrics(row: &mut Row, answers: &[Scored], seed: u64) {
    let rows = answers.first().map_or(0, |scored| scored.labels.len());
    let mean = |times: &[u32]| -> [f64; 4] {
        let mut sums = [0.0; 4];
        for scored in answers {
            let found = scored.metrics(times);
            (0..4).for_each(|at| sums[at] += found[at] / answers.len() as f64);
        }
        sums
    };
    let points = mean(&vec![1; rows]);
    let found: [_; 4] = intervals(rows, seed, |drawn| {
        let mut times = vec![0u32; rows];
        drawn.iter().for_each(|row| times[*row as usize] += 1);
        mean(&times)
    });
    for (at, name) in METRICS.iter().enumerate() {
        row.metric(name, Some(points[at]), found[at]);
    }
}
