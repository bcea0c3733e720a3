//! The solver: L2-regularised squared-hinge support vector machines, one per class against the
//! rest, by dual coordinate descent. Numbers in, weights out; it knows nothing of texts.

use rapport_math::Rng;
use rayon::prelude::*;

use crate::vocabulary::Rows;

/// Classes solved side by side: one cache line of weights per feature, and one vector instruction
/// does what would be sixteen.
const LANES: usize = 16;

/// What one training run asks of the solver.
#[derive(Debug, Clone, Copy)]
pub(crate) struct SolverOptions {
    /// Cost of an error: larger fits the training rows more closely.
    pub(crate) cost: f32,
    /// Exponent of the extra cost of rare classes: 0 is none, 1 balances every class in full.
    pub(crate) balance: f32,
    /// How much of a feature's scale is its log-count ratio between a class and the rest, in `[0, 1]`:
    /// above 0 a feature that occurs in one class alone may weigh more than one that is everywhere.
    pub(crate) focus: f32,
    /// Most passes over the rows.
    pub(crate) passes_max: u32,
    /// Stops when the largest violation of the optimality conditions is below this.
    pub(crate) tolerance: f32,
    pub(crate) seed: u64,
}

/// One linear function per class: `score = weights[feature][class] · x + bias[class]`.
#[derive(Debug, Clone)]
pub(crate) struct Weights {
    pub(crate) classes: usize,
    /// Shape `[features, classes]`, row by row.
    pub(crate) values: Vec<f32>,
    pub(crate) bias: Vec<f32>,
}

/// Solves one machine per class; with two classes one machine (for the second) is enough.
///
/// * `labels`, shape `[rows]`: class of each row, below `classes`.
/// * The same seed gives the same bytes for any number of threads: blocks of classes are tasks.
/// * Cost: `O(passes · classes · entries)`.
/// * Source: Hsieh, Chang, Lin, Keerthi and Sundararajan, ICML 2008, algorithms 1 and 3; the focus is
///   Wang and Manning's NB-SVM, ACL 2012, section 2.3.
pub(crate) fn solve(
    rows: &Rows,
    features: usize,
    labels: &[u32],
    classes: usize,
    options: &SolverOptions,
) -> Weights {
    debug_assert_eq!(rows.len(), labels.len());
    let costs = class_costs(labels, classes, options);
    if classes == 2 {
        let block = solve_block::<1>(rows, features, labels, &[(1, costs[1])], costs[0], options);
        return Weights {
            classes: 1,
            values: block.weights.into_iter().flatten().collect(),
            bias: block.bias.to_vec(),
        };
    }
    let machines: Vec<(u32, f32)> = (0..).zip(costs).collect();
    let blocks: Vec<Block<LANES>> = machines
        .par_chunks(LANES)
        .map(|chunk| solve_block(rows, features, labels, chunk, options.cost, options))
        .collect();
    let mut values = Vec::with_capacity(features * classes);
    for feature in 0..features {
        for (block, chunk) in blocks.iter().zip(machines.chunks(LANES)) {
            values.extend_from_slice(&block.weights[feature][..chunk.len()]);
        }
    }
    let bias = blocks
        .iter()
        .flat_map(|block| block.bias)
        .take(classes)
        .collect();
    Weights {
        classes,
        values,
        bias,
    }
}

/// Cost of an error on a row of each class: `cost · (rows / (classes · rows of the class)) ^ balance`.
fn class_costs(labels: &[u32], classes: usize, options: &SolverOptions) -> Vec<f32> {
    let mut counts = vec![0u32; classes];
    labels.iter().for_each(|label| counts[*label as usize] += 1);
    let even = labels.len() as f32 / classes as f32;
    let weigh =
        |count: &u32| options.cost * libm::powf(even / (*count).max(1) as f32, options.balance);
    counts.iter().map(weigh).collect()
}

/// Added to the counts of a feature inside and outside a class, as in naive Bayes.
const COUNT_PRIOR: f32 = 1.0;

/// Computes the squared scale of every feature in the machine of each class: `1 - focus` and `focus`
/// times its log-count ratio, absolute and against the mean of all features.
fn scales<const L: usize>(
    rows: &Rows,
    features: usize,
    labels: &[u32],
    machines: &[(u32, f32)],
    focus: f32,
) -> Vec<[f32; L]> {
    let mut scales = vec![[COUNT_PRIOR; L]; features];
    let mut all = vec![2.0 * COUNT_PRIOR; features];
    for (row, label) in labels.iter().enumerate() {
        let lane = machines.iter().position(|(class, _)| class == label);
        for &column in rows.row(row).0 {
            all[column as usize] += 1.0;
            if let Some(lane) = lane {
                scales[column as usize][lane] += 1.0;
            }
        }
    }
    let total: f64 = all.iter().map(|count| f64::from(*count)).sum();
    for lane in 0..machines.len() {
        let inside: f64 = scales.iter().map(|counts| f64::from(counts[lane])).sum();
        let shift = libm::log((total - inside) / inside) as f32;
        let mut sum = 0.0;
        for (counts, all) in scales.iter_mut().zip(&all) {
            let odds = counts[lane] / (all - counts[lane]);
            counts[lane] = (libm::logf(odds) + shift).abs();
            sum += f64::from(counts[lane]);
        }
        let mean = (sum / features.max(1) as f64).max(f64::from(f32::MIN_POSITIVE)) as f32;
        for ratios in &mut scales {
            let scale = 1.0 - focus + focus * ratios[lane] / mean;
            ratios[lane] = scale * scale;
        }
    }
    scales
}

struct Block<const L: usize> {
    weights: Vec<[f32; L]>,
    bias: [f32; L],
}

/// The dual state of `L` machines that walk the rows together.
struct Machines<'a, const L: usize> {
    rows: &'a Rows,
    /// Class that each lane tells from the rest; only the first `used` lanes have one.
    class: [u32; L],
    used: usize,
    /// `1 / (2 · cost)` of a row of the lane's class, and of any other row.
    ridge: [f32; L],
    ridge_rest: f32,
    /// Squared scale of each feature: weights are of the features unscaled, so steps carry it.
    scales: Vec<[f32; L]>,
    block: Block<L>,
    alpha: Vec<[f32; L]>,
}

fn solve_block<const L: usize>(
    rows: &Rows,
    features: usize,
    labels: &[u32],
    machines: &[(u32, f32)],
    cost_rest: f32,
    options: &SolverOptions,
) -> Block<L> {
    let lane = |at: usize| machines.get(at).copied().unwrap_or((u32::MAX, cost_rest));
    let mut state = Machines {
        rows,
        class: std::array::from_fn(|at| lane(at).0),
        used: machines.len(),
        ridge: std::array::from_fn(|at| 0.5 / lane(at).1),
        ridge_rest: 0.5 / cost_rest,
        scales: scales(rows, features, labels, machines, options.focus),
        block: Block {
            weights: vec![[0.0; L]; features],
            bias: [0.0; L],
        },
        alpha: vec![[0.0; L]; rows.len()],
    };
    let mut rng = Rng::seeded(options.seed);
    let mut active: Vec<u32> = (0..rows.len() as u32).collect();
    let mut settled = f32::INFINITY;
    for _ in 0..options.passes_max {
        rng.shuffle(&mut active);
        let mut worst = 0.0f32;
        // A row whose machines all hold it beyond the margin, farther than the last pass's worst
        // violation, is left out (shrinking): most rows are easy for most classes.
        active.retain(|&row| {
            let step = state.visit(row as usize, labels[row as usize]);
            worst = worst.max(step.violation);
            step.slack <= settled
        });
        settled = worst;
        if worst <= options.tolerance {
            if active.len() == rows.len() {
                break;
            }
            // Optimal for the rows that were kept: look at all of them again before believing it.
            active = (0..rows.len() as u32).collect();
            settled = f32::INFINITY;
        }
    }
    state.block
}

/// What one visit found: the largest violation over the machines, and the smallest distance beyond
/// the margin (negative infinity when a machine still needs the row).
struct Step {
    violation: f32,
    slack: f32,
}

impl<const L: usize> Machines<'_, L> {
    /// Moves the dual variables of one row, in every machine, to their optimum.
    fn visit(&mut self, row: usize, label: u32) -> Step {
        let (columns, values) = self.rows.row(row);
        let mut margin = self.block.bias;
        let mut square = [1.0; L]; // the bias is a feature that is always 1
        for (&column, &value) in columns.iter().zip(values) {
            let weights = &self.block.weights[column as usize];
            let scales = &self.scales[column as usize];
            for lane in 0..L {
                margin[lane] += weights[lane] * value;
                square[lane] += scales[lane] * value * value;
            }
        }
        let mut delta = [0.0f32; L];
        let mut step = Step {
            violation: 0.0,
            slack: f32::INFINITY,
        };
        let alphas = &mut self.alpha[row];
        for lane in 0..self.used {
            let ours = self.class[lane] == label;
            let sign = if ours { 1.0 } else { -1.0 };
            let ridge = if ours {
                self.ridge[lane]
            } else {
                self.ridge_rest
            };
            let alpha = alphas[lane];
            let gradient = sign * margin[lane] - 1.0 + ridge * alpha;
            let idle = alpha == 0.0 && gradient > 0.0;
            step.slack = step.slack.min(if alpha == 0.0 {
                gradient
            } else {
                f32::NEG_INFINITY
            });
            step.violation = step.violation.max(if idle { 0.0 } else { gradient.abs() });
            let moved = (alpha - gradient / (square[lane] + ridge)).max(0.0);
            alphas[lane] = moved;
            delta[lane] = (moved - alpha) * sign;
        }
        if delta.iter().any(|change| change.abs() > 1e-12) {
            for (&column, &value) in columns.iter().zip(values) {
                let weights = &mut self.block.weights[column as usize];
                let scales = &self.scales[column as usize];
                for lane in 0..L {
                    weights[lane] += delta[lane] * scales[lane] * value;
                }
            }
            for (bias, change) in self.block.bias.iter_mut().zip(delta) {
                *bias += change;
            }
        }
        step
    }
}

#[cfg(test)]
mod tests {
    use super::{SolverOptions, solve};
    use crate::vocabulary::Rows;

    const EXACT: SolverOptions = SolverOptions {
        cost: 1.0,
        balance: 0.0,
        focus: 0.0,
        passes_max: 2_000,
        tolerance: 1e-6,
        seed: 3,
    };

    #[track_caller]
    fn near(found: f32, expected: f32) {
        assert!((found - expected).abs() < 1e-4, "{found} is not {expected}");
    }

    #[test]
    fn two_points_match_the_solution_worked_by_hand() {
        // x = 1 is class 1, x = -1 is class 0. By symmetry the bias is 0 and w minimises
        // w²/2 + 2 · (1 - w)²: w = 4 (1 - w), so w = 0.8.
        let rows = Rows::from_rows(&[&[(0, 1.0)], &[(0, -1.0)]]);
        let weights = solve(&rows, 1, &[1, 0], 2, &EXACT);
        near(weights.values[0], 0.8);
        near(weights.bias[0], 0.0);
    }

    #[test]
    fn balance_raises_the_cost_of_the_rare_class() {
        // One row of class 1 against three of class 0, no features: only the bias b, which minimises
        // b²/2 + c1 (1 - b)² + 3 c0 (1 + b)². Unbalanced: b + 2 (b - 1) + 6 (b + 1) = 0, b = -4/9.
        // Balanced in full: c1 = 2, c0 = 2/3: b + 4 (b - 1) + 4 (b + 1) = 0, b = 0.
        let rows = Rows::from_rows(&[&[], &[], &[], &[]]);
        near(
            solve(&rows, 0, &[1, 0, 0, 0], 2, &EXACT).bias[0],
            -4.0 / 9.0,
        );
        let balanced = SolverOptions {
            balance: 1.0,
            ..EXACT
        };
        near(solve(&rows, 0, &[1, 0, 0, 0], 2, &balanced).bias[0], 0.0);
    }

    #[test]
    fn focus_scales_features_by_their_log_count_ratio() {
        // Counts with the prior: feature 0 is 2 inside and 1 outside class 1, feature 1 the reverse,
        // feature 2 is 2 and 2. Log ratios ln 2, -ln 2, 0: scales 3/2, 3/2, 0. Then w of features 0
        // and 1 minimises w²/2.25 + 2 (1 - w)², so w = 9/11, and feature 2 may not weigh anything.
        let rows = Rows::from_rows(&[&[(0, 1.0), (2, 1.0)], &[(1, 1.0), (2, 1.0)]]);
        let focused = SolverOptions {
            focus: 1.0,
            ..EXACT
        };
        let weights = solve(&rows, 3, &[1, 0], 2, &focused);
        near(weights.values[0], 9.0 / 11.0);
        near(weights.values[1], -9.0 / 11.0);
        near(weights.values[2], 0.0);
    }

    #[test]
    fn one_machine_per_class_whatever_the_number_of_blocks() {
        // Seventeen classes of one row each: two blocks. Every machine wins on its own row.
        let cells: Vec<[(u32, f32); 1]> = (0..17).map(|row| [(row, 1.0)]).collect();
        let rows: Vec<&[(u32, f32)]> = cells.iter().map(|row| &row[..]).collect();
        let labels: Vec<u32> = (0..17).collect();
        let weights = solve(&Rows::from_rows(&rows), 17, &labels, 17, &EXACT);
        for row in 0..17 {
            let scores: Vec<f32> = (0..17)
                .map(|class| weights.values[row * 17 + class] + weights.bias[class])
                .collect();
            assert!((0..17).all(|class| class == row || scores[class] < scores[row]));
        }
    }
}
