//! The profile service as a process of its own.

use std::process::ExitCode;
use std::sync::Arc;

use clap::Parser as _;
use rapport_profile::Profile;
use rapport_profile::config::Config;
use rapport_rpc::{Server, shutdown_signal};
use rapport_types::SystemClock;
use tonic::service::Routes;

#[tokio::main]
async fn main() -> ExitCode {
    let config = Config::parse();
    match run(config).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!(error = %error, "profile stopped");
            ExitCode::FAILURE
        }
    }
}

async fn run(config: Config) -> anyhow::Result<()> {
    let _telemetry = rapport_telemetry::init(&config.telemetry, "rapport-profile")?;
    let profile = Arc::new(Profile::start(&config, Arc::new(SystemClock)).await?);
    let mut routes = Routes::builder();
    profile.mount(&mut routes);
    let mut server = Server::new(config.serve, routes.routes(), &Profile::SERVICES);
    for (path, bytes) in Profile::request_limits() {
        server = server.request_bytes_max(path, bytes);
    }
    let draining = Arc::clone(&profile);
    server
        .before_exit("close the database", async move { draining.drain().await })
        .serve(shutdown_signal())
        .await?;
    Ok(())
}
