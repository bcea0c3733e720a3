//! Metrics worked by hand with ties against us, files with every oddity, and choosing.

use std::collections::BTreeSet;
use std::path::PathBuf;

use recommend_domain::{ItemItemOptions, TrainedModels};
use tempfile::TempDir;

use super::data::{Query, Training};
use super::metrics::{MASKED, gather, judge, judge_list};
use super::*;
use crate::args::{RerankKind, Task};
use crate::support::{common, job, put};
use recommend_domain::ItemIdx;

fn query(held: &[u32], held_count: usize) -> Query {
    Query {
        user: Some(0),
        held: held.iter().map(|item| ItemIdx(*item)).collect(),
        held_count,
        friends: Vec::new(),
    }
}

#[track_caller]
fn check(scores: &[f32], held: &[u32], held_count: usize, k: usize, expected: (f64, f64, f64)) {
    let found = judge(scores, &query(held, held_count), k, &mut Vec::new());
    let close = |a: f64, b: f64| (a - b).abs() < 1e-12;
    let is = close(found.recall, expected.0)
        && close(found.ndcg, expected.1)
        && close(found.hit, expected.2);
    assert!(is, "{found:?} instead of {expected:?}");
}

fn discount(rank: f64) -> f64 {
    1.0 / (rank + 1.0).log2()
}

#[test]
fn hits_are_discounted_by_rank() {
    // Item 1 is first, item 3 third; the best list of two has both on top.
    let best = discount(1.0) + discount(2.0);
    check(
        &[0.2, 0.9, 0.5, 0.3],
        &[1, 3],
        2,
        3,
        (1.0, (discount(1.0) + discount(3.0)) / best, 1.0),
    );
    check(
        &[0.2, 0.9, 0.5, 0.3],
        &[1, 3],
        2,
        2,
        (0.5, discount(1.0) / best, 1.0),
    );
    check(&[0.9, 0.2, 0.5, 0.3], &[1], 1, 2, (0.0, 0.0, 0.0));
    // Three held out, two of them unknown to training; the ideal is cut at k.
    check(&[0.9, 0.2], &[0], 3, 1, (1.0 / 3.0, 1.0, 1.0));
    check(&[0.9, 0.2], &[0], 3, 2, (1.0 / 3.0, 1.0 / best, 1.0));
}

#[test]
fn ties_go_against_us() {
    // All equal: one held-out item of three ranks last, two rank after the one that is not.
    check(&[1.0; 3], &[0], 1, 2, (0.0, 0.0, 0.0));
    check(&[1.0; 3], &[0], 1, 3, (1.0, discount(3.0), 1.0));
    let best = discount(1.0) + discount(2.0);
    check(&[1.0; 3], &[0, 2], 2, 2, (0.5, discount(2.0) / best, 1.0));
    // Masked items are no rivals, and cannot be hit.
    check(&[1.0, MASKED, 1.0], &[0], 1, 2, (1.0, discount(2.0), 1.0));
    check(&[MASKED, MASKED, 1.0], &[], 1, 2, (0.0, 0.0, 0.0));
}

#[test]
fn the_list_is_the_same_however_many_are_equal() {
    let scores: Vec<f32> = (0..1_000).map(|item| f32::from((item % 7) as u8)).collect();
    let mut top = Vec::new();
    gather(&scores, 3, &mut top);
    assert_eq!(top.len(), 142, "every sixth of seven");
    let first: Vec<u32> = top.iter().take(3).map(|(_, item)| *item).collect();
    assert_eq!(first, [6, 13, 20]);
    gather(&[MASKED, 2.0], 5, &mut top);
    assert_eq!(top, [(2.0, 1)]);
}

fn training(histories: &[&[u32]], items: usize) -> Training {
    Training {
        items: (0..items).map(|item| format!("i{item:03}")).collect(),
        histories: histories
            .iter()
            .map(|row| row.iter().map(|item| ItemIdx(*item)).collect())
            .collect(),
        ..Training::default()
    }
}

#[test]
fn variety_matches_values_worked_by_hand() {
    let training = training(&[&[0, 1], &[0, 1], &[0, 2], &[3]], 4);
    let variety = Variety::new(&training);
    let mut sums = Vec::new();
    // Cosines: 0 and 1: 2 / sqrt(3 * 2); 0 and 3: none; 1 and 3: none.
    let expected = 1.0 - (2.0 / 6.0f64.sqrt()) / 3.0;
    assert!((variety.diversity(&[0, 1, 3], &mut sums) - expected).abs() < 1e-12);
    assert!(sums.iter().all(|sum| *sum == 0.0));
    assert!(variety.diversity(&[0], &mut sums).is_nan());
    // Items of 3 and of 1 of 4 users: -log2(.75), 2 bits.
    assert!((variety.novelty(&[0, 3]) - (0.415_037_499_278_843_8 + 2.0) / 2.0).abs() < 1e-12);
    let lists: [&[u32]; 2] = [&[0, 1], &[1]];
    assert!((variety.coverage(lists.into_iter()) - 0.5).abs() < 1e-12);
}

struct Files {
    folder: TempDir,
}

impl Files {
    fn new(train: &str, test: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        put(&folder, "train.csv", train);
        put(&folder, "test.csv", test);
        Self { folder }
    }

    fn data(&self, limit: Option<usize>, drop_overlap: bool) -> Data {
        let mut args = self.args();
        args.common.limit = limit.and_then(std::num::NonZeroUsize::new);
        args.common.drop_overlap = drop_overlap;
        Data::read(&args).unwrap()
    }

    fn args(&self) -> RecommendArgs {
        RecommendArgs {
            train: self.folder.path().join("train.csv"),
            test: self.folder.path().join("test.csv"),
            k: 2,
            items: None,
            social: None,
            rerank: Vec::new(),
            strengths: Vec::new(),
            common: common(),
        }
    }

    fn measure(&self, algorithm: &str, save: Option<PathBuf>) -> Answer {
        self.measure_with(algorithm, save, self.args())
    }

    fn measure_with(
        &self,
        algorithm: &str,
        save: Option<PathBuf>,
        mut args: RecommendArgs,
    ) -> Answer {
        args.common.save.clone_from(&save);
        let job = Job {
            validate: true,
            save,
            ..job(Task::Recommend(args.clone()), algorithm)
        };
        measure(&args, &job).unwrap()
    }
}

const TRAIN: &str = "user,item,timestamp\nu,b,2\nu,a,1\nu,b,3\nv,a,1\nv,c,1\n";

#[test]
fn files_become_histories_and_queries() {
    let files = Files::new(TRAIN, "user,item\nv,b\nv,b\nw,c\nu,b\nu,z\n");
    let data = files.data(None, false);
    assert_eq!((data.train_rows, data.test_rows, data.overlap), (5, 5, 1));
    assert_eq!(data.training.items, ["a", "b", "c"]);
    let histories: Vec<Vec<u32>> = data
        .training
        .histories
        .iter()
        .map(|row| row.iter().map(|item| item.0).collect())
        .collect();
    assert_eq!(
        histories,
        [vec![0, 1], vec![0, 2]],
        "oldest first, each once"
    );
    assert_eq!(data.training.newest, Some(3.0));
    let unknown = Query {
        user: None,
        ..query(&[2], 1)
    };
    let masked = Query {
        user: Some(0),
        ..query(&[], 2)
    };
    assert_eq!(
        data.queries,
        [
            Query {
                user: Some(1),
                ..query(&[1], 1)
            },
            unknown,
            masked.clone()
        ]
    );
    let dropped = files.data(None, true);
    assert_eq!((dropped.test_rows, dropped.overlap), (4, 1));
    assert_eq!(
        dropped.queries[2],
        Query {
            held_count: 1,
            ..masked
        }
    );
    assert_eq!(files.data(Some(1), false).queries.len(), 1);
}

#[test]
fn the_order_of_rows_without_times_changes_no_metric() {
    let test = "user,item\nu,c\nv,b\n";
    let forward = Files::new("user,item\nu,a\nu,b\nv,a\nv,c\nw,b\nw,c\n", test);
    let backward = Files::new("item,user\nc,w\nb,w\nc,v\na,v\nb,u\na,u\n", test);
    for algorithm in [
        "popularity",
        "user-knn",
        "item-knn",
        "ease",
        "slim",
        "gf-cf",
    ] {
        let metric = |files: &Files| files.measure(algorithm, None).rows[0].get("ndcg").cloned();
        assert_eq!(metric(&forward), metric(&backward), "{algorithm}");
    }
}

/// Forty people in two tastes of ten items, each with eight of them; one of the other two is asked for.
fn tastes() -> Files {
    let (mut train, mut test) = ("user,item\n".to_owned(), "user,item\n".to_owned());
    for user in 0..40 {
        for place in 0..9 {
            let item = (user % 2) * 10 + (user / 2 + place) % 10;
            let row = format!("u{user},i{item}\n");
            if place < 8 {
                train.push_str(&row)
            } else {
                test.push_str(&row)
            };
        }
    }
    Files::new(&train, &test)
}

#[test]
fn neighbours_find_tastes_that_popularity_cannot() {
    let files = tastes();
    let recall = |algorithm: &str| {
        let answer = files.measure(algorithm, None);
        let recall = answer.rows[0].get("recall").unwrap().as_f64().unwrap();
        (recall, answer.validation)
    };
    let (popular, by_popularity) = recall("popularity");
    assert!(popular < 0.6, "{popular}");
    for algorithm in [
        "user-knn", "item-knn", "ease", "slim", "ials", "gf-cf", "bspm",
    ] {
        let (found, validated) = recall(algorithm);
        assert_eq!(
            found.to_bits(),
            1.0f64.to_bits(),
            "{algorithm}: two unknown items of the taste, k is two"
        );
        assert!(validated > by_popularity);
    }
    let auto = files.measure("auto", None);
    let explain = auto.rows[0].get("explain").unwrap();
    assert!(
        explain["validation_ndcg"].as_f64() > by_popularity && explain["skipped_by_budget"] == 0
    );
    assert!(auto.rows[0].get("select_cpu_seconds").unwrap().is_number());
}

#[test]
fn threads_change_no_answer() {
    let files = tastes();
    let times = [
        "train_cpu_seconds",
        "score_cpu_seconds",
        "select_cpu_seconds",
        "peak_rss_bytes",
        "serve_us_p50",
        "serve_us_p99",
    ];
    let on = |threads| {
        let pool = rayon::ThreadPoolBuilder::new()
            .num_threads(threads)
            .build()
            .unwrap();
        let open = ALGORITHMS
            .iter()
            .filter(|name| !matches!(**name, "content" | "social"));
        let answers: Vec<Answer> = open
            .map(|name| pool.install(|| files.measure(name, None)))
            .collect();
        let untimed = answers.into_iter().map(|mut answer| {
            times.iter().for_each(|key| answer.rows[0].put(key, 0));
            serde_json::to_string(&answer).unwrap()
        });
        untimed.collect::<Vec<_>>()
    };
    let one = on(1);
    assert_eq!(on(2), one);
    assert_eq!(on(4), one);
}

#[test]
fn a_saved_model_is_what_the_service_loads() {
    let files = tastes();
    let file = files.folder.path().join("model");
    files.measure("auto", Some(file.clone()));
    let models = TrainedModels::from_bytes(&std::fs::read(&file).unwrap()).unwrap();
    assert_eq!((models.items.len(), models.similar.len()), (20, 20));
    files.measure("popularity", Some(file.clone()));
    let models = TrainedModels::from_bytes(&std::fs::read(&file).unwrap()).unwrap();
    assert!(models.similar.is_empty() && models.items.get("i7").is_some());
    let mut args = files.args();
    args.common.save = Some(file);
    args.common.algorithm = vec!["user-knn".to_owned()];
    let error = plan(&args).unwrap_err().to_string();
    assert_eq!(
        error,
        "--save: the services do not load user-knn; they load item-item models and popularity"
    );
}

#[test]
fn validation_holds_out_a_tenth_and_never_repeats_a_trial() {
    let rows: Vec<Vec<u32>> = (0..50)
        .map(|user| (0..10).map(|place| (user + place) % 30).collect())
        .collect();
    let slices: Vec<&[u32]> = rows.iter().map(Vec::as_slice).collect();
    let whole = training(&slices, 30);
    let validation = Validation::new(&whole, 5, 7);
    let choice = choose(&validation, 600.0, true).unwrap();
    let tried = choice.explain["tried"].as_array().unwrap();
    let names: BTreeSet<&str> = tried
        .iter()
        .map(|trial| trial["model"].as_str().unwrap())
        .collect();
    assert_eq!(names.len(), tried.len());
    assert!(choice.spec.is_loadable() && choice.explain["validation_users"] == 50);
    let broke = choose(&validation, 1e-12, false).unwrap();
    assert_eq!(broke.explain["tried"].as_array().unwrap().len(), 0);
    assert_eq!(broke.explain["validation_ndcg"], serde_json::Value::Null);
    assert!(
        validation
            .ndcg(
                &Spec::ItemKnn(ItemItemOptions::default()),
                &mut Workshop::default()
            )
            .unwrap()
            .unwrap()
            > 0.0
    );
}

#[test]
fn friends_and_texts_speak_where_they_are_given() {
    let files = tastes();
    let path = |name: &str| files.folder.path().join(name);
    let mut social = "user,friend\n".to_owned();
    // Everybody's friends share the taste; somebody new has two.
    for user in 0..40 {
        for step in [2, 4] {
            social.push_str(&format!("u{user},u{}\n", (user + step) % 40));
        }
    }
    social.push_str("new,u0\nnew,u2\nstranger,u9\nu1,nobody\nu1,u1\n");
    std::fs::write(path("social.csv"), social).unwrap();
    let items: String = (0..20)
        .map(|item| format!("i{item},taste{} thing\n", item / 10))
        .collect();
    std::fs::write(
        path("items.csv"),
        format!("item,title\n{items}zz,unknown\n"),
    )
    .unwrap();
    let test = std::fs::read_to_string(path("test.csv")).unwrap();
    std::fs::write(path("test.csv"), format!("{test}new,i5\n")).unwrap();
    let mut args = files.args();
    args.social = Some(path("social.csv"));
    args.items = Some(path("items.csv"));
    let data = Data::read(&args).unwrap();
    assert_eq!(data.training.friends_of(1), [3, 5]);
    assert_eq!(data.queries.last().unwrap().friends, [0, 2]);
    let recall = |algorithm: &str, args: &RecommendArgs| {
        let answer = files.measure_with(algorithm, None, args.clone());
        let row = &answer.rows[0];
        (row.get("recall").unwrap().as_f64().unwrap(), row.clone())
    };
    assert!(recall("content", &args).0 > 0.9);
    assert!(recall("social", &args).0 > 0.5);
    let (_, row) = recall("popularity", &args);
    let gain = row.get("ndcg_gain").unwrap().as_f64().unwrap();
    let p = row.get("ndcg_gain_p").unwrap().as_f64().unwrap();
    assert!(gain > 0.1 && p < 0.01, "{gain} {p}");
    args.common.algorithm = vec!["content".to_owned()];
    assert!(plan(&args).is_ok());
    args.items = None;
    let error = plan(&args).unwrap_err().to_string();
    assert_eq!(error, "--algorithm content needs --items");
}

#[test]
fn reranking_trades_scores_for_variety_a_row_at_a_time() {
    let files = tastes();
    let mut args = files.args();
    args.rerank = vec![RerankKind::Mmr, RerankKind::Dpp];
    args.strengths = vec![0.0, 0.9];
    let answer = files.measure_with("item-knn", None, args.clone());
    let of = |key: &str| -> Vec<f64> {
        let value = |row: &Row| row.get(key).unwrap().as_f64().unwrap();
        answer.rows.iter().map(value).collect()
    };
    assert_eq!(of("strength").len(), 4);
    let diversity = of("diversity");
    assert!(
        diversity[1] > diversity[0] && diversity[3] > diversity[2],
        "{diversity:?}"
    );
    let plain = files.measure("item-knn", None);
    assert_eq!(plain.rows[0].get("ndcg"), answer.rows[0].get("ndcg"));
    let chosen = answer
        .rows
        .iter()
        .filter(|row| row.get("chosen") == Some(&true.into()));
    assert_eq!(chosen.count(), 1);
    args.strengths = vec![1.5];
    assert!(plan(&args).unwrap_err().to_string().contains("--strengths"));
}

#[test]
fn ties_go_against_reranked_lists_too() {
    let train: String = (0..10).map(|user| format!("u{user},i{user}\n")).collect();
    let files = Files::new(&format!("user,item\n{train}"), "user,item\nu0,i1\nu5,i0\n");
    let mut args = files.args();
    args.k = 1;
    let recalls = |args: RecommendArgs| -> Vec<Option<f64>> {
        let answer = files.measure_with("popularity", None, args);
        let recall = |row: &Row| row.get("recall").and_then(serde_json::Value::as_f64);
        answer.rows.iter().map(recall).collect()
    };
    assert_eq!(recalls(args.clone()), [Some(0.0)]);
    args.rerank = vec![RerankKind::Mmr, RerankKind::Dpp];
    args.strengths = vec![0.0, 0.5];
    assert_eq!(recalls(args), [Some(0.0); 4]);
}

#[test]
fn a_list_without_ties_is_judged_by_its_places() {
    let judged = judge_list(&[4, 1, 9], &query(&[1, 9], 3), 2);
    assert!((judged.recall - 1.0 / 3.0).abs() < 1e-12);
    assert!((judged.ndcg - discount(2.0) / (discount(1.0) + discount(2.0))).abs() < 1e-12);
    assert_eq!(judged.shown, [4, 1]);
}
