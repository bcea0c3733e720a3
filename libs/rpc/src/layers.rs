//! The layers that every call passes, outermost first, one file each, and the order they stand in.
//!
//! No layer knows a service; what differs between methods comes from the policy table.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use http::Response;
use pin_project_lite::pin_project;
use tonic::Status;
use tonic::body::Body;
use tonic::service::Routes;

pub(crate) mod admission;
pub(crate) mod auth;
pub(crate) mod deadline;
pub(crate) mod ending;
pub(crate) mod metrics;
pub(crate) mod statuses;
pub(crate) mod trace;
pub(crate) mod watch;

use admission::{Admission, Gate};
use auth::{Auth, Authority};
use deadline::Deadline;
use metrics::Metrics;
use statuses::{RequestLimits, Statuses};
use trace::Trace;

use crate::call::PolicyLookup;

/// Every layer around the routes.
pub(crate) type Stack = Trace<Metrics<Statuses<Admission<Deadline<Auth<Routes>>>>>>;

/// What the layers share within one server.
#[derive(Debug, Clone)]
pub(crate) struct Shared {
    pub(crate) policies: PolicyLookup,
    pub(crate) limits: std::sync::Arc<RequestLimits>,
    pub(crate) gate: std::sync::Arc<Gate>,
    pub(crate) authority: std::sync::Arc<Authority>,
}

/// Puts the layers around `routes`.
pub(crate) fn stack(routes: Routes, shared: &Shared) -> Stack {
    // Innermost: only calls that were admitted in time cost a signature check.
    let service = Auth::new(routes.prepare(), shared.authority.clone());
    // Inside admission, so that a refused call needs no timer; it counts from the call's arrival.
    let service = Deadline::new(service);
    // Outside the deadline: refusing is cheaper than starting.
    let service = Admission::new(service, shared.gate.clone());
    // Inside metrics, so that a caller's malformed bytes are not counted as our failure.
    let service = Statuses::new(service, shared.limits.clone());
    // Outside whatever can refuse: shed, expired and unauthorised calls are counted too.
    let service = Metrics::new(service);
    // Outermost: everything below logs and measures inside the caller's trace.
    Trace::new(service, shared.policies)
}

pin_project! {
    /// Either an answer that a layer gives itself, or the answer of the service below.
    #[project = AnswerProjection]
    #[derive(Debug)]
    pub(crate) enum Answer<F> {
        /// The layer's own answer; taken once.
        Now { status: Option<Status> },
        /// The service's answer.
        Below { #[pin] future: F },
    }
}

impl<F> Answer<F> {
    /// Answers with `status` without calling the service.
    pub(crate) fn refuse(status: Status) -> Self {
        Self::Now {
            status: Some(status),
        }
    }
}

impl<F> Future for Answer<F>
where
    F: Future<Output = Result<Response<Body>, Infallible>>,
{
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        match self.project() {
            AnswerProjection::Now { status } => {
                let status = status
                    .take()
                    .expect("a future is not polled after it is ready");
                Poll::Ready(Ok(status.into_http()))
            }
            AnswerProjection::Below { future } => Poll::Ready(ready!(future.poll(context))),
        }
    }
}

/// Returns the trailers that end a stream with `status`.
pub(crate) fn trailers(status: &Status) -> http_body::Frame<bytes::Bytes> {
    let mut headers = http::HeaderMap::new();
    // Our own statuses are plain text and always fit a header; one that did not would lose its text only.
    if status.add_header(&mut headers).is_err() {
        headers.insert(
            Status::GRPC_STATUS,
            http::HeaderValue::from(status.code() as i32),
        );
    }
    http_body::Frame::trailers(headers)
}
