//! How fast each service's projections replay the log: its states are deleted, the log is kept.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::json;

use crate::recommend::{history, import};
use crate::server::Server;

/// Services and what, below the data folder, holds what they know from the log: states and snapshots.
const SERVICES: [(&str, &[&str]); 4] = [
    (
        "profile",
        &[
            "profile/projection.db",
            "profile/projection.db-wal",
            "profile/projection.db-shm",
            // The folder of its snapshots: the service, then the projection.
            "profile/profile",
        ],
    ),
    ("recommend", &["recommend"]),
    ("ads", &["ads"]),
    ("evaluate", &["evaluate"]),
];
const LOOK_AGAIN: Duration = Duration::from_millis(20);
/// When nothing was applied for this long, the end is reached.
const QUIET: Duration = Duration::from_secs(2);
/// Longest time until the first event is applied.
const FIRST_MAX: Duration = Duration::from_secs(60);

pub(crate) async fn run(gowalla: Option<&Path>) -> io::Result<()> {
    let folder = tempfile::tempdir()?;
    let (history, what) = history(gowalla, folder.path())?;
    let server = Server::embedded(folder.path(), &[]).await?;
    import(&server, &history).await?;
    server.caught_up().await?;
    server.process.stop().await?;
    for (service, paths) in SERVICES {
        for path in paths {
            forget(&folder.path().join("data").join(path))?;
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
        if applied.is_empty() && began.elapsed() > FIRST_MAX {
            return Err(io::Error::other(
                "nothing is replayed: something still knew the log",
            ));
        }
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
    // A projection that none of these events concerns has no speed.
    let speeds = applied.into_iter().filter(|(_, seen)| seen.0 > 0.0);
    Ok(speeds.map(|(name, seen)| (name, speed(seen))).collect())
}

/// Deletes a file or a folder, if it is there.
fn forget(path: &Path) -> io::Result<()> {
    let deleted = match path.is_dir() {
        true => std::fs::remove_dir_all(path),
        false => std::fs::remove_file(path),
    };
    match deleted {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        Ok(()) | Err(_) => Ok(()),
    }
}
