//! How a command fails: one sentence for the person, one exit code for the script.

use std::fmt;
use std::process::ExitCode;

/// Why a command did not do what was asked.
#[derive(Debug)]
pub enum Failure {
    /// The input or the flags are wrong; nothing has changed. Exit code 2.
    Usage(String),
    /// It was tried and failed. Exit code 1.
    Failed(String),
    /// No server answers. Exit code 3.
    Unreachable(String),
    /// Ctrl-C. Exit code 130.
    Interrupted,
}

impl Failure {
    /// Returns a failure of a call: unreachable where no server answered, failed otherwise.
    #[must_use]
    pub fn of_call(server: &str, what: &str, status: &tonic::Status) -> Self {
        let reason = rapport_rpc::reason_of(status).unwrap_or_default();
        if status.code() == tonic::Code::Unavailable
            && matches!(reason.as_str(), "TRANSPORT" | "NO_ENDPOINT" | "")
        {
            return Self::unreachable(server);
        }
        let code = rapport_rpc::code_name(status.code());
        Self::Failed(format!("{what}: {} ({code} {reason})", status.message()))
    }

    /// Returns that nobody answers at `server`, and what to do.
    #[must_use]
    pub fn unreachable(server: &str) -> Self {
        Self::Unreachable(format!(
            "no server answers at {server}: start one with `rapport serve`, or name another with --server"
        ))
    }

    /// Returns the exit code.
    #[must_use]
    pub fn exit_code(&self) -> ExitCode {
        ExitCode::from(match self {
            Self::Failed(_) => 1,
            Self::Usage(_) => 2,
            Self::Unreachable(_) => 3,
            Self::Interrupted => 130,
        })
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Usage(why) | Self::Failed(why) | Self::Unreachable(why) => f.write_str(why),
            Self::Interrupted => f.write_str("interrupted; everything acknowledged so far is kept"),
        }
    }
}

impl std::error::Error for Failure {}

impl From<std::io::Error> for Failure {
    fn from(error: std::io::Error) -> Self {
        Self::Failed(error.to_string())
    }
}
