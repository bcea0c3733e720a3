//! Durable append: how many events a second are acknowledged, which is on disk.

use std::io;
use std::path::Path;

use rapport_stories::Launch;
use serde_json::{Value, json};

use crate::postgres::Postgres;
use crate::server::{Server, bytes_below, keyring, load};

/// Events of one request.
const BATCH: &str = "1000";
/// Requests in flight.
const LANES: &str = "8";
/// The services that follow profile's log.
const FOLLOWERS: [&str; 4] = ["evaluate", "recommend", "ads", "care"];

pub(crate) async fn on_sqlite(seconds: u64) -> io::Result<()> {
    for (who, only) in [("profile", Some("profile")), ("all five services", None)] {
        let folder = tempfile::tempdir()?;
        let arguments: Vec<&str> = only.map_or(Vec::new(), |name| vec!["--only", name]);
        let server = Server::embedded(folder.path(), &arguments).await?;
        let servers = [server];
        let mut measured = measure(&servers, seconds).await?;
        let [server] = servers;
        server.process.stop().await?;
        let disk = bytes_below(&folder.path().join("data/profile"))?;
        measured["disk_bytes_per_event"] = json!(per_event(disk as f64, &measured));
        measured["name"] = json!(format!("ingest, SQLite, {who}"));
        crate::print(&measured)?;
    }
    Ok(())
}

pub(crate) async fn on_postgres(seconds: u64) -> io::Result<()> {
    for (who, followers) in [("profile", &[][..]), ("all five services", &FOLLOWERS[..])] {
        let folder = tempfile::tempdir()?;
        let postgres = Postgres::start(folder.path())?;
        let servers = on(&postgres, folder.path(), followers).await?;
        let before = postgres.cpu_seconds();
        let mut measured = measure(&servers, seconds).await?;
        let used = postgres.cpu_seconds() - before;
        measured["postgres_cpu_us_per_event"] = json!(per_event(used * 1e6, &measured));
        for server in servers.into_iter().rev() {
            server.process.stop().await?;
        }
        let disk = postgres.bytes("profile")?;
        measured["disk_bytes_per_event"] = json!(per_event(disk as f64, &measured));
        measured["name"] = json!(format!("ingest, Postgres, {who}"));
        crate::print(&measured)?;
        postgres.stop()?;
    }
    Ok(())
}

/// Starts profile and `followers`, each with a database of its own.
async fn on(postgres: &Postgres, folder: &Path, followers: &[&str]) -> io::Result<Vec<Server>> {
    let profile = launch(postgres, folder, "profile")?.env("PROFILE_KEYRING", keyring(folder)?);
    let mut servers = vec![Server::start(profile).await?];
    for name in followers {
        let profile = servers[0].process.url().to_owned();
        let launch = launch(postgres, folder, name)?;
        let launch = launch.env(&format!("{}_PROFILE_URL", name.to_uppercase()), profile);
        servers.push(Server::start(launch).await?);
    }
    Ok(servers)
}

fn launch(postgres: &Postgres, folder: &Path, name: &str) -> io::Result<Launch> {
    let prefix = name.to_uppercase();
    let database = postgres.database(name)?;
    Ok(Launch::new(&format!("rapport-{name}"), folder)
        .env(&format!("{prefix}_DATABASE_URL"), database)
        .env(&format!("{prefix}_DATA"), folder.join(name)))
}

/// Loads the first of `servers` and waits until all have applied everything.
async fn measure(servers: &[Server], seconds: u64) -> io::Result<Value> {
    let cpu = |servers: &[Server]| servers.iter().map(Server::cpu_seconds).sum::<f64>();
    let before = cpu(servers);
    let duration = format!("{seconds}s");
    let arguments = [
        "collect",
        "--rate",
        "0",
        "--lanes",
        LANES,
        "--batch",
        BATCH,
        "--duration",
        &duration,
        "--warm-up",
        "2s",
    ];
    let url = servers[0].process.url().to_owned();
    let mut measured = load(&url, &arguments).await?;
    let mut behind = 0.0_f64;
    for server in servers {
        behind = behind.max(server.metric("projection_lag_events")?);
    }
    let mut catch_up = 0.0_f64;
    for server in servers {
        catch_up = catch_up.max(server.caught_up().await?.as_secs_f64());
    }
    // Warm-up events count for CPU and disk, and are not in `events`: the metric has them all.
    let all = servers[0].metric("projection_events_total{projection=\"profiles\"}")?;
    measured["events_in_all"] = json!(all);
    measured["projection_behind_events"] = json!(behind);
    measured["catch_up_seconds"] = json!(catch_up);
    measured["server_cpu_us_per_event"] =
        json!(per_event((cpu(servers) - before) * 1e6, &measured));
    Ok(measured)
}

fn per_event(amount: f64, measured: &Value) -> f64 {
    let events = measured["events_in_all"].as_f64().unwrap_or(0.0);
    (amount / events * 10.0).round() / 10.0
}
