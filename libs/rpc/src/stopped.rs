//! How a service's process ends when it could not start or go on.

use std::error::Error;
use std::io::Write as _;
use std::process::ExitCode;

/// The exit code of bad settings; other failures are 1.
const USAGE: u8 = 2;

/// Says on standard error, in one sentence, why `service` stopped, log lines or not, and returns the exit
/// code: 2 when the operator's settings are at fault, 1 otherwise.
pub fn stopped(service: &str, error: &(dyn Error + 'static), is_usage: bool) -> ExitCode {
    // Standard error may be closed.
    let _ = writeln!(std::io::stderr(), "{service}: {}", sentence(error));
    match is_usage {
        true => ExitCode::from(USAGE),
        false => ExitCode::FAILURE,
    }
}

/// Returns what happened and, where that does not say it, what lay beneath.
fn sentence(error: &(dyn Error + 'static)) -> String {
    let mut root = error;
    while let Some(source) = root.source() {
        root = source;
    }
    let (said, root) = (error.to_string(), root.to_string());
    match said.contains(&root) {
        true => said,
        false => format!("{said} ({root})"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("{said}")]
    struct Failure {
        said: &'static str,
        #[source]
        source: Option<Box<Failure>>,
    }

    fn failure(said: &'static str, source: Option<Failure>) -> Failure {
        let source = source.map(Box::new);
        Failure { said, source }
    }

    #[test]
    fn what_lay_beneath_is_said_once() {
        let alone = failure("no such file", None);
        assert_eq!(sentence(&alone), "no such file");
        let named = failure("no folder: no such file", Some(alone));
        assert_eq!(sentence(&named), "no folder: no such file");
        let hidden = failure("cannot start", Some(failure("no folder", Some(named))));
        assert_eq!(sentence(&hidden), "cannot start (no such file)");
    }
}
