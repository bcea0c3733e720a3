//! Training: batches, sampled softmax, Adam.

use rapport_math::Rng;
use rayon::prelude::*;

use super::AttentionOptions;
use super::kernel::{columns, gemm, rows, softmax};
use super::net::{Net, Visits};
use crate::session::sessions::{Sessions, age};

/// Visits per unit of parallel work. Fixed: the split must not depend on the machine.
const CHUNK_VISITS: usize = 64;
/// Candidates per unit of parallel work in their gradients, for the same reason.
const CHUNK_CANDIDATES: usize = 256;
/// Streams of the seed.
const STREAM_ORDER: u64 = 1;
const STREAM_CANDIDATES: u64 = 2;
const STREAM_DROPOUT: u64 = 3;
/// An item's chance to be drawn as a rival grows with its clicks to this power: between all alike and
/// as often as it is clicked.
const RIVAL_POWER: f64 = 0.5;
const NO_SLOT: u32 = u32::MAX;

/// Adam with moments only where a gradient came.
///
/// Source: Kingma and Ba, "Adam: A Method for Stochastic Optimization", ICLR 2015, algorithm 1.
#[derive(Debug)]
struct Adam {
    means: Vec<f32>,
    squares: Vec<f32>,
}

impl Adam {
    const MEAN_DECAY: f32 = 0.9;
    const SQUARE_DECAY: f32 = 0.999;

    fn new(count: usize) -> Self {
        Self {
            means: vec![0.0; count],
            squares: vec![0.0; count],
        }
    }

    /// One step of the parameters from `start` on; `step` counts from 1.
    fn apply(&mut self, values: &mut [f32], start: usize, gradient: &[f32], rate: f32, step: i32) {
        let mean_scale = 1.0 / (1.0 - Self::MEAN_DECAY.powi(step));
        let square_scale = 1.0 / (1.0 - Self::SQUARE_DECAY.powi(step));
        let end = start + gradient.len();
        let moments = self.means[start..end]
            .iter_mut()
            .zip(&mut self.squares[start..end]);
        for ((value, slope), (mean, square)) in
            values[start..end].iter_mut().zip(gradient).zip(moments)
        {
            *mean += (1.0 - Self::MEAN_DECAY) * (slope - *mean);
            *square += (1.0 - Self::SQUARE_DECAY) * (slope * slope - *square);
            *value -= rate * *mean * mean_scale / ((*square * square_scale).sqrt() + 1e-8);
        }
    }
}

/// The items that compete in one batch, as unit vectors.
#[derive(Debug, Default)]
pub(super) struct Candidates {
    items: Vec<u32>,
    /// The logarithm of each one's chance to be here; empty when all items are.
    chances: Vec<f32>,
    lengths: Vec<f32>,
    units: Vec<f32>,
    /// `units`, transposed.
    turned: Vec<f32>,
}

impl Candidates {
    fn fill(&mut self, net: &Net) {
        let width = net.width;
        self.lengths.clear();
        self.units.clear();
        for item in &self.items {
            let vector = net.item(*item);
            let length = vector
                .iter()
                .map(|value| value * value)
                .sum::<f32>()
                .sqrt()
                .max(1e-6);
            self.lengths.push(length);
            self.units.extend(vector.iter().map(|value| value / length));
        }
        self.turned.resize(self.units.len(), 0.0);
        let count = self.items.len();
        for (at, unit) in self.units.chunks_exact(width).enumerate() {
            for (k, value) in unit.iter().enumerate() {
                self.turned[k * count + at] = *value;
            }
        }
    }
}

/// Some of a batch's visits, with what they should lead to.
#[derive(Debug, Default)]
struct Chunk {
    visits: Visits,
    /// Places of the targets among the candidates, and what each example counts.
    targets: Vec<(u32, f32)>,
    loss: f64,
}

/// All that training holds besides the net.
#[derive(Debug)]
pub(super) struct Trainer<'a> {
    sessions: &'a Sessions,
    options: AttentionOptions,
    pub(super) net: Net,
    rng: Rng,
    /// Where the visit of each click begins.
    begins: Vec<u32>,
    /// The newest visit's weight is 1, that of older ones less; by click.
    weights: Vec<f32>,
    /// Sums of the rivals' chances, ascending to 1.
    rivals: Vec<f64>,
    /// Share of each item in the targets.
    shares: Vec<f64>,
    candidates: Candidates,
    /// Each item's place among the candidates and clicks of the batch.
    slots: Vec<u32>,
    slotted: Vec<u32>,
    gradients: Vec<f32>,
    chunks: Vec<Chunk>,
    /// Shape `[batch, candidates]`: probabilities, then the gradient of the loss by score.
    errors: Vec<f32>,
    item_adam: Adam,
    attention_adam: Adam,
}

impl<'a> Trainer<'a> {
    pub(super) fn new(sessions: &'a Sessions, options: &AttentionOptions) -> Self {
        let rng = Rng::seeded(options.seed);
        let net = Net::new(sessions.items(), options.width, options.window, &rng);
        let mut begins = Vec::with_capacity(sessions.clicks());
        let mut weights = Vec::with_capacity(sessions.clicks());
        for (at, ends) in sessions.starts().windows(2).enumerate() {
            begins.resize(ends[1], ends[0] as u32);
            weights.resize(ends[1], (-options.age_rate * age(at, sessions.len())).exp());
        }
        let mut counts = vec![0.0f64; sessions.items()];
        let targets = (0..begins.len()).filter(|at| begins[*at] as usize != *at);
        targets.for_each(|at| counts[sessions.all_clicks()[at] as usize] += 1.0);
        let total = counts.iter().sum::<f64>().max(1.0);
        let mut rivals: Vec<f64> = Vec::with_capacity(counts.len());
        let mut sum = 0.0;
        for count in &counts {
            sum += (count + 1.0).powf(RIVAL_POWER);
            rivals.push(sum);
        }
        rivals.iter_mut().for_each(|chance| *chance /= sum);
        Self {
            item_adam: Adam::new(net.items.len()),
            attention_adam: Adam::new(net.attention.len()),
            slots: vec![NO_SLOT; sessions.items()],
            slotted: Vec::new(),
            gradients: Vec::new(),
            chunks: Vec::new(),
            errors: Vec::new(),
            candidates: Candidates::default(),
            shares: counts.iter().map(|count| count / total).collect(),
            options: *options,
            sessions,
            net,
            rng,
            begins,
            weights,
            rivals,
        }
    }

    /// Runs all epochs. The rate of learning falls in a line to a twentieth.
    pub(super) fn run(&mut self) {
        let mut examples: Vec<u32> = (0..self.begins.len() as u32)
            .filter(|at| self.begins[*at as usize] != *at)
            .collect();
        let batches = examples.len().div_ceil(self.options.batch);
        let steps = batches * self.options.epochs;
        for epoch in 0..self.options.epochs {
            self.rng
                .fork(STREAM_ORDER)
                .fork(epoch as u64)
                .shuffle(&mut examples);
            for (at, batch) in examples.chunks(self.options.batch).enumerate() {
                let step = epoch * batches + at;
                self.draw_candidates(batch, step as u64);
                self.gradients(batch, Some(step as u64));
                let left = 1.0 - 0.95 * step as f32 / steps as f32;
                self.apply(self.options.learning_rate * left, step as i32 + 1);
            }
        }
    }

    fn take_slot(&mut self, item: u32) -> usize {
        let slot = &mut self.slots[item as usize];
        if *slot == NO_SLOT {
            *slot = self.slotted.len() as u32;
            self.slotted.push(item);
        }
        *slot as usize
    }

    /// Takes the batch's targets and drawn rivals, or every item where that is hardly more.
    pub(super) fn draw_candidates(&mut self, batch: &[u32], step: u64) {
        for item in std::mem::take(&mut self.slotted) {
            self.slots[item as usize] = NO_SLOT;
        }
        let mut candidates = std::mem::take(&mut self.candidates);
        candidates.chances.clear();
        if self.sessions.items() <= self.options.rivals + batch.len() {
            for item in 0..self.sessions.items() as u32 {
                self.take_slot(item);
            }
        } else {
            for at in batch {
                self.take_slot(self.sessions.all_clicks()[*at as usize]);
            }
            let mut rng = self.rng.fork(STREAM_CANDIDATES).fork(step);
            for _ in 0..self.options.rivals {
                let drawn = rng.uniform();
                let item = self.rivals.partition_point(|sum| *sum <= drawn);
                self.take_slot(item.min(self.rivals.len() - 1) as u32);
            }
            for item in &self.slotted {
                let at = *item as usize;
                let chance = self.rivals[at] - if at > 0 { self.rivals[at - 1] } else { 0.0 };
                let expected =
                    chance * self.options.rivals as f64 + self.shares[at] * batch.len() as f64;
                // Drawn with replacement: here at least once, near enough.
                candidates.chances.push((-(-expected).exp_m1()).ln() as f32);
            }
        }
        candidates.items.clone_from(&self.slotted);
        self.candidates = candidates;
    }

    /// Computes the gradients of the batch's mean loss, and returns that loss: the cross entropy of
    /// each target among the candidates. `dropout` names the step to draw dropout for.
    pub(super) fn gradients(&mut self, batch: &[u32], dropout: Option<u64>) -> f64 {
        self.candidates.fill(&self.net);
        let total: f32 = batch.iter().map(|at| self.weights[*at as usize]).sum();
        let count = self.candidates.items.len();
        self.errors.resize(batch.len() * count, 0.0);
        self.chunks
            .resize_with(batch.len().div_ceil(CHUNK_VISITS), Chunk::default);
        let mut chunks = std::mem::take(&mut self.chunks);
        let mut errors = std::mem::take(&mut self.errors);
        let parts = batch
            .chunks(CHUNK_VISITS)
            .zip(errors.chunks_mut(CHUNK_VISITS * count));
        let work: Vec<_> = chunks.iter_mut().zip(parts).enumerate().collect();
        work.into_par_iter()
            .for_each(|(at, (chunk, (examples, errors)))| {
                let stream = dropout.map(|step| {
                    self.rng
                        .fork(STREAM_DROPOUT)
                        .fork(step * self.options.batch as u64 + at as u64)
                });
                self.run_chunk(chunk, examples, errors, total, stream);
            });
        self.gather(&chunks, &errors[..batch.len() * count]);
        let loss = chunks.iter().map(|chunk| chunk.loss).sum();
        (self.chunks, self.errors) = (chunks, errors);
        loss
    }

    /// Forwards and backwards for some examples; leaves the gradients by score in `errors`.
    fn run_chunk(
        &self,
        chunk: &mut Chunk,
        examples: &[u32],
        errors: &mut [f32],
        total: f32,
        dropout: Option<Rng>,
    ) {
        let (width, count) = (self.net.width, self.candidates.items.len());
        chunk.visits.clear();
        chunk.targets.clear();
        for at in examples {
            let at = *at as usize;
            let start = (self.begins[at] as usize).max(at.saturating_sub(self.net.window));
            chunk
                .visits
                .push(self.sessions.all_clicks()[start..at].iter().copied());
            let target = self.slots[self.sessions.all_clicks()[at] as usize];
            chunk.targets.push((target, self.weights[at] / total));
        }
        if let Some(mut rng) = dropout.filter(|_| self.options.dropout > 0.0) {
            chunk.visits.drop_out(self.options.dropout, width, &mut rng);
        }
        chunk.visits.forward(&self.net);
        errors.fill(0.0);
        let shape = [examples.len(), count, width];
        let turned = (&self.candidates.turned[..], count);
        gemm(
            shape,
            rows(&chunk.visits.units, width),
            turned,
            (&mut *errors, count),
        );
        chunk.loss = 0.0;
        let scale = 1.0 / self.options.temperature;
        for (errors, (target, weight)) in errors.chunks_exact_mut(count).zip(&chunk.targets) {
            softmax(errors, scale, &self.candidates.chances);
            let target = &mut errors[*target as usize];
            chunk.loss -= f64::from(*weight) * f64::from(target.max(f32::MIN_POSITIVE)).ln();
            *target -= 1.0;
            errors.iter_mut().for_each(|error| *error *= weight * scale);
        }
        chunk.visits.d_units.clear();
        chunk.visits.d_units.resize(examples.len() * width, 0.0);
        let shape = [examples.len(), width, count];
        let units = (&self.candidates.units[..], width);
        gemm(
            shape,
            rows(errors, count),
            units,
            (&mut chunk.visits.d_units, width),
        );
        chunk.visits.back(&self.net);
    }

    /// Adds up the gradients by item: as candidates, then as clicks, in order of the batch.
    fn gather(&mut self, chunks: &[Chunk], errors: &[f32]) {
        let (width, count) = (self.net.width, self.candidates.items.len());
        for chunk in chunks {
            for item in &chunk.visits.clicks {
                self.take_slot(*item);
            }
        }
        let mut gradients = std::mem::take(&mut self.gradients);
        gradients.clear();
        gradients.resize(self.slotted.len() * width, 0.0);
        let units: Vec<f32> = chunks
            .iter()
            .flat_map(|chunk| &chunk.visits.units)
            .copied()
            .collect();
        let (batch, candidates) = (units.len() / width, &self.candidates);
        gradients[..count * width]
            .par_chunks_mut(CHUNK_CANDIDATES * width)
            .enumerate()
            .for_each(|(at, part)| {
                let (first, height) = (at * CHUNK_CANDIDATES, part.len() / width);
                let errors = columns(&errors[first..], count);
                gemm(
                    [height, width, batch],
                    errors,
                    (&units, width),
                    (&mut *part, width),
                );
                for (row, slope) in part.chunks_exact_mut(width).enumerate() {
                    let unit = &candidates.units[(first + row) * width..][..width];
                    let along: f32 = slope.iter().zip(unit).map(|(a, b)| a * b).sum();
                    let length = candidates.lengths[first + row];
                    for (slope, unit) in slope.iter_mut().zip(unit) {
                        *slope = (*slope - along * unit) / length;
                    }
                }
            });
        for chunk in chunks {
            let slopes = chunk.visits.d_inputs.chunks_exact(width);
            for (item, slope) in chunk.visits.clicks.iter().zip(slopes) {
                let at = self.slots[*item as usize] as usize * width;
                gradients[at..at + width]
                    .iter_mut()
                    .zip(slope)
                    .for_each(|(to, from)| *to += from);
            }
        }
        self.gradients = gradients;
    }

    fn apply(&mut self, rate: f32, step: i32) {
        let width = self.net.width;
        for (item, slope) in self.slotted.iter().zip(self.gradients.chunks_exact(width)) {
            let start = *item as usize * width;
            self.item_adam
                .apply(&mut self.net.items, start, slope, rate, step);
        }
        let mut slope = vec![0.0; self.net.attention.len()];
        for chunk in &self.chunks {
            slope
                .iter_mut()
                .zip(&chunk.visits.d_attention)
                .for_each(|(to, from)| *to += from);
        }
        self.attention_adam
            .apply(&mut self.net.attention, 0, &slope, rate, step);
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::sessions::tests::sessions;
    use super::*;

    /// Every partial derivative of the loss against the difference of two losses.
    #[test]
    fn gradients_are_exact() {
        let log = sessions(&[&[0, 1, 2, 1], &[3, 4, 0], &[5, 5, 2], &[1, 3]], 40);
        let options = AttentionOptions {
            width: 16,
            window: 3,
            temperature: 0.5,
            rivals: 20,
            age_rate: 1.0,
            ..AttentionOptions::default()
        };
        let mut trainer = Trainer::new(&log, &options);
        let batch: Vec<u32> = vec![1, 2, 3, 5, 6, 8, 9, 11];
        trainer.draw_candidates(&batch, 7);
        assert!(trainer.candidates.items.len() < 40 && !trainer.candidates.chances.is_empty());
        trainer.gradients(&batch, Some(3));
        let (slotted, by_item) = (trainer.slotted.clone(), trainer.gradients.clone());
        let by_attention = trainer.chunks[0].visits.d_attention.clone();
        let mut check = |exact: f32, set: &dyn Fn(&mut Net, f32)| {
            const STEP: f32 = 0.01;
            let mut loss_at = |change: f32| {
                set(&mut trainer.net, change);
                let loss = trainer.gradients(&batch, Some(3));
                set(&mut trainer.net, -change);
                loss
            };
            let slope = (loss_at(STEP) - loss_at(-STEP)) / (2.0 * f64::from(STEP));
            let error = (slope - f64::from(exact)).abs();
            assert!(
                error < 4e-4 + 0.01 * slope.abs(),
                "{exact} instead of {slope}"
            );
        };
        for (slot, item) in slotted.iter().enumerate() {
            for k in [0, 5, 15] {
                let at = *item as usize * 16 + k;
                check(by_item[slot * 16 + k], &|net, change| {
                    net.items[at] += change
                });
            }
        }
        for at in (0..by_attention.len()).step_by(3) {
            check(by_attention[at], &|net, change| net.attention[at] += change);
        }
        assert!(
            by_attention
                .iter()
                .filter(|slope| slope.abs() > 1e-5)
                .count()
                > 100
        );
    }
}
