//! One attempt of a call: send, receive, and say how it failed.

use std::error::Error;

use bytes::Bytes;
use http::{HeaderMap, Response};
use http_body_util::{BodyExt, Limited};
use tonic::body::Body;
use tonic::{Code, ConnectError, Status, TimeoutExpired};
use tower::{Service, ServiceExt};

use crate::client::retry::Failure;
use crate::status::{DOMAIN, RpcError, deadline_exceeded, reason};

/// The longest unary answer that is held, in bytes. Generated clients decode 4 MiB unless told otherwise.
const ANSWER_BYTES_MAX: usize = 64 * 1024 * 1024;

/// The header by which a server says when, or that never, to try again.
const PUSHBACK: &str = "grpc-retry-pushback-ms";

/// What one attempt brought.
#[derive(Debug)]
pub(crate) struct Outcome {
    /// The answer: OK, a server's status, or our own status for a broken connection.
    pub(crate) response: Response<Body>,
    /// How it failed, `None` if it did not, or not in a way that a retry could mend.
    pub(crate) failure: Option<Failure>,
}

/// Sends `request` once. A unary answer is received whole, so that a connection that breaks within it
/// counts as broken here, and so that the deadline covers it.
pub(crate) async fn send(
    transport: &mut tonic::transport::Channel,
    request: http::Request<Body>,
    unary: bool,
) -> Outcome {
    let response = match transport.ready().await {
        Ok(ready) => ready.call(request).await,
        Err(error) => Err(error),
    };
    let response = match response {
        Ok(response) => response,
        Err(error) => return broken(&error),
    };
    if let Some(failure) = answered(response.headers()) {
        return Outcome {
            response,
            failure: Some(failure),
        };
    }
    if !unary || response.headers().contains_key(Status::GRPC_STATUS) {
        return Outcome {
            response,
            failure: None,
        };
    }
    let (parts, body) = response.into_parts();
    match Limited::new(body, ANSWER_BYTES_MAX).collect().await {
        Ok(whole) => {
            let failure = whole.trailers().and_then(answered);
            Outcome {
                response: Response::from_parts(parts, Body::new(whole)),
                failure,
            }
        }
        Err(error) => broken(error.as_ref()),
    }
}

/// Returns a request that can be sent again, `body` being all of it.
pub(crate) fn copy(parts: &http::request::Parts, body: &Bytes) -> http::Request<Body> {
    let mut request = http::Request::new(Body::new(http_body_util::Full::new(body.clone())));
    *request.method_mut() = parts.method.clone();
    *request.uri_mut() = parts.uri.clone();
    *request.version_mut() = parts.version;
    *request.headers_mut() = parts.headers.clone();
    *request.extensions_mut() = parts.extensions.clone();
    request
}

fn answered(headers: &HeaderMap) -> Option<Failure> {
    let code = Code::from_bytes(headers.get(Status::GRPC_STATUS)?.as_bytes());
    let pushback = headers.get(PUSHBACK);
    let pushback_ms = pushback.map(|value| {
        value
            .to_str()
            .ok()
            .and_then(|text| text.parse().ok())
            .unwrap_or(-1)
    });
    (code == Code::Unavailable).then_some(Failure::Answered { code, pushback_ms })
}

fn broken(error: &(dyn Error + 'static)) -> Outcome {
    tracing::debug!(error = %chain(error), "an attempt failed");
    if causes(error).any(|cause| cause.is::<TimeoutExpired>()) {
        // tonic's own timer runs on the same header and may ring first; it would say CANCELLED.
        return Outcome {
            response: deadline_exceeded().into_http(),
            failure: None,
        };
    }
    let never_sent = causes(error).any(never_sent);
    let failure = if never_sent {
        Failure::NeverSent
    } else {
        Failure::Broken
    };
    let message = if never_sent {
        "the server cannot be reached"
    } else {
        "the connection broke before the answer came"
    };
    let status = RpcError::new(Code::Unavailable, reason::TRANSPORT, DOMAIN, message)
        .with("sent", if never_sent { "no" } else { "maybe" });
    Outcome {
        response: Status::from(status).into_http(),
        failure: Some(failure),
    }
}

fn never_sent(cause: &(dyn Error + 'static)) -> bool {
    // hyper cancels only what it still holds: a request on the wire fails with the connection's error.
    cause.is::<ConnectError>()
        || cause
            .downcast_ref::<hyper::Error>()
            .is_some_and(hyper::Error::is_canceled)
        || cause
            .downcast_ref::<h2::Error>()
            .is_some_and(|error| error.reason() == Some(h2::Reason::REFUSED_STREAM))
}

fn causes<'a>(error: &'a (dyn Error + 'static)) -> impl Iterator<Item = &'a (dyn Error + 'static)> {
    std::iter::successors(Some(error), |error| (*error).source())
}

fn chain(error: &(dyn Error + 'static)) -> String {
    causes(error)
        .map(ToString::to_string)
        .collect::<Vec<_>>()
        .join(": ")
}
