//! The formulas' figures through the task, and a day of calls played by hand.

use serde_json::Value;

use super::*;
use crate::args::Task;
use crate::support::{common, job, put};

fn args(edit: impl FnOnce(&mut QueueArgs)) -> QueueArgs {
    let mut args = QueueArgs {
        per_hour: Some(200.0),
        handle_seconds: Some(180.0),
        agents: 14.try_into().unwrap(),
        target_seconds: 20.0,
        patience_seconds: None,
        simulate: false,
        calls: None,
        policy: Vec::new(),
        common: common(),
    };
    edit(&mut args);
    args
}

fn run(args: &QueueArgs, algorithm: &str) -> Result<Row, LabError> {
    let job = job(Task::Queue(args.clone()), algorithm);
    measure(args, &job).map(|mut answer| answer.rows.remove(0))
}

#[track_caller]
fn check(row: &Row, key: &str, expected: f64, error: f64) {
    let found = row.get(key).and_then(Value::as_f64).unwrap_or(f64::NAN);
    assert!(
        (found - expected).abs() <= error,
        "{key} is {found}, not {expected}"
    );
}

#[test]
fn the_formulas_come_out_to_four_decimals() {
    let row = run(&args(|_| {}), "fifo").unwrap();
    check(&row, "erlang_c", 0.1741, 5e-5);
    check(&row, "service_level", 0.8884, 5e-5);
    check(&row, "service_level_low", 0.8884, 5e-5);
    check(&row, "erlang_c_high", 0.1741, 5e-5);
    check(&row, "asa_seconds", 7.84, 5e-3);
    check(&row, "occupancy", 10.0 / 14.0, 1e-12);
    check(&row, "abandoned", 0.0, 0.0);
    check(&row, "agents_for_80_percent", 14.0, 0.0);
    check(&row, "agents_by_square_root", 14.0, 1.0);
    // As many agents as are allowed answer at once; a load that no number holds has no answer.
    let most = run(
        &args(|args| args.agents = REPLAY_AGENTS_MAX.try_into().unwrap()),
        "fifo",
    );
    check(&most.unwrap(), "service_level", 1.0, 0.0);
    let endless = args(|args| (args.per_hour, args.handle_seconds) = (Some(1e300), Some(1e300)));
    assert_eq!(
        run(&endless, "fifo").unwrap().get("erlang_b"),
        Some(&Value::Null)
    );
    let overloaded = run(&args(|args| args.agents = 9.try_into().unwrap()), "fifo").unwrap();
    assert_eq!(overloaded.get("service_level"), Some(&Value::Null));
    assert!(overloaded.get("erlang_b").unwrap().as_f64().unwrap() > 0.1);
}

#[test]
fn the_simulation_stands_beside_the_formula() {
    let row = run(
        &args(|args| {
            args.simulate = true;
            args.patience_seconds = Some(90.0);
        }),
        "fifo",
    )
    .unwrap();
    for key in ["service_level", "asa_seconds", "occupancy", "abandoned"] {
        let theory = row.get(key).unwrap().as_f64().unwrap();
        let of = |end: &str| {
            row.get(&format!("simulated_{key}{end}"))
                .unwrap()
                .as_f64()
                .unwrap()
        };
        // Four standard errors: the interval is about two.
        let reach = of("_high") - of("_low");
        assert!((of("") - theory).abs() <= reach, "{key}");
    }
}

const HEADER: &str =
    "arrival,service_seconds,priority,type,wait_seconds,outcome,patience_seconds\n";

fn played(file: &str, policy: &str, edit: impl FnOnce(&mut QueueArgs)) -> Result<Row, LabError> {
    let folder = tempfile::tempdir().unwrap();
    let path = put(&folder, "calls.csv", file);
    let args = args(|args| {
        args.calls = Some(path);
        args.per_hour = None;
        args.handle_seconds = None;
        args.agents = 1.try_into().unwrap();
        edit(args);
    });
    run(&args, policy)
}

#[test]
fn calls_are_played_again() {
    // One agent: 100 s from 0; the second hangs up at 30; the third waits 80 s; a day later one at once.
    let file = format!(
        "{HEADER}1999-01-02T08:00:00,100,0,PS,0,agent,\n1999-01-02T08:00:10,,0,PS,20,hang,20\n\
         1999-01-02T08:00:20,50,1,PS,3,agent,\n1999-01-03T09:00:00,60,0,NE,0,agent,\n"
    );
    // Nobody of long waits hung up, but patience is drawn: nobody is sure to wait the 80 s.
    let row = played(&file, "fifo", |args| args.target_seconds = 1e6).unwrap();
    let answered = row.get("service_level").unwrap().as_f64().unwrap();
    assert!(answered == 0.75 || answered == 0.5);
    check(&row, "abandoned", 1.0 - answered, 1e-12);
    check(&row, "wait_p50", 0.0, 0.0);
    assert_eq!(row.get("days"), Some(&Value::from(2)));
    for key in ["erlang_b", "erlang_c"] {
        let value = row.get(key);
        assert!(value.is_some_and(Value::is_number), "{key}");
        assert_eq!(row.get(&format!("{key}_low")), value);
        assert_eq!(row.get(&format!("{key}_high")), value);
    }
    assert_eq!(row.get("worst_class_service_level"), Some(&Value::Null));
    let two = played(&file, "longest-idle", |args| {
        args.agents = 3.try_into().unwrap()
    })
    .unwrap();
    // With three agents everybody is answered at once, those who hung up too, as if served like others.
    check(&two, "service_level", 1.0, 0.0);
    check(&two, "asa_seconds", 0.0, 0.0);
    assert!(two.get("occupancy").unwrap().as_f64().unwrap() > 0.0);
}

#[test]
fn services_of_no_time_make_no_load() {
    let file = format!("{HEADER}0,0,0,PS,0,agent,\n10,0,0,PS,0,agent,\n");
    let row = played(&file, "fifo", |_| {}).unwrap();
    assert_eq!(row.get("erlang_b"), Some(&Value::Null));
    check(&row, "service_level", 1.0, 0.0);
    check(&row, "occupancy", 0.0, 0.0);
}

#[test]
fn too_many_calls_are_refused_and_a_limit_takes_the_first() {
    let folder = tempfile::tempdir().unwrap();
    let line = |call: u32| format!("{call},1,0,PS,0,agent,\n");
    let lines: String = (0..4).map(line).collect();
    let path = put(&folder, "calls.csv", &format!("{HEADER}{lines}"));
    let read = |limit, most| {
        let asked = args(|args| args.common.limit = std::num::NonZeroUsize::new(limit));
        calls::count_at_most(&asked, &path, most)
    };
    assert_eq!((read(0, 4), read(3, 3)), (Ok(4), Ok(3)));
    let error = read(0, 3).unwrap_err().to_string();
    assert!(
        error.ends_with("line 5, column 1 (arrival): more than 3 calls"),
        "{error}"
    );
}

#[test]
fn what_is_wrong_is_named() {
    for (file, expected) in [
        (
            format!("{HEADER}0,1,0,PS,0,lost,\n"),
            "line 2, column 6 (outcome): \"lost\" is neither agent nor hang",
        ),
        (
            format!("{HEADER}0,,0,PS,0,agent,\n"),
            "line 2, column 2 (service_seconds): is empty",
        ),
        (
            format!("{HEADER}0,1,.5,PS,0,agent,\n"),
            "line 2, column 3 (priority): must be a whole number up to a thousand million",
        ),
        (
            format!("{HEADER}0,,0,PS,-4,hang,\n"),
            "line 2, column 5 (wait_seconds): is below 0",
        ),
        (
            format!("{HEADER}0,,0,PS,4,hang,\n"),
            "no call was answered: how long service takes is unknown",
        ),
        (
            format!("{HEADER}0,1,0,PS,0,agent,\n1e15,1,0,PS,0,agent,\n"),
            "line 3, column 1 (arrival): is more than 3000 days from another call",
        ),
        (HEADER.to_owned(), "there is no call"),
    ] {
        let error = played(&file, "fifo", |_| {}).unwrap_err().to_string();
        assert!(error.ends_with(expected), "{error}");
    }
    for (edit, expected) in [
        (
            (|args| args.per_hour = Some(0.0)) as fn(&mut QueueArgs),
            "--per-hour must be above 0",
        ),
        (
            |args| args.target_seconds = -1.0,
            "--target-seconds must be 0 or above",
        ),
        (
            |args| args.patience_seconds = Some(f64::NAN),
            "--patience-seconds must be above 0",
        ),
        (
            |args| args.agents = (REPLAY_AGENTS_MAX + 1).try_into().unwrap(),
            "--agents must be at most 100000",
        ),
    ] {
        assert_eq!(plan(&args(edit)).unwrap_err(), LabError::input(expected));
    }
}
