//! `rapport demo` and `rapport simulate`: a town of shoppers living through a month.

pub mod convert;
pub mod driver;
pub mod setup;
mod tour;
mod training;

use std::path::PathBuf;
use std::sync::Arc;

use rapport_rpc::ServeConfig;
use rapport_telemetry::TelemetryConfig;
use rapport_town::{Town, TownConfig};
use rapport_types::{Clock, ManualClock, SystemClock, UnixMillis};

use crate::failure::Failure;
use crate::house::House;
use crate::output;
use crate::peers::{Peers, ServerArgs};
use crate::progress::say;
use driver::Driver;

const DAY_MS: i64 = 86_400_000;

/// How large a town and how long.
#[derive(Debug, Clone, clap::Args)]
pub struct TownArgs {
    /// Shoppers of the town.
    #[arg(long, default_value_t = 600)]
    pub shoppers: u32,
    /// Days that it lives; the last one is today.
    #[arg(long, default_value_t = 30)]
    pub days: u32,
    /// The same seed gives the same town.
    #[arg(long, default_value_t = 7)]
    pub seed: u64,
}

impl TownArgs {
    fn town(&self) -> Result<Town, Failure> {
        let now = SystemClock.now();
        let start = UnixMillis(now.0 - i64::from(self.days) * DAY_MS);
        let config = TownConfig {
            seed: self.seed,
            shoppers: self.shoppers,
            days: self.days,
            start,
            // Large enough that a town of this size can show it.
            conversion_factor: 1.5,
        };
        Town::new(config).map_err(|error| Failure::Usage(error.to_string()))
    }
}

/// What `rapport demo` takes.
#[derive(Debug, Clone, clap::Args)]
pub struct DemoArgs {
    /// Folder of the databases; absent: a fresh one that is deleted at the end.
    #[arg(long)]
    pub data: Option<PathBuf>,
    /// Folder of the HTML report.
    #[arg(long, default_value = "report")]
    pub report: PathBuf,
    /// Go on serving after the tour, to look around with grpcurl, until Ctrl-C.
    #[arg(long)]
    pub stay: bool,
    /// The town.
    #[command(flatten)]
    pub town: TownArgs,
    /// What a server needs.
    #[command(flatten)]
    pub serve: ServeConfig,
    /// Logs, traces, metrics.
    #[command(flatten)]
    pub telemetry: TelemetryConfig,
}

/// Runs the guided tour.
///
/// # Errors
/// [`Failure`] of the first thing that fails.
pub async fn demo(mut args: DemoArgs) -> Result<(), Failure> {
    if args.telemetry.log == TelemetryConfig::default().log {
        // The tour speaks. A month in a minute ends every lease early, of which services would warn.
        args.telemetry.log = "error".to_owned();
    }
    let _telemetry = rapport_telemetry::init(&args.telemetry, "rapport")
        .map_err(|error| Failure::Failed(error.to_string()))?;
    let temporary = tempfile::tempdir()?;
    let data = args
        .data
        .clone()
        .unwrap_or_else(|| temporary.path().to_path_buf());
    let mut town = args.town.town()?;
    training::train_classifiers(&data.join("care"))?;
    let clock = Arc::new(ManualClock::at(town.config().start));
    let services_clock: Arc<dyn Clock> = Arc::clone(&clock) as Arc<dyn Clock>;
    let house = House::open(&data, args.serve.clone(), &[], services_clock).await?;
    say(&format!(
        "five services in one process on {}, data in {}",
        house.address(),
        data.display()
    ));
    let shown = tour::guide(&house, &mut town, &clock, &args.report);
    let toured = tokio::select! {
        shown = shown => shown,
        () = rapport_rpc::shutdown_signal() => Err(Failure::Interrupted),
    };
    if toured.is_ok() && args.stay {
        say(&format!(
            "still serving on {}; end it with Ctrl-C",
            house.address()
        ));
        rapport_rpc::shutdown_signal().await;
    }
    house.close().await;
    toured
}

/// What `rapport simulate` takes.
#[derive(Debug, Clone, clap::Args)]
pub struct SimulateArgs {
    /// The server that the town's shop calls.
    #[command(flatten)]
    pub to: ServerArgs,
    /// Print one JSON object instead of a table.
    #[arg(long)]
    pub json: bool,
    /// The town.
    #[command(flatten)]
    pub town: TownArgs,
}

/// Lives a town against a running server, which keeps its own time.
///
/// # Errors
/// [`Failure`] of the first call that fails.
pub async fn simulate(args: SimulateArgs) -> Result<(), Failure> {
    let peers = Peers::connect(&args.to)?;
    let mut town = args.town.town()?;
    let lived = async {
        setup::set_up(&peers, &town).await?;
        Driver::new(&peers, None).live(&mut town).await
    };
    // The driver does not know where the server is.
    let lived = lived.await.map_err(|failure| match failure {
        Failure::Unreachable(_) => Failure::unreachable(&args.to.server),
        Failure::Usage(_) | Failure::Failed(_) | Failure::Interrupted => failure,
    })?;
    output::print(&lived, args.json);
    Ok(())
}
