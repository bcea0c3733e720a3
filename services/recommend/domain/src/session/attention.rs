//! Attention over a visit: a learned sequence model that trains on the processor.

mod kernel;
mod net;
#[cfg(test)]
mod tests;
mod train;

use kernel::{BLOCK, blocked, exp_below_one, scan};
use net::{Net, Visits};
use train::Trainer;

use super::markov::main_source;
use super::sessions::Sessions;
use super::{SessionModel, SessionScores, SessionScratch, SessionWhy};
use crate::items::ItemIdx;

/// Most items that the model learns; at 64 numbers each they take 1 GB in training.
pub const ATTENTION_ITEMS_MAX: usize = 1_000_000;
/// Longest vector of an item.
pub const ATTENTION_WIDTH_MAX: usize = 256;
/// Most passes over the clicks.
pub const EPOCHS_MAX: usize = 100;
/// Most visits of a batch and most drawn rivals: their product is a matrix in memory.
const BATCH_MAX: usize = 4_096;
const RIVALS_MAX: usize = 65_536;
const CLICKS_READ_MAX: usize = 64;

/// How attention is trained.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct AttentionOptions {
    /// Numbers per item, 16 to [`ATTENTION_WIDTH_MAX`], rounded up to a multiple of 16.
    pub width: usize,
    /// Newest clicks of a visit that are read, 1 to 64.
    pub window: usize,
    /// Passes over all clicks, 1 to [`EPOCHS_MAX`].
    pub epochs: usize,
    /// Clicks predicted per step, 1 to 4,096.
    pub batch: usize,
    /// Items drawn per step for the targets to compete with, 1 to 65,536.
    pub rivals: usize,
    /// Of the first step; it falls in a line to a twentieth. In `(0, 1]`.
    pub learning_rate: f32,
    /// Chance of each number of an item's vector to be hidden in training, `[0, 0.9]`.
    pub dropout: f32,
    /// What cosines are divided by, in `[0.01, 10]`.
    pub temperature: f32,
    /// A click counts `exp(-rate * age)` in training, age a share of the log; `>= 0`.
    pub age_rate: f32,
    /// Same visits, options and seed give the same model for any number of threads.
    pub seed: u64,
}

impl Default for AttentionOptions {
    fn default() -> Self {
        Self {
            width: 64,
            window: 20,
            epochs: 8,
            batch: 512,
            rivals: 4_096,
            learning_rate: 3e-3,
            dropout: 0.2,
            temperature: 0.07,
            age_rate: 0.0,
            seed: 0,
        }
    }
}

impl AttentionOptions {
    fn clamped(&self) -> Self {
        Self {
            width: self
                .width
                .clamp(16, ATTENTION_WIDTH_MAX)
                .next_multiple_of(16),
            window: self.window.clamp(1, CLICKS_READ_MAX),
            epochs: self.epochs.clamp(1, EPOCHS_MAX),
            batch: self.batch.clamp(1, BATCH_MAX),
            rivals: self.rivals.clamp(1, RIVALS_MAX),
            learning_rate: self.learning_rate.clamp(1e-6, 1.0),
            dropout: self.dropout.clamp(0.0, 0.9),
            temperature: self.temperature.clamp(0.01, 10.0),
            age_rate: self.age_rate.clamp(0.0, 50.0),
            seed: self.seed,
        }
    }

    /// Counts the multiply-adds of one epoch: what a budget buys.
    #[must_use]
    pub fn epoch_steps(&self, sessions: &Sessions) -> f64 {
        let it = self.clamped();
        let examples = (sessions.clicks() - sessions.len()) as f64;
        let candidates = (it.rivals + it.batch).min(sessions.items()) as f64;
        // Three products over the candidates; and three each way for every click that is read, of
        // which a prefix has about half of a window at most.
        let clicks = (0.5 * sessions.clicks() as f64 / sessions.len().max(1) as f64)
            .clamp(1.0, it.window as f64);
        examples * it.width as f64 * (3.0 * candidates + 6.0 * clicks * it.width as f64)
    }
}

/// Items as vectors, and the weights by which a visit's items are pooled into one.
///
/// The score of an item is the cosine of its vector and the visit's, over the temperature; the visit's
/// vector is a convex combination of those of its items, so both live in one space. How much each item
/// counts is learned from itself, the last item and its place.
///
/// * Cost: training [`AttentionOptions::epoch_steps`] multiply-adds an epoch; an answer `items * width`
///   and a few thousand per click.
/// * Memory: `8 * items * width` bytes, in training `12 * items * width` and `4 * batch * rivals`.
/// * Sources: Hou, Hu, Zhang and Zhao, "CORE: Simple and Effective Session-based Recommendation within
///   Consistent Representation Space", SIGIR 2022, for pooling, cosines and temperature; Liu, Zeng,
///   Mokhosi and Zhang, "STAMP: Short-Term Attention/Memory Priority Model", KDD 2018, section 3.3, for
///   attention under the last item; Bengio and Senecal, "Adaptive Importance Sampling to Accelerate
///   Training of a Neural Probabilistic Language Model", 2008, for the sampled softmax.
#[derive(Debug, Clone, PartialEq)]
pub struct AttentionModel {
    net: Net,
    /// Every item's vector at length 1, laid out for scanning.
    blocks: Vec<f32>,
    items: usize,
    temperature: f32,
}

/// What one thread needs to score by attention.
#[derive(Debug, Default)]
pub(super) struct AttentionScratch {
    visit: Visits,
}

impl AttentionModel {
    /// Trains on visits; options out of range are clamped. `None` if no visit has two clicks, or the
    /// catalogue has more than [`ATTENTION_ITEMS_MAX`] items.
    #[must_use]
    pub fn train(sessions: &Sessions, options: &AttentionOptions) -> Option<Self> {
        if sessions.clicks() == sessions.len() || sessions.items() > ATTENTION_ITEMS_MAX {
            return None;
        }
        let options = options.clamped();
        let mut trainer = Trainer::new(sessions, &options);
        trainer.run();
        let net = trainer.net;
        let mut units = net.items.clone();
        for unit in units.chunks_exact_mut(net.width) {
            let length = unit
                .iter()
                .map(|value| value * value)
                .sum::<f32>()
                .sqrt()
                .max(1e-6);
            unit.iter_mut().for_each(|value| *value /= length);
        }
        Some(Self {
            blocks: blocked(&units, net.width),
            items: sessions.items(),
            temperature: options.temperature,
            net,
        })
    }

    /// Fills the scratch with the visit's vector; false if no click of the prefix is known.
    fn read(&self, prefix: &[ItemIdx], scratch: &mut AttentionScratch) -> bool {
        let known = prefix
            .iter()
            .filter(|item| item.at() < self.items)
            .map(|item| item.0);
        let clicks = known.clone().count();
        scratch.visit.clear();
        if clicks == 0 {
            return false;
        }
        scratch.visit.push_newest(known.rev().take(self.net.window));
        scratch.visit.forward(&self.net);
        true
    }

    /// Returns the vector of an item at length 1, from the blocks.
    fn unit(&self, item: usize) -> impl Iterator<Item = f32> {
        let block = &self.blocks[item / BLOCK * BLOCK * self.net.width..];
        block
            .iter()
            .skip(item % BLOCK)
            .step_by(BLOCK)
            .take(self.net.width)
            .copied()
    }
}

impl SessionModel for AttentionModel {
    fn score(&self, prefix: &[ItemIdx], scratch: &mut SessionScratch, scores: &mut SessionScores) {
        scores.reset(self.items);
        if !self.read(prefix, &mut scratch.attention) {
            return;
        }
        scores.set_all(|values| {
            scan(&scratch.attention.visit.units, &self.blocks, values);
            exp_below_one(values, 1.0 / self.temperature);
        });
    }

    fn why(
        &self,
        prefix: &[ItemIdx],
        item: ItemIdx,
        scratch: &mut SessionScratch,
    ) -> Option<SessionWhy> {
        if item.at() >= self.items || !self.read(prefix, &mut scratch.attention) {
            return None;
        }
        let visit = &scratch.attention.visit;
        let said = visit
            .clicks
            .iter()
            .zip(&visit.shares)
            .map(|(click, share)| {
                let vector = self.net.item(*click).iter();
                let cosine: f32 = vector.zip(self.unit(item.at())).map(|(a, b)| a * b).sum();
                (ItemIdx(*click), (share * cosine).max(0.0))
            });
        main_source(said)
    }
}
