//! `lab queue`: what a queue does and needs. The formulas, the replay and the simulator are care's own.

mod calls;
mod metrics;
#[cfg(test)]
mod tests;

use care_domain::queueing::{
    Measured, Performance, Policy, REPLAY_AGENTS_MAX, REPLICATIONS, Simulation, Traffic, erlang_a,
    erlang_b, erlang_c, square_root_staffing, staffing, staffing_impatient, summarise,
};
use rapport_math::Rng;
use rayon::prelude::*;

use self::calls::Calls;
use crate::args::{CommonArgs, QueueArgs};
use crate::conduct::{Answer, Job, Plan, Rule, begin_row, finish_row};
use crate::cost::timed;
use crate::error::LabError;
use crate::row::Row;

/// Every policy, simplest first.
pub(crate) const ALGORITHMS: [&str; 4] = ["fifo", "static-priority", "longest-idle", "cost"];

/// The service level that staffing aims at: the norm of voice.
const LEVEL: f64 = 0.8;
/// Stream of the seed that simulates.
const STREAM: u64 = 0x7175_6575;

/// Checks the flags. The formulas know one policy, the first come first served; a replay knows all.
pub(crate) fn plan(args: &QueueArgs) -> Result<Plan, LabError> {
    if args.common.save.is_some() {
        return Err(LabError::input(
            "--save: a queue has no model that a service loads",
        ));
    }
    let positive = |flag: &str, value: Option<f64>| match value {
        Some(value) if !(value.is_finite() && value > 0.0) => {
            Err(LabError::input(format!("{flag} must be above 0")))
        }
        Some(_) | None => Ok(()),
    };
    positive("--per-hour", args.per_hour)?;
    positive("--handle-seconds", args.handle_seconds)?;
    positive("--patience-seconds", args.patience_seconds)?;
    if !(args.target_seconds.is_finite() && args.target_seconds >= 0.0) {
        return Err(LabError::input("--target-seconds must be 0 or above"));
    }
    // The formulas take as many steps as there are agents, and so does a replay.
    if args.agents.get() > REPLAY_AGENTS_MAX {
        return Err(LabError::input(format!(
            "--agents must be at most {REPLAY_AGENTS_MAX}"
        )));
    }
    let named = CommonArgs {
        algorithm: [&args.policy[..], &args.common.algorithm[..]].concat(),
        ..args.common.clone()
    };
    let algorithms = match (&args.calls, named.algorithm.is_empty()) {
        // With one class of calls and equal agents, who goes first changes no average.
        (None, true) => vec![ALGORITHMS[0]],
        (None, false) | (Some(_), _) => named.algorithms_or_default(&ALGORITHMS, ALGORITHMS[0])?,
    };
    Ok(Plan {
        algorithms,
        rule: Rule::Known(0),
    })
}

/// Measures one policy.
pub(crate) fn measure(args: &QueueArgs, job: &Job) -> Result<Answer, LabError> {
    let row = match &args.calls {
        Some(file) => {
            let policy = Policy::parse(&job.algorithm)
                .ok_or_else(|| LabError::failed(format!("there is no policy {}", job.algorithm)))?;
            let (calls, read_seconds) = timed(|| Calls::read(args, file));
            let calls = calls?;
            let mut row = begin_row("queue", job, &args.common, (calls.played.len(), 0));
            let (played, score_seconds) = timed(|| metrics::play(&calls, args, policy));
            finish_row(&mut row, read_seconds, score_seconds);
            put_formulas(&mut row, args, calls.traffic(), calls.patience_mean);
            metrics::put(&mut row, &played?, args);
            row
        }
        None => formulas(args, job)?,
    };
    Ok(Answer {
        rows: vec![row],
        validation: None,
        warnings: Vec::new(),
    })
}

/// The row of a queue given by its numbers.
fn formulas(args: &QueueArgs, job: &Job) -> Result<Row, LabError> {
    let (Some(per_hour), Some(handling)) = (args.per_hour, args.handle_seconds) else {
        return Err(LabError::input(
            "--per-hour and --handle-seconds are needed",
        ));
    };
    let traffic = Traffic::per_hour(per_hour, handling);
    let mut row = begin_row("queue", job, &args.common, (0, 0));
    let (theory, train_seconds) =
        timed(|| put_formulas(&mut row, args, traffic, args.patience_seconds));
    for (key, value) in [
        ("service_level", theory.map(|it| it.service_level)),
        ("asa_seconds", theory.map(|it| it.mean_wait_seconds)),
        ("occupancy", theory.map(|it| it.occupancy)),
        ("abandoned", theory.map(|it| it.abandoned)),
    ] {
        put_exact(&mut row, key, value);
    }
    row.number("wait_probability", theory.map(|it| it.wait_probability));
    let needed = match args.patience_seconds {
        Some(patience) => staffing_impatient(traffic, patience, LEVEL, args.target_seconds),
        None => staffing(traffic, LEVEL, args.target_seconds),
    };
    row.put("agents_for_80_percent", needed.map(|(agents, _)| agents));
    let rule = square_root_staffing(traffic, LEVEL, args.target_seconds);
    row.put("agents_by_square_root", rule);
    let ((), score_seconds) = timed(|| {
        if args.simulate {
            simulate(&mut row, args, traffic);
        }
    });
    finish_row(&mut row, train_seconds, score_seconds);
    Ok(row)
}

/// Puts Erlang B and C, and returns what the formulas say: Erlang A with patience, else C.
fn put_formulas(
    row: &mut Row,
    args: &QueueArgs,
    traffic: Traffic,
    patience_seconds: Option<f64>,
) -> Option<Performance> {
    let (agents, target) = (args.agents.get(), args.target_seconds);
    let patient = erlang_c(agents, traffic, target);
    // Services of a file may all take no time, and flags may ask for more than a number holds.
    let sound = traffic.is_sound();
    let blocked = sound.then(|| erlang_b(agents, traffic.erlangs()));
    put_exact(row, "erlang_b", blocked);
    // Without room for the load the queue has no long run, and everybody would wait.
    put_exact(row, "erlang_c", patient.map(|it| it.wait_probability));
    match patience_seconds {
        Some(patience) => erlang_a(agents, traffic, patience, target),
        None => patient,
    }
}

/// Puts what a formula says with its interval: it has no sampling error, both ends are the value.
fn put_exact(row: &mut Row, key: &str, value: Option<f64>) {
    row.number(key, value);
    row.number(&format!("{key}_low"), value);
    row.number(&format!("{key}_high"), value);
}

fn simulate(row: &mut Row, args: &QueueArgs, traffic: Traffic) {
    let (agents, patience) = (args.agents.get(), args.patience_seconds);
    let rng = Rng::seeded(args.common.seed).fork(STREAM);
    let simulated =
        Simulation::plan(traffic, agents, patience, args.target_seconds).and_then(|plan| {
            let runs = (0..REPLICATIONS).into_par_iter();
            let runs: Vec<Performance> = runs.map(|run| plan.replication(&rng, run)).collect();
            summarise(&runs)
        });
    let mut metric = |key: &str, measured: Option<Measured>| {
        row.metric(
            key,
            measured.map(|it| it.mean),
            measured.map(|it| it.interval),
        );
    };
    metric(
        "simulated_service_level",
        simulated.map(|it| it.service_level),
    );
    metric(
        "simulated_asa_seconds",
        simulated.map(|it| it.mean_wait_seconds),
    );
    metric("simulated_occupancy", simulated.map(|it| it.occupancy));
    metric("simulated_abandoned", simulated.map(|it| it.abandoned));
    metric(
        "simulated_wait_probability",
        simulated.map(|it| it.wait_probability),
    );
    row.put("replications", REPLICATIONS);
}
