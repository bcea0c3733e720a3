//! The evaluate service as a process of its own.

use std::process::ExitCode;
use std::sync::Arc;

use clap::Parser as _;
use rapport_evaluate::config::Config;
use rapport_evaluate::{Evaluate, StartError};
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
            stopped("rapport-evaluate", error.as_ref(), is_usage)
        }
    }
}

async fn run(config: Config) -> anyhow::Result<()> {
    let _telemetry = rapport_telemetry::init(&config.telemetry, "rapport-evaluate")?;
    let asked = shutdown_signal();
    let neighbours = config.serve.neighbours()?;
    let profile = connect(&neighbours.at(&config.profile_url))?;
    let evaluate = Arc::new(Evaluate::start(&config, profile, Arc::new(SystemClock)).await?);
    let mut routes = Routes::builder();
    evaluate.mount(&mut routes);
    let server = Server::new(config.serve, routes.routes(), &Evaluate::SERVICES);
    let (draining, watched) = (Arc::clone(&evaluate), Arc::clone(&evaluate));
    let shutdown = async move {
        tokio::select! {
            () = asked => {}
            () = watched.broken() => {}
        }
    };
    server
        .before_exit("write the projections", async move {
            draining.drain().await;
        })
        .serve(shutdown)
        .await?;
    anyhow::ensure!(!evaluate.is_broken(), "a projection could not go on");
    Ok(())
}
