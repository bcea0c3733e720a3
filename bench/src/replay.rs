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

/// Returns the speed of each projection from the start of the process to the end of its log.
async fn speeds(server: &Server, began: Instant) -> io::Result<BTreeMap<String, f64>> {
    let mut speeds = BTreeMap::new();
    loop {
        let lags = server.samples("projection_lag_events")?;
        for (projection, applied) in server.samples("projection_events_total")? {
            let lag = lags.iter().find(|(name, _)| *name == projection);
            let done = applied > 0.0 && lag.is_some_and(|(_, lag)| *lag == 0.0);
            if done && !speeds.contains_key(&projection) {
                speeds.insert(
                    projection,
                    (applied / began.elapsed().as_secs_f64()).round(),
                );
            }
        }
        if lags.iter().all(|(_, lag)| *lag == 0.0) && !speeds.is_empty() {
            return Ok(speeds);
        }
        tokio::time::sleep(LOOK_AGAIN).await;
    }
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
