//! The log that every test file here plays with.
#![expect(dead_code, reason = "each test file uses a part")]

pub(crate) mod projected;

use rapport_flow::Channel;
pub(crate) use rapport_flow::testing::{FakeLog as Log, connect};

/// Starts a log and returns it with a channel to it.
pub(crate) async fn serve() -> (Log, Channel) {
    let (log, url) = Log::serve().await;
    let channel = connect(&url);
    (log, channel)
}
