//! Choosing by validation inside the training file: its last sessions. The test file is never seen here.

use rapport_math::Rng;
use rayon::prelude::*;
use recommend_domain::{
    AttentionOptions, BlendOptions, MarkovOptions, SessionIndex, SessionPopularity, SessionScores,
    SessionScratch, Sessions, StanModel, StanOptions,
};
use serde_json::{Value, json};

use super::data::{Data, UNKNOWN, Visit};
use super::models::Spec;
use super::{Fitted, Judged, rates, serve};

/// One of so many training sessions is held out: the last ones, as a test file comes after.
const HELD_OUT_ONE_IN: usize = 10;
/// Sessions that validation judges at most, drawn by seed from those held out.
const VISITS_MAX: usize = 5_000;
/// Best items of each part that blends are judged by.
const LISTED: usize = 200;
/// Stream of the seed.
const STREAM_VISITS: u64 = 0x7669_7369;
/// Sessions and items read by one CPU-second of a neighbourhood, and multiply-adds of learning, on a
/// 2020s server core. Budgets are counted in these, so that no measured time changes an answer.
const STEPS_PER_SECOND: f64 = 1e8;
pub(crate) const ATTENTION_STEPS_PER_SECOND: f64 = 1.5e10;
/// Fewer epochs than this do not make a learned model.
const EPOCHS_MIN: usize = 2;

/// The training file cut in two: what a trial learns from, and whom it is judged by.
#[derive(Debug)]
pub(crate) struct Validation {
    sessions: Sessions,
    visits: Vec<Visit>,
    k: usize,
}

/// What a trial is worth: the geometric mean of hit rate and mean reciprocal rank, so that one percent
/// of either counts the same.
fn worth([hit_rate, mrr]: [f64; 2]) -> Option<f64> {
    (hit_rate.is_finite() && mrr.is_finite()).then(|| (hit_rate * mrr).sqrt())
}

impl Validation {
    /// Holds out the last sessions; `None` if there are too few to hold one out.
    pub(crate) fn new(data: &Data, k: usize, seed: u64) -> Option<Self> {
        let cut = data.training.len() - data.training.len() / HELD_OUT_ONE_IN;
        let (known, held) = data.training.split_at(cut);
        let sessions = Sessions::new(known.iter().map(Vec::as_slice), data.items);
        let seen = SessionPopularity::train(&sessions, 0.0);
        let mut visits: Vec<Visit> = held
            .iter()
            .filter(|visit| visit.len() > 1)
            .cloned()
            .collect();
        Rng::seeded(seed).fork(STREAM_VISITS).shuffle(&mut visits);
        visits.truncate(VISITS_MAX);
        for item in visits.iter_mut().flatten() {
            if seen.count(*item) == 0.0 {
                *item = UNKNOWN;
            }
        }
        (!visits.is_empty() && !sessions.is_empty()).then_some(Self {
            sessions,
            visits,
            k,
        })
    }

    /// Returns what a model is worth on the sessions held out.
    pub(crate) fn score(&self, spec: &Spec) -> Option<f64> {
        self.judge(&Fitted::new(spec, &self.sessions)).1
    }

    fn judge(&self, fitted: &Fitted) -> ([f64; 2], Option<f64>) {
        let judged: Vec<Judged> = serve(fitted, &self.visits, self.k);
        let rates = rates(judged.iter());
        (rates, worth(rates))
    }

    fn queries(&self) -> f64 {
        self.visits
            .iter()
            .map(|visit| visit.len() as f64 - 1.0)
            .sum()
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
    index: SessionIndex,
    /// Sessions that a query meets, at most, by the mean over clicks.
    met: f64,
    best: (f64, Spec),
    /// CPU-seconds that are left, as counted.
    left: f64,
    tried: Vec<(Spec, [f64; 2], f64)>,
    skipped: usize,
}

impl Search<'_> {
    /// Judges a model if the budget pays for it and it was not judged before.
    fn score(&mut self, spec: Spec, seconds: f64) -> f64 {
        if let Some((_, _, score)) = self.tried.iter().find(|(tried, ..)| *tried == spec) {
            return *score;
        }
        if seconds > self.left {
            self.skipped += 1;
            return f64::NEG_INFINITY;
        }
        self.left -= seconds;
        let sessions = &self.validation.sessions;
        let fitted = match &spec {
            // Visits are indexed once for all trials.
            Spec::Stan(options) => Fitted {
                model: Box::new(StanModel::with_index(self.index.clone(), options)),
                popular: SessionPopularity::train(sessions, 0.0),
            },
            Spec::Popularity
            | Spec::ItemKnn(_)
            | Spec::Markov(_)
            | Spec::Vmis(_)
            | Spec::Attention(_)
            | Spec::Blend(..) => Fitted::new(&spec, sessions),
        };
        let (rates, score) = self.validation.judge(&fitted);
        self.note(spec, rates, score.unwrap_or(f64::NEG_INFINITY))
    }

    fn note(&mut self, spec: Spec, rates: [f64; 2], score: f64) -> f64 {
        if score > self.best.0 {
            self.best = (score, spec.clone());
        }
        self.tried.push((spec, rates, score));
        score
    }

    fn stan(&mut self, options: StanOptions) -> f64 {
        let met = self.met.min(options.sample as f64);
        let items = 4.0 * met.min(options.neighbours as f64);
        let steps = self.validation.queries() * (4.0 * met + items + 100.0);
        self.score(Spec::Stan(options), steps / STEPS_PER_SECOND)
    }

    /// Judges every value of one setting, the others kept, and returns the best; the first of equals.
    fn best_of<T: Copy>(&mut self, start: T, values: &[T], judge: fn(&mut Self, T) -> f64) -> T {
        let mut best = (judge(self, start), start);
        for value in values {
            let score = judge(self, *value);
            if score > best.0 {
                best = (score, *value);
            }
        }
        best.1
    }
}

/// Chooses a model and its settings.
pub(crate) fn choose(data: &Data, k: usize, seed: u64, budget_cpu_seconds: f64) -> Choice {
    let Some(validation) = Validation::new(data, k, seed) else {
        return Choice {
            spec: Spec::Stan(StanOptions::default()),
            explain: json!({"model": "v-stan", "why": "too few sessions to hold some out"}),
        };
    };
    let index = SessionIndex::new(&validation.sessions);
    let mut counts = vec![0.0f64; data.items];
    let clicks = || validation.sessions.iter().flatten();
    clicks().for_each(|item| counts[*item as usize] += 1.0);
    let squares: f64 = counts.iter().map(|count| count * count).sum();
    let mean_length = clicks().count() as f64 / validation.sessions.len() as f64;
    let mut search = Search {
        met: mean_length * squares / clicks().count() as f64,
        validation: &validation,
        index,
        best: (f64::NEG_INFINITY, Spec::Popularity),
        left: budget_cpu_seconds,
        tried: Vec::new(),
        skipped: 0,
    };
    let cheap = validation.queries() * 1e3 / STEPS_PER_SECOND;
    search.score(Spec::Popularity, cheap);
    let markov = choose_markov(&mut search, cheap);
    let stan = choose_stan(&mut search);
    let attention = attention_options(&search, data, seed);
    choose_blend(&mut search, markov, stan, attention);
    let (score, spec) = search.best.clone();
    let tried: Vec<Value> = search
        .tried
        .iter()
        .map(|(spec, [hit_rate, mrr], _)| {
            json!({"model": spec.to_string(), "hit_rate": hit_rate, "mrr": mrr})
        })
        .collect();
    let explain = json!({
        "model": spec.to_string(),
        "validation_score": if score.is_finite() { json!(score) } else { Value::Null },
        "validation_sessions": validation.visits.len(),
        "validation_queries": validation.queries() as u64,
        "tried": tried,
        "skipped_by_budget": search.skipped,
    });
    Choice { spec, explain }
}

fn choose_markov(search: &mut Search<'_>, cost: f64) -> MarkovOptions {
    let mut best = (f64::NEG_INFINITY, MarkovOptions::default());
    for reach in [1, 2, 4] {
        for position_decay in [0.0, 0.3, 0.6] {
            for age_rate in [0.0, 3.0] {
                let options = MarkovOptions {
                    reach,
                    position_decay,
                    age_rate,
                    ..MarkovOptions::default()
                };
                let score = search.score(Spec::Markov(options), cost);
                if score > best.0 {
                    best = (score, options);
                }
            }
        }
    }
    best.1
}

/// One setting after the other, twice because they lean on each other.
fn choose_stan(search: &mut Search<'_>) -> StanOptions {
    /// Tries values of one field.
    macro_rules! tune {
        ($it:ident, $field:ident, $values:expr) => {
            let options = $values.map(|value| StanOptions {
                $field: value,
                ..$it
            });
            $it = search.best_of($it, &options, Search::stan);
        };
    }
    let mut it = StanOptions::default();
    for _ in 0..2 {
        tune!(it, repeat, [0.0, 0.05, 0.1, 0.2, 0.3, 0.5, 0.7, 1.0, 1.5]);
        tune!(it, position_decay, [0.2, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0]);
        tune!(it, distance_decay, [0.4, 0.6, 0.7, 0.8, 0.9, 0.95, 1.0]);
        tune!(it, backward, [0.0, 0.2, 0.4, 0.6, 0.8, 1.0]);
        tune!(it, age_rate, [0.0, 1.0, 2.0, 3.0, 5.0, 8.0, 12.0]);
        tune!(it, match_decay, [0.2, 0.4, 0.55, 0.7, 0.85, 1.0]);
        tune!(it, length_damping, [0.0, 0.2, 0.35, 0.5, 0.7, 1.0]);
        tune!(it, rarity, [0.0, 0.5, 1.0, 1.5, 2.0]);
        tune!(it, popularity_damping, [0.0, 0.05, 0.1, 0.2, 0.3]);
        tune!(it, revisit, [0.2, 0.4, 0.6, 0.8, 1.0, 1.3, 1.6]);
        tune!(it, neighbours, [100, 200, 500, 1_000, 2_500]);
    }
    tune!(it, sample, [1_000, 5_000, 10_000]);
    it
}

/// Returns how attention is trained with what is left of the budget, twice: for validation and for good.
fn attention_options(search: &Search<'_>, data: &Data, seed: u64) -> Option<AttentionOptions> {
    let options = AttentionOptions {
        seed,
        ..AttentionOptions::default()
    };
    let both =
        options.epoch_steps(&search.validation.sessions) + options.epoch_steps(&data.sessions());
    let scan = (data.items * options.width) as f64 * search.validation.queries();
    let left = search.left * ATTENTION_STEPS_PER_SECOND - 2.0 * scan;
    let epochs = options.epochs.min((left / both.max(1.0)).max(0.0) as usize);
    (epochs >= EPOCHS_MIN).then_some(AttentionOptions { epochs, ..options })
}

/// A query of the validation as its parts see it: what comes next, and each part's best items with
/// their shares of its whole score.
struct Listed {
    /// Place of the query's session.
    visit: usize,
    /// Clicks of the prefix.
    end: usize,
    parts: Vec<Vec<(u32, f32)>>,
}

/// Judges attention by itself, then mixtures of it, the neighbourhood and the chain.
fn choose_blend(
    search: &mut Search<'_>,
    markov: MarkovOptions,
    stan: StanOptions,
    attention: Option<AttentionOptions>,
) {
    let mut specs = vec![Spec::Stan(stan), Spec::Markov(markov)];
    specs.extend(attention.map(Spec::Attention));
    let sessions = &search.validation.sessions;
    let fitted: Vec<Fitted> = specs
        .iter()
        .map(|spec| Fitted::new(spec, sessions))
        .collect();
    if let (Some(options), Some(fitted)) = (attention, fitted.get(2)) {
        search.left -=
            options.epochs as f64 * options.epoch_steps(sessions) / ATTENTION_STEPS_PER_SECOND;
        let (rates, score) = search.validation.judge(fitted);
        search.note(
            Spec::Attention(options),
            rates,
            score.unwrap_or(f64::NEG_INFINITY),
        );
    }
    let listed = list(search.validation, &fitted);
    let blend = |weights: &[f32], options: BlendOptions| {
        let parts = weights.iter().copied().zip(specs.iter().cloned());
        Spec::Blend(parts.filter(|(weight, _)| *weight > 0.0).collect(), options)
    };
    let mut best = (f64::NEG_INFINITY, vec![], BlendOptions::default());
    let mut judge =
        |weights: Vec<f32>, options: BlendOptions, best: &mut (f64, Vec<f32>, BlendOptions)| {
            let rates = judge_lists(search.validation, &listed, &weights, options);
            let score = worth(rates).unwrap_or(f64::NEG_INFINITY);
            search.note(blend(&weights, options), rates, score);
            if score > best.0 {
                *best = (score, weights, options);
            }
        };
    let learned: &[f32] = if specs.len() > 2 {
        &[0.2, 0.35, 0.5, 0.65, 0.8]
    } else {
        &[0.0]
    };
    for learned in learned {
        for chain in [0.0, 0.1, 0.2, 0.35] {
            let rest = 1.0 - learned;
            let mut weights = vec![rest * (1.0 - chain), rest * chain, *learned];
            weights.truncate(specs.len());
            judge(weights, BlendOptions::default(), &mut best);
        }
    }
    for repeat in [0.2, 0.35, 0.5, 0.7, 1.4, 2.0] {
        let options = BlendOptions { repeat, ..best.2 };
        judge(best.1.clone(), options, &mut best);
    }
    for revisit in [0.4, 0.6, 0.8, 1.3] {
        let options = BlendOptions { revisit, ..best.2 };
        judge(best.1.clone(), options, &mut best);
    }
}

/// Lists the best items of every query by every part.
fn list(validation: &Validation, fitted: &[Fitted]) -> Vec<Listed> {
    let queries: Vec<(usize, usize)> = validation
        .visits
        .iter()
        .enumerate()
        .flat_map(|(visit, items)| (1..items.len()).map(move |end| (visit, end)))
        .filter(|(visit, end)| validation.visits[*visit][*end] != UNKNOWN)
        .collect();
    let work = || {
        (
            SessionScratch::default(),
            SessionScores::default(),
            Vec::new(),
        )
    };
    queries
        .par_iter()
        .map_init(work, |(scratch, scores, top), (visit, end)| {
            let parts = fitted.iter().map(|fitted| {
                fitted
                    .model
                    .score(&validation.visits[*visit][..*end], scratch, scores);
                let total = scores.total();
                scores.top(LISTED, &fitted.popular, top);
                let scored = top.iter().filter(|(_, score)| *score > 0.0);
                scored
                    .map(|(item, score)| (item.0, score / total))
                    .collect()
            });
            Listed {
                visit: *visit,
                end: *end,
                parts: parts.collect(),
            }
        })
        .collect()
}

/// Returns hit rate and mean reciprocal rank of a mixture, from the lists of its parts.
fn judge_lists(
    validation: &Validation,
    listed: &[Listed],
    weights: &[f32],
    options: BlendOptions,
) -> [f64; 2] {
    let judged: Vec<[f64; 2]> = listed
        .par_iter()
        .map_init(Vec::new, |mixed: &mut Vec<(u32, f32)>, query| {
            let visit = &validation.visits[query.visit];
            let (prefix, target) = (&visit[..query.end], visit[query.end]);
            mixed.clear();
            for (part, weight) in query.parts.iter().zip(weights) {
                mixed.extend(part.iter().map(|(item, share)| (*item, weight * share)));
            }
            mixed.sort_by_key(|(item, _)| *item);
            mixed.dedup_by(|next, kept| {
                let same = next.0 == kept.0;
                kept.1 += if same { next.1 } else { 0.0 };
                same
            });
            for (item, score) in mixed.iter_mut() {
                let is = |other: &recommend_domain::ItemIdx| other.0 == *item;
                *score *= match prefix.iter().rposition(is) {
                    Some(at) if at + 1 == prefix.len() => options.repeat,
                    Some(_) => options.revisit,
                    None => 1.0,
                };
            }
            let own = mixed
                .iter()
                .find(|(item, _)| *item == target.0)
                .map_or(0.0, |it| it.1);
            let rank = mixed.iter().filter(|(_, score)| *score >= own).count();
            let hit = own > 0.0 && rank <= validation.k;
            if hit {
                [1.0, 1.0 / rank as f64]
            } else {
                [0.0; 2]
            }
        })
        .collect();
    let queries = validation.queries();
    std::array::from_fn(|at| judged.iter().map(|one| one[at]).sum::<f64>() / queries)
}
