//! The care service as a process of its own.

use std::io::Write as _;
use std::process::ExitCode;
use std::sync::Arc;

use clap::Parser as _;
use rapport_care::config::Config;
use rapport_care::{Care, Peers, StartError};
use rapport_rpc::{Server, connect, shutdown_signal};
use rapport_types::SystemClock;
use tonic::service::Routes;

/// glibc's allocator costs a tenth more CPU under many threads.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// The exit code of bad settings; other failures are 1.
const USAGE: u8 = 2;

#[tokio::main]
async fn main() -> ExitCode {
    let config = Config::parse();
    match run(config).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // One sentence for whoever started it, log lines or not. Standard error may be closed.
            let _ = writeln!(std::io::stderr(), "rapport-care: {error:#}");
            match error.downcast_ref::<StartError>() {
                Some(error) if error.is_usage() => ExitCode::from(USAGE),
                Some(_) | None => ExitCode::FAILURE,
            }
        }
    }
}

async fn run(config: Config) -> anyhow::Result<()> {
    let _telemetry = rapport_telemetry::init(&config.telemetry, "rapport-care")?;
    let neighbours = config.serve.neighbours()?;
    let peers = Peers {
        profile: connect(&neighbours.at(&config.profile_url))?,
    };
    let care = Arc::new(Care::start(&config, peers, Arc::new(SystemClock)).await?);
    let mut routes = Routes::builder();
    care.mount(&mut routes);
    let draining = Arc::clone(&care);
    Server::new(config.serve, routes.routes(), &Care::SERVICES)
        .before_exit("flush events, close the database", async move {
            draining.drain().await
        })
        .serve(shutdown_signal())
        .await?;
    Ok(())
}
