//! Memory of `rapport serve`: idle, and knowing 100,000 people.

use std::io;

use serde_json::json;

use crate::server::{Server, load};

const PEOPLE: &str = "100000";

pub(crate) async fn run() -> io::Result<()> {
    let folder = tempfile::tempdir()?;
    let server = Server::embedded(folder.path(), &[]).await?;
    let (idle, _) = server.resident_bytes();
    // Everybody grants, and does something ten times: a million events.
    let arguments = [
        "collect",
        "--rate",
        "100",
        "--batch",
        "100",
        "--subjects",
        PEOPLE,
        "--duration",
        "100s",
        "--warm-up",
        "0s",
    ];
    let loaded = load(server.process.url(), &arguments).await?;
    server.caught_up().await?;
    let (resident, highest) = server.resident_bytes();
    server.process.stop().await?;
    // What a restart needs: no buffers of the load are left in it.
    let again = Server::embedded(folder.path(), &[]).await?;
    again.caught_up().await?;
    let (restarted, _) = again.resident_bytes();
    crate::print(&json!({
        "name": "memory of `rapport serve`",
        "people": PEOPLE,
        "events": loaded["events"],
        "idle_bytes": idle,
        "resident_bytes": resident,
        "highest_bytes": highest,
        "resident_bytes_after_restart": restarted,
    }))?;
    again.process.stop().await
}
