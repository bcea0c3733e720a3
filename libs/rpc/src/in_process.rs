//! Connections inside one process: the clients are the same channels, over pipes in memory instead of
//! sockets, so `rapport serve` runs the very code that a cluster runs.

use std::pin::Pin;
use std::task::{Context, Poll};

use http::Uri;
use hyper_util::rt::TokioIo;
use tokio::io::DuplexStream;
use tokio::sync::mpsc;
use tower::Service;

/// Bytes that one direction of a connection may hold: as much as a socket's buffers do.
const PIPE_BYTES_MAX: usize = 256 * 1024;

/// Connections that may wait to be accepted; a connector beyond it waits.
const BACKLOG: usize = 64;

/// Returns both ends: the connector for clients, and the connections for
/// [`crate::Server::in_process`]. Channels may be made and used before the server runs; their calls wait.
#[must_use]
pub fn in_process() -> (InProcessConnector, Incoming) {
    let (sender, receiver) = mpsc::channel(BACKLOG);
    (InProcessConnector { sender }, Incoming { receiver })
}

/// Makes connections to this process's server.
#[derive(Debug, Clone)]
pub struct InProcessConnector {
    sender: mpsc::Sender<DuplexStream>,
}

/// The connections that wait for the server.
#[derive(Debug)]
pub struct Incoming {
    receiver: mpsc::Receiver<DuplexStream>,
}

impl Incoming {
    /// Returns the next connection, `None` when every connector is gone.
    pub(crate) async fn next(&mut self) -> Option<DuplexStream> {
        self.receiver.recv().await
    }
}

impl Service<Uri> for InProcessConnector {
    type Response = TokioIo<DuplexStream>;
    type Error = std::io::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Self::Error>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Uri) -> Self::Future {
        let sender = self.sender.clone();
        Box::pin(async move {
            let (ours, theirs) = tokio::io::duplex(PIPE_BYTES_MAX);
            let gone = |_| std::io::Error::from(std::io::ErrorKind::ConnectionRefused);
            sender.send(theirs).await.map_err(gone)?;
            Ok(TokioIo::new(ours))
        })
    }
}
