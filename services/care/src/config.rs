//! What an operator may set about care.

use std::path::PathBuf;

use rapport_rpc::{Protections, ServeConfig};
use rapport_telemetry::TelemetryConfig;
use rapport_types::Secret;

rapport_rpc::database_args!("CARE");

/// The care service: cases, messages, agents, queues.
#[derive(Debug, Clone, clap::Parser)]
#[command(name = "rapport-care", version)]
pub struct Config {
    /// The database.
    #[command(flatten)]
    pub database: DatabaseArgs,
    /// `redis://...`. Reserved: care keeps nothing in Redis today, since assignment is SQL's truth.
    #[arg(long, env = "CARE_REDIS_URL", hide_env_values = true)]
    pub redis_url: Option<Secret>,
    /// Directory of the models `intent.model` and `emotion.model`. Absent files mean word rules.
    #[arg(long, env = "CARE_DATA", default_value = "data/care")]
    pub data: PathBuf,
    /// Where profile answers.
    #[arg(
        long,
        env = "CARE_PROFILE_URL",
        default_value = "http://127.0.0.1:7700"
    )]
    pub profile_url: String,
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
