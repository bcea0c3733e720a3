//! What an operator may set about care.

use std::num::NonZeroU32;
use std::path::PathBuf;

use rapport_rpc::ServeConfig;
use rapport_store::StoreConfig;
use rapport_telemetry::TelemetryConfig;
use rapport_types::Secret;

/// The care service: cases, messages, agents, queues.
#[derive(Debug, Clone, clap::Parser)]
#[command(name = "rapport-care", version)]
pub struct Config {
    /// `postgres://...` or `sqlite://...`. Holds a password, so `Debug` hides it.
    #[arg(long, env = "CARE_DATABASE_URL", hide_env_values = true)]
    pub database_url: Secret,
    /// Most connections this process may hold. Pods times this must stay under the server's limit.
    #[arg(long, env = "CARE_DATABASE_CONNECTIONS_MAX", default_value = "16")]
    pub database_connections_max: NonZeroU32,
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
    /// Protections to leave off, so that a test can show that it fails without them.
    #[cfg(debug_assertions)]
    #[arg(long, hide = true, value_delimiter = ',')]
    pub without: Vec<String>,
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

    /// Returns whether a protection is on: always, but for the negative controls of a test build.
    #[must_use]
    pub fn protects(&self, protection: &str) -> bool {
        #[cfg(debug_assertions)]
        {
            !self.without.iter().any(|off| off == protection)
        }
        #[cfg(not(debug_assertions))]
        {
            let _ = protection;
            true
        }
    }
}
