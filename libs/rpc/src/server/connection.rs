//! One HTTP/2 connection: its limits, its keepalive, its end by age or by drain.

use std::error::Error as _;
use std::pin::pin;
use std::time::Duration;

use http::Request;
use hyper::body::Incoming;
use hyper::server::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use rapport_telemetry::names::RPC_SERVER_CONNECTIONS_CALMED;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_util::sync::CancellationToken;
use tower::ServiceExt;
use tower::util::Oneshot;

use crate::config::{HEADER_LIST_BYTES_MAX, STREAMS_PER_CONNECTION_MAX, ServeConfig};
use crate::jitter;
use crate::layers::Stack;
use crate::layers::auth::InProcess;

/// Bytes of answers that one stream may have waiting to be sent.
const SEND_BUFFER_BYTES_MAX: usize = 512 * 1024;

/// Where a connection comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Origin {
    Network,
    InProcess,
}

/// Serves connections of one server.
#[derive(Debug)]
pub(super) struct Connections {
    builder: http2::Builder<TokioExecutor>,
    stack: Stack,
    age_max: Duration,
    grace: Duration,
    drain: CancellationToken,
}

impl Connections {
    pub(super) fn new(config: &ServeConfig, stack: Stack, drain: CancellationToken) -> Self {
        let mut builder = http2::Builder::new(TokioExecutor::new());
        // The limits against rapid resets (20 pending, 1,024 local errors) stay as h2 has them.
        builder
            .timer(TokioTimer::new())
            .max_concurrent_streams(STREAMS_PER_CONNECTION_MAX)
            .max_header_list_size(HEADER_LIST_BYTES_MAX)
            .max_send_buf_size(SEND_BUFFER_BYTES_MAX)
            .keep_alive_interval(config.keepalive_interval)
            .keep_alive_timeout(config.keepalive_timeout);
        let (age_max, grace) = (config.connection_age_max, config.connection_age_grace);
        Self {
            builder,
            stack,
            age_max,
            grace,
            drain,
        }
    }

    /// Serves one connection to its end.
    pub(super) async fn serve<I>(&self, stream: I, origin: Origin)
    where
        I: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let service = ConnectionService {
            stack: self.stack.clone(),
            origin,
        };
        let mut connection = pin!(self.builder.serve_connection(TokioIo::new(stream), service));
        // A tenth of jitter, or the clients of one replica would all come back at once.
        let age = tokio::time::sleep(jitter::around(self.age_max, 0.1));
        let asked_to_go = async {
            tokio::select! {
                () = self.drain.cancelled() => {}
                // In-process clients have nowhere else to go.
                () = age, if origin == Origin::Network => {}
            }
        };
        tokio::select! {
            ended = connection.as_mut() => return log(ended),
            () = asked_to_go => connection.as_mut().graceful_shutdown(),
        }
        tokio::select! {
            ended = connection.as_mut() => log(ended),
            () = tokio::time::sleep(self.grace) => {}
        }
    }
}

fn log(ended: Result<(), hyper::Error>) {
    if let Err(error) = ended {
        if is_calm(&error) {
            RPC_SERVER_CONNECTIONS_CALMED.add(1, &[]);
        }
        // A peer that goes away or breaks the protocol is its own affair.
        tracing::debug!(error = %error, "a connection ended early");
    }
}

/// Whether the connection ended by ENHANCE_YOUR_CALM.
fn is_calm(error: &hyper::Error) -> bool {
    let cause = error
        .source()
        .and_then(|cause| cause.downcast_ref::<h2::Error>());
    cause.is_some_and(|cause| cause.reason() == Some(h2::Reason::ENHANCE_YOUR_CALM))
}

/// The layers, called by hyper.
#[derive(Debug, Clone)]
struct ConnectionService {
    stack: Stack,
    origin: Origin,
}

impl hyper::service::Service<Request<Incoming>> for ConnectionService {
    type Response = <Stack as tower::Service<Request<Incoming>>>::Response;
    type Error = std::convert::Infallible;
    type Future = Oneshot<Stack, Request<Incoming>>;

    fn call(&self, mut request: Request<Incoming>) -> Self::Future {
        if self.origin == Origin::InProcess {
            request.extensions_mut().insert(InProcess);
        }
        self.stack.clone().oneshot(request)
    }
}
