//! What an operator may set about ads.

use std::path::PathBuf;

use rapport_rpc::{Protections, ServeConfig};
use rapport_telemetry::TelemetryConfig;
use rapport_types::{Micros, Secret};

/// Longest life of a lease, in seconds: what a dead replica held stays unspent that long.
const LEASE_SECONDS_MAX: i64 = 600;

rapport_rpc::database_args!("ADS");

/// The ads service: campaigns, decisions, budgets.
#[derive(Debug, Clone, clap::Parser)]
#[command(name = "rapport-ads", version)]
pub struct Config {
    /// The database.
    #[command(flatten)]
    pub database: DatabaseArgs,
    /// `redis://...` for counters that replicas share. Without it they are in memory, and only one
    /// replica may run. Holds a password, so `Debug` hides it.
    #[arg(long, env = "ADS_REDIS_URL", hide_env_values = true)]
    pub redis_url: Option<Secret>,
    /// Directory for files that may be lost.
    #[arg(long, env = "ADS_DATA", default_value = "data/ads")]
    pub data: PathBuf,
    /// Where profile is.
    #[arg(long, env = "ADS_PROFILE_URL", default_value = "http://127.0.0.1:7700")]
    pub profile_url: String,
    /// Where evaluate is. Without it no experiment runs here.
    #[arg(long, env = "ADS_EVALUATE_URL")]
    pub evaluate_url: Option<String>,
    /// The name of this replica, unique among those that run: 1 to 64 characters without `:`. Left
    /// out, a random one.
    #[arg(long, env = "ADS_REPLICA")]
    pub replica: Option<String>,
    /// What one lease sets aside of a budget, in millionths of the currency. Left out, a twentieth of
    /// the budget. A dead replica leaves at most this, and what it promised, unspent until its end.
    #[arg(long, env = "ADS_LEASE_MICROS", value_parser = clap::value_parser!(i64).range(1..))]
    pub lease_micros: Option<i64>,
    /// How long a lease lasts unless it is renewed, in seconds.
    #[arg(long, env = "ADS_LEASE_SECONDS", default_value = "15",
        value_parser = clap::value_parser!(i64).range(1..=LEASE_SECONDS_MAX))]
    pub lease_seconds: i64,
    /// What a server needs.
    #[command(flatten)]
    pub serve: ServeConfig,
    /// Logs, traces, metrics.
    #[command(flatten)]
    pub telemetry: TelemetryConfig,
    /// What a test may switch off.
    #[command(flatten)]
    pub protections: Protections,
}

impl Config {
    /// Returns the configured lease, `None` for a share of the budget.
    #[must_use]
    pub fn lease(&self) -> Option<Micros> {
        self.lease_micros.map(Micros)
    }
}
