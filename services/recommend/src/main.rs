//! The recommend service as a process of its own.

use std::process::ExitCode;
use std::sync::Arc;

use clap::Parser as _;
use rapport_recommend::config::Config;
use rapport_recommend::{Peers, Recommend, StartError};
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
            stopped("rapport-recommend", error.as_ref(), is_usage)
        }
    }
}

async fn run(config: Config) -> anyhow::Result<()> {
    let _telemetry = rapport_telemetry::init(&config.telemetry, "rapport-recommend")?;
    let asked = shutdown_signal();
    let neighbours = config.serve.neighbours()?;
    let evaluate = config.evaluate_url.as_deref().map(|url| neighbours.at(url));
    let peers = Peers {
        profile: connect(&neighbours.at(&config.profile_url))?,
        evaluate: evaluate.as_ref().map(connect).transpose()?,
    };
    let recommend = Arc::new(Recommend::start(&config, peers, Arc::new(SystemClock)).await?);
    let mut routes = Routes::builder();
    recommend.mount(&mut routes);
    let mut server = Server::new(config.serve, routes.routes(), &Recommend::SERVICES);
    for (path, bytes) in Recommend::request_limits() {
        server = server.request_bytes_max(path, bytes);
    }
    let (draining, serving) = (Arc::clone(&recommend), Arc::clone(&recommend));
    server
        .before_exit("flush decisions, save states", async move {
            draining.drain().await
        })
        .serve(async move {
            tokio::select! {
                () = asked => {}
                () = serving.broken() => {}
            }
        })
        .await?;
    anyhow::ensure!(!recommend.is_broken(), "a projection could not go on");
    Ok(())
}
