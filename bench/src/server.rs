//! Processes under measurement: how they start, what they cost.

use std::io::{self, Read as _, Write as _};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use rapport_stories::{Launch, Process, binary, free_port};
use serde_json::Value;

/// Ticks per second of `/proc`, the same on every Linux that this runs on.
const TICKS: f64 = 100.0;
/// Longest time for projections to catch up after a load.
const CATCH_UP_MAX: Duration = Duration::from_secs(600);
const LOOK_AGAIN: Duration = Duration::from_millis(50);

/// One server and its scrape address.
#[derive(Debug)]
pub(crate) struct Server {
    pub(crate) process: Process,
    metrics: u16,
}

impl Server {
    /// Starts `launch` with a listener for metrics and waits until it serves.
    pub(crate) async fn start(launch: Launch) -> io::Result<Self> {
        let metrics = free_port();
        let launch = launch
            .env("RAPPORT_METRICS_LISTEN", format!("127.0.0.1:{metrics}"))
            .env("RAPPORT_LOG", "warn");
        let process = launch.start("").await?;
        Ok(Self { process, metrics })
    }

    /// Starts `rapport serve` on the embedded default below `folder`.
    pub(crate) async fn embedded(folder: &Path, arguments: &[&str]) -> io::Result<Self> {
        let mut launch = Launch::new("rapport", folder)
            .arg("serve")
            .arg("--data")
            .arg(folder.join("data"));
        for argument in arguments {
            launch = launch.arg(*argument);
        }
        Self::start(launch).await
    }

    /// Returns user and system time so far, in seconds.
    pub(crate) fn cpu_seconds(&self) -> f64 {
        cpu_seconds(self.process.id())
    }

    /// Returns resident memory, in bytes: now, and the highest so far.
    pub(crate) fn resident_bytes(&self) -> (u64, u64) {
        let path = format!("/proc/{}/status", self.process.id());
        let status = std::fs::read_to_string(path).unwrap_or_default();
        let field = |name: &str| {
            let line = status.lines().find(|line| line.starts_with(name));
            let kilobytes =
                line.and_then(|line| line.split_whitespace().nth(1)?.parse::<u64>().ok());
            kilobytes.unwrap_or(0) * 1_024
        };
        (field("VmRSS:"), field("VmHWM:"))
    }

    /// Returns the sum of a metric over its labels, 0 if it is not there.
    pub(crate) fn metric(&self, name: &str) -> io::Result<f64> {
        Ok(self
            .samples(name)?
            .into_iter()
            .map(|(_, value)| value)
            .sum())
    }

    /// Returns each sample of a metric: its labels as printed, and its value.
    pub(crate) fn samples(&self, name: &str) -> io::Result<Vec<(String, f64)>> {
        let mut stream = TcpStream::connect(("127.0.0.1", self.metrics))?;
        stream.write_all(b"GET /metrics HTTP/1.1\r\nhost: bench\r\nconnection: close\r\n\r\n")?;
        let mut text = String::new();
        stream.read_to_string(&mut text)?;
        let samples = text.lines().filter_map(|line| {
            let rest = line.strip_prefix(name)?;
            let (labels, value) = rest.rsplit_once(' ')?;
            let whole = labels.is_empty() || labels.starts_with('{');
            whole.then(|| Some((labels.to_owned(), value.parse().ok()?)))?
        });
        Ok(samples.collect())
    }

    /// Waits until nothing that was committed is unapplied; returns how long that took.
    pub(crate) async fn caught_up(&self) -> io::Result<Duration> {
        let began = Instant::now();
        while self.metric("projection_lag_events")? > 0.0 {
            if began.elapsed() > CATCH_UP_MAX {
                return Err(io::Error::other("the projections do not catch up"));
            }
            tokio::time::sleep(LOOK_AGAIN).await;
        }
        Ok(began.elapsed())
    }
}

/// Returns user and system time of a process, 0 where `/proc` does not tell.
pub(crate) fn cpu_seconds(pid: u32) -> f64 {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let after_name = stat.rsplit(')').next().unwrap_or_default();
    let fields: Vec<f64> = after_name
        .split_whitespace()
        .filter_map(|field| field.parse().ok())
        .collect();
    // The state is no number; of the numbers after it, utime and stime are the 11th and 12th.
    fields
        .get(10)
        .zip(fields.get(11))
        .map_or(0.0, |(user, system)| (user + system) / TICKS)
}

/// Runs `rapport` with `arguments` to its end and returns its standard output.
pub(crate) async fn rapport(arguments: Vec<String>) -> io::Result<String> {
    let mut command = tokio::process::Command::new(binary("rapport"));
    command.args(&arguments).stderr(Stdio::inherit());
    let output = command.output().await?;
    if !output.status.success() {
        let command = arguments.join(" ");
        return Err(io::Error::other(format!(
            "`rapport {command}` ended with {}",
            output.status
        )));
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Runs `rapport load` against `url` and returns what it measured.
pub(crate) async fn load(url: &str, arguments: &[&str]) -> io::Result<Value> {
    let mut all = vec!["load".to_owned()];
    all.extend(arguments.iter().map(|&argument| argument.to_owned()));
    all.extend(["--server", url, "--json"].map(str::to_owned));
    Ok(serde_json::from_str(rapport(all).await?.trim())?)
}

/// Creates the wrapping keys that a profile needs and returns their file.
pub(crate) fn keyring(folder: &Path) -> io::Result<PathBuf> {
    let path = folder.join("keyring");
    let mut command = Command::new(binary("rapport"));
    command.args(["keyring", "create"]).arg(&path);
    match command.status()?.success() {
        true => Ok(path),
        false => Err(io::Error::other("no keyring was made")),
    }
}

/// Returns the size of all files below a folder.
pub(crate) fn bytes_below(folder: &Path) -> io::Result<u64> {
    let mut bytes = 0;
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        let metadata = entry.metadata()?;
        bytes += match metadata.is_dir() {
            true => bytes_below(&entry.path())?,
            false => metadata.len(),
        };
    }
    Ok(bytes)
}
