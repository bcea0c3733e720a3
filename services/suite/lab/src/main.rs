//! The laboratory by itself: `rapport-lab lab <task>` is `rapport lab <task>` without the services.

use std::io::Write as _;
use std::process::ExitCode;

use clap::Parser;
use rapport_lab::LabArgs;

/// Measures every model on your own files.
#[derive(Debug, Parser)]
#[command(version)]
enum Cli {
    /// Measures every model on your own files, with no server.
    Lab(LabArgs),
}

fn main() -> ExitCode {
    let Cli::Lab(args) = Cli::parse();
    match rapport_lab::run(args) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let _ = writeln!(std::io::stderr(), "error: {error}");
            ExitCode::from(error.exit_code())
        }
    }
}
