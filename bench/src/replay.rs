//! How fast each service's projections replay the log: its states are deleted, the log is kept.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::json;

use crate::recommend::{history, import};
use crate::server::Server;

/// Services and the files, below the data folder, that hold what they rebuild from the log.
const SERVICES: [(&str, &[&str]); 4] = [
    ("profile", &["profile/projection.db"]),
    ("recommend", &["recommend/recommend.sqlite"]),
    ("ads", &["ads/ads.sqlite"]),
    ("evaluate", &["evaluate/evaluate.sqlite"]),
];
const LOOK_AGAIN: Duration = Duration::from_millis(20);
/// When nothing was applied for this long, the end is reached.
const QUIET: Duration = Duration::from_secs(2);

pub(crate) async fn run(gowalla: Option<&Path>) -> io::Result<()> {
    let folder = tempfile::tempdir()?;
    let (history, what) = history(gowalla, folder.path())?;
    let server = Server::embedded(folder.path(), &[]).await?;
    import(&server, &history).await?;
    server.caught_up().await?;
    server.process.stop().await?;
    for (service, files) in SERVICES {
        for file in files {
            forget(&folder.path().join("data").join(file))?;
        }
        let began = Instant::now();
        let server = Server::embedded(folder.path(), &["--only", service]).await?;
        let speeds = speeds(&server, began).await?;
        crate::print(&json!({
            "name": format!("replay, {service}, {what}"),
            "events_per_second_by_projection": speeds,
            "server_cpu_seconds": server.cpu_seconds(),
        }))?;
        server.process.stop().await?;
    }
    Ok(())
}

/// Returns the speed of each projection from the start of the process to the last event it applied.
async fn speeds(server: &Server, began: Instant) -> io::Result<BTreeMap<String, f64>> {
    let mut applied: BTreeMap<String, (f64, Duration)> = BTreeMap::new();
    let mut moved = began;
    // The lag alone says nothing: before the log was heard of there is none.
    while applied.is_empty() || moved.elapsed() < QUIET {
        for (projection, events) in server.samples("projection_events_total")? {
            let seen = applied.entry(projection).or_default();
            if events > seen.0 {
                *seen = (events, began.elapsed());
                moved = Instant::now();
            }
        }
        tokio::time::sleep(LOOK_AGAIN).await;
    }
    let speed = |(events, took): (f64, Duration)| (events / took.as_secs_f64()).round();
    let speeds = applied.into_iter();
    Ok(speeds.map(|(name, seen)| (name, speed(seen))).collect())
}

/// Deletes a database with its write-ahead log.
fn forget(file: &Path) -> io::Result<()> {
    for suffix in ["", "-wal", "-shm"] {
        let path = format!("{}{suffix}", file.display());
        match std::fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            Ok(()) | Err(_) => {}
        }
    }
    Ok(())
}
