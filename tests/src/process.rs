//! One process of a story.

use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rapport_types::testing::free_port;

/// Longest time for a process to say SERVING: start-up opens databases and applies migrations.
const START_MAX: Duration = Duration::from_secs(60);
/// Longest time for a process to drain.
const STOP_MAX: Duration = Duration::from_secs(30);
/// Pause between two looks at a process.
const LOOK_AGAIN: Duration = Duration::from_millis(50);

/// Returns the path of a binary that was built with the same profile as this test or benchmark.
///
/// # Panics
/// When it was not built: `cargo build --workspace --bins` first, as `scripts/test` does.
#[must_use]
pub fn binary(name: &str) -> PathBuf {
    let own = std::env::current_exe().expect("a process knows its own path");
    // Tests lie in <profile>/deps, other binaries in <profile>.
    let folders = own.ancestors().skip(1).take(2);
    let mut paths = folders.map(|folder| folder.join(name));
    let built = paths.find(|path| path.exists());
    built.unwrap_or_else(|| panic!("{name} is missing: run `cargo build --workspace --bins`"))
}

/// Returns the path of a real data file beside the repository, `None` where there is none.
#[must_use]
pub fn real_data(file: &str) -> Option<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent()?;
    let path = root.parent()?.join("shared/data").join(file);
    path.exists().then_some(path)
}

/// A process to start.
#[derive(Debug)]
pub struct Launch {
    command: Command,
    name: String,
    port: u16,
    log: PathBuf,
}

impl Launch {
    /// Describes `name` listening on a free port, with its log in `folder`.
    #[must_use]
    pub fn new(name: &str, folder: &Path) -> Self {
        let port = free_port();
        let mut command = Command::new(binary(name));
        command
            .env("RAPPORT_LISTEN", format!("127.0.0.1:{port}"))
            .stdin(Stdio::null());
        command.env("RAPPORT_DRAIN_WAIT", "0ms");
        Self {
            command,
            name: name.to_owned(),
            port,
            log: folder.join(format!("{name}-{port}.log")),
        }
    }

    /// Returns the URL that the process will answer at.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// Adds an argument.
    #[must_use]
    pub fn arg(mut self, argument: impl Into<OsString>) -> Self {
        self.command.arg(argument.into());
        self
    }

    /// Sets a variable.
    #[must_use]
    pub fn env(mut self, name: &str, value: impl Into<OsString>) -> Self {
        self.command.env(name, value.into());
        self
    }

    /// Starts the process and waits until `service` says SERVING.
    ///
    /// # Errors
    /// With the process's own log when it ends or does not serve in time.
    pub async fn start(mut self, service: &str) -> io::Result<Process> {
        let log = std::fs::File::create(&self.log)?;
        self.command.stdout(log.try_clone()?).stderr(log);
        let url = self.url();
        let mut process = Process {
            child: self.command.spawn()?,
            name: self.name,
            url,
            log: self.log,
        };
        let began = Instant::now();
        while !rapport_rpc::healthcheck(&process.url, service, Duration::from_secs(1)).await {
            let ended = process.child.try_wait()?;
            if ended.is_some() || began.elapsed() > START_MAX {
                return Err(io::Error::other(format!(
                    "{} does not serve: {}",
                    process.name,
                    process.log_text()
                )));
            }
            tokio::time::sleep(LOOK_AGAIN).await;
        }
        Ok(process)
    }
}

/// A running process. Dropping it kills it.
#[derive(Debug)]
pub struct Process {
    child: Child,
    name: String,
    url: String,
    log: PathBuf,
}

impl Process {
    /// Returns the URL that it answers at.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Returns the number that the operating system knows it by.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Returns what it wrote so far.
    #[must_use]
    pub fn log_text(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// Sends SIGTERM and waits for the end.
    ///
    /// # Errors
    /// When it does not end in time or ends with a failure.
    pub async fn stop(mut self) -> io::Result<()> {
        let pid = self.child.id().to_string();
        Command::new("kill").args(["-TERM", &pid]).status()?;
        let began = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait()? {
                let failed = || {
                    io::Error::other(format!(
                        "{} ended with {status}: {}",
                        self.name,
                        self.log_text()
                    ))
                };
                return if status.success() {
                    Ok(())
                } else {
                    Err(failed())
                };
            }
            if began.elapsed() > STOP_MAX {
                return Err(io::Error::other(format!(
                    "{} does not stop: {}",
                    self.name,
                    self.log_text()
                )));
            }
            tokio::time::sleep(LOOK_AGAIN).await;
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Gone already is fine.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
