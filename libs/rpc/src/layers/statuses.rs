//! Gives every failure the code and details that it should have: what a caller did wrong must not look
//! like our failure, and every status carries `ErrorInfo`. A handler's own code is never changed.
//!
//! tonic answers INTERNAL for a malformed message; see [`super::watch`] for how its errors are told
//! from a handler's. A panic in a handler becomes INTERNAL here instead of a broken stream.

use std::any::Any;
use std::collections::BTreeMap;
use std::convert::Infallible;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll, ready};

use http::{HeaderMap, Request, Response};
use http_body::{Frame, SizeHint};
use pin_project_lite::pin_project;
use tonic::body::Body;
use tonic::{Code, Status};
use tower::Service;

use crate::call::{Call, Target};
use crate::layers::watch::{Drained, Watched, malformed, too_large};
use crate::status::{DOMAIN, reason, rpc_error};

/// How long a request's messages may be.
#[derive(Debug, Clone)]
pub(crate) struct RequestLimits {
    /// For every method that is not named below.
    pub(crate) bytes_max: usize,
    /// Methods with a limit of their own, by path.
    pub(crate) by_path: BTreeMap<&'static str, usize>,
}

impl RequestLimits {
    fn of(&self, path: &str) -> usize {
        self.by_path.get(path).copied().unwrap_or(self.bytes_max)
    }
}

/// The status layer.
#[derive(Debug, Clone)]
pub(crate) struct Statuses<S> {
    inner: S,
    limits: Arc<RequestLimits>,
}

impl<S> Statuses<S> {
    pub(crate) fn new(inner: S, limits: Arc<RequestLimits>) -> Self {
        Self { inner, limits }
    }
}

impl<S, B> Service<Request<B>> for Statuses<S>
where
    S: Service<Request<Watched<B>>, Response = Response<Body>, Error = Infallible>,
{
    type Response = Response<Mapped>;
    type Error = Infallible;
    type Future = Mapping<S::Future>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let bytes_max = self.limits.of(request.uri().path());
        let target = request.extensions().get::<Call>().map(|call| call.target);
        let compressed = request.headers().contains_key("grpc-encoding");
        let (parts, body) = request.into_parts();
        let (body, drained) = Watched::new(body, bytes_max, compressed);
        let ours = matches!(target, Some(Target::Contract(_)));
        let rule = Rule {
            bytes_max,
            drained,
            ours,
        };
        Mapping {
            inner: self.inner.call(Request::from_parts(parts, body)),
            rule: Some(rule),
        }
    }
}

/// What decides about a status of this call.
#[derive(Debug)]
struct Rule {
    bytes_max: usize,
    drained: Drained,
    ours: bool,
}

impl Rule {
    /// Corrects the status in `headers` (or trailers) in place, if it needs it.
    fn apply(&self, headers: &mut HeaderMap) {
        let bare = !headers.contains_key(Status::GRPC_STATUS_DETAILS);
        if let Some(status) = Status::from_header_map(headers)
            && status.code() != Code::Ok
            && bare
        {
            // A status of ours is plain ASCII with short details: it always fits a header.
            let _ = self.corrected(&status).add_header(headers);
        }
    }

    fn corrected(&self, status: &Status) -> Status {
        let (code, text) = (status.code(), status.message());
        let undecoded = !self.drained.load(Ordering::Relaxed);
        let says =
            |blamed: Code, start: &str| undecoded && code == blamed && text.starts_with(start);
        if says(Code::Internal, "failed to decode Protobuf message") {
            malformed("the request is not a valid message of its type")
        } else if says(Code::Internal, "Error decompressing") {
            malformed("the request cannot be decompressed")
        } else if code == Code::Internal && text == "Missing request message." {
            malformed("the request holds no message")
        } else if says(Code::OutOfRange, "Error, decoded message length too large")
            || says(Code::ResourceExhausted, "Error decompressing")
        {
            too_large(self.bytes_max)
        } else if self.ours {
            // A handler's bare status keeps its code and text; the reason says that it had none.
            rpc_error(code, reason::INTERNAL, DOMAIN, text)
        } else {
            rpc_error(code, reason::STANDARD_SERVICE, DOMAIN, text)
        }
    }
}

pin_project! {
    /// The call's future with the rule for its status.
    #[derive(Debug)]
    pub(crate) struct Mapping<F> {
        #[pin]
        inner: F,
        rule: Option<Rule>,
    }
}

impl<F> Future for Mapping<F>
where
    F: Future<Output = Result<Response<Body>, Infallible>>,
{
    type Output = Result<Response<Mapped>, Infallible>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let inner = this.inner;
        // Handlers keep no state that a half-done call could break: invariants live in transactions.
        let mut response = match catch_unwind(AssertUnwindSafe(|| inner.poll(context))) {
            Ok(answer) => ready!(answer)?,
            Err(panic) => failed(panic.as_ref()).into_http(),
        };
        let rule = this.rule.take();
        if let Some(rule) = &rule
            && response.headers().contains_key(Status::GRPC_STATUS)
        {
            rule.apply(response.headers_mut());
        }
        Poll::Ready(Ok(response.map(|inner| Mapped { inner, rule })))
    }
}

fn failed(panic: &(dyn Any + Send)) -> Status {
    let text = panic.downcast_ref::<&str>().copied();
    let text = text.or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    tracing::error!(panic = text.unwrap_or("not a text"), "a handler panicked");
    rpc_error(
        Code::Internal,
        reason::INTERNAL,
        DOMAIN,
        "the server failed",
    )
}

pin_project! {
    /// The answer's body, whose trailers are corrected like headers.
    #[derive(Debug)]
    pub(crate) struct Mapped {
        #[pin]
        inner: Body,
        rule: Option<Rule>,
    }
}

impl http_body::Body for Mapped {
    type Data = bytes::Bytes;
    type Error = Status;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<bytes::Bytes>, Status>>> {
        let this = self.project();
        let inner = this.inner;
        let mut frame = match catch_unwind(AssertUnwindSafe(|| inner.poll_frame(context))) {
            Ok(frame) => ready!(frame),
            Err(panic) => Some(Ok(super::trailers(&failed(panic.as_ref())))),
        };
        if let (Some(Ok(frame)), Some(rule)) = (&mut frame, this.rule.as_ref())
            && let Some(trailers) = frame.trailers_mut()
        {
            rule.apply(trailers);
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
