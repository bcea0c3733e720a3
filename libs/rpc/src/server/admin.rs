//! The plain HTTP listener for Prometheus: `GET /metrics`, nothing else.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode, header};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::TcpListener;
use tokio::sync::Semaphore;

/// The most scrapers at a time.
const CONNECTIONS_MAX: usize = 16;

/// The longest that one connection may last.
const CONNECTION_MAX: Duration = Duration::from_secs(60);

/// Serves scrapes for ever. One connection at its limit waits for another to end.
pub(super) async fn serve(listener: TcpListener) {
    let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    loop {
        let place = Arc::clone(&places).acquire_owned().await;
        let Ok((socket, _)) = listener.accept().await else {
            tokio::time::sleep(Duration::from_millis(50)).await;
            continue;
        };
        tokio::spawn(async move {
            let connection = http1::Builder::new()
                .timer(TokioTimer::new())
                .header_read_timeout(Duration::from_secs(5))
                .serve_connection(TokioIo::new(socket), service_fn(answer));
            // A scraper that breaks off asks again.
            let _ = tokio::time::timeout(CONNECTION_MAX, connection).await;
            drop(place);
        });
    }
}

async fn answer(request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
    let found = request.method() == Method::GET && request.uri().path() == "/metrics";
    let mut response = Response::new(Full::from(if found {
        rapport_telemetry::prometheus::render()
    } else {
        "GET /metrics\n".to_owned()
    }));
    if found {
        let kind = header::HeaderValue::from_static(rapport_telemetry::prometheus::CONTENT_TYPE);
        response.headers_mut().insert(header::CONTENT_TYPE, kind);
    } else {
        *response.status_mut() = StatusCode::NOT_FOUND;
    }
    Ok(response)
}
