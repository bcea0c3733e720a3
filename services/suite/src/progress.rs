//! Progress of long work on stderr: a bar on a terminal, a plain line now and then otherwise.

use std::io::{IsTerminal as _, Write as _};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};

/// Time between plain lines.
const PLAIN_EVERY: Duration = Duration::from_secs(5);

/// Progress of one piece of work.
#[derive(Debug)]
pub struct Progress {
    what: &'static str,
    total: u64,
    done: u64,
    bar: Option<ProgressBar>,
    said: Instant,
}

impl Progress {
    /// Begins to show progress of `total` steps.
    #[must_use]
    pub fn new(what: &'static str, total: u64) -> Self {
        let bar = std::io::stderr().is_terminal().then(|| {
            let style =
                ProgressStyle::with_template("{msg:>18} {wide_bar} {pos}/{len} {per_sec} {eta}")
                    .unwrap_or_else(|_template| ProgressStyle::default_bar());
            ProgressBar::new(total).with_style(style).with_message(what)
        });
        Self {
            what,
            total,
            done: 0,
            bar,
            said: Instant::now(),
        }
    }

    /// Advances by `steps`.
    pub fn advance(&mut self, steps: u64) {
        self.done += steps;
        match &self.bar {
            Some(bar) => bar.set_position(self.done),
            None if self.said.elapsed() >= PLAIN_EVERY => {
                self.said = Instant::now();
                say(&format!("{}: {} of {}", self.what, self.done, self.total));
            }
            None => {}
        }
    }

    /// Ends it and says how many steps were done.
    pub fn finish(self) {
        match self.bar {
            Some(bar) => bar.finish(),
            None => say(&format!("{}: {} of {}", self.what, self.done, self.total)),
        }
    }
}

/// Writes one line to stderr. A closed stderr is nobody's problem.
pub fn say(line: &str) {
    let _ = writeln!(std::io::stderr(), "{line}");
}
