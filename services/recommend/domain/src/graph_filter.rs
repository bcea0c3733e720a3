//! Linear graph filters: GF-CF and BSPM, two ways to smooth a history over the graph of people and
//! items without learning anything but the graph's leading eigenvectors.

mod options;
#[cfg(test)]
mod tests;

pub use options::{FACTORS_MAX, GraphFilterOptions};

use std::sync::Arc;

use rapport_math::dense::{LANES, Lanes, add_product, gather_sums};
use rapport_math::{Leading, Operator, leading_singular};
use rayon::prelude::*;

use crate::incidence::Incidence;
use crate::item_item::HISTORY_ITEMS_MAX;
use crate::items::ItemIdx;

/// Most histories that one call of [`GraphFilter::score_block`] answers: the factors, which do not fit
/// any cache, are read once for all of them.
pub const BLOCK_HISTORIES: usize = 4 * LANES;
/// Terms of the exponential series: a fourth-order Runge-Kutta step, as the authors of BSPM solve it.
const SHARPENING_TERMS: usize = 4;

/// A history smoothed by `P = R̃ᵀ R̃`, where `R̃ = D_users^-a R D_items^-b` scaled to norm 1.
///
/// With `V` the leading eigenvectors of `P` and `s(P) = exp(-time P)` to fourth order, a history `r`
/// scores `(r P + weight * r D^-t V Vᵀ D^t) s(P)`.
///
/// * Without sharpening (`time` 0) and with `a = b = t = 1/2` this is GF-CF: Shen et al., "How powerful
///   is graph convolution for recommendation?", CIKM 2021, equation 12.
/// * With sharpening it is BSPM with early merge: Choi et al., "Blurring-sharpening process models for
///   collaborative filtering", SIGIR 2023, equations 9 to 13.
/// * The exponents follow Fu et al., "Revisiting neighborhood-based link prediction for collaborative
///   filtering", WWW 2022, equation 4.
/// * Memory: `8 * factors` bytes per item and 8 per pair; while training `16 * (factors + 32)` bytes per
///   person and item more.
#[derive(Debug)]
pub struct GraphFilter {
    spectrum: Arc<GraphSpectrum>,
    /// Panels of `items` rows: `D^-t V`.
    project: Vec<Lanes>,
    /// Panels of `items` rows: `weight * s(P) D^t V`.
    expand: Vec<Lanes>,
    /// What `r` is multiplied by, and `P`'s answer, besides `D^-b`: they move the damping between the
    /// source and the candidate.
    source: Vec<f32>,
    target: Vec<f32>,
    sharpening: f32,
}

/// What one thread needs to score a block; about 640 bytes per item and 130 per person.
#[derive(Debug, Default)]
pub struct GraphFilterScratch {
    users: Vec<Lanes>,
    term: Vec<Lanes>,
    scores: Vec<Lanes>,
    coefficients: Vec<Lanes>,
}

/// Who had what, with the weights that make it `R̃`.
#[derive(Debug)]
struct Graph {
    incidence: Incidence,
    /// `items^-a` per person.
    user_weights: Vec<f32>,
    /// `people^-b` per item.
    item_weights: Vec<f32>,
}

impl Operator for Graph {
    fn shape(&self) -> (usize, usize) {
        (self.incidence.groups(), self.incidence.items())
    }

    fn forward(&self, x: &[Lanes], out: &mut [Lanes]) {
        let weighted: Vec<Lanes> = x
            .iter()
            .zip(&self.item_weights)
            .map(|(row, weight)| row.map(|value| value * weight))
            .collect();
        let (starts, members) = self.incidence.by_group();
        gather_sums(starts, members, &weighted, out);
        scale(out, &self.user_weights);
    }

    fn backward(&self, x: &[Lanes], out: &mut [Lanes]) {
        let weighted: Vec<Lanes> = x
            .iter()
            .zip(&self.user_weights)
            .map(|(row, weight)| row.map(|value| value * weight))
            .collect();
        let (starts, members) = self.incidence.by_item();
        gather_sums(starts, members, &weighted, out);
        scale(out, &self.item_weights);
    }
}

impl Graph {
    /// Scales `R̃` so that the largest eigenvalue of `P` is 1, where sharpening expects it.
    fn normalise(&mut self, leading: &Leading) {
        let largest = leading.squares.first().copied().unwrap_or(0.0);
        if largest > 0.0 {
            let by = 1.0 / largest.sqrt() as f32;
            self.user_weights.iter_mut().for_each(|it| *it *= by);
        }
    }

    /// Replaces `x` by `P x`, without a buffer of its own.
    fn smooth(&self, x: &mut [Lanes], users: &mut Vec<Lanes>) {
        users.resize(self.incidence.groups(), [0.0; LANES]);
        scale(x, &self.item_weights);
        let (starts, members) = self.incidence.by_group();
        gather_sums(starts, members, x, users);
        for (row, weight) in users.iter_mut().zip(&self.user_weights) {
            row.iter_mut().for_each(|value| *value *= weight * weight);
        }
        let (starts, members) = self.incidence.by_item();
        gather_sums(starts, members, users, x);
        scale(x, &self.item_weights);
    }

    /// Adds the terms of `exp(-time P) x` after the first to `sum`, which holds `x`; `term` too, and is
    /// used up.
    fn sharpen(&self, time: f32, term: &mut [Lanes], sum: &mut [Lanes], users: &mut Vec<Lanes>) {
        if time == 0.0 {
            return;
        }
        for order in 1..=SHARPENING_TERMS {
            self.smooth(term, users);
            let factor = -time / order as f32;
            for (sum, term) in sum.iter_mut().zip(term.iter_mut()) {
                for lane in 0..LANES {
                    term[lane] *= factor;
                    sum[lane] += term[lane];
                }
            }
        }
    }
}

fn power(count: usize, by: f32) -> f32 {
    (count.max(1) as f32).powf(by)
}

/// The first `count` vectors, with zeros up to the end of a panel.
fn first_vectors(leading: &Leading, count: usize, items: usize) -> Vec<Lanes> {
    let count = count.min(leading.squares.len());
    let panels = count.div_ceil(LANES);
    let mut vectors = leading.vectors[..panels * items].to_vec();
    for row in vectors.iter_mut().skip(panels.saturating_sub(1) * items) {
        row[count - panels.saturating_sub(1) * LANES..].fill(0.0);
    }
    vectors
}

fn scale(rows: &mut [Lanes], weights: &[f32]) {
    for (row, weight) in rows.iter_mut().zip(weights) {
        row.iter_mut().for_each(|value| *value *= weight);
    }
}

/// The graph with its leading eigenvectors: what filters of the same dampings share.
#[derive(Debug)]
pub struct GraphSpectrum {
    graph: Graph,
    leading: Leading,
}

impl GraphSpectrum {
    /// Takes histories folded by person; duplicates in one count once, the newest
    /// [`HISTORY_ITEMS_MAX`] of each are read. Of the options only the dampings and the number of
    /// factors count; they are clamped to their ranges.
    ///
    /// Same histories in the same order, options and seed give the same bytes for any number of
    /// threads. Cost: `leading_singular`'s.
    #[must_use]
    pub fn train<'a>(
        histories: impl Iterator<Item = &'a [ItemIdx]>,
        options: &GraphFilterOptions,
        seed: u64,
    ) -> Self {
        let options = options.clamped();
        let incidence = Incidence::new(histories, HISTORY_ITEMS_MAX);
        let people = |item: usize| incidence.item_groups(item).len();
        let mut graph = Graph {
            user_weights: (0..incidence.groups())
                .map(|user| power(incidence.group(user).len(), -options.activity_damping))
                .collect(),
            item_weights: (0..incidence.items())
                .map(|item| power(people(item), -options.popularity_damping))
                .collect(),
            incidence,
        };
        // Without the ideal part only the largest eigenvalue is asked for.
        let count = if options.ideal_weight > 0.0 {
            options.factors
        } else {
            1
        };
        let leading = leading_singular(&graph, count, seed);
        graph.normalise(&leading);
        Self { graph, leading }
    }
}

impl GraphFilter {
    /// Trains from histories: [`GraphSpectrum::train`], then [`Self::of`].
    #[must_use]
    pub fn train<'a>(
        histories: impl Iterator<Item = &'a [ItemIdx]>,
        options: &GraphFilterOptions,
        seed: u64,
    ) -> Self {
        Self::of(
            Arc::new(GraphSpectrum::train(histories, options, seed)),
            options,
        )
    }

    /// Makes the filter of a spectrum; the spectrum's dampings count, and at most its factors. Options
    /// out of range are clamped. Cost: four products for each factor when sharpening.
    #[must_use]
    pub fn of(spectrum: Arc<GraphSpectrum>, options: &GraphFilterOptions) -> Self {
        let options = options.clamped();
        let graph = &spectrum.graph;
        let items = graph.incidence.items();
        let people = |item: usize| graph.incidence.item_groups(item).len();
        let per_item =
            |by: f32| -> Vec<f32> { (0..items).map(|item| power(people(item), by)).collect() };
        let (inwards, outwards) = (per_item(-options.ideal_lean), per_item(options.ideal_lean));
        let mut project = Vec::new();
        if options.ideal_weight > 0.0 && items > 0 {
            project = first_vectors(&spectrum.leading, options.factors, items);
        }
        let mut expand = project.clone();
        project
            .par_chunks_mut(items.max(1))
            .for_each(|panel| scale(panel, &inwards));
        expand
            .par_chunks_mut(items.max(1))
            .for_each_init(Vec::new, |users, panel| {
                for (row, weight) in panel.iter_mut().zip(&outwards) {
                    row.iter_mut()
                        .for_each(|value| *value *= weight * options.ideal_weight);
                }
                let mut term = panel.to_vec();
                graph.sharpen(options.sharpening, &mut term, panel, users);
            });
        Self {
            project,
            expand,
            source: per_item(-options.lean),
            target: per_item(options.lean),
            sharpening: options.sharpening,
            spectrum,
        }
    }

    /// Returns how many items training saw.
    #[must_use]
    pub fn items(&self) -> usize {
        self.spectrum.graph.incidence.items()
    }

    /// People per item, as training counted them.
    pub(crate) fn people_per_item(&self) -> Vec<u32> {
        let count = |item| self.spectrum.graph.incidence.item_count(item);
        (0..self.items()).map(count).collect()
    }

    /// Returns how much each item of a history adds to the score of `item`; they add up to it.
    ///
    /// Cost: that of scoring the history's items one by one.
    #[must_use]
    pub fn contributions(&self, history: &[ItemIdx], item: ItemIdx) -> Vec<(ItemIdx, f32)> {
        if item.at() >= self.items() {
            return Vec::new();
        }
        let mut scratch = GraphFilterScratch::default();
        let mut all = Vec::with_capacity(history.len());
        for some in history.chunks(BLOCK_HISTORIES) {
            let own: Vec<[(ItemIdx, f32); 1]> = some.iter().map(|it| [(*it, 1.0)]).collect();
            let alone: Vec<&[(ItemIdx, f32)]> = own.iter().map(|it| &it[..]).collect();
            let scores = self.score_block(&alone, &mut scratch);
            let at = |at: usize| scores[at / LANES * self.items() + item.at()][at % LANES];
            all.extend(some.iter().enumerate().map(|(place, it)| (*it, at(place))));
        }
        all
    }

    /// Computes the scores of every item for up to [`BLOCK_HISTORIES`] histories, items with weights.
    ///
    /// * Returns panels of [`Self::items`] rows: history `h` has lane `h % LANES` of panel `h / LANES`.
    /// * A history's scores do not depend on its neighbours in the block; unknown items are skipped.
    /// * Cost per panel: five passes over all pairs when sharpening, else one, and `items * factors`
    ///   products of [`LANES`] numbers.
    pub fn score_block<'s>(
        &self,
        histories: &[&[(ItemIdx, f32)]],
        scratch: &'s mut GraphFilterScratch,
    ) -> &'s [Lanes] {
        let histories = &histories[..histories.len().min(BLOCK_HISTORIES)];
        let (items, panels) = (self.items(), histories.len().div_ceil(LANES));
        let graph = &self.spectrum.graph;
        scratch.scores.clear();
        scratch.scores.resize(panels * items, [0.0; LANES]);
        for (some, scores) in histories
            .chunks(LANES)
            .zip(scratch.scores.chunks_exact_mut(items.max(1)))
        {
            let term = &mut scratch.term;
            term.clear();
            term.resize(items, [0.0; LANES]);
            for (lane, history) in some.iter().enumerate() {
                for (item, weight) in history.iter().filter(|(item, _)| item.at() < items) {
                    term[item.at()][lane] += weight * self.source[item.at()];
                }
            }
            graph.smooth(term, &mut scratch.users);
            scale(term, &self.target);
            scores.copy_from_slice(term);
            graph.sharpen(self.sharpening, term, scores, &mut scratch.users);
        }
        let factors = self.project.len() / items.max(1) * LANES;
        if factors > 0 {
            self.project(histories, factors, &mut scratch.coefficients);
            let expand =
                |item: usize, at: usize| self.expand[at / LANES * items + item][at % LANES];
            let (right, out) = (&scratch.coefficients, &mut scratch.scores);
            add_product(expand, items, factors, right, out);
        }
        &scratch.scores
    }

    /// Panels of `factors` rows: each history's place among the leading eigenvectors.
    fn project(&self, histories: &[&[(ItemIdx, f32)]], factors: usize, out: &mut Vec<Lanes>) {
        let items = self.items();
        out.clear();
        out.resize(histories.len().div_ceil(LANES) * factors, [0.0; LANES]);
        for (at, history) in histories.iter().enumerate() {
            let own = &mut out[at / LANES * factors..(at / LANES + 1) * factors];
            for (item, weight) in history.iter().filter(|(item, _)| item.at() < items) {
                for (rows, panel) in own
                    .chunks_exact_mut(LANES)
                    .zip(self.project.chunks_exact(items))
                {
                    for (row, value) in rows.iter_mut().zip(&panel[item.at()]) {
                        row[at % LANES] += weight * value;
                    }
                }
            }
        }
    }
}
