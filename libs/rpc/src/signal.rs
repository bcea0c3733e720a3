//! The operating system's request to stop.

use tokio::signal::unix::{SignalKind, signal};

/// Resolves at the first SIGTERM or SIGINT after the call. Resolves never if neither can be listened to.
///
/// Listening begins with the call and not with the first poll. Called before a service starts, it keeps
/// a request to stop that comes meanwhile: process 1 of a container ignores signals that nobody awaits.
/// Call it within a Tokio runtime.
pub fn shutdown_signal() -> impl Future<Output = ()> + Send {
    let listening = (
        signal(SignalKind::terminate()),
        signal(SignalKind::interrupt()),
    );
    async move {
        let (Ok(mut terminate), Ok(mut interrupt)) = listening else {
            tracing::error!("signals cannot be listened to: stop this process with SIGKILL");
            return std::future::pending().await;
        };
        tokio::select! {
            _ = terminate.recv() => tracing::info!("received SIGTERM"),
            _ = interrupt.recv() => tracing::info!("received SIGINT"),
        }
    }
}
