//! The care service as a process of its own.

use std::process::ExitCode;
use std::sync::Arc;

use clap::Parser as _;
use rapport_care::config::Config;
use rapport_care::{Care, Peers, StartError};
use rapport_rpc::{Server, connect, shutdown_signal, stopped};
use rapport_types::SystemClock;
use tonic::service::Routes;

/// glibc's allocator costs a tenth more CPU under many threads.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

#[tokio::main]
async fn main() -> ExitCode {
    let config = Config::parse();
    match run(config).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let start = error.downcast_ref::<StartError>();
            let is_usage = start.is_some_and(StartError::is_usage);
            stopped("rapport-care", error.as_ref(), is_usage)
        }
    }
}

async fn run(config: Config) -> anyhow::Result<()> {
    let _telemetry = rapport_telemetry::init(&config.telemetry, "rapport-care")?;
    let asked = shutdown_signal();
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
        .serve(asked)
        .await?;
    Ok(())
}
