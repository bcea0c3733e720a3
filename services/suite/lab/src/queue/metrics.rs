//! What became of the calls: shares, waits, and their intervals over resampled days.

use care_domain::queueing::{Fate, Outcome, Policy, Queue, replay};

use super::calls::Calls;
use crate::args::QueueArgs;
use crate::error::LabError;
use crate::resample::intervals;
use crate::row::Row;

/// A class with fewer calls has no service level worth naming the worst.
const CLASS_CALLS_MIN: u64 = 30;

/// Names of the metrics, in the order of [`Played::metrics`].
const METRICS: [&str; 8] = [
    "service_level",
    "asa_seconds",
    "occupancy",
    "abandoned",
    "wait_p50",
    "wait_p95",
    "worst_class_service_level",
    "mean_cost",
];

/// Sums over some calls.
#[derive(Debug, Clone, Default)]
struct Sums {
    calls: u64,
    in_time: u64,
    gave_up: u64,
    waited: f64,
    worked: f64,
    cost: f64,
    /// Calls and calls answered in time, by class.
    classes: Vec<(u64, u64)>,
}

/// One policy's play.
#[derive(Debug)]
pub(super) struct Played {
    days: Vec<Sums>,
    /// Waits with their day, shortest first.
    waits: Vec<(f64, u32)>,
    worst_class: Option<String>,
    /// Agent-seconds of a day.
    capacity: f64,
    /// Fewest and most calls of one agent.
    agent_calls: (u64, u64),
}

/// Plays all calls by a policy.
pub(super) fn play(calls: &Calls, args: &QueueArgs, policy: Policy) -> Result<Played, LabError> {
    let queue = Queue {
        agents: args.agents.get(),
        policy,
        classes: &calls.classes,
    };
    let outcomes =
        replay(&calls.played, &queue).map_err(|error| LabError::input(error.to_string()))?;
    let last_day = calls.days.last().copied().unwrap_or(0) as usize;
    let none = Sums {
        classes: vec![(0, 0); calls.classes.len()],
        ..Sums::default()
    };
    let mut days = vec![none; last_day + 1];
    let mut agents = vec![0u64; args.agents.get() as usize];
    for ((call, outcome), day) in calls.played.iter().zip(&outcomes).zip(&calls.days) {
        let day = &mut days[*day as usize];
        let in_time = is_in_time(outcome, args.target_seconds);
        day.calls += 1;
        day.in_time += u64::from(in_time);
        day.waited += outcome.wait_seconds;
        let class = &calls.classes[call.class];
        day.cost += class.cost * outcome.wait_seconds * outcome.wait_seconds;
        day.classes[call.class].0 += 1;
        day.classes[call.class].1 += u64::from(in_time);
        match outcome.fate {
            Fate::Answered(agent) => {
                day.worked += call.service_seconds;
                agents[agent as usize] += 1;
            }
            Fate::GaveUp => day.gave_up += 1,
        }
    }
    let mut waits: Vec<(f64, u32)> = outcomes
        .iter()
        .zip(&calls.days)
        .map(|(outcome, day)| (outcome.wait_seconds, *day))
        .collect();
    waits.sort_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
    let worst = worst_class(&total(&days, &vec![1; days.len()]));
    Ok(Played {
        days,
        waits,
        worst_class: worst.map(|(class, _)| {
            let name = &calls.names[class];
            format!("{} at priority {}", name.kind, name.priority)
        }),
        capacity: f64::from(args.agents.get()) * 86_400.0,
        agent_calls: (
            agents.iter().copied().min().unwrap_or(0),
            agents.iter().copied().max().unwrap_or(0),
        ),
    })
}

/// Answered within the target; who gave up was not answered at all.
fn is_in_time(outcome: &Outcome, target_seconds: f64) -> bool {
    matches!(outcome.fate, Fate::Answered(_)) && outcome.wait_seconds <= target_seconds
}

/// Adds up days, each as many times as it was drawn.
fn total(days: &[Sums], times: &[u64]) -> Sums {
    let mut sum = Sums {
        classes: vec![(0, 0); days.first().map_or(0, |day| day.classes.len())],
        ..Sums::default()
    };
    for (day, &times) in days.iter().zip(times).filter(|(_, times)| **times > 0) {
        sum.calls += times * day.calls;
        sum.in_time += times * day.in_time;
        sum.gave_up += times * day.gave_up;
        sum.waited += times as f64 * day.waited;
        sum.worked += times as f64 * day.worked;
        sum.cost += times as f64 * day.cost;
        for (class, (calls, in_time)) in sum.classes.iter_mut().zip(&day.classes) {
            class.0 += times * calls;
            class.1 += times * in_time;
        }
    }
    sum
}

/// The class with the lowest service level among those large enough, the first of equals.
fn worst_class(sum: &Sums) -> Option<(usize, f64)> {
    let level = |(class, &(calls, in_time)): (usize, &(u64, u64))| {
        (calls >= CLASS_CALLS_MIN).then(|| (class, in_time as f64 / calls as f64))
    };
    let levels = sum.classes.iter().enumerate().filter_map(level);
    levels.min_by(|a, b| a.1.total_cmp(&b.1).then(a.0.cmp(&b.0)))
}

impl Played {
    /// Computes all metrics of days, each as many times as it was drawn.
    fn metrics(&self, times: &[u64]) -> [f64; 8] {
        let sum = total(&self.days, times);
        let n = sum.calls as f64;
        let days: u64 = times.iter().sum();
        [
            sum.in_time as f64 / n,
            sum.waited / n,
            sum.worked / (self.capacity * days as f64),
            sum.gave_up as f64 / n,
            self.wait_at(0.5, times, sum.calls),
            self.wait_at(0.95, times, sum.calls),
            worst_class(&sum).map_or(f64::NAN, |(_, level)| level),
            sum.cost / n,
        ]
    }

    /// The shortest wait that a share of the calls did not exceed.
    fn wait_at(&self, share: f64, times: &[u64], calls: u64) -> f64 {
        let wanted = (share * calls as f64).ceil().max(1.0) as u64;
        let mut seen = 0;
        for (wait, day) in &self.waits {
            seen += times[*day as usize];
            if seen >= wanted {
                return *wait;
            }
        }
        f64::NAN
    }
}

/// Puts all metrics; the units of the intervals are days, since calls of a day wait for each other.
pub(super) fn put(row: &mut Row, played: &Played, args: &QueueArgs) {
    let once = vec![1; played.days.len()];
    let found = played.metrics(&once);
    let ends = intervals(played.days.len(), args.common.seed, |drawn| {
        let mut times = vec![0; played.days.len()];
        drawn.iter().for_each(|day| times[*day as usize] += 1);
        played.metrics(&times)
    });
    for ((key, value), interval) in METRICS.into_iter().zip(found).zip(ends) {
        row.metric(key, Some(value), interval);
    }
    row.put("worst_class", played.worst_class.clone());
    row.put("agent_calls_min", played.agent_calls.0);
    row.put("agent_calls_max", played.agent_calls.1);
    row.put("days", played.days.len());
}
