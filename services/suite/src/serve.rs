//! `rapport serve`: all five services, or some, in one process.

use std::path::PathBuf;
use std::sync::Arc;

use rapport_rpc::{ServeConfig, shutdown_signal};
use rapport_telemetry::TelemetryConfig;
use rapport_types::SystemClock;

use crate::failure::Failure;
use crate::house::{House, ServiceName};
use crate::progress::say;

/// What `rapport serve` takes.
#[derive(Debug, Clone, clap::Args)]
pub struct ServeArgs {
    /// Folder of every database, model and key. Made at first start.
    #[arg(long, env = "RAPPORT_DATA", default_value = "data")]
    pub data: PathBuf,
    /// Only these services beside profile, which the others need.
    #[arg(long, value_delimiter = ',')]
    pub only: Vec<ServiceName>,
    /// What a server needs.
    #[command(flatten)]
    pub serve: ServeConfig,
    /// Logs, traces, metrics.
    #[command(flatten)]
    pub telemetry: TelemetryConfig,
}

/// Serves until Ctrl-C or SIGTERM, then drains.
///
/// # Errors
/// [`Failure::Failed`] when it cannot start.
pub async fn run(args: ServeArgs) -> Result<(), Failure> {
    let _telemetry = rapport_telemetry::init(&args.telemetry, "rapport")
        .map_err(|error| Failure::Failed(error.to_string()))?;
    let house = House::open(&args.data, args.serve, &args.only, Arc::new(SystemClock)).await?;
    say(&format!(
        "serving on {}, data in {}",
        house.address(),
        args.data.display()
    ));
    shutdown_signal().await;
    say("draining");
    house.close().await;
    Ok(())
}
