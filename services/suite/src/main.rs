//! `rapport`: five services in one process, and the operator's commands.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::{Parser, Subcommand};
use rapport_profile::keyring::Keyring;
use rapport_suite::failure::Failure;
use rapport_suite::progress::say;
use rapport_suite::{demo, import, load, serve, token, train};

/// glibc's allocator costs a tenth more CPU under many threads.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Rapport: the personalisation and engagement back end of a social shop.
#[derive(Debug, Parser)]
#[command(name = "rapport", version, propagate_version = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Serves all five services in one process.
    Serve(serve::ServeArgs),
    /// Shows what Rapport does: a town of shoppers lives through a month, then a tour.
    Demo(demo::DemoArgs),
    /// Lets a town of shoppers live against a running server.
    Simulate(demo::SimulateArgs),
    /// Brings a file into the event log.
    #[command(subcommand)]
    Import(import::Format),
    /// Fits the models that the services load.
    Train(train::TrainArgs),
    /// Measures models on files, without a server.
    Lab(rapport_lab::LabArgs),
    /// Puts open-loop load on a server and counts gRPC statuses.
    Load(load::LoadArgs),
    /// Makes the keys that seal personal data.
    #[command(subcommand)]
    Keyring(KeyringCommand),
    /// Makes the keys and tokens by which services know their callers.
    #[command(subcommand)]
    Token(token::TokenCommand),
    /// Asks a server whether it serves.
    Healthcheck {
        /// The server.
        #[arg(long, env = "RAPPORT_SERVER", default_value = rapport_rpc::DEFAULT_LISTEN)]
        server: String,
        /// The service's full name; empty asks for the whole process.
        #[arg(long, default_value = "")]
        service: String,
    },
}

#[derive(Debug, Subcommand)]
enum KeyringCommand {
    /// Writes a new keyring to a file that does not exist yet.
    Create {
        /// The file.
        path: PathBuf,
    },
}

#[tokio::main]
async fn main() -> ExitCode {
    match run(Cli::parse()).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            say(&format!("rapport: {failure}"));
            failure.exit_code()
        }
    }
}

async fn run(cli: Cli) -> Result<(), Failure> {
    match cli.command {
        Command::Serve(args) => serve::run(args).await,
        Command::Demo(args) => demo::demo(args).await,
        Command::Simulate(args) => interruptible(demo::simulate(args)).await,
        Command::Import(format) => interruptible(import::run(format)).await,
        Command::Train(args) => train::run(args),
        Command::Lab(args) => tokio::task::spawn_blocking(move || lab(args))
            .await
            .map_err(|panicked| Failure::Failed(panicked.to_string()))?,
        Command::Load(args) => interruptible(load::run(args)).await,
        Command::Keyring(KeyringCommand::Create { path }) => {
            Keyring::create(&path).map_err(|error| Failure::Failed(error.to_string()))
        }
        Command::Token(command) => token::run(command),
        Command::Healthcheck { server, service } => healthcheck(&server, &service).await,
    }
}

fn lab(args: rapport_lab::LabArgs) -> Result<(), Failure> {
    rapport_lab::run(args).map_err(|error| match error {
        rapport_lab::LabError::Input(why) => Failure::Usage(why),
        rapport_lab::LabError::Failed(why) => Failure::Failed(why),
    })
}

async fn healthcheck(server: &str, service: &str) -> Result<(), Failure> {
    let url = if server.contains("://") {
        server.to_owned()
    } else {
        format!("http://{server}")
    };
    if rapport_rpc::healthcheck(&url, service, Duration::from_secs(2)).await {
        return Ok(());
    }
    Err(Failure::Unreachable(format!(
        "{server} does not say SERVING"
    )))
}

/// Runs `work` until it ends or Ctrl-C: what was acknowledged by then is kept, the rest was not sent.
async fn interruptible(work: impl Future<Output = Result<(), Failure>>) -> Result<(), Failure> {
    tokio::select! {
        done = work => done,
        () = rapport_rpc::shutdown_signal() => Err(Failure::Interrupted),
    }
}
