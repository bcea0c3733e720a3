//! The ads service as a process of its own.

use std::process::ExitCode;
use std::sync::Arc;

use clap::Parser as _;
use rapport_ads::config::Config;
use rapport_ads::{Ads, Peers, StartError};
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
            stopped("rapport-ads", error.as_ref(), is_usage)
        }
    }
}

async fn run(config: Config) -> anyhow::Result<()> {
    let _telemetry = rapport_telemetry::init(&config.telemetry, "rapport-ads")?;
    let asked = shutdown_signal();
    let neighbours = config.serve.neighbours()?;
    let channel = |url: &String| connect(&neighbours.at(url));
    let peers = Peers {
        profile: channel(&config.profile_url)?,
        evaluate: config.evaluate_url.as_ref().map(channel).transpose()?,
    };
    let ads = Arc::new(Ads::start(&config, peers, Arc::new(SystemClock)).await?);
    let mut routes = Routes::builder();
    ads.mount(&mut routes);
    let (draining, broken) = (Arc::clone(&ads), ads.broken());
    let shutdown = async move {
        tokio::select! {
            () = asked => {}
            () = broken.cancelled() => {}
        }
    };
    Server::new(config.serve, routes.routes(), &Ads::SERVICES)
        .before_exit("hand leases back", async move { draining.drain().await })
        .serve(shutdown)
        .await?;
    anyhow::ensure!(
        !ads.broken().is_cancelled(),
        "the view of people cannot be kept"
    );
    Ok(())
}
