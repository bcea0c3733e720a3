//! Choosing by validation inside the training file. The test file is never seen here.

use rapport_math::Rng;
use recommend_domain::{ItemIdx, ItemItemOptions, UserUserOptions};
use serde_json::{Value, json};

use super::data::{Query, Training};
use super::models::{Model, Spec};
use super::{Lists, serve};
use crate::resample::mean;

/// Users that validation judges at most, drawn by seed.
const QUERIES_MAX: usize = 10_000;
/// One of so many of a user's items is held out, at least one of two: few, because the settings that
/// are best depend on how much there is to learn from.
const HELD_OUT_ONE_IN: usize = 10;
/// Streams of the seed.
const STREAM_ITEMS: u64 = 0x6974_656d;
const STREAM_USERS: u64 = 0x7573_6572;
/// Pairs counted or scores added by one CPU-second, measured on a 2020s server core. Budgets are
/// counted in these, so that no measured time changes an answer.
const STEPS_PER_SECOND: f64 = 1.5e8;

/// The training file cut in two: what a trial learns from, and whom it is judged by.
#[derive(Debug)]
pub(crate) struct Validation {
    training: Training,
    queries: Vec<Query>,
    k: usize,
}

impl Validation {
    /// Holds out a share of every user's items by seed.
    pub(crate) fn new(whole: &Training, k: usize, seed: u64) -> Self {
        let rng = Rng::seeded(seed);
        let mut training = whole.clone();
        let mut queries = Vec::new();
        for (user, history) in training.histories.iter_mut().enumerate() {
            if history.len() < 2 {
                continue;
            }
            let mut places: Vec<usize> = (0..history.len()).collect();
            rng.fork(STREAM_ITEMS)
                .fork(user as u64)
                .shuffle(&mut places);
            places.truncate((history.len() / HELD_OUT_ONE_IN).max(1));
            let mut held: Vec<ItemIdx> = places.iter().map(|place| history[*place]).collect();
            held.sort_unstable();
            history.retain(|item| held.binary_search(item).is_err());
            queries.push(Query {
                user: Some(user as u32),
                held_count: held.len(),
                held,
            });
        }
        rng.fork(STREAM_USERS).shuffle(&mut queries);
        queries.truncate(QUERIES_MAX);
        queries.sort_unstable_by_key(|query| query.user);
        Self {
            training,
            queries,
            k,
        }
    }

    /// Returns the mean NDCG of a recommender; `None` if no user has two items.
    pub(crate) fn ndcg(&self, spec: &Spec) -> Option<f64> {
        let model = Model::fit(spec, &self.training);
        let lists: Lists = serve(&model, &self.training, &self.queries, self.k);
        mean(lists.iter().map(|judged| judged.ndcg))
    }

    /// Counts the steps that judging a recommender takes.
    fn steps(&self, spec: &Spec) -> f64 {
        let squares = |history: &Vec<ItemIdx>| (history.len() * history.len()) as f64;
        let pairs: f64 = self.training.histories.iter().map(squares).sum();
        let items = self.training.items.len() as f64;
        let sizes: f64 = self
            .training
            .histories
            .iter()
            .map(|history| history.len() as f64)
            .sum();
        let people = self.training.histories.len().max(1) as f64;
        let (mean_items, mean_people) = (sizes / people, sizes / items.max(1.0));
        let (item, user) = match spec {
            Spec::Popularity => (0.0, 0.0),
            Spec::ItemKnn(it) => (it.neighbours as f64, 0.0),
            Spec::UserKnn(it) => (0.0, it.neighbours as f64),
            Spec::Blend { item, user, .. } => (item.neighbours as f64, user.neighbours as f64),
        };
        let fit = if item > 0.0 { pairs } else { 0.0 };
        // The people of an item in somebody's history are more than those of the mean item.
        let shared = if user > 0.0 { 8.0 * mean_people } else { 0.0 };
        fit + self.queries.len() as f64 * (items + mean_items * (item + shared + user))
    }
}

/// What was chosen, and why.
#[derive(Debug, Clone)]
pub(crate) struct Choice {
    pub(crate) spec: Spec,
    pub(crate) explain: Value,
}

/// The state of a search: the best so far, the steps that are left, and all that was tried.
struct Search<'a> {
    validation: &'a Validation,
    best: (f64, Spec),
    left: f64,
    tried: Vec<(Spec, f64)>,
    skipped: usize,
}

impl Search<'_> {
    /// Judges a recommender if the budget pays for it and it was not judged before.
    fn score(&mut self, spec: Spec) -> Option<f64> {
        if let Some((_, score)) = self.tried.iter().find(|(tried, _)| *tried == spec) {
            return Some(*score);
        }
        let cost = self.validation.steps(&spec);
        if cost > self.left {
            self.skipped += 1;
            return None;
        }
        self.left -= cost;
        let score = self.validation.ndcg(&spec)?;
        self.tried.push((spec, score));
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
}

/// Chooses a recommender and its settings; `loadable`: only among those that the services can load.
pub(crate) fn choose(validation: &Validation, budget_cpu_seconds: f64, loadable: bool) -> Choice {
    let mut search = Search {
        validation,
        best: (f64::NEG_INFINITY, Spec::Popularity),
        left: budget_cpu_seconds * STEPS_PER_SECOND,
        tried: Vec::new(),
        skipped: 0,
    };
    search.score(Spec::Popularity);
    let item = choose_item_knn(&mut search);
    if !loadable {
        let user = choose_user_knn(&mut search);
        for user_share in [0.2, 0.35, 0.5, 0.65, 0.8] {
            search.score(Spec::Blend {
                item,
                user,
                user_share,
            });
        }
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
    Choice { spec, explain }
}

/// One setting after the other, the dampings twice because they lean on each other.
fn choose_item_knn(search: &mut Search<'_>) -> ItemItemOptions {
    let mut it = ItemItemOptions {
        neighbours: 200,
        ..ItemItemOptions::default()
    };
    for _ in 0..2 {
        let dampings = [0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6].into_iter();
        it = search.best_of(
            it,
            dampings.map(|popularity_damping| ItemItemOptions {
                popularity_damping,
                ..it
            }),
            Spec::ItemKnn,
        );
        let dampings = [0.0, 0.2, 0.4, 0.6, 0.8, 1.0].into_iter();
        it = search.best_of(
            it,
            dampings.map(|activity_damping| ItemItemOptions {
                activity_damping,
                ..it
            }),
            Spec::ItemKnn,
        );
        let shrinkages = [0.0, 1.0, 3.0, 10.0, 30.0].into_iter();
        it = search.best_of(
            it,
            shrinkages.map(|shrinkage| ItemItemOptions { shrinkage, ..it }),
            Spec::ItemKnn,
        );
    }
    let neighbours = [20, 50, 100, 400].into_iter();
    search.best_of(
        it,
        neighbours.map(|neighbours| ItemItemOptions { neighbours, ..it }),
        Spec::ItemKnn,
    )
}

fn choose_user_knn(search: &mut Search<'_>) -> UserUserOptions {
    let mut it = UserUserOptions::default();
    for _ in 0..2 {
        let dampings = [0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.8].into_iter();
        it = search.best_of(
            it,
            dampings.clone().map(|popularity_damping| UserUserOptions {
                popularity_damping,
                ..it
            }),
            Spec::UserKnn,
        );
        it = search.best_of(
            it,
            dampings.map(|activity_damping| UserUserOptions {
                activity_damping,
                ..it
            }),
            Spec::UserKnn,
        );
        let neighbours = [50, 100, 400, 1_000].into_iter();
        it = search.best_of(
            it,
            neighbours.map(|neighbours| UserUserOptions { neighbours, ..it }),
            Spec::UserKnn,
        );
    }
    it
}
