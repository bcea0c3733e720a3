//! Calibration: a logit turned into the logit that its own past mistakes justify.

use rapport_math::Moments;

use crate::sigmoid;

/// Newton steps of a fit of two numbers; quadratic convergence needs fewer than ten.
const STEPS_MAX: usize = 50;
/// Newton stops when no number moves by more.
const TOLERANCE: f64 = 1e-9;
/// A slope past this runs away: the logits separate the labels.
const SEPARATED: f64 = 1e4;
/// Logits that deviate by less are one answer to everybody, and no line goes through one point.
const DEVIATION_MIN: f64 = 1e-3;
/// How far calibration may bend: past it the scores were no model of the labels.
const SLOPE_RANGE: [f64; 2] = [0.05, 20.0];
/// Weight of the belief that scores are calibrated already, in rows at a probability of one half.
const PRIOR_ROWS: f64 = 20.0;

/// A straight line through logits: `slope * logit + intercept`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Calibration {
    pub(crate) slope: f64,
    pub(crate) intercept: f64,
}

impl Calibration {
    pub(crate) const NONE: Self = Self {
        slope: 1.0,
        intercept: 0.0,
    };

    pub(crate) fn apply(self, logit: f64) -> f64 {
        self.slope * logit + self.intercept
    }

    /// Fits the line on scores of rows that their model had not seen: Platt scaling, with a weak pull
    /// towards the identity in place of his smoothed targets, so that few rows bend little.
    ///
    /// * `logits`, `labels`, shape `[n]`, finite. Cost: `O(n)` per step, under ten steps.
    /// * Source: Platt, "Probabilistic outputs for support vector machines", 1999.
    pub(crate) fn fit(logits: &[f64], labels: &[bool]) -> Self {
        let prior = PRIOR_ROWS * 0.25;
        let line = newton(logits, labels, |_| 1.0, [1.0, 0.0], [prior, prior]);
        let Some([slope, intercept]) = line else {
            return Self::NONE;
        };
        if !(SLOPE_RANGE[0]..=SLOPE_RANGE[1]).contains(&slope) {
            return Self::NONE;
        }
        Self { slope, intercept }
    }
}

/// Computes the slope of a logistic refit of labels on logits: 1 for a calibrated model, less for an
/// overconfident one.
///
/// * `logits`, `labels`, shape `[n]`; `weights(i)`: how often row `i` counts, `>= 0`.
/// * Returns `None` where the slope is undefined: one label only, logits that hardly differ, or logits
///   that separate the labels, whose slope is infinite.
/// * Cost: `O(n)` per Newton step, under ten steps. Source: Cox, "Two further applications of a model
///   for binary regression", Biometrika 1958.
#[must_use]
pub fn logit_slope(logits: &[f64], labels: &[bool], weights: impl Fn(usize) -> f64) -> Option<f64> {
    let moments = logits
        .iter()
        .fold(Moments::default(), |mut moments, logit| {
            moments.push(*logit);
            moments
        });
    if moments.variance()?.sqrt() < DEVIATION_MIN {
        return None;
    }
    newton(logits, labels, weights, [1.0, 0.0], [0.0, 0.0]).map(|line| line[0])
}

/// Gradient and curvature of the loss at a line.
#[derive(Clone, Copy)]
struct Slope {
    gradient: [f64; 2],
    /// The Hessian: slope by slope, slope by intercept, intercept by intercept.
    hessian: [f64; 3],
}

impl Slope {
    /// Returns the step that Newton takes back; `None` where the two numbers cannot be told apart.
    fn step(&self) -> Option<[f64; 2]> {
        let ([x, y], [a, b, c]) = (self.gradient, self.hessian);
        let determinant = a * c - b * b;
        let told_apart = determinant > 1e-12 * a * c;
        told_apart.then(|| [(c * x - b * y) / determinant, (a * y - b * x) / determinant])
    }

    /// Returns how far from level it is, in units of another place's curvature.
    fn size(&self, of: &Self) -> f64 {
        self.gradient[0].powi(2) / of.hessian[0] + self.gradient[1].powi(2) / of.hessian[2]
    }
}

/// Fits slope and intercept, pulled towards `start` by quadratic weights `pull`.
fn newton(
    logits: &[f64],
    labels: &[bool],
    weights: impl Fn(usize) -> f64,
    start: [f64; 2],
    pull: [f64; 2],
) -> Option<[f64; 2]> {
    let at = |line: [f64; 2]| slope_at(logits, labels, &weights, line, start, pull);
    let mut line = start;
    let mut here = at(line);
    for _ in 0..STEPS_MAX {
        let step = here.step()?;
        let mut length = 1.0;
        let mut next = [line[0] - step[0], line[1] - step[1]];
        let mut there = at(next);
        // Far from the optimum a whole step may overshoot: halved until the loss is more level.
        while there.size(&here).is_nan() || there.size(&here) > here.size(&here) {
            length *= 0.5;
            if length < 1e-6 {
                return Some(line); // as good as the numbers' precision allows
            }
            next = [line[0] - length * step[0], line[1] - length * step[1]];
            there = at(next);
        }
        let moved = (next[0] - line[0]).abs().max((next[1] - line[1]).abs());
        (line, here) = (next, there);
        if moved <= TOLERANCE * (1.0 + line[0].abs()) {
            return Some(line);
        }
        if line[0].abs() > SEPARATED {
            return None;
        }
    }
    None
}

fn slope_at(
    logits: &[f64],
    labels: &[bool],
    weights: &impl Fn(usize) -> f64,
    line: [f64; 2],
    start: [f64; 2],
    pull: [f64; 2],
) -> Slope {
    let mut gradient = [0, 1].map(|at| pull[at] * (line[at] - start[at]));
    let [mut a, mut b, mut c] = [pull[0], 0.0, pull[1]];
    for (at, (x, label)) in logits.iter().zip(labels).enumerate() {
        let weight = weights(at);
        if weight == 0.0 {
            continue;
        }
        let p = sigmoid(line[0] * x + line[1]);
        let residual = weight * (p - f64::from(u8::from(*label)));
        let curve = weight * p * (1.0 - p);
        gradient[0] += residual * x;
        gradient[1] += residual;
        a += curve * x * x;
        b += curve * x;
        c += curve;
    }
    Slope {
        gradient,
        hessian: [a, b, c],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slopes_worked_by_hand() {
        // Two groups at logits -1 and 1 with 1 of 4 and 3 of 4 yes: the refit's logits are -ln 3 and
        // ln 3, so the slope is ln 3.
        let logits = [-1.0, -1.0, -1.0, -1.0, 1.0, 1.0, 1.0, 1.0];
        let labels = [true, false, false, false, true, true, true, false];
        let slope = logit_slope(&logits, &labels, |_| 1.0).unwrap();
        assert!((slope - 3f64.ln()).abs() < 1e-9, "{slope}");
        // The same by weights.
        let weights = [1.0, 3.0, 3.0, 1.0];
        let slope = logit_slope(&[-1.0, -1.0, 1.0, 1.0], &[true, false, true, false], |at| {
            weights[at]
        });
        assert!((slope.unwrap() - 3f64.ln()).abs() < 1e-9);
        assert_eq!(logit_slope(&[1.0, 1.0], &[true, false], |_| 1.0), None); // equal logits
        assert_eq!(logit_slope(&[-1.0, 1.0], &[false, true], |_| 1.0), None); // separated
        assert_eq!(logit_slope(&[], &[], |_| 1.0), None);
    }

    #[test]
    fn many_rows_bend_and_few_do_not() {
        let rows = |times: usize| {
            let one = [
                (-2.0, false),
                (-2.0, false),
                (-2.0, true),
                (2.0, true),
                (2.0, true),
                (2.0, false),
            ];
            let rows: Vec<(f64, bool)> = one.iter().copied().cycle().take(6 * times).collect();
            rows.into_iter().unzip::<f64, bool, Vec<_>, Vec<_>>()
        };
        let (logits, labels) = rows(2_000);
        let many = Calibration::fit(&logits, &labels);
        // Two of three: ln 2 = slope * 2.
        assert!((many.slope - 2f64.ln() / 2.0).abs() < 1e-2 && many.intercept.abs() < 1e-9);
        let (logits, labels) = rows(1);
        let few = Calibration::fit(&logits, &labels);
        assert!(few.slope > 0.6 && few.slope < 1.0, "{few:?}");
        assert_eq!(Calibration::fit(&[], &[]), Calibration::NONE);
    }
}
