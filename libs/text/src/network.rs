//! A small neural network over sparse rows: one hidden layer, several members whose probabilities
//! are averaged. It finds which features matter together, which a linear model cannot.

use rapport_math::Rng;
use rayon::prelude::*;

use crate::quantised::Quantised;
use crate::vocabulary::Rows;

/// Shape and schedule of a network.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct NetworkOptions {
    /// Networks trained from different seeds.
    pub(crate) members: usize,
    /// Hidden units of each member.
    pub(crate) hidden: usize,
    /// Passes over the rows.
    pub(crate) passes: u32,
    /// Share of a row's features left out at each step, so that none is relied on alone.
    pub(crate) drop_input: f32,
    pub(crate) seed: u64,
}

/// Share of hidden units left out at each step: Srivastava et al., JMLR 2014.
const DROP_HIDDEN: f32 = 0.5;
/// Step of the first pass; it falls to zero in a straight line.
const STEP: f32 = 0.1;
/// Spread of the first weights: small, so that a rare feature starts with no opinion.
const SPREAD_FIRST: f32 = 0.03;
const SPREAD_SECOND: f32 = 0.1;
/// Starting value of the sums of squared gradients (Adagrad: Duchi et al., JMLR 2011).
const SQUARES_START: f32 = 0.01;

/// Averaged members: `mean over members of softmax(second · relu(first · x + bias) + bias)`.
#[derive(Debug, Clone)]
pub(crate) struct Network {
    pub(crate) members: usize,
    pub(crate) hidden: usize,
    pub(crate) classes: usize,
    /// Shape `[features, members · hidden]`: one feature's weights in every member lie together.
    pub(crate) first: Quantised,
    /// Shape `[members · hidden]`.
    pub(crate) first_bias: Vec<f32>,
    /// Shape `[members · hidden, classes]`.
    pub(crate) second: Vec<f32>,
    /// Shape `[members, classes]`.
    pub(crate) second_bias: Vec<f32>,
    /// Shape `[members · hidden, classes]`: the mean direction of each class's training rows in the
    /// hidden layers, at length 1.
    pub(crate) centres: Quantised,
}

/// What a network makes of one row.
#[derive(Debug, Clone)]
pub(crate) struct Judgement {
    /// Mean over the members of the probabilities, shape `[classes]`.
    pub(crate) probabilities: Vec<f32>,
    /// The best class's score before the softmax, mean over the members. Unbounded: unlike a
    /// probability it stays low where nothing speaks for any class (Hendrycks et al., ICML 2022).
    pub(crate) top_score: f32,
    /// Cosine of the row to the nearest class centre in the hidden layers, in `[-1, 1]`.
    pub(crate) nearness: f32,
}

impl Network {
    /// Trains every member; members are tasks, so any number of threads gives the same bytes.
    ///
    /// Cost: `O(passes · members · entries · hidden)`.
    pub(crate) fn train(
        rows: &Rows,
        features: usize,
        labels: &[u32],
        classes: usize,
        options: &NetworkOptions,
    ) -> Self {
        let seeds = Rng::seeded(options.seed);
        let members: Vec<Member> = (0..options.members as u64)
            .into_par_iter()
            .map(|member| {
                Member::train(rows, features, labels, classes, options, seeds.fork(member))
            })
            .collect();
        let width = options.members * options.hidden;
        let mut row = vec![0.0; width];
        let mut first = Quantised::with_columns(width);
        for feature in 0..features {
            let cells = feature * options.hidden..(feature + 1) * options.hidden;
            for (member, part) in members.iter().zip(row.chunks_mut(options.hidden)) {
                part.copy_from_slice(&member.first[cells.clone()]);
            }
            first.push(&row);
        }
        let mut network = Self {
            members: options.members,
            hidden: options.hidden,
            classes,
            first,
            first_bias: members
                .iter()
                .flat_map(|member| member.first_bias.clone())
                .collect(),
            second: members
                .iter()
                .flat_map(|member| member.second.clone())
                .collect(),
            second_bias: members
                .iter()
                .flat_map(|member| member.second_bias.clone())
                .collect(),
            centres: Quantised::with_columns(classes),
        };
        network.centres = network.centres_of(rows, labels);
        network
    }

    /// Returns the hidden units of a row before they are rectified, every member's after another's.
    fn hidden_units(&self, columns: &[u32], values: &[f32], scaled: &mut Vec<f32>) -> Vec<f32> {
        let mut hidden = self.first_bias.clone();
        self.first.add_rows(columns, values, scaled, &mut hidden);
        hidden
    }

    /// Computes the centres. Classes are tasks and each adds up its rows in their order, so any number
    /// of threads gives the same sums.
    fn centres_of(&self, rows: &Rows, labels: &[u32]) -> Quantised {
        let mut members = vec![Vec::new(); self.classes];
        for (row, label) in labels.iter().enumerate() {
            members[*label as usize].push(row);
        }
        let centres: Vec<Vec<f32>> = members
            .par_iter()
            .map(|members| {
                let mut sum = vec![0.0; self.members * self.hidden];
                let mut scaled = Vec::new();
                for &row in members {
                    let (columns, values) = rows.row(row);
                    let hidden = self.hidden_units(columns, values, &mut scaled);
                    add_scaled(&mut sum, &hidden, inverse_length(&hidden));
                }
                let scale = inverse_length(&sum);
                sum.iter_mut().for_each(|value| *value *= scale);
                sum
            })
            .collect();
        let mut matrix = Quantised::with_columns(self.classes);
        for unit in 0..self.members * self.hidden {
            let row: Vec<f32> = centres.iter().map(|centre| centre[unit]).collect();
            matrix.push(&row);
        }
        matrix
    }

    /// Judges one row; `scaled` is scratch.
    pub(crate) fn judge(
        &self,
        columns: &[u32],
        values: &[f32],
        scaled: &mut Vec<f32>,
    ) -> Judgement {
        let hidden = self.hidden_units(columns, values, scaled);
        let mut cosines = vec![0.0; self.classes];
        let units: Vec<u32> = (0..hidden.len() as u32).collect();
        self.centres.add_rows(&units, &hidden, scaled, &mut cosines);
        let share = 1.0 / self.members as f32;
        let mut scores = vec![0.0; self.classes];
        let mut summed = vec![0.0; self.classes];
        let mut probabilities = vec![0.0; self.classes];
        for (member, units) in hidden.chunks(self.hidden).enumerate() {
            scores.copy_from_slice(&self.second_bias[member * self.classes..][..self.classes]);
            let second = &self.second[member * self.hidden * self.classes..];
            for (unit, weights) in units.iter().zip(second.chunks(self.classes)) {
                if *unit > 0.0 {
                    add_scaled(&mut scores, weights, *unit);
                }
            }
            add_scaled(&mut summed, &scores, share);
            softmax(&mut scores);
            add_scaled(&mut probabilities, &scores, share);
        }
        Judgement {
            probabilities,
            top_score: largest(&summed),
            nearness: largest(&cosines) * inverse_length(&hidden),
        }
    }
}

/// Turns scores into probabilities, in place.
pub(crate) fn softmax(scores: &mut [f32]) {
    let best = scores.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let mut total = 0.0;
    for score in scores.iter_mut() {
        *score = libm::expf(*score - best);
        total += *score;
    }
    scores.iter_mut().for_each(|score| *score /= total);
}

/// Returns the largest of some numbers, negative infinity if there are none.
pub(crate) fn largest(values: &[f32]) -> f32 {
    values.iter().copied().fold(f32::NEG_INFINITY, f32::max)
}

/// Returns what scales a vector to length 1, 0 for a vector of zeros.
fn inverse_length(values: &[f32]) -> f32 {
    let square: f32 = values.iter().map(|value| value * value).sum();
    if square > 0.0 {
        1.0 / square.sqrt()
    } else {
        0.0
    }
}

fn add_scaled(into: &mut [f32], from: &[f32], scale: f32) {
    for (sum, value) in into.iter_mut().zip(from) {
        *sum += scale * value;
    }
}

/// One network while it learns.
struct Member {
    hidden: usize,
    classes: usize,
    first: Vec<f32>,
    first_bias: Vec<f32>,
    second: Vec<f32>,
    second_bias: Vec<f32>,
    /// Sums of squared gradients: one per feature (its whole row shares a step), one per other weight.
    first_squares: Vec<f32>,
    first_bias_squares: f32,
    second_squares: Vec<f32>,
    second_bias_squares: Vec<f32>,
}

/// Buffers of one training step.
struct Step {
    columns: Vec<u32>,
    values: Vec<f32>,
    /// Hidden activations after dropout, and what the dropout multiplied each by.
    active: Vec<f32>,
    kept: Vec<f32>,
    /// Gradient at the hidden units and at the outputs.
    hidden_gradient: Vec<f32>,
    error: Vec<f32>,
}

impl Member {
    fn train(
        rows: &Rows,
        features: usize,
        labels: &[u32],
        classes: usize,
        options: &NetworkOptions,
        mut rng: Rng,
    ) -> Self {
        let mut member = Self::start(features, classes, options.hidden, &mut rng);
        let mut step = Step {
            columns: Vec::new(),
            values: Vec::new(),
            active: vec![0.0; options.hidden],
            kept: vec![0.0; options.hidden],
            hidden_gradient: vec![0.0; options.hidden],
            error: vec![0.0; classes],
        };
        let mut order: Vec<usize> = (0..rows.len()).collect();
        for pass in 0..options.passes {
            let size = STEP * (1.0 - pass as f32 / options.passes as f32);
            rng.shuffle(&mut order);
            for &row in &order {
                let (columns, values) = rows.row(row);
                step.drop_features(columns, values, options.drop_input, &mut rng);
                member.forward(&mut step, &mut rng);
                step.error[labels[row] as usize] -= 1.0; // gradient of cross-entropy: p - truth
                member.backward(&mut step, size);
            }
        }
        member
    }

    fn start(features: usize, classes: usize, hidden: usize, rng: &mut Rng) -> Self {
        let mut spread = |width: f32, count: usize| -> Vec<f32> {
            // A uniform draw with the standard deviation `width`.
            let half = f64::from(width) * 3f64.sqrt();
            (0..count).map(|_| rng.range(-half, half) as f32).collect()
        };
        Self {
            hidden,
            classes,
            first: spread(SPREAD_FIRST, features * hidden),
            first_bias: vec![0.0; hidden],
            second: spread(SPREAD_SECOND, hidden * classes),
            second_bias: vec![0.0; classes],
            first_squares: vec![SQUARES_START; features],
            first_bias_squares: SQUARES_START,
            second_squares: vec![SQUARES_START; hidden * classes],
            second_bias_squares: vec![SQUARES_START; classes],
        }
    }

    /// Fills the step's activations and, in `error`, the probabilities of the classes.
    fn forward(&self, step: &mut Step, rng: &mut Rng) {
        step.active.copy_from_slice(&self.first_bias);
        for (&column, &value) in step.columns.iter().zip(&step.values) {
            let weights = &self.first[column as usize * self.hidden..][..self.hidden];
            add_scaled(&mut step.active, weights, value);
        }
        step.error.copy_from_slice(&self.second_bias);
        let keep = 1.0 / (1.0 - DROP_HIDDEN);
        let weights = self.second.chunks(self.classes);
        for ((unit, kept), weights) in step.active.iter_mut().zip(&mut step.kept).zip(weights) {
            let stays = *unit > 0.0 && !rng.chance(f64::from(DROP_HIDDEN));
            *kept = if stays { keep } else { 0.0 };
            *unit *= *kept;
            if stays {
                add_scaled(&mut step.error, weights, *unit);
            }
        }
        softmax(&mut step.error);
    }

    /// Moves every weight that the step used against its gradient.
    fn backward(&mut self, step: &mut Step, size: f32) {
        for (class, &error) in step.error.iter().enumerate() {
            self.second_bias_squares[class] += error * error;
            self.second_bias[class] -= size * error / self.second_bias_squares[class].sqrt();
        }
        let mut square = 0.0;
        for unit in 0..self.hidden {
            step.hidden_gradient[unit] = 0.0;
            if step.kept[unit] == 0.0 {
                continue;
            }
            let cells = unit * self.classes..(unit + 1) * self.classes;
            let weights = &mut self.second[cells.clone()];
            let back: f32 = weights
                .iter()
                .zip(&step.error)
                .map(|(w, error)| w * error)
                .sum();
            step.hidden_gradient[unit] = back * step.kept[unit];
            square += step.hidden_gradient[unit] * step.hidden_gradient[unit];
            let active = step.active[unit];
            let squares = &mut self.second_squares[cells];
            for ((weight, squares), error) in weights.iter_mut().zip(squares).zip(&step.error) {
                let gradient = error * active;
                *squares += gradient * gradient;
                *weight -= size * gradient / squares.sqrt();
            }
        }
        square /= self.hidden as f32;
        self.first_bias_squares += square;
        let scale = -size / self.first_bias_squares.sqrt();
        add_scaled(&mut self.first_bias, &step.hidden_gradient, scale);
        for (&column, &value) in step.columns.iter().zip(&step.values) {
            let squares = &mut self.first_squares[column as usize];
            *squares += value * value * square;
            let scale = -size * value / squares.sqrt();
            let weights = &mut self.first[column as usize * self.hidden..][..self.hidden];
            add_scaled(weights, &step.hidden_gradient, scale);
        }
    }
}

impl Step {
    /// Copies a row without a random share of its features, the rest scaled up to make good for it.
    fn drop_features(&mut self, columns: &[u32], values: &[f32], share: f32, rng: &mut Rng) {
        self.columns.clear();
        self.values.clear();
        for (&column, &value) in columns.iter().zip(values) {
            if !rng.chance(f64::from(share)) {
                self.columns.push(column);
                self.values.push(value / (1.0 - share));
            }
        }
    }
}
