//! Drives a real server and prints what it measured: `cargo run --release -p rapport-bench`.
//!
//! Each scenario gets a fresh `rapport serve` on the embedded default and `rapport load` against it,
//! both as processes of their own. Results are one JSON object per line; `bench/RESULTS.md` keeps them.

use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

/// Longest time for a server to say SERVING.
const START_MAX: Duration = Duration::from_secs(60);
/// The port of the server under test.
const SERVER: &str = "127.0.0.1:7755";

/// What is run: a name, and the arguments of `rapport load`.
const SCENARIOS: [(&str, &[&str]); 4] = [
    (
        "durable ingest, all projections on",
        &["collect", "--rate", "0", "--lanes", "8", "--batch", "1000"],
    ),
    (
        "recommend at a steady 1,000/s",
        &["recommend", "--rate", "1000"],
    ),
    (
        "profile at a steady 1,000/s",
        &["profile", "--rate", "1000"],
    ),
    ("mixed at a steady 1,000/s", &["mixed", "--rate", "1000"]),
];

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let _ = writeln!(io::stderr(), "bench: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> io::Result<()> {
    let rapport = beside_this("rapport")?;
    for (name, arguments) in SCENARIOS {
        let folder = std::env::temp_dir().join(format!("rapport-bench-{}", std::process::id()));
        let mut server = start(&rapport, &folder)?;
        let before = cpu_seconds(server.id());
        let output = Command::new(&rapport)
            .arg("load")
            .args(arguments)
            .args(["--server", SERVER, "--json"])
            .stderr(Stdio::inherit())
            .output()?;
        let cpu = cpu_seconds(server.id()) - before;
        let resident = resident_bytes(server.id());
        let disk = bytes_below(&folder)?;
        stop(&mut server)?;
        std::fs::remove_dir_all(&folder)?;
        let measured = String::from_utf8_lossy(&output.stdout);
        let mut out = io::stdout();
        writeln!(
            out,
            "{{\"name\":\"{name}\",\"server_cpu_seconds\":{cpu:.2},\"server_resident_bytes\":{resident},\
             \"server_disk_bytes\":{disk},\"load\":{}}}",
            measured.trim()
        )?;
    }
    Ok(())
}

/// Returns the path of a binary that was built with the same profile.
fn beside_this(name: &str) -> io::Result<PathBuf> {
    let own = std::env::current_exe()?;
    let path = own.with_file_name(name);
    if path.exists() {
        return Ok(path);
    }
    let why = format!(
        "{} is missing: run `cargo build --release -p rapport-suite` first",
        path.display()
    );
    Err(io::Error::other(why))
}

fn start(rapport: &Path, folder: &Path) -> io::Result<Child> {
    std::fs::create_dir_all(folder)?;
    let mut server = Command::new(rapport)
        .args(["serve", "--listen", SERVER, "--data"])
        .arg(folder)
        .env("RAPPORT_LOG", "warn")
        .spawn()?;
    let began = Instant::now();
    loop {
        let mut check = Command::new(rapport);
        check
            .args(["healthcheck", "--server", SERVER])
            .stderr(Stdio::null());
        if check.status()?.success() {
            return Ok(server);
        }
        if server.try_wait()?.is_some() || began.elapsed() > START_MAX {
            return Err(io::Error::other("the server does not serve"));
        }
        std::thread::sleep(Duration::from_millis(100));
    }
}

fn stop(server: &mut Child) -> io::Result<()> {
    Command::new("kill")
        .args(["-TERM", &server.id().to_string()])
        .status()?;
    server.wait().map(|_| ())
}

/// Returns the user and system time of a process, 0 where `/proc` does not tell.
fn cpu_seconds(pid: u32) -> f64 {
    /// Ticks per second of `/proc`, the same on every Linux that this runs on.
    const TICKS: f64 = 100.0;
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let after_name = stat.rsplit(')').next().unwrap_or_default();
    let fields: Vec<f64> = after_name
        .split_whitespace()
        .filter_map(|field| field.parse().ok())
        .collect();
    // State comes first and is no number; utime and stime are the 11th and 12th numbers after it.
    fields
        .get(10)
        .zip(fields.get(11))
        .map_or(0.0, |(user, system)| (user + system) / TICKS)
}

fn resident_bytes(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = status.lines().find(|line| line.starts_with("VmRSS:"));
    let kilobytes = line.and_then(|line| line.split_whitespace().nth(1)?.parse::<u64>().ok());
    kilobytes.unwrap_or(0) * 1_024
}

fn bytes_below(folder: &Path) -> io::Result<u64> {
    let mut bytes = 0;
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        let metadata = entry.metadata()?;
        bytes += if metadata.is_dir() {
            bytes_below(&entry.path())?
        } else {
            metadata.len()
        };
    }
    Ok(bytes)
}
