//! The profile service as a process of its own.

use std::process::ExitCode;
use std::sync::Arc;

use clap::Parser as _;
use rapport_profile::config::Config;
use rapport_profile::{Profile, StartError};
use rapport_rpc::{ClientConfig, Server, connect_in_process, in_process, shutdown_signal, stopped};
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
            stopped("rapport-profile", error.as_ref(), is_usage)
        }
    }
}

async fn run(config: Config) -> anyhow::Result<()> {
    let _telemetry = rapport_telemetry::init(&config.telemetry, "rapport-profile")?;
    let asked = shutdown_signal();
    let (connector, incoming) = in_process();
    let own = connect_in_process(&connector, &ClientConfig::new("http://in-process"));
    let profile = Arc::new(Profile::start(&config, Arc::new(SystemClock), own).await?);
    let mut routes = Routes::builder();
    profile.mount(&mut routes);
    let mut server = Server::new(config.serve, routes.routes(), &Profile::SERVICES);
    for (path, bytes) in Profile::request_limits() {
        server = server.request_bytes_max(path, bytes);
    }
    let draining = Arc::clone(&profile);
    server
        .in_process(incoming)
        .before_exit("close the databases", async move { draining.drain().await })
        .serve(asked)
        .await?;
    Ok(())
}
