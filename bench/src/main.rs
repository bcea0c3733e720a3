//! Drives real servers and prints what it measured: `cargo run --release -p rapport-bench [-- NAME …]`.
//!
//! Each scenario starts fresh processes with their data in a temporary folder and loads them with
//! `rapport load` or, where that would measure the wrong thing, with a loop of its own. Results are one
//! JSON object per line on standard output; `bench/RESULTS.md` keeps them with their reading.

mod freshness;
mod ingest;
mod memory;
mod overhead;
mod postgres;
mod recommend;
mod replay;
mod server;

use std::io::{self, Write as _};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;
use serde_json::Value;

/// What can be measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Scenario {
    /// Durable append on SQLite: profile alone, then all five services.
    IngestSqlite,
    /// Durable append on Postgres: profile alone, then all five services.
    IngestPostgres,
    /// From the acknowledgement of an event to the timeline that shows it, idle and under load.
    Freshness,
    /// `Recommend` at a steady 1,000/s over an imported history.
    Recommend,
    /// How fast each service's projections replay the log.
    Replay,
    /// CPU of a unary call, and of the same call answered by a bare tonic server.
    Overhead,
    /// Memory of `rapport serve`, idle and with 100,000 people.
    Memory,
}

const ALL: [Scenario; 7] = [
    Scenario::IngestSqlite,
    Scenario::IngestPostgres,
    Scenario::Freshness,
    Scenario::Recommend,
    Scenario::Replay,
    Scenario::Overhead,
    Scenario::Memory,
];

#[derive(Debug, Parser)]
#[command(name = "rapport-bench")]
struct Options {
    /// What to measure; everything if nothing is named.
    scenarios: Vec<Scenario>,
    /// Interactions of the Gowalla set, a CSV of `user,item`, for `recommend` and `replay`. Without it
    /// a made history of the same size is used, and the result says so.
    #[arg(long)]
    gowalla: Option<PathBuf>,
    /// Seconds of each load.
    #[arg(long, default_value_t = 20)]
    seconds: u64,
    /// Serves the bare call of `overhead` on this port, for ever.
    #[arg(long, hide = true)]
    echo_server: Option<u16>,
}

#[tokio::main]
async fn main() -> ExitCode {
    match run(&Options::parse()).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let _ = writeln!(io::stderr(), "bench: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn run(options: &Options) -> io::Result<()> {
    if let Some(port) = options.echo_server {
        return overhead::echo(port).await;
    }
    let wanted: &[Scenario] = match options.scenarios.is_empty() {
        true => &ALL,
        false => &options.scenarios,
    };
    for scenario in wanted {
        match scenario {
            Scenario::IngestSqlite => ingest::on_sqlite(options.seconds).await?,
            Scenario::IngestPostgres => ingest::on_postgres(options.seconds).await?,
            Scenario::Freshness => freshness::run(options.seconds).await?,
            Scenario::Recommend => {
                recommend::run(options.gowalla.as_deref(), options.seconds).await?;
            }
            Scenario::Replay => replay::run(options.gowalla.as_deref()).await?,
            Scenario::Overhead => overhead::run().await?,
            Scenario::Memory => memory::run().await?,
        }
    }
    Ok(())
}

/// Prints one result as one line.
fn print(result: &Value) -> io::Result<()> {
    writeln!(io::stdout(), "{result}")
}
