//! `lab recommend`: full ranking of the whole catalogue for every test user.

mod choose;
mod data;
mod metrics;
mod models;
mod report;
mod rerank;
mod serve;
mod side;
mod spec;
#[cfg(test)]
mod tests;

use recommend_domain::EASE_ITEMS_MAX;

use self::choose::{Validation, choose};
use self::data::Data;
use self::metrics::{Judged, Variety};
use self::models::{Model, Workshop};
use self::report::{put_gain, put_metrics, put_serving_time, warnings};
use self::serve::{serve, serve_mixes};
use self::spec::Spec;
use crate::args::{RecommendArgs, STRENGTHS_MAX};
use crate::conduct::{Answer, Job, Plan, Rule, begin_row, finish_row, save};
use crate::cost::timed;
use crate::error::LabError;
use crate::row::Row;

/// Every algorithm, simplest first.
pub(crate) const ALGORITHMS: [&str; 11] = [
    "popularity",
    "user-knn",
    "item-knn",
    "ease",
    "slim",
    "ials",
    "gf-cf",
    "bspm",
    "content",
    "social",
    "auto",
];
/// Those that run only when named, or with `all`: they cost most.
const ONLY_NAMED: [&str; 2] = ["slim", "bspm"];

type Lists = Vec<Judged>;

/// Checks the flags.
pub(crate) fn plan(args: &RecommendArgs) -> Result<Plan, LabError> {
    let is_open = |name: &&&str| match **name {
        "content" => args.items.is_some(),
        "social" => args.social.is_some(),
        _ => true,
    };
    let known: Vec<&'static str> = ALGORITHMS.iter().filter(is_open).copied().collect();
    for (name, flag) in [("content", "--items"), ("social", "--social")] {
        if !known.contains(&name) && args.common.algorithm.iter().any(|it| it == name) {
            return Err(LabError::input(format!("--algorithm {name} needs {flag}")));
        }
    }
    let mut algorithms = args.common.algorithms(&known)?;
    if args.common.algorithm.is_empty() {
        algorithms.retain(|name| !ONLY_NAMED.contains(name));
    }
    let never_loaded = |name: &&str| Spec::named(name).is_some_and(|spec| !spec.is_loadable());
    if args.common.save.is_some()
        && !algorithms.contains(&"auto")
        && let Some(name) = algorithms.iter().find(|name| never_loaded(name))
    {
        return Err(LabError::input(format!(
            "--save: the services do not load {name}; they load item-item models and popularity"
        )));
    }
    if args.common.save.is_some() && args.social.is_some() {
        return Err(LabError::input(
            "--save: the services know no friends; leave --social out",
        ));
    }
    let is_strength = |strength: &f32| (0.0..=1.0).contains(strength);
    if !args.strengths.iter().all(is_strength) || args.strengths.len() > STRENGTHS_MAX {
        return Err(LabError::input(format!(
            "--strengths takes at most {STRENGTHS_MAX} numbers from 0 to 1"
        )));
    }
    let rule = Rule::validated(&algorithms);
    Ok(Plan { algorithms, rule })
}

/// What is measured, and what finding it took.
struct Selected {
    spec: Spec,
    /// What `auto` tried, and its seconds.
    choice: Option<(serde_json::Value, f64)>,
    /// The score inside the training file, where it is wanted.
    validation: Option<f64>,
}

/// Finds settings, and the share of friends, inside the training file.
fn select(args: &RecommendArgs, job: &Job, data: &Data) -> Result<Selected, LabError> {
    let common = &args.common;
    let k = args.k as usize;
    let validation = || Validation::new(&data.training, k, common.seed);
    let mut selected = match Spec::named(&job.algorithm) {
        Some(spec) => Selected {
            spec,
            choice: None,
            validation: None,
        },
        None => {
            let (choice, seconds) = timed(|| {
                let loadable = common.save.is_some();
                choose(&validation(), common.budget_cpu_seconds, loadable)
            });
            let choice = choice?;
            Selected {
                spec: choice.spec,
                choice: Some((choice.explain, seconds)),
                validation: None,
            }
        }
    };
    if args.social.is_some() && !matches!(selected.spec, Spec::Social(_)) {
        let (spec, seconds) = timed(|| validation().with_friends(&selected.spec));
        selected.spec = spec?;
        if let Some((_, spent)) = &mut selected.choice {
            *spent += seconds;
        }
    }
    if job.validate {
        let workshop = &mut Workshop::default();
        selected.validation = validation().ndcg(&selected.spec, workshop)?;
    }
    Ok(selected)
}

/// Measures one algorithm.
pub(crate) fn measure(args: &RecommendArgs, job: &Job) -> Result<Answer, LabError> {
    let common = &args.common;
    let data = Data::read(args)?;
    let (k, seed) = (args.k as usize, common.seed);
    let selected = select(args, job, &data)?;
    let (training, queries) = (&data.training, &data.queries);
    let (model, train_seconds) =
        timed(|| Model::fit(&selected.spec, training, seed, &mut Workshop::default()));
    let model = model?;
    let variety = Variety::new(training);
    let begin = || {
        let rows = (data.train_rows, data.test_rows);
        begin_row("recommend", job, common, rows)
    };
    let mut rows: Vec<Row> = Vec::new();
    if args.rerank.is_empty() {
        let mut row = begin();
        let (lists, score_seconds) = timed(|| serve(&model, training, queries, k));
        finish_row(&mut row, train_seconds, score_seconds);
        put_metrics(&mut row, &variety, &lists, k, seed);
        if args.social.is_some() {
            put_gain(
                &mut row,
                &without_friends(&selected.spec, &model, &data, k),
                &lists,
            );
        }
        rows.push(row);
    } else {
        let (lists, score_seconds) =
            timed(|| rerank::serve_reranked(&model, &data, &variety, k, args));
        let each = score_seconds / lists.len() as f64;
        for (kind, strength, lists) in lists {
            let mut row = begin();
            row.put("chosen", rows.is_empty());
            finish_row(&mut row, train_seconds, each);
            row.put("rerank", kind);
            row.number("strength", Some(f64::from(strength)));
            put_metrics(&mut row, &variety, &lists, k, seed);
            rows.push(row);
        }
    }
    for row in &mut rows {
        if let Some((explain, seconds)) = &selected.choice {
            row.number("select_cpu_seconds", Some(*seconds));
            row.put("explain", explain.clone());
        } else if matches!(selected.spec, Spec::Blend(_)) {
            row.put("explain", selected.spec.to_string());
        } else if matches!(selected.spec, Spec::Ease(_)) && training.items.len() > EASE_ITEMS_MAX {
            row.put("explain", "sparse: items are too many for dense weights");
        }
    }
    put_serving_time(&mut rows, &model, &data, k);
    save(job, || model.to_bytes(training))?;
    Ok(Answer {
        rows,
        validation: selected.validation,
        warnings: warnings(&data, common.drop_overlap),
    })
}

/// The lists of the same model with friends left out.
fn without_friends(spec: &Spec, model: &Model, data: &Data, k: usize) -> Lists {
    let weights = spec.parts().into_iter().map(|(part, weight)| {
        if matches!(part, Spec::Social(_)) {
            0.0
        } else {
            weight
        }
    });
    let mixes = [weights.collect()];
    let lists = serve_mixes(model, &data.training, &data.queries, k, &mixes);
    lists.into_iter().next().unwrap_or_default()
}
