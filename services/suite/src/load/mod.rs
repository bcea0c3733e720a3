//! `rapport load`: open-loop load. Calls start when they are due, not when the last one ended, so a
//! slow server shows in the latencies; gRPC statuses are counted, not HTTP ones.

mod histogram;
mod scenario;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Semaphore, mpsc};
use tokio::time::Instant;

use crate::failure::Failure;
use crate::output;
use crate::peers::{Peers, ServerArgs};
use crate::progress::Progress;
use histogram::Latencies;
use scenario::{Load, Scenario};

/// Calls that may be open at once: beyond it the schedule has failed and calls are counted as missed.
const OPEN_MAX: usize = 4_096;

/// Most calls per second: no machine starts more, and their distance must not be nothing.
const RATE_MAX: i64 = 1_000_000;

/// What `rapport load` takes.
#[derive(Debug, Clone, clap::Args)]
pub struct LoadArgs {
    /// What to call.
    pub scenario: Scenario,
    /// The server.
    #[command(flatten)]
    pub to: ServerArgs,
    /// Calls per second. For `collect` 0 means as fast as `--lanes` requests in flight allow.
    #[arg(long, default_value_t = 1_000, value_parser = clap::value_parser!(u32).range(..=RATE_MAX))]
    pub rate: u32,
    /// How long to measure.
    #[arg(long, default_value = "10s", value_parser = rapport_rpc::parse_duration)]
    pub duration: Duration,
    /// How long to warm up before that; not measured.
    #[arg(long, default_value = "2s", value_parser = rapport_rpc::parse_duration)]
    pub warm_up: Duration,
    /// People that the calls are about.
    #[arg(long, default_value_t = 10_000)]
    pub subjects: u32,
    /// Identifiers of those people: `PREFIX-0`, `PREFIX-1` … as log-ins, or a plain number with `--prefix ''`.
    #[arg(long, default_value = "load")]
    pub prefix: String,
    /// Whether the people grant `personalise` and `advertise` first.
    #[arg(long, default_value_t = true, action = clap::ArgAction::Set)]
    pub grant: bool,
    /// Events per `CollectEvents`.
    #[arg(long, default_value_t = 500)]
    pub batch: u32,
    /// Requests in flight when `--rate 0`.
    #[arg(long, default_value_t = 8, value_parser = clap::value_parser!(u32).range(1..=OPEN_MAX as i64))]
    pub lanes: u32,
    /// Print one JSON object instead of a table.
    #[arg(long)]
    pub json: bool,
}

/// What was measured.
#[derive(Debug, Clone, serde::Serialize)]
pub struct Measured {
    /// What was called.
    pub scenario: String,
    /// Calls that ended in the measured time.
    pub calls: u64,
    /// Calls per second, as ended.
    pub calls_per_second: f64,
    /// Calls that were due and could not start, because too many were open.
    pub missed: u64,
    /// Calls by gRPC status.
    pub statuses: BTreeMap<String, u64>,
    /// Events that were acknowledged, for `collect`.
    pub events: u64,
    /// Events per second, for `collect`.
    pub events_per_second: f64,
    /// Milliseconds from the time a call was due to its end.
    pub p50_ms: f64,
    /// 90th percentile.
    pub p90_ms: f64,
    /// 99th percentile.
    pub p99_ms: f64,
    /// 99.9th percentile.
    pub p999_ms: f64,
    /// The slowest.
    pub max_ms: f64,
}

/// What one call came to.
#[derive(Debug, Clone, Copy)]
struct Ended {
    due: Instant,
    end: Instant,
    code: &'static str,
    events: u64,
}

/// Puts load on a server and prints what came of it.
///
/// # Errors
/// [`Failure::Unreachable`] when nobody answers; failed calls are counted, not errors.
pub async fn run(args: LoadArgs) -> Result<(), Failure> {
    if args.duration.is_zero() {
        return Err(Failure::Usage(
            "--duration must be longer than 0".to_owned(),
        ));
    }
    let peers = Peers::connect(&args.to)?;
    let load = Arc::new(Load::prepare(&args, &peers).await?);
    let (ends, results) = mpsc::channel(OPEN_MAX);
    let begin = Instant::now() + args.warm_up;
    let finish = begin + args.duration;
    let collected = tokio::spawn(collect(results, begin, finish, args.duration));
    let missed = if args.rate == 0 {
        closed(&args, &load, finish, ends).await;
        0
    } else {
        open(&args, &load, begin, finish, ends).await
    };
    let (latencies, statuses, events) = collected
        .await
        .map_err(|panicked| Failure::Failed(panicked.to_string()))?;
    let seconds = args.duration.as_secs_f64();
    let calls: u64 = statuses.values().sum();
    let measured = Measured {
        scenario: args.scenario.name().to_owned(),
        calls,
        calls_per_second: calls as f64 / seconds,
        missed,
        statuses,
        events,
        events_per_second: events as f64 / seconds,
        p50_ms: latencies.quantile_ms(0.5),
        p90_ms: latencies.quantile_ms(0.9),
        p99_ms: latencies.quantile_ms(0.99),
        p999_ms: latencies.quantile_ms(0.999),
        max_ms: latencies.quantile_ms(1.0),
    };
    output::print(&measured, args.json);
    Ok(())
}

/// Starts a call each time one is due; returns how many could not start.
async fn open(
    args: &LoadArgs,
    load: &Arc<Load>,
    begin: Instant,
    finish: Instant,
    ends: mpsc::Sender<Ended>,
) -> u64 {
    let room = Arc::new(Semaphore::new(OPEN_MAX));
    let between = Duration::from_secs(1).div_f64(f64::from(args.rate));
    let mut due = begin - args.warm_up;
    let (mut number, mut missed) = (0_u64, 0);
    while due < finish {
        tokio::time::sleep_until(due).await;
        // Timers tick in milliseconds: everything that is due by now starts now.
        while due <= Instant::now() && due < finish {
            match Arc::clone(&room).try_acquire_owned() {
                Ok(permit) => {
                    let (load, ends) = (Arc::clone(load), ends.clone());
                    tokio::spawn(async move {
                        let (code, events) = load.call(number).await;
                        let ended = Ended {
                            due,
                            end: Instant::now(),
                            code,
                            events,
                        };
                        // The collector outlives every call.
                        let _ = ends.send(ended).await;
                        drop(permit);
                    });
                }
                Err(_full) => missed += u64::from(due >= begin),
            }
            number += 1;
            due += between;
        }
    }
    missed
}

/// Keeps `lanes` requests in flight: for the most that a server takes.
async fn closed(args: &LoadArgs, load: &Arc<Load>, finish: Instant, ends: mpsc::Sender<Ended>) {
    let lanes = (0..args.lanes).map(|lane| {
        let (load, ends, lanes) = (Arc::clone(load), ends.clone(), u64::from(args.lanes));
        tokio::spawn(async move {
            let mut number = u64::from(lane);
            while Instant::now() < finish {
                let due = Instant::now();
                let (code, events) = load.call(number).await;
                let _ = ends
                    .send(Ended {
                        due,
                        end: Instant::now(),
                        code,
                        events,
                    })
                    .await;
                number += lanes;
            }
        })
    });
    drop(futures::future::join_all(lanes).await);
}

type Collected = (Latencies, BTreeMap<String, u64>, u64);

/// Counts the calls that ended in the measured time.
async fn collect(
    mut results: mpsc::Receiver<Ended>,
    begin: Instant,
    finish: Instant,
    duration: Duration,
) -> Collected {
    let mut latencies = Latencies::default();
    let mut statuses: BTreeMap<String, u64> = BTreeMap::new();
    let mut progress = Progress::new("seconds", duration.as_secs());
    let (mut events, mut shown) = (0, 0);
    while let Some(ended) = results.recv().await {
        if ended.end < begin || ended.end > finish {
            continue;
        }
        latencies.record(ended.end - ended.due);
        *statuses.entry(ended.code.to_owned()).or_default() += 1;
        events += ended.events;
        let second = (ended.end - begin).as_secs();
        progress.advance(second.saturating_sub(shown));
        shown = second.max(shown);
    }
    progress.finish();
    (latencies, statuses, events)
}
