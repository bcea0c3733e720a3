//! What an operator may set about evaluate.

use std::num::NonZeroU32;
use std::path::PathBuf;

use rapport_rpc::ServeConfig;
use rapport_store::StoreConfig;
use rapport_telemetry::TelemetryConfig;
use rapport_types::Secret;

/// The evaluate service: experiments, attribution, reports.
#[derive(Debug, Clone, clap::Parser)]
#[command(name = "rapport-evaluate", version)]
pub struct Config {
    /// `postgres://...` or `sqlite://...`. Holds a password, so `Debug` hides it.
    #[arg(long, env = "EVALUATE_DATABASE_URL", hide_env_values = true)]
    pub database_url: Secret,
    /// Most connections this process may hold. Pods times this must stay under the server's limit.
    #[arg(long, env = "EVALUATE_DATABASE_CONNECTIONS_MAX", default_value = "16")]
    pub database_connections_max: NonZeroU32,
    /// Taken so that one chart suits all services, and not used: a report lists every state, and a
    /// cache cannot list what it holds. States are in the database.
    #[arg(long, env = "EVALUATE_REDIS_URL", hide_env_values = true)]
    pub redis_url: Option<Secret>,
    /// Directory of the projections' file when the database is SQLite.
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
    /// Returns how to open the database.
    #[must_use]
    pub fn store(&self) -> StoreConfig {
        StoreConfig {
            connections_max: self.database_connections_max,
            ..StoreConfig::new(self.database_url.expose())
        }
    }

    /// Returns how to open the file of the projections' states.
    #[must_use]
    pub fn projections(&self) -> StoreConfig {
        let file = self.data.join("projections.db");
        StoreConfig::new(format!("sqlite://{}", file.display()))
    }
}
