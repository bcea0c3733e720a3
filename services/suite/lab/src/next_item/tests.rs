//! Metrics worked by hand with ties against us, files with every oddity, choosing.

use recommend_domain::ItemIdx;
use tempfile::TempDir;

use super::*;
use crate::args::{CommonArgs, Task};
use crate::support::{common, job, put};

fn read(train: &str, test: &str, limit: Option<usize>, drop_overlap: bool) -> Data {
    let folder = tempfile::tempdir().unwrap();
    let (train, test) = (
        put(&folder, "train.csv", train),
        put(&folder, "test.csv", test),
    );
    Data::read(&train, &test, limit, drop_overlap).unwrap()
}

fn visit(items: &[u32]) -> Visit {
    items.iter().map(|item| ItemIdx(*item)).collect()
}

#[test]
fn visits_are_ordered_by_time_and_then_by_the_file() {
    let train = "session,item,timestamp\nlate,b,2020-01-03\nfirst,c,2020-01-02\nfirst,a,2020-01-01\n\
                 late,b,2020-01-03\nsame,a,2020-01-03\n";
    let data = read(
        train,
        "session,item,timestamp\nt,a,1\nt,new,2\n",
        None,
        false,
    );
    // Items by name: a, b, c.
    assert_eq!(data.training, [visit(&[0, 2]), visit(&[1, 1]), visit(&[0])]);
    assert_eq!(data.test, [vec![ItemIdx(0), UNKNOWN]]);
    assert_eq!((data.items, data.train_rows, data.test_rows), (3, 5, 2));
    // Positions: every visit begins at 0, so the order of the file stands; columns by position.
    let positions = read(
        "s,i,t\nz,a,1\nz,b,0\ny,a,0\n",
        "s,i,t\nt,a,0\n",
        None,
        false,
    );
    assert_eq!(positions.training, [visit(&[1, 0]), visit(&[0])]);
}

#[test]
fn overlap_is_counted_and_dropped_when_asked() {
    let header = "session,item,timestamp\n";
    let train = format!("{header}s,a,1\ns,b,2\nt,a,3\n");
    let test = format!("{header}s,a,1\nt,b,2\ns,b,3\nu,a,4\nu,b,5\n");
    let kept = read(&train, &test, None, false);
    assert_eq!(
        (kept.overlap, kept.test_rows, kept.test_rows_read),
        (2, 5, 5)
    );
    let dropped = read(&train, &test, None, true);
    assert_eq!((dropped.overlap, dropped.test_rows), (2, 3));
    assert_eq!(dropped.test, [visit(&[1]), visit(&[0, 1])]);
    let limited = read(&train, &test, Some(1), false);
    assert_eq!((limited.test.len(), limited.test_rows), (1, 2));
    assert!(warnings(&kept, &[[0.0, 0.0, 1.0]], false)[0].contains("2 of 5"));
    assert!(warnings(&dropped, &[], true)[1].contains("nothing to predict"));
}

#[test]
fn a_bad_file_names_its_place() {
    let folder = tempfile::tempdir().unwrap();
    let good = put(&folder, "good.csv", "session,item,timestamp\ns,a,1\n");
    for (text, place) in [
        (
            "session,item,timestamp\ns,a,1\ns,,2\n",
            "line 3, column 2 (item): is empty",
        ),
        (
            "session,item,timestamp\ns,a,soon\n",
            "line 2, column 3 (timestamp)",
        ),
        ("session,item\ns,a\n", "line 1"),
        ("session,item,timestamp\n", "there is no row"),
    ] {
        let bad = put(&folder, "bad.csv", text);
        let error = Data::read(&bad, &good, None, false).unwrap_err();
        assert!(error.to_string().contains(place), "{error}");
        assert_eq!(error.exit_code(), 2);
    }
}

#[test]
fn every_prefix_is_a_query_and_ties_go_against_us() {
    // After 0 came 1 twice, 2 and 3 once each.
    let sessions = [
        visit(&[0, 1]),
        visit(&[0, 1]),
        visit(&[0, 2]),
        visit(&[0, 3]),
    ];
    let sessions = Sessions::new(sessions.iter().map(Vec::as_slice), 5);
    let spec = Spec::named("markov", 0).unwrap();
    let fitted = Fitted::new(&spec, &sessions);
    let test = [
        visit(&[0, 1]),
        visit(&[0, 2]),
        vec![ItemIdx(0), UNKNOWN, ItemIdx(1)],
        visit(&[4]),
    ];
    let judged = serve(&fitted, &test, 2);
    assert_eq!(judged[0], [1.0, 1.0, 1.0]);
    assert_eq!(
        judged[1],
        [0.0, 0.0, 1.0],
        "2 and 3 tie for the second place: both are third"
    );
    // The unknown item is a miss, and is passed over in the prefix after it.
    assert_eq!(judged[2], [1.0, 1.0, 2.0]);
    assert_eq!(judged[3], [0.0; 3], "one item asks nothing");
    assert_eq!(serve(&fitted, &test, 3)[1], [1.0, 1.0 / 3.0, 1.0]);
    assert_eq!(rates(judged.iter()), [0.5, 0.5]);
}

fn arguments(folder: &TempDir, algorithm: &str) -> NextItemArgs {
    NextItemArgs {
        train: folder.path().join("train.csv"),
        test: folder.path().join("test.csv"),
        k: 3,
        common: CommonArgs {
            seed: 1,
            algorithm: algorithm
                .split(',')
                .filter(|it| !it.is_empty())
                .map(str::to_owned)
                .collect(),
            ..common()
        },
    }
}

/// Circles of items in which visits go forwards.
fn circles() -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    let rows = |from: usize, to: usize| {
        let mut text = "session,item,timestamp\n".to_owned();
        for session in from..to {
            for step in 0..4 {
                let item = session % 3 * 10 + (session / 3 + step) % 10;
                text += &format!("s{session},i{item},{step}\n");
            }
        }
        text
    };
    put(&folder, "train.csv", &rows(0, 200));
    put(&folder, "test.csv", &rows(200, 230));
    folder
}

fn run(args: &NextItemArgs, algorithm: &str) -> Answer {
    let job = Job {
        validate: true,
        ..job(Task::NextItem(args.clone()), algorithm)
    };
    measure(args, &job).unwrap()
}

#[test]
fn models_of_order_predict_what_follows_and_auto_is_as_good() {
    let folder = circles();
    let args = arguments(&folder, "");
    let rate = |algorithm: &str| {
        let answer = run(&args, algorithm);
        assert_eq!(answer.rows[0].get("queries").unwrap(), 90);
        assert!(answer.validation.is_some() || algorithm == "auto");
        answer.rows[0].get("hit_rate").unwrap().as_f64().unwrap()
    };
    assert!(rate("popularity") < 0.5);
    for algorithm in ["markov", "v-stan", "auto"] {
        assert!(rate(algorithm) > 0.99, "{algorithm}");
    }
}

#[test]
fn auto_is_the_same_for_any_number_of_threads_and_says_what_it_tried() {
    let folder = circles();
    let args = arguments(&folder, "auto");
    let data = Data::read(&args.train, &args.test, None, false).unwrap();
    let choose_on = |threads: usize| {
        let pool = rayon::ThreadPoolBuilder::new()
            .num_threads(threads)
            .build()
            .unwrap();
        pool.install(|| choose(&data, 3, 1, 600.0))
    };
    let (one, three) = (choose_on(1), choose_on(3));
    assert_eq!((one.spec, &one.explain), (three.spec, &three.explain));
    assert!(one.explain["tried"].as_array().unwrap().len() > 50);
    assert!(one.explain.to_string().contains("attention"));
    let poor = choose(&data, 3, 1, 1e-3);
    assert!(poor.explain["skipped_by_budget"].as_u64().unwrap() > 0);
    let tiny = Data {
        training: data.training[..2].to_vec(),
        ..data
    };
    assert!(
        choose(&tiny, 3, 1, 600.0)
            .explain
            .to_string()
            .contains("too few")
    );
}

#[test]
fn attention_runs_when_it_is_named() {
    let folder = circles();
    let named = |names: &str| plan(&arguments(&folder, names)).map(|plan| plan.algorithms);
    assert_eq!(
        named("").unwrap(),
        ["popularity", "item-knn", "markov", "vmis", "v-stan", "auto"]
    );
    assert_eq!(named("all").unwrap(), ALGORITHMS);
    assert_eq!(named("attention").unwrap(), ["attention"]);
    assert!(named("gru").is_err());
}
