//! Measures every call: from its headers to the last byte of its answer, by method and status.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use http::{HeaderMap, Request, Response};
use http_body::{Body, Frame, SizeHint};
use pin_project_lite::pin_project;
use rapport_telemetry::names::RPC_SERVER_CALL_DURATION;
use tokio::time::Instant;
use tonic::{Code, Status};
use tower::Service;
use tracing::Span;

use crate::call::Call;
use crate::span;
use crate::status::code_name;

/// The measuring layer.
#[derive(Debug, Clone)]
pub(crate) struct Metrics<S> {
    inner: S,
}

impl<S> Metrics<S> {
    pub(crate) fn new(inner: S) -> Self {
        Self { inner }
    }
}

impl<S, B, R> Service<Request<B>> for Metrics<S>
where
    S: Service<Request<B>, Response = Response<R>>,
{
    type Response = Response<Measured<R>>;
    type Error = S::Error;
    type Future = Measuring<S::Future>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let call = request.extensions().get::<Call>().copied();
        let (label, arrived) = call
            .map_or((rapport_telemetry::names::OTHER, Instant::now()), |call| {
                (call.label, call.arrived)
            });
        let measure = Measure {
            label,
            arrived,
            span: Span::current(),
            done: false,
        };
        Measuring {
            inner: self.inner.call(request),
            measure: Some(measure),
        }
    }
}

/// Records exactly one observation per call. Dropping it unfinished means that the caller went away.
#[derive(Debug)]
struct Measure {
    label: &'static str,
    arrived: Instant,
    span: Span,
    done: bool,
}

impl Measure {
    fn finish(&mut self, code: Code) {
        if std::mem::replace(&mut self.done, true) {
            return;
        }
        span::end(&self.span, span::Side::Server, code);
        let seconds = self.arrived.elapsed().as_secs_f64();
        RPC_SERVER_CALL_DURATION.observe(seconds, &[self.label, code_name(code)]);
    }
}

impl Drop for Measure {
    fn drop(&mut self) {
        self.finish(Code::Cancelled);
    }
}

pin_project! {
    /// The call's future, measured.
    #[derive(Debug)]
    pub(crate) struct Measuring<F> {
        #[pin]
        inner: F,
        measure: Option<Measure>,
    }
}

impl<F, R, E> Future for Measuring<F>
where
    F: Future<Output = Result<Response<R>, E>>,
{
    type Output = Result<Response<Measured<R>>, E>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let response = ready!(this.inner.poll(context))?;
        let mut measure = this.measure.take();
        if let (Some(code), Some(measure)) = (code_in(response.headers()), measure.as_mut()) {
            measure.finish(code);
        }
        Poll::Ready(Ok(response.map(|inner| Measured { inner, measure })))
    }
}

pin_project! {
    /// The answer's body: its trailers hold the status of calls that began well.
    #[derive(Debug)]
    pub(crate) struct Measured<R> {
        #[pin]
        inner: R,
        measure: Option<Measure>,
    }
}

impl<R: Body> Body for Measured<R> {
    type Data = R::Data;
    type Error = R::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<R::Data>, R::Error>>> {
        let this = self.project();
        let frame = ready!(this.inner.poll_frame(context));
        let Some(measure) = this.measure else {
            return Poll::Ready(frame);
        };
        match &frame {
            Some(Ok(frame)) => {
                if let Some(code) = frame.trailers_ref().and_then(code_in) {
                    measure.finish(code);
                }
            }
            Some(Err(_)) => measure.finish(Code::Internal),
            None => measure.finish(Code::Unknown),
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

fn code_in(headers: &HeaderMap) -> Option<Code> {
    headers
        .get(Status::GRPC_STATUS)
        .map(|value| Code::from_bytes(value.as_bytes()))
}
