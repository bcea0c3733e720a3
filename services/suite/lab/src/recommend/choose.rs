//! Choosing by validation inside the training file. The test file is never seen here.

mod budget;
mod grids;
#[cfg(test)]
mod tests;

use recommend_domain::{HeldOut, SocialOptions, hold_out};
use serde_json::{Value, json};

use self::budget::Budget;
use self::grids::Family;
use super::data::{Query, Training};
use super::models::{Model, Workshop};
use super::serve::{serve, serve_mixes};
use super::spec::Spec;
use crate::error::LabError;
use crate::resample::mean;

/// Users that validation judges at most, drawn by seed.
const QUERIES_MAX: usize = 5_000;
/// One of so many of a user's items is held out, at least one of two: few, because the settings that
/// are best depend on how much there is to learn from.
const HELD_OUT_ONE_IN: usize = 10;
/// Shares of friends that are tried beside a model; the first is none.
const SOCIAL_SHARES: [f32; 6] = [0.0, 0.05, 0.1, 0.2, 0.3, 0.45];

/// A family that does not come near the best one, by this factor, joins no blend: it would cost more than
/// it adds.
const WORTH_BLENDING: f64 = 0.8;

/// The training file cut in two: what a trial learns from, and whom it is judged by.
#[derive(Debug)]
pub(crate) struct Validation {
    pub(crate) training: Training,
    pub(crate) queries: Vec<Query>,
    k: usize,
    seed: u64,
}

impl Validation {
    /// Holds out a share of every user's items by seed.
    pub(crate) fn new(whole: &Training, k: usize, seed: u64) -> Self {
        let mut training = whole.clone();
        let held = hold_out(&mut training.histories, HELD_OUT_ONE_IN, QUERIES_MAX, seed);
        let query = |held: HeldOut| Query {
            user: Some(held.person as u32),
            held_count: held.items.len(),
            held: held.items,
            friends: whole.friends_of(held.person as u32).to_vec(),
        };
        let queries = held.into_iter().map(query).collect();
        Self {
            training,
            queries,
            k,
            seed,
        }
    }

    fn fit(&self, spec: &Spec, workshop: &mut Workshop) -> Result<Model, LabError> {
        Model::fit(spec, &self.training, self.seed, workshop)
    }

    /// Returns the mean NDCG of a recommender; `None` if no user has two items.
    pub(crate) fn ndcg(
        &self,
        spec: &Spec,
        workshop: &mut Workshop,
    ) -> Result<Option<f64>, LabError> {
        let model = self.fit(spec, workshop)?;
        let lists = serve(&model, &self.training, &self.queries, self.k);
        Ok(mean(lists.iter().map(|judged| judged.ndcg)))
    }

    /// Returns the mean NDCG of each weighting of a blend's parts.
    fn ndcg_of_mixes(
        &self,
        blend: &Spec,
        mixes: &[Vec<f32>],
        workshop: &mut Workshop,
    ) -> Result<Vec<f64>, LabError> {
        let model = self.fit(blend, workshop)?;
        let lists = serve_mixes(&model, &self.training, &self.queries, self.k, mixes);
        let score = |lists: &super::Lists| mean(lists.iter().map(|it| it.ndcg)).unwrap_or(f64::NAN);
        Ok(lists.iter().map(score).collect())
    }

    /// Adds to a recommender the share of friends that does best beside it; the smaller of equals.
    pub(crate) fn with_friends(&self, spec: &Spec) -> Result<Spec, LabError> {
        let mut parts = spec.parts();
        let base: Vec<f32> = parts.iter().map(|(_, weight)| *weight).collect();
        parts.push((Spec::Social(SocialOptions::default()), 0.0));
        let mix = |share: f32| -> Vec<f32> {
            let own = base.iter().map(|weight| weight * (1.0 - share));
            own.chain([share]).collect()
        };
        let mixes: Vec<Vec<f32>> = SOCIAL_SHARES.iter().map(|share| mix(*share)).collect();
        let blend = Spec::Blend(parts.clone());
        let scores = self.ndcg_of_mixes(&blend, &mixes, &mut Workshop::default())?;
        let best = first_best(&scores);
        let weighted = parts.into_iter().map(|(part, _)| part);
        Ok(Spec::Blend(
            weighted.zip(mixes[best].iter().copied()).collect(),
        ))
    }
}

/// The place of the highest score, the first of equals; undefined ones lose.
fn first_best(scores: &[f64]) -> usize {
    let mut best = (0, f64::NEG_INFINITY);
    for (at, score) in scores.iter().enumerate() {
        if *score > best.1 {
            best = (at, *score);
        }
    }
    best.0
}

/// What was chosen, and why.
#[derive(Debug, Clone)]
pub(crate) struct Choice {
    pub(crate) spec: Spec,
    pub(crate) explain: Value,
}

/// The state of a search: the best so far, the steps that are left, and all that was tried.
pub(super) struct Search<'a> {
    validation: &'a Validation,
    workshop: Workshop,
    best: (f64, Spec),
    budget: Budget,
    tried: Vec<(Spec, f64)>,
    skipped: usize,
}

impl Search<'_> {
    /// Judges a recommender if the budget pays for it and it was not judged before.
    fn score(&mut self, spec: Spec) -> Option<f64> {
        if let Some((_, score)) = self.tried.iter().find(|(tried, _)| *tried == spec) {
            return Some(*score);
        }
        if !self.budget.pay(&spec, &self.tried) {
            self.skipped += 1;
            return None;
        }
        // A model that cannot be fitted here (too many items) is no candidate.
        let score = self.validation.ndcg(&spec, &mut self.workshop).ok()??;
        self.tried.push((spec.clone(), score));
        if score > self.best.0 {
            self.best = (score, spec);
        }
        Some(score)
    }

    /// Judges every value of one setting, the others kept, and returns the best; the first of equals.
    fn best_of<T: Copy>(
        &mut self,
        start: T,
        values: impl Iterator<Item = T>,
        spec: impl Fn(T) -> Spec,
    ) -> T {
        let mut best = (self.score(spec(start)).unwrap_or(f64::NEG_INFINITY), start);
        for value in values {
            let score = self.score(spec(value)).unwrap_or(f64::NEG_INFINITY);
            if score > best.0 {
                best = (score, value);
            }
        }
        best.1
    }

    /// The best of what was tried under a condition.
    fn best_where(&self, is_wanted: impl Fn(&Spec) -> bool) -> Option<(Spec, f64)> {
        let mut best: Option<&(Spec, f64)> = None;
        for it in self.tried.iter().filter(|(spec, _)| is_wanted(spec)) {
            if best.is_none_or(|best| it.1 > best.1) {
                best = Some(it);
            }
        }
        best.cloned()
    }

    /// Keeps from all other trials what judging blends will cost.
    fn set_aside_for_blend(&mut self, families: &[Family], items: usize) {
        let parts = self.parts_of_largest_blend(families, items);
        let mixes = grids::mixes(parts.len()).len();
        self.budget.set_aside(&Spec::Blend(parts), mixes);
    }

    /// The families and, where there are texts, the content, at first settings.
    fn parts_of_largest_blend(&self, families: &[Family], items: usize) -> Vec<(Spec, f32)> {
        let own = families.iter().map(|family| family.first(items));
        let has_texts = self.validation.training.content.is_some();
        let content = has_texts.then_some(Spec::Content);
        own.chain(content).map(|it| (it, 0.0)).collect()
    }

    /// The best of each family and the content, best first, without those that are far behind.
    fn worth_blending(&self) -> Vec<(Spec, f64)> {
        let own = Family::all(false)
            .iter()
            .map(|family| self.best_where(|spec| family.has(spec)));
        let content = self.best_where(|spec| matches!(spec, Spec::Content));
        let mut families: Vec<(Spec, f64)> = own.chain([content]).flatten().collect();
        families.sort_by(|a, b| b.1.total_cmp(&a.1));
        let enough = families.first().map_or(0.0, |best| best.1 * WORTH_BLENDING);
        families.retain(|(_, score)| *score >= enough);
        families
    }

    /// Tries weightings of the best of each family around the best single one. What the budget does not
    /// pay for goes without its weakest part.
    fn blend(&mut self) -> Result<(), LabError> {
        let families = self.worth_blending();
        let mut parts: Vec<(Spec, f32)> = families.into_iter().map(|(it, _)| (it, 0.0)).collect();
        let (blend, mixes) = loop {
            if parts.len() < 2 {
                return Ok(());
            }
            let (blend, mixes) = (Spec::Blend(parts.clone()), grids::mixes(parts.len()));
            if self.budget.pay_mixes(&blend, mixes.len()) {
                break (blend, mixes);
            }
            self.skipped += 1;
            parts.pop();
        };
        let scores = self
            .validation
            .ndcg_of_mixes(&blend, &mixes, &mut self.workshop)?;
        for (mix, score) in mixes.iter().zip(scores) {
            let weighted = parts.iter().zip(mix).filter(|(_, weight)| **weight > 0.0);
            let spec = Spec::Blend(weighted.map(|((it, _), by)| (it.clone(), *by)).collect());
            if score > self.best.0 {
                self.best = (score, spec.clone());
            }
            self.tried.push((spec, score));
        }
        Ok(())
    }
}

/// Chooses a recommender and its settings; `loadable`: only among those that the services can load.
pub(crate) fn choose(
    validation: &Validation,
    budget_cpu_seconds: f64,
    loadable: bool,
) -> Result<Choice, LabError> {
    let mut search = Search {
        validation,
        workshop: Workshop::default(),
        best: (f64::NEG_INFINITY, Spec::Popularity),
        budget: Budget::new(validation, budget_cpu_seconds),
        tried: Vec::new(),
        skipped: 0,
    };
    search.score(Spec::Popularity);
    if validation.training.content.is_some() {
        search.score(Spec::Content);
    }
    let items = validation.training.items.len();
    let families = Family::all(loadable);
    let mut promise: Vec<(Family, f64)> = Vec::new();
    for family in families {
        let score = search.score(family.first(items));
        promise.push((*family, score.unwrap_or(f64::NEG_INFINITY)));
    }
    // What is left goes to the most promising first, but for the blend's part of it.
    promise.sort_by(|a, b| b.1.total_cmp(&a.1));
    if !loadable {
        search.set_aside_for_blend(families, items);
    }
    promise.iter().for_each(|(it, _)| it.refine(&mut search));
    if !loadable {
        search.budget.release();
        search.blend()?;
    }
    let (ndcg, spec) = search.best;
    let tried: Vec<Value> = search
        .tried
        .iter()
        .map(|(spec, ndcg)| json!({"model": spec.to_string(), "ndcg": ndcg}))
        .collect();
    let explain = json!({
        "model": spec.to_string(),
        "validation_ndcg": if ndcg.is_finite() { json!(ndcg) } else { Value::Null },
        "validation_users": validation.queries.len(),
        "tried": tried,
        "skipped_by_budget": search.skipped,
    });
    Ok(Choice { spec, explain })
}
