//! The channel: what every call carries, how long it may take, and whether it is made again.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use http::{HeaderMap, HeaderValue, Request, Response, header};
use http_body_util::BodyExt;
use rapport_api::policy::Idempotency;
use rapport_telemetry::names::{
    RPC_CLIENT_CALL_DURATION, RPC_CLIENT_RETRIES, RPC_CLIENT_RETRIES_REFUSED,
};
use tokio::time::{Instant, timeout_at};
use tonic::body::Body;
use tonic::{Code, Status};
use tower::Service;
use tracing::{Instrument, Span};

use crate::call::{CONTEXT, Call, CallContext, PolicyLookup, Target};
use crate::client::attempt::{self, Outcome};
use crate::client::config::{TokenSource, authorization};
use crate::client::discover::Endpoints;
use crate::client::retry::{Budget, Failure, pause_before_retry};
use crate::client::welcome::Welcome;
use crate::jitter;
use crate::layers::deadline::{GRPC_TIMEOUT, timeout_of};
use crate::layers::ending::EndingBody;
use crate::span;
use crate::status::{DOMAIN, code_name, deadline_exceeded, reason, rpc_error};

/// What the clones of one channel share.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) policies: PolicyLookup,
    pub(crate) margin: Duration,
    pub(crate) budget: Budget,
    pub(crate) token: Option<Arc<dyn TokenSource>>,
    pub(crate) endpoints: Option<Endpoints>,
    pub(crate) welcome: Welcome,
    /// Whom the calls go to, for spans: the host as configured, which may stand for several servers.
    pub(crate) host: Box<str>,
    pub(crate) port: Option<u16>,
}

/// A channel to one service, as every generated client takes it: `XServiceClient::new(channel.clone())`.
/// Clones are cheap and share connections and the retry budget.
#[derive(Debug, Clone)]
pub struct Channel {
    transport: tonic::transport::Channel,
    shared: Arc<Shared>,
}

impl Channel {
    pub(crate) fn new(transport: tonic::transport::Channel, shared: Arc<Shared>) -> Self {
        Self { transport, shared }
    }
}

/// The future of a call.
pub struct ResponseFuture(Pin<Box<dyn Future<Output = Result<Response<Body>, Status>> + Send>>);

impl fmt::Debug for ResponseFuture {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("ResponseFuture")
    }
}

impl Future for ResponseFuture {
    type Output = Result<Response<Body>, Status>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        self.0.as_mut().poll(context)
    }
}

impl Service<Request<Body>> for Channel {
    type Response = Response<Body>;
    type Error = Status;
    type Future = ResponseFuture;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Status>> {
        // Readiness is awaited inside the call, where the deadline bounds it.
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, mut request: Request<Body>) -> ResponseFuture {
        let call = Call::of(request.uri().path(), self.shared.policies);
        // Read here: this runs in the task that serves the call, the future below may not.
        let context = CONTEXT.try_with(CallContext::clone).unwrap_or_default();
        let (host, port) = (&self.shared.host, self.shared.port);
        let span = span::client(call.label, host, port);
        if !rapport_telemetry::context::inject(&span, request.headers_mut())
            && let Some(traceparent) = &context.traceparent
        {
            let name = rapport_telemetry::context::TRACEPARENT;
            request.headers_mut().insert(name, traceparent.clone());
        }
        let expires = self.expiry(&call, &context, request.headers());
        let (this, shared) = (self.clone(), Arc::clone(&self.shared));
        let work = async move {
            let response = this.run(request, call, expires).await;
            let code = code_of(response.headers());
            shared.welcome.note(&shared.host, code, response.headers());
            span::end(&Span::current(), span::Side::Client, code);
            let seconds = call.arrived.elapsed().as_secs_f64();
            RPC_CLIENT_CALL_DURATION.observe(seconds, &[call.label, code_name(code)]);
            Ok(response)
        };
        ResponseFuture(Box::pin(work.instrument(span)))
    }
}

fn code_of(headers: &HeaderMap) -> Code {
    let status = headers.get(Status::GRPC_STATUS);
    status.map_or(Code::Ok, |value| Code::from_bytes(value.as_bytes()))
}

impl Channel {
    /// Returns when the call must be over: the least of what the caller set, what is left of the call that
    /// is being served, less the margin, and what the method may take at all.
    fn expiry(&self, call: &Call, context: &CallContext, headers: &HeaderMap) -> Option<Instant> {
        let served = context
            .expires
            .map(|expires| expires.remaining().saturating_sub(self.shared.margin));
        let limits = [timeout_of(headers), served, call.longest()];
        limits
            .into_iter()
            .flatten()
            .min()
            .map(|limit| call.arrived + limit)
    }

    async fn run(
        mut self,
        mut request: Request<Body>,
        call: Call,
        expires: Option<Instant>,
    ) -> Response<Body> {
        if let Some(token) = self.shared.token.as_ref().and_then(|source| source.token())
            && let Some(value) = authorization(&token)
        {
            request
                .headers_mut()
                .entry(header::AUTHORIZATION)
                .or_insert(value);
        }
        let response = match expires {
            Some(expires) => timeout_at(expires, self.attempts(request, call, Some(expires)))
                .await
                .unwrap_or_else(|_| deadline_exceeded().into_http()),
            None => self.attempts(request, call, None).await,
        };
        match expires {
            Some(expires) if call.streaming => {
                response.map(|body| Body::new(EndingBody::new(body, expires, deadline_exceeded)))
            }
            Some(_) | None => response,
        }
    }

    async fn attempts(
        &mut self,
        request: Request<Body>,
        call: Call,
        expires: Option<Instant>,
    ) -> Response<Body> {
        self.shared.budget.earn();
        let idempotency = match call.target {
            Target::Contract(policy) if !policy.streaming => policy.idempotency,
            Target::Standard if !call.streaming => Idempotency::ReadOnly,
            // A stream cannot be sent again from here: its caller resumes it, from where it stands.
            Target::Contract(_) | Target::Standard | Target::Unknown => {
                return self.once(request, expires, false).await.response;
            }
        };
        let (parts, body) = request.into_parts();
        let body = match body.collect().await {
            Ok(body) => body.to_bytes(),
            Err(status) => return status.into_http(),
        };
        for attempt in 1_u32.. {
            let outcome = self.once(attempt::copy(&parts, &body), expires, true).await;
            let pause = outcome
                .failure
                .and_then(|failure| pause_before_retry(idempotency, failure, attempt))
                .map(|pause| jitter::around(pause, 0.5));
            let Some(pause) = pause else {
                return outcome.response;
            };
            let resumes = Instant::now() + pause;
            if expires.is_some_and(|expires| resumes >= expires) {
                return outcome.response;
            }
            if !self.shared.budget.spend() {
                RPC_CLIENT_RETRIES_REFUSED.add(1, &[]);
                return outcome.response;
            }
            RPC_CLIENT_RETRIES.add(1, &[call.label]);
            tokio::time::sleep_until(resumes).await;
        }
        unreachable!("the attempts of one call are bounded by ATTEMPTS_MAX")
    }

    async fn once(
        &mut self,
        mut request: Request<Body>,
        expires: Option<Instant>,
        unary: bool,
    ) -> Outcome {
        if let Some(endpoints) = &self.shared.endpoints
            && !endpoints.any_serving().await
        {
            let message = "no server of this service says SERVING";
            let status = rpc_error(Code::Unavailable, reason::NO_ENDPOINT, DOMAIN, message);
            let failure = Some(Failure::NeverSent);
            return Outcome {
                response: status.into_http(),
                failure,
            };
        }
        if let Some(expires) = expires {
            let remaining = expires.saturating_duration_since(Instant::now());
            if remaining.is_zero() {
                return Outcome {
                    response: deadline_exceeded().into_http(),
                    failure: None,
                };
            }
            request
                .headers_mut()
                .insert(GRPC_TIMEOUT, timeout_header(remaining));
        }
        attempt::send(&mut self.transport, request, unary).await
    }
}

/// Writes a timeout with at most eight digits, rounded down: the server must never have longer than us.
fn timeout_header(remaining: Duration) -> HeaderValue {
    const DIGITS_MAX: u128 = 99_999_999;
    let text = match (
        remaining.as_micros(),
        remaining.as_millis(),
        remaining.as_secs(),
    ) {
        (micros, _, _) if micros <= DIGITS_MAX => format!("{micros}u"),
        (_, millis, _) if millis <= DIGITS_MAX => format!("{millis}m"),
        (_, _, seconds) => format!("{}S", u128::from(seconds).min(DIGITS_MAX)),
    };
    HeaderValue::try_from(text).expect("digits and a letter are a header value")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timeouts_are_written_as_the_protocol_reads_them() {
        for (millis, text) in [
            (0, "0u"),
            (200, "200000u"),
            (99_999, "99999000u"),
            (100_000, "100000m"),
            (99_999_999, "99999999m"),
            (100_000_000, "100000S"),
        ] {
            let value = timeout_header(Duration::from_millis(millis));
            assert_eq!(value, text);
            let headers =
                HeaderMap::from_iter([(header::HeaderName::from_static(GRPC_TIMEOUT), value)]);
            assert_eq!(timeout_of(&headers), Some(Duration::from_millis(millis)));
        }
    }
}
