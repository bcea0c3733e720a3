//! Takes connections in, within the limit, and sees them out when the server drains.

use std::sync::Arc;
use std::time::Duration;

use rapport_telemetry::names::{RPC_SERVER_CONNECTIONS, RPC_SERVER_CONNECTIONS_REFUSED};
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::config::ServeConfig;
use crate::in_process::Incoming;
use crate::layers::Stack;
use crate::server::connection::{Connections, Origin};

/// Pause after a failed accept: the process is out of descriptors, and asking again at once burns a core.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Accepts for one server; clones share the limit and the drain.
#[derive(Debug, Clone)]
pub(super) struct Acceptor {
    connections: Arc<Connections>,
    places: Arc<Semaphore>,
    open: metrics::Gauge,
    drain: CancellationToken,
    /// Ends the connections that did not finish in time.
    abandon: CancellationToken,
    tasks: TaskTracker,
}

impl Acceptor {
    pub(super) fn new(
        config: &ServeConfig,
        stack: Stack,
        drain: CancellationToken,
        tasks: TaskTracker,
    ) -> Self {
        Self {
            connections: Arc::new(Connections::new(config, stack, drain.clone())),
            places: Arc::new(Semaphore::new(config.connections_max)),
            open: RPC_SERVER_CONNECTIONS.gauge(&[]),
            drain,
            abandon: CancellationToken::new(),
            tasks,
        }
    }

    /// Accepts TCP connections for ever; dropped, it closes the listener.
    pub(super) async fn tcp(self, listener: TcpListener) {
        loop {
            let (socket, _) = match listener.accept().await {
                Ok(accepted) => accepted,
                Err(error) => {
                    tracing::warn!(error = %error, "a connection could not be accepted");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                    continue;
                }
            };
            let Ok(place) = Arc::clone(&self.places).try_acquire_owned() else {
                RPC_SERVER_CONNECTIONS_REFUSED.add(1, &[]);
                continue; // Dropping the socket closes it.
            };
            // Answers are small and wanted now; a socket that refuses the option still works.
            let _ = socket.set_nodelay(true);
            let (connections, open) = (Arc::clone(&self.connections), self.open.clone());
            let abandon = self.abandon.clone();
            self.tasks.spawn(async move {
                open.increment(1.0);
                let serve = connections.serve(socket, Origin::Network);
                abandon.run_until_cancelled(serve).await;
                open.decrement(1.0);
                drop(place);
            });
        }
    }

    /// Takes this process's own connections. They need no limit: one per client channel.
    pub(super) async fn in_process(self, mut incoming: Incoming) {
        while let Some(stream) = incoming.next().await {
            let (connections, abandon) = (Arc::clone(&self.connections), self.abandon.clone());
            self.tasks.spawn(async move {
                let serve = connections.serve(stream, Origin::InProcess);
                abandon.run_until_cancelled(serve).await;
            });
        }
    }

    /// Asks every connection to finish and waits `longest`; returns whether all did. Those that did not
    /// are closed, so that no handler runs beside the hooks.
    pub(super) async fn drain(&self, longest: Duration) -> bool {
        self.drain.cancel();
        self.tasks.close();
        let finished = tokio::time::timeout(longest, self.tasks.wait())
            .await
            .is_ok();
        self.abandon.cancel();
        self.tasks.wait().await;
        finished
    }
}
