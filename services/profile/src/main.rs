//! The profile service as a process of its own.

use std::io::Write as _;
use std::process::ExitCode;
use std::sync::Arc;

use clap::Parser as _;
use rapport_profile::config::Config;
use rapport_profile::{Profile, StartError};
use rapport_rpc::{ClientConfig, Server, connect_in_process, in_process, shutdown_signal};
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
            let _ = writeln!(std::io::stderr(), "rapport-profile: {}", sentence(&error));
            match error.downcast_ref::<StartError>() {
                Some(error) if error.is_usage() => ExitCode::from(USAGE),
                Some(_) | None => ExitCode::FAILURE,
            }
        }
    }
}

/// Returns what happened and, where that does not say it, what lay beneath.
fn sentence(error: &anyhow::Error) -> String {
    let (said, root) = (error.to_string(), error.root_cause().to_string());
    match said.contains(&root) {
        true => said,
        false => format!("{said} ({root})"),
    }
}

async fn run(config: Config) -> anyhow::Result<()> {
    let _telemetry = rapport_telemetry::init(&config.telemetry, "rapport-profile")?;
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
        .serve(shutdown_signal())
        .await?;
    Ok(())
}
