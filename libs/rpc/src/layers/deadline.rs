//! Owns the deadline of a call, because tonic's own timer answers CANCELLED, never
//! DEADLINE_EXCEEDED, and does not forward the remaining time.
//!
//! The caller's `grpc-timeout` is clamped to the method's own limit and counted from the arrival.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use http::{HeaderMap, Request, Response};
use pin_project_lite::pin_project;
use tokio::task::futures::TaskLocalFuture;
use tokio::time::{Duration, Instant, Sleep, sleep_until};
use tonic::body::Body;
use tower::Service;

use crate::call::{CONTEXT, Call, CallContext, Expires};
use crate::layers::ending::EndingBody;
use crate::status::deadline_exceeded;

/// The header in which a caller says how long it will wait.
pub(crate) const GRPC_TIMEOUT: &str = "grpc-timeout";

/// The deadline layer.
#[derive(Debug, Clone)]
pub(crate) struct Deadline<S> {
    inner: S,
}

impl<S> Deadline<S> {
    pub(crate) fn new(inner: S) -> Self {
        Self { inner }
    }
}

impl<S, B> Service<Request<B>> for Deadline<S>
where
    S: Service<Request<B>, Response = Response<Body>, Error = Infallible>,
{
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = WithDeadline<S::Future>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, mut request: Request<B>) -> Self::Future {
        let call = request.extensions().get::<Call>().copied();
        let asked = timeout_of(request.headers());
        let longest = call.and_then(|call| call.longest());
        let arrived = call.map_or_else(Instant::now, |call| call.arrived);
        let expires = shorter(asked, longest).map(|limit| Expires(arrived + limit));
        // The time is ours from here on: nothing below may start a second timer for it.
        request.headers_mut().remove(GRPC_TIMEOUT);
        if let Some(expires) = expires {
            request.extensions_mut().insert(expires);
        }
        let traceparent = rapport_telemetry::context::received(request.headers());
        let context = CallContext {
            expires,
            traceparent,
        };
        // A call that expired while it waited for us never starts.
        let started = expires.is_none_or(|expires| expires.0 > Instant::now());
        WithDeadline {
            inner: started.then(|| CONTEXT.scope(context, self.inner.call(request))),
            sleep: expires.map(|expires| sleep_until(expires.0)),
            streaming: call.is_some_and(|call| call.streaming),
        }
    }
}

fn shorter(left: Option<Duration>, right: Option<Duration>) -> Option<Duration> {
    match (left, right) {
        (Some(left), Some(right)) => Some(left.min(right)),
        (one, None) | (None, one) => one,
    }
}

/// Returns the time that a `grpc-timeout` grants; `None` when it is absent or not valid, and then the
/// method's own limit stands. Form: 1 to 8 digits and one of `H M S m u n` (gRPC over HTTP/2).
pub(crate) fn timeout_of(headers: &HeaderMap) -> Option<Duration> {
    let text = headers.get(GRPC_TIMEOUT)?.to_str().ok()?;
    let (digits, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    if digits.is_empty() || digits.len() > 8 || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let count: u64 = digits.parse().ok()?;
    match unit {
        "H" => Some(Duration::from_secs(count * 3600)),
        "M" => Some(Duration::from_secs(count * 60)),
        "S" => Some(Duration::from_secs(count)),
        "m" => Some(Duration::from_millis(count)),
        "u" => Some(Duration::from_micros(count)),
        "n" => Some(Duration::from_nanos(count)),
        _ => None,
    }
}

pin_project! {
    /// The call's future, cut off at its deadline. `inner` is `None` for a call that came too late.
    #[derive(Debug)]
    pub(crate) struct WithDeadline<F> {
        #[pin]
        inner: Option<TaskLocalFuture<CallContext, F>>,
        #[pin]
        sleep: Option<Sleep>,
        streaming: bool,
    }
}

impl<F> Future for WithDeadline<F>
where
    F: Future<Output = Result<Response<Body>, Infallible>>,
{
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let mut this = self.project();
        let Some(inner) = this.inner.as_mut().as_pin_mut() else {
            return Poll::Ready(Ok(deadline_exceeded().into_http()));
        };
        if let Poll::Ready(response) = inner.poll(context) {
            let response = response?;
            let Some(deadline) = this
                .sleep
                .as_ref()
                .as_pin_ref()
                .map(|sleep| sleep.deadline())
            else {
                return Poll::Ready(Ok(response));
            };
            // A unary answer is complete here; a stream goes on, and so does its deadline.
            return Poll::Ready(Ok(if *this.streaming {
                response.map(|body| Body::new(EndingBody::new(body, deadline, deadline_exceeded)))
            } else {
                response
            }));
        }
        if let Some(sleep) = this.sleep.as_mut().as_pin_mut() {
            ready!(sleep.poll(context));
            // Drops the handler's future here: no work goes on after expiry.
            this.inner.set(None);
            return Poll::Ready(Ok(deadline_exceeded().into_http()));
        }
        Poll::Pending
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timeouts_are_read_as_the_protocol_writes_them() {
        let check = |text: &str, expected: Option<Duration>| {
            let mut headers = HeaderMap::new();
            headers.insert(GRPC_TIMEOUT, text.parse().unwrap());
            assert_eq!(timeout_of(&headers), expected, "{text}");
        };
        check("200m", Some(Duration::from_millis(200)));
        check("3H", Some(Duration::from_secs(10_800)));
        check("2M", Some(Duration::from_secs(120)));
        check("7S", Some(Duration::from_secs(7)));
        check("99999999u", Some(Duration::from_micros(99_999_999)));
        check("1n", Some(Duration::from_nanos(1)));
        for bad in [
            "",
            "m",
            "5",
            "5x",
            "-5m",
            "+5m",
            "123456789m",
            "1.5S",
            "5 m",
        ] {
            check(bad, None);
        }
        assert_eq!(timeout_of(&HeaderMap::new()), None);
    }
}
