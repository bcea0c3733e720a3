//! What an operator may set about recommend.

use std::path::PathBuf;
use std::time::Duration;

use rapport_cache::RedisConfig;
use rapport_rpc::{ServeConfig, parse_duration};
use rapport_telemetry::TelemetryConfig;
use rapport_types::Secret;

rapport_rpc::database_args!("RECOMMEND");

/// The recommend service: catalogue, timelines, models, what to show now.
#[derive(Debug, Clone, clap::Parser)]
#[command(name = "rapport-recommend", version)]
pub struct Config {
    /// The database.
    #[command(flatten)]
    pub database: DatabaseArgs,
    /// `redis://...` or `redis-cluster://...` for timelines that all replicas read. Absent: in memory
    /// on SQLite (one replica), in the database on Postgres.
    #[arg(long, env = "RECOMMEND_REDIS_URL", hide_env_values = true)]
    pub redis_url: Option<Secret>,
    /// Starts every key in Redis, for deployments that share a server: `a-z 0-9 - _ .`.
    #[arg(long, env = "RECOMMEND_REDIS_NAMESPACE", default_value = "recommend")]
    pub redis_namespace: String,
    /// Directory for models. Replicas share it.
    #[arg(long, env = "RECOMMEND_DATA", default_value = "data/recommend")]
    pub data: PathBuf,
    /// Where profile answers.
    #[arg(
        long,
        env = "RECOMMEND_PROFILE_URL",
        default_value = "http://127.0.0.1:7700"
    )]
    pub profile_url: String,
    /// Where evaluate answers, for experiments. Absent: nobody is in any.
    #[arg(long, env = "RECOMMEND_EVALUATE_URL")]
    pub evaluate_url: Option<String>,
    /// Age at which the model is trained again when new events came.
    #[arg(long, env = "RECOMMEND_TRAIN_EVERY", default_value = "10m", value_parser = parse_duration)]
    pub train_every: Duration,
    /// Seeds the draws of decision ids, so that a test can repeat an answer. Never in production:
    /// replicas with one seed draw the same ids.
    #[arg(long, hide = true)]
    pub seed: Option<u64>,
    /// What a server needs.
    #[command(flatten)]
    pub serve: ServeConfig,
    /// Logs, traces, metrics.
    #[command(flatten)]
    pub telemetry: TelemetryConfig,
}

impl Config {
    /// Returns how to reach Redis; an empty URL is none.
    #[must_use]
    pub fn redis(&self) -> Option<RedisConfig> {
        let url = self.redis_url.as_ref().map(Secret::expose);
        let url = url.filter(|url| !url.is_empty())?;
        Some(RedisConfig::new(url, self.redis_namespace.as_str()))
    }
}
