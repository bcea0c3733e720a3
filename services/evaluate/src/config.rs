//! What an operator may set about evaluate.

use std::path::PathBuf;

use rapport_rpc::ServeConfig;
use rapport_store::StoreConfig;
use rapport_telemetry::TelemetryConfig;
use rapport_types::Secret;

rapport_rpc::database_args!("EVALUATE");

/// The evaluate service: experiments, attribution, reports.
#[derive(Debug, Clone, clap::Parser)]
#[command(name = "rapport-evaluate", version)]
pub struct Config {
    /// The database.
    #[command(flatten)]
    pub database: DatabaseArgs,
    /// Taken so that one chart suits all services, and not used: a report lists every state, and a
    /// cache cannot list what it holds. States are in the database.
    #[arg(long, env = "EVALUATE_REDIS_URL", hide_env_values = true)]
    pub redis_url: Option<Secret>,
    /// Directory of snapshots and, when the database is SQLite, of the projections' file.
    #[arg(long, env = "EVALUATE_DATA", default_value = "data/evaluate")]
    pub data: PathBuf,
    /// Where profile answers.
    #[arg(
        long,
        env = "EVALUATE_PROFILE_URL",
        default_value = "http://127.0.0.1:7700"
    )]
    pub profile_url: String,
    /// What a server needs.
    #[command(flatten)]
    pub serve: ServeConfig,
    /// Logs, traces, metrics.
    #[command(flatten)]
    pub telemetry: TelemetryConfig,
}

impl Config {
    /// Returns how to open the file of the projections' states.
    #[must_use]
    pub fn projections(&self) -> StoreConfig {
        let file = self.data.join("projections.db");
        StoreConfig::new(format!("sqlite://{}", file.display()))
    }
}
