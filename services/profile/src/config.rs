//! What an operator may set about profile.

use std::num::NonZeroU32;
use std::path::PathBuf;

use rapport_rpc::ServeConfig;
use rapport_store::StoreConfig;
use rapport_telemetry::TelemetryConfig;
use rapport_types::Secret;

/// The profile service: event log, identity, consent, profiles.
#[derive(Debug, Clone, clap::Parser)]
#[command(name = "rapport-profile", version)]
pub struct Config {
    /// `postgres://...` or `sqlite://...`. Holds a password, so `Debug` hides it.
    #[arg(long, env = "PROFILE_DATABASE_URL", hide_env_values = true)]
    pub database_url: Secret,
    /// Most connections this process may hold. Pods times this must stay under the server's limit.
    #[arg(long, env = "PROFILE_DATABASE_CONNECTIONS_MAX", default_value = "16")]
    pub database_connections_max: NonZeroU32,
    /// File of the wrapping keys. Losing it is losing every sealed field: keep a copy apart.
    #[arg(long, env = "PROFILE_KEYRING")]
    pub keyring: PathBuf,
    /// Directory for what is rebuilt from the log when it is lost. On SQLite it is locked: one process.
    #[arg(long, env = "PROFILE_DATA", default_value = "data/profile")]
    pub data: PathBuf,
    /// Writers of the event log on Postgres, each owning its share of the partitions.
    #[arg(long, env = "PROFILE_LOG_WRITERS", default_value = "4")]
    pub log_writers: NonZeroU32,
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
