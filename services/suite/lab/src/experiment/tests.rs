//! Effects worked by hand, roles of arms, units of several rows, and false alarms.

use std::num::NonZeroUsize;

use tempfile::TempDir;

use super::*;
use crate::args::Task;
use crate::support::{common, job, put};

fn args(folder: &TempDir, file: &str, edit: impl FnOnce(&mut ExperimentArgs)) -> ExperimentArgs {
    let mut args = ExperimentArgs {
        data: put(folder, "data.csv", file),
        variant: "arm".to_owned(),
        metric: "metric".to_owned(),
        unit: None,
        covariate: None,
        control: None,
        treated: None,
        allocation: Vec::new(),
        null_runs: None,
        look_every: NonZeroUsize::MIN,
        common: common(),
    };
    edit(&mut args);
    args
}

fn run(
    file: &str,
    algorithm: &str,
    edit: impl FnOnce(&mut ExperimentArgs),
) -> Result<Vec<Row>, LabError> {
    let folder = tempfile::tempdir().unwrap();
    let args = args(&folder, file, edit);
    let job = job(Task::Experiment(args.clone()), algorithm);
    measure(&args, &job).map(|answer| answer.rows)
}

#[track_caller]
fn check(row: &Row, key: &str, expected: f64) {
    let found = row.get(key).and_then(Value::as_f64).unwrap_or(f64::NAN);
    assert!(
        (found - expected).abs() < 1e-9,
        "{key} is {found}, not {expected}"
    );
}

const MEANS: &str = "arm,metric\na,1\na,2\na,3\nb,4\nb,6\nb,8\n";

#[test]
fn means_are_compared_by_welch() {
    let rows = run(MEANS, "welch", |_| {}).unwrap();
    let row = &rows[0];
    assert_eq!(rows.len(), 1);
    check(row, "control_mean", 2.0);
    check(row, "treated_mean", 6.0);
    check(row, "effect", 4.0);
    check(row, "relative_effect", 2.0);
    check(row, "se", (1.0f64 / 3.0 + 4.0 / 3.0).sqrt());
    // Satterthwaite: (5/3)² / ((1/3)²/2 + (4/3)²/2) = 50/17 degrees, t = 4/1.29099 = 3.0984.
    let p = rapport_math::StudentT::new(50.0 / 17.0)
        .unwrap()
        .two_sided(4.0 / (5.0f64 / 3.0).sqrt());
    check(row, "p", p);
    check(row, "srm_p", 1.0);
    assert_eq!(row.get("variant"), Some(&Value::from("b")));
    assert_eq!(
        row.get("warnings"),
        Some(&serde_json::json!(["small_sample"]))
    );
    assert_eq!(row.get("cuped_effect"), Some(&Value::Null));
}

fn coins(arms: &[(&str, usize, usize)]) -> String {
    let rows = arms.iter().flat_map(|(arm, yes, all)| {
        (0..*all).map(move |unit| format!("{arm},{}\n", if unit < *yes { "TRUE" } else { "false" }))
    });
    "arm,metric\n".to_owned() + &rows.collect::<String>()
}

#[test]
fn rates_are_compared_by_the_pooled_z_test() {
    let file = coins(&[("new", 60, 400), ("old", 40, 400)]);
    let row = run(&file, "welch", |args| args.control = Some("old".to_owned()))
        .unwrap()
        .remove(0);
    check(&row, "effect", 0.05);
    // Unpooled: sqrt(.15 * .85 / 400 + .1 * .9 / 400); pooled: sqrt(.125 * .875 / 200).
    check(&row, "se", (0.1275f64 / 400.0 + 0.09 / 400.0).sqrt());
    check(
        &row,
        "p",
        rapport_math::normal_two_sided(0.05 / (0.125f64 * 0.875 / 200.0).sqrt()),
    );
    assert_eq!(row.get("verdict"), Some(&Value::from("increase")));
    let bayes = run(&file, "bayes", |args| args.control = Some("old".to_owned()))
        .unwrap()
        .remove(0);
    check(&bayes, "effect", 61.0 / 402.0 - 41.0 / 402.0);
    check(
        &bayes,
        "beats_control",
        beta_binomial_beats((40, 400), (60, 400)),
    );
    assert_eq!(bayes.get("p"), Some(&Value::Null));
}

#[test]
fn cuped_takes_away_what_was_known() {
    // The metric is the covariate plus 1 for the treated: nothing is left to chance.
    let file = "arm,metric,before\na,1.1,1\na,2,2\na,3,3\nb,2,1\nb,3.1,2\nb,4,3\n";
    let row = run(file, "cuped", |args| {
        args.covariate = Some("before".to_owned())
    })
    .unwrap()
    .remove(0);
    check(&row, "effect", 1.0);
    let (own, cuped) = (row.get("se").unwrap(), row.get("cuped_se").unwrap());
    assert!(own == cuped && own.as_f64() < Some(0.1));
    assert_eq!(row.get("verdict"), Some(&Value::from("increase")));
    // Three units an arm have no sequential interval: nobody may conclude from a look.
    let warnings = serde_json::json!(["small_sample", "not_if_peeked"]);
    assert_eq!(row.get("sequential_low"), Some(&Value::Null));
    assert_eq!(row.get("warnings"), Some(&warnings));
}

#[test]
fn rows_of_a_unit_are_added_up() {
    let file = "arm,metric,who,before\na,1,u,4\na,2,u,4\nb,7,u,4\na,5,v,1\nb,1,w,2\nb,2,x,3\n";
    let rows = run(file, "welch", |args| {
        args.unit = Some("who".to_owned());
        args.covariate = Some("before".to_owned());
    });
    let row = rows.unwrap().remove(0);
    check(&row, "control_mean", 7.5); // u: 1 + 2 + 7, in its first arm; v: 5
    check(&row, "treated_mean", 1.5);
    assert_eq!(
        (row.get("crossovers"), row.get("units")),
        (Some(&Value::from(1)), Some(&Value::from(4)))
    );
}

#[test]
fn arms_have_roles() {
    let three = coins(&[("a", 5, 100), ("b", 6, 100), ("c", 7, 200)]);
    let error = run(&three, "welch", |_| {}).unwrap_err().to_string();
    assert_eq!(
        error,
        "--control is required above two arms; there are a, b, c"
    );
    let rows = run(&three, "welch", |args| args.control = Some("a".to_owned())).unwrap();
    let chosen: Vec<_> = rows
        .iter()
        .map(|row| row.get("chosen").unwrap().as_bool().unwrap())
        .collect();
    assert_eq!(chosen, [false, true], "the largest");
    let promised = run(&three, "welch", |args| {
        args.control = Some("a".to_owned());
        args.treated = Some("b".to_owned());
        args.allocation = ["a=1", "b=1", "c=2"].map(str::to_owned).to_vec();
    });
    let rows = promised.unwrap();
    check(&rows[0], "srm_p", 1.0);
    assert_eq!(rows[0].get("chosen"), Some(&Value::Bool(true)));
    let two = coins(&[("control", 5, 100), ("alternative", 6, 100)]);
    let row = run(&two, "welch", |_| {}).unwrap().remove(0);
    assert_eq!(row.get("variant"), Some(&Value::from("alternative")));
}

#[track_caller]
fn refuses(file: &str, edit: impl FnOnce(&mut ExperimentArgs), expected: &str) {
    let error = run(file, "welch", edit).unwrap_err();
    assert_eq!(error.exit_code(), 2);
    assert!(error.to_string().ends_with(expected), "{error}");
}

#[test]
fn bad_input_is_named() {
    refuses(
        "arm,metric\na,1\nb,much\n",
        |_| {},
        "data.csv, line 3, column 2 (metric): \"much\" is no number",
    );
    refuses(
        "arm,metric\na,1\na,2\n",
        |_| {},
        "column arm must hold two arms at least, it holds a",
    );
    refuses(
        MEANS,
        |args| args.metric = "clicks".to_owned(),
        "there is no column clicks; there are arm, metric",
    );
    refuses(
        MEANS,
        |args| args.control = Some("z".to_owned()),
        "--control z: there is no such arm; there are a, b",
    );
    let allocation = |text: &str| {
        let parts: Vec<String> = text.split(',').map(str::to_owned).collect();
        move |args: &mut ExperimentArgs| args.allocation = parts
    };
    refuses(
        MEANS,
        allocation("a=1"),
        "--allocation: arm b has no weight",
    );
    refuses(
        MEANS,
        allocation("a=1,b=0"),
        "--allocation b=0: the weight must be above 0",
    );
    refuses(
        MEANS,
        |args| {
            args.control = Some("a".to_owned());
            args.treated = Some("a".to_owned());
        },
        "--treated a is the control",
    );
}

#[test]
fn peeking_fools_the_fixed_test_only() {
    let file = coins(&[("a", 300, 1_500), ("b", 300, 1_500)]);
    let with = |runs| {
        move |args: &mut ExperimentArgs| {
            args.null_runs = Some(runs);
            args.look_every = NonZeroUsize::new(100).unwrap();
        }
    };
    let row = run(&file, "welch", with(300)).unwrap().remove(0);
    let rate = |row: &Row, key: &str| row.get(key).and_then(Value::as_f64).unwrap();
    assert!(rate(&row, "sequential_type_1_error") <= 0.05, "{row:?}");
    assert!(rate(&row, "naive_type_1_error") >= 0.15, "{row:?}");
    let often = |args: &mut ExperimentArgs| {
        args.null_runs = Some(300);
        args.look_every = NonZeroUsize::MIN;
    };
    let always = run(&file, "welch", often).unwrap().remove(0);
    assert!(
        rate(&always, "sequential_type_1_error") <= 0.05,
        "{always:?}"
    );
    let one = rayon::ThreadPoolBuilder::new()
        .num_threads(1)
        .build()
        .unwrap();
    let alone = one
        .install(|| run(&file, "welch", with(300)))
        .unwrap()
        .remove(0);
    assert_eq!(
        rate(&alone, "naive_type_1_error").to_bits(),
        rate(&row, "naive_type_1_error").to_bits()
    );
}
