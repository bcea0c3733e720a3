//! What an operator may set about profile.

use std::num::{NonZeroU16, NonZeroU32};
use std::path::PathBuf;
use std::time::Duration;

use rapport_rpc::{Protections, ServeConfig, parse_duration};
use rapport_telemetry::TelemetryConfig;

rapport_rpc::database_args!("PROFILE");

/// The profile service: event log, identity, consent, profiles.
#[derive(Debug, Clone, clap::Parser)]
#[command(name = "rapport-profile", version)]
pub struct Config {
    /// The database.
    #[command(flatten)]
    pub database: DatabaseArgs,
    /// File of the wrapping keys. Losing it is losing every sealed field: keep a copy apart.
    #[arg(long, env = "PROFILE_KEYRING")]
    pub keyring: PathBuf,
    /// Directory for what is rebuilt from the log when it is lost. On SQLite it is locked: one process.
    #[arg(long, env = "PROFILE_DATA", default_value = "data/profile")]
    pub data: PathBuf,
    /// How often the profiles of a partition that moved are written to PROFILE_DATA: what they are made up
    /// from when the log has forgotten their events, and what PROFILE_LOG_RETENTION waits for. 1s to 24h.
    #[arg(long, env = "PROFILE_SNAPSHOT_EVERY", default_value = "10m", value_parser = parse_snapshots)]
    pub snapshot_every: Duration,
    /// Writers of the event log on Postgres, each owning its share of the partitions.
    #[arg(long, env = "PROFILE_LOG_WRITERS", default_value = "4")]
    pub log_writers: NonZeroU32,
    /// Age at which the model of customer value is trained again when new events came: 1m to 168h.
    #[arg(long, env = "PROFILE_TRAIN_EVERY", default_value = "1h", value_parser = parse_training)]
    pub train_every: Duration,
    /// Most requests of the backfill lane worked on at a time; further ones are told when to come back.
    /// An import sends two at a time.
    #[arg(long, env = "PROFILE_BACKFILL_CALLS_MAX", default_value = "4")]
    pub backfill_calls_max: NonZeroU16,
    /// The old part of the log.
    #[command(flatten)]
    pub segments: SegmentConfig,
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

/// Longest age of rows, and longest delay of erasures in segments: with a day of grace, both together
/// stay below the thirty days in which an erased person leaves every file.
const AGE_MAX: Duration = Duration::from_secs(14 * 24 * 60 * 60);
/// Shortest retention: nobody reads the log with a day's delay.
const RETENTION_MIN: Duration = Duration::from_secs(24 * 60 * 60);

/// Ages of a model at which it is trained again: reading every profile each second would be all that
/// profile does, and a week later a model is of another season.
const TRAINING: std::ops::RangeInclusive<Duration> =
    Duration::from_secs(60)..=Duration::from_secs(7 * 24 * 60 * 60);

/// Times between snapshots: one that is always being written is all that profile does, and a day is what
/// the log keeps at least.
const SNAPSHOTS: std::ops::RangeInclusive<Duration> =
    Duration::from_secs(1)..=Duration::from_secs(24 * 60 * 60);

/// What happens to the old part of the event log.
#[derive(Debug, Clone, clap::Args)]
pub struct SegmentConfig {
    /// Directory of sealed segments, where the old part of the log is the truth: keep it as safe as the
    /// database. Replicas share it. Absent: beside the SQLite file; on Postgres nothing is sealed.
    #[arg(long = "segments", env = "PROFILE_SEGMENTS")]
    pub folder: Option<PathBuf>,
    /// How often it is looked for rows to seal, subjects to erase, segments to forget. 0s: never; segments
    /// that are there are read anyway.
    #[arg(long, env = "PROFILE_SEAL_EVERY", default_value = "30s", value_parser = parse_duration)]
    pub seal_every: Duration,
    /// Bytes of rows that are sealed into one segment as soon as a partition has them.
    #[arg(long, env = "PROFILE_SEGMENT_BYTES", default_value = "33554432",
        value_parser = clap::value_parser!(u64).range(1_024..=268_435_456))]
    pub segment_bytes: u64,
    /// Age at which the rows of a partition are sealed however few. At most 336h.
    #[arg(long, env = "PROFILE_SEGMENT_AGE", default_value = "168h", value_parser = parse_age)]
    pub segment_age: Duration,
    /// Age at which erasures reach the segments, a day apart. At most 336h.
    #[arg(long, env = "PROFILE_ERASE_EVERY", default_value = "168h", value_parser = parse_age)]
    pub erase_every: Duration,
    /// Age at which segments are forgotten, as far as every registered reader has a verified snapshot. At
    /// least 24h. Absent: never.
    #[arg(long, env = "PROFILE_LOG_RETENTION", value_parser = parse_retention)]
    pub log_retention: Option<Duration>,
}

fn parse_age(text: &str) -> Result<Duration, String> {
    match parse_duration(text)? {
        age if age > AGE_MAX => Err("must be at most 336h".to_owned()),
        age => Ok(age),
    }
}

fn parse_training(text: &str) -> Result<Duration, String> {
    match parse_duration(text)? {
        age if TRAINING.contains(&age) => Ok(age),
        _ => Err("must be 1m to 168h".to_owned()),
    }
}

fn parse_snapshots(text: &str) -> Result<Duration, String> {
    match parse_duration(text)? {
        every if SNAPSHOTS.contains(&every) => Ok(every),
        _ => Err("must be 1s to 24h".to_owned()),
    }
}

fn parse_retention(text: &str) -> Result<Duration, String> {
    match parse_duration(text)? {
        age if age < RETENTION_MIN => Err("must be at least 24h".to_owned()),
        age => Ok(age),
    }
}
