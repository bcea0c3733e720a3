//! Gradient boosting of the log-loss: tree after tree on what the ones before got wrong.

use rapport_math::Rng;
use rayon::prelude::*;

use crate::binned::Binned;
use crate::forest::{Forest, Tree};
use crate::tree::{BinNode, Growth, grow, holds};
use crate::{constant_logit, sigmoid};

/// Share of the rows and of the columns that one tree sees: trees that differ average out noise.
const ROW_SHARE: f64 = 0.7;
const COLUMN_SHARE: f64 = 0.6;
/// Rows that one task scores.
const CHUNK: usize = 4_096;
/// Streams of the seed.
const STREAM_TREES: u64 = 0x7472_6565;

/// A model in the making: trees learned from `rows`, scores kept for every row of the data.
#[derive(Debug)]
pub(crate) struct Booster<'a> {
    data: &'a Binned,
    labels: &'a [bool],
    rows: Vec<u32>,
    growth: Growth,
    rng: Rng,
    base: f64,
    /// Logit of every row of the data.
    pub(crate) logits: Vec<f64>,
    slopes: Vec<[f64; 2]>,
    trees: Vec<Tree>,
}

impl<'a> Booster<'a> {
    /// Begins with the constant model of the given rows; labels are by row of the data.
    pub(crate) fn new(
        data: &'a Binned,
        labels: &'a [bool],
        rows: Vec<u32>,
        growth: Growth,
        seed: u64,
    ) -> Self {
        let yes = rows.iter().filter(|row| labels[**row as usize]).count();
        let base = constant_logit(yes, rows.len());
        Self {
            data,
            labels,
            rows,
            growth,
            rng: Rng::seeded(seed).fork(STREAM_TREES),
            base,
            logits: vec![base; data.rows],
            slopes: vec![[0.0; 2]; data.rows],
            trees: Vec::new(),
        }
    }

    /// Adds trees. Each sees a share of rows and columns drawn by seed and number of the tree.
    ///
    /// Source: Friedman, "Greedy function approximation", Annals of Statistics 2001, and "Stochastic
    /// gradient boosting", 2002.
    pub(crate) fn step(&mut self, trees: usize) {
        for _ in 0..trees {
            let mut rng = self.rng.fork(self.trees.len() as u64);
            let mut rows = self.draw_rows(&mut rng);
            let columns = self.draw_columns(&mut rng);
            for row in &self.rows {
                let at = *row as usize;
                let p = sigmoid(self.logits[at]);
                self.slopes[at] = [p - f64::from(u8::from(self.labels[at])), p * (1.0 - p)];
            }
            let nodes = grow(self.data, &mut rows, &columns, &self.slopes, self.growth);
            self.score(&nodes);
            self.trees.push(Tree::new(&nodes, self.data));
        }
    }

    fn draw_rows(&self, rng: &mut Rng) -> Vec<u32> {
        let rows = self.rows.iter().copied();
        let drawn: Vec<u32> = rows.filter(|_| rng.uniform() < ROW_SHARE).collect();
        if drawn.is_empty() {
            self.rows.clone()
        } else {
            drawn
        }
    }

    fn draw_columns(&self, rng: &mut Rng) -> Vec<usize> {
        let mut columns: Vec<usize> = (0..self.data.columns.len()).collect();
        rng.shuffle(&mut columns);
        columns.truncate((COLUMN_SHARE * columns.len() as f64).ceil() as usize);
        columns.sort_unstable();
        columns
    }

    fn score(&mut self, nodes: &[BinNode]) {
        let data = self.data;
        let chunks = self.logits.par_chunks_mut(CHUNK).enumerate();
        chunks.for_each(|(chunk, logits)| {
            for (at, logit) in logits.iter_mut().enumerate() {
                let row = chunk * CHUNK + at;
                let mut node = &nodes[0];
                while node.left > 0 {
                    let bin = data.columns[node.column].bins[row];
                    let left = holds(&node.mask, bin);
                    node = &nodes[if left { node.left } else { node.right }];
                }
                *logit += node.value;
            }
        });
    }

    /// Returns the model.
    pub(crate) fn finish(self) -> Forest {
        Forest {
            base: self.base,
            trees: self.trees,
        }
    }
}

/// Returns the cells that one tree touches: the unit of work.
pub(crate) fn tree_cells(rows: usize, columns: usize, leaves: usize) -> f64 {
    let drawn = ROW_SHARE * rows as f64 * (COLUMN_SHARE * columns as f64).ceil();
    let levels = (leaves as f64).log2();
    // Half of each level after the first is subtracted instead; then all rows walk down the tree.
    // Searching all bins for a split costs as much for few rows as for many.
    drawn * (1.0 + 0.5 * levels)
        + 3.0 * rows as f64 * levels
        + 256.0 * leaves as f64 * (COLUMN_SHARE * columns as f64).ceil()
}
