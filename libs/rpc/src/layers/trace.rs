//! Opens the span of a call inside its caller's trace and says which method it is.

use std::task::{Context, Poll};

use http::Request;
use tower::Service;
use tracing::Instrument;
use tracing::instrument::Instrumented;

use crate::call::{Call, PolicyLookup};

/// The outermost layer.
#[derive(Debug, Clone)]
pub(crate) struct Trace<S> {
    inner: S,
    policies: PolicyLookup,
}

impl<S> Trace<S> {
    pub(crate) fn new(inner: S, policies: PolicyLookup) -> Self {
        Self { inner, policies }
    }
}

impl<S: Service<Request<B>>, B> Service<Request<B>> for Trace<S> {
    type Response = S::Response;
    type Error = S::Error;
    type Future = Instrumented<S::Future>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, mut request: Request<B>) -> Self::Future {
        let call = Call::of(request.uri().path(), self.policies);
        let span = crate::span::server(call.label);
        rapport_telemetry::context::adopt(&span, request.headers());
        request.extensions_mut().insert(call);
        let future = span.in_scope(|| self.inner.call(request));
        future.instrument(span)
    }
}
