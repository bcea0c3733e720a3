//! Refuses calls before the server drowns, the least critical first; the concurrency limit and the
//! load shed are one count, because a queue between them would only make accepted calls late.
//!
//! Also ends open streams when the server drains, since a stream would otherwise outlive it.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use http::{Request, Response};
use http_body::{Body as _, Frame, SizeHint};
use pin_project_lite::pin_project;
use rapport_api::policy::Criticality;
use rapport_telemetry::names::{RPC_SERVER_CALLS_ACTIVE, SHED};
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};
use tonic::body::Body;
use tonic::{Code, Status};
use tower::Service;

use crate::call::{Call, Target};
use crate::layers::Answer;
use crate::status::{DOMAIN, RpcError, reason};

/// When a refused caller may come back: long enough for a burst to pass, short for a person.
const RETRY_AFTER: Duration = Duration::from_millis(250);

/// Counts what the server works on and decides who may enter.
#[derive(Debug)]
pub(crate) struct Gate {
    calls: AtomicUsize,
    calls_max: usize,
    streams: AtomicUsize,
    streams_max: usize,
    gauges: [metrics::Gauge; 5],
    drain: CancellationToken,
}

/// The label values of [`Class`], in its order.
const LABELS: [&str; 5] = ["vital", "spend", "serve", "report", "stream"];

/// Where a call is counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Class {
    Unary(Criticality),
    Stream,
}

impl Class {
    fn index(self) -> usize {
        match self {
            Self::Unary(Criticality::Vital) => 0,
            Self::Unary(Criticality::Spend) => 1,
            Self::Unary(Criticality::Serve) => 2,
            Self::Unary(Criticality::Report) => 3,
            Self::Stream => 4,
        }
    }
}

impl Gate {
    /// Returns a gate for `calls_max` unary calls and `streams_max` streams at a time, both `>= 1`.
    pub(crate) fn new(calls_max: usize, streams_max: usize, drain: CancellationToken) -> Self {
        let gauges = LABELS.map(|label| RPC_SERVER_CALLS_ACTIVE.gauge(&[label]));
        let (calls, streams) = (AtomicUsize::new(0), AtomicUsize::new(0));
        Self {
            calls,
            calls_max,
            streams,
            streams_max,
            gauges,
            drain,
        }
    }

    /// Returns how many unary calls may run before a call of `criticality` is refused, `>= 1`.
    ///
    /// Reports stop at half of the limit, answers with a fallback at three quarters, money at nine
    /// tenths: so whenever a class is refused, every less critical one has been refused already.
    fn share(&self, criticality: Criticality) -> usize {
        let tenths = match criticality {
            Criticality::Vital => return self.calls_max,
            Criticality::Spend => 36,
            Criticality::Serve => 30,
            Criticality::Report => 20,
        };
        (self.calls_max * tenths / 40).max(1)
    }

    fn admit(self: &Arc<Self>, class: Class) -> Option<Permit> {
        let (count, limit) = match class {
            Class::Unary(criticality) => (&self.calls, self.share(criticality)),
            Class::Stream => (&self.streams, self.streams_max),
        };
        let enter = |active: usize| (active < limit).then_some(active + 1);
        if count
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, enter)
            .is_err()
        {
            SHED.add(1, &[LABELS[class.index()]]);
            return None;
        }
        self.gauges[class.index()].increment(1.0);
        Some(Permit {
            gate: Arc::clone(self),
            class,
        })
    }
}

/// One place in the gate, given back when dropped.
#[derive(Debug)]
struct Permit {
    gate: Arc<Gate>,
    class: Class,
}

impl Drop for Permit {
    fn drop(&mut self) {
        let count = match self.class {
            Class::Unary(_) => &self.gate.calls,
            Class::Stream => &self.gate.streams,
        };
        count.fetch_sub(1, Ordering::Relaxed);
        self.gate.gauges[self.class.index()].decrement(1.0);
    }
}

/// The admission layer.
#[derive(Debug, Clone)]
pub(crate) struct Admission<S> {
    inner: S,
    gate: Arc<Gate>,
}

impl<S> Admission<S> {
    pub(crate) fn new(inner: S, gate: Arc<Gate>) -> Self {
        Self { inner, gate }
    }
}

impl<S, B> Service<Request<B>> for Admission<S>
where
    S: Service<Request<B>, Response = Response<Body>, Error = Infallible>,
{
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Admitted<S::Future>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let call = request.extensions().get::<Call>();
        let streaming = call.is_some_and(|call| call.streaming);
        let class = match call.map(|call| call.target) {
            Some(Target::Contract(_)) if streaming => Some(Class::Stream),
            Some(Target::Contract(policy)) => Some(Class::Unary(policy.criticality)),
            // Health must answer exactly when the server is busy, and an unknown method costs nothing.
            Some(Target::Standard | Target::Unknown) | None => None,
        };
        let permit = class.map(|class| self.gate.admit(class));
        let answer = match permit {
            Some(None) => Answer::refuse(overloaded()),
            Some(Some(_)) | None => Answer::Below {
                future: self.inner.call(request),
            },
        };
        let drain = streaming.then(|| self.gate.drain.clone());
        Admitted {
            answer,
            permit: permit.flatten(),
            drain,
        }
    }
}

fn overloaded() -> Status {
    let message = "the server is at its limit for calls of this class";
    RpcError::new(Code::ResourceExhausted, reason::OVERLOADED, DOMAIN, message)
        .retry_after(RETRY_AFTER)
        .into()
}

fn shutting_down() -> Status {
    let message = "the server is shutting down";
    RpcError::new(Code::Unavailable, reason::SHUTTING_DOWN, DOMAIN, message)
        .retry_after(RETRY_AFTER)
        .into()
}

pin_project! {
    /// The call's future with its place in the gate.
    #[derive(Debug)]
    pub(crate) struct Admitted<F> {
        #[pin]
        answer: Answer<F>,
        permit: Option<Permit>,
        drain: Option<CancellationToken>,
    }
}

impl<F> Future for Admitted<F>
where
    F: Future<Output = Result<Response<Body>, Infallible>>,
{
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let response = ready!(this.answer.poll(context))?;
        // A unary call gives its place back here: a slow reader must not hold it.
        let permit = this.permit.take();
        Poll::Ready(Ok(match this.drain.take() {
            Some(drain) if !response.body().is_end_stream() => response.map(|inner| {
                let drain = drain.cancelled_owned();
                Body::new(StreamBody {
                    inner,
                    drain,
                    over: false,
                    permit,
                })
            }),
            Some(_) | None => response,
        }))
    }
}

pin_project! {
    /// A stream's body: holds its place, and ends with UNAVAILABLE when the server drains.
    struct StreamBody {
        #[pin]
        inner: Body,
        #[pin]
        drain: WaitForCancellationFutureOwned,
        over: bool,
        permit: Option<Permit>,
    }
}

impl http_body::Body for StreamBody {
    type Data = bytes::Bytes;
    type Error = Status;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<bytes::Bytes>, Status>>> {
        let this = self.project();
        if *this.over {
            return Poll::Ready(None);
        }
        if let Poll::Ready(frame) = this.inner.poll_frame(context) {
            return Poll::Ready(frame);
        }
        ready!(this.drain.poll(context));
        *this.over = true;
        *this.permit = None;
        Poll::Ready(Some(Ok(super::trailers(&shutting_down()))))
    }

    fn is_end_stream(&self) -> bool {
        self.over || self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_rise_with_criticality_and_only_vital_calls_fill_the_server() {
        let gate = Arc::new(Gate::new(8, 1, CancellationToken::new()));
        let enter = |criticality| gate.admit(Class::Unary(criticality));
        let mut held = Vec::new();
        // By hand for a limit of 8: reports 4, serve 6, spend 7, vital 8.
        for (criticality, room) in [
            (Criticality::Report, 4),
            (Criticality::Serve, 2),
            (Criticality::Spend, 1),
            (Criticality::Vital, 1),
        ] {
            for _ in 0..room {
                held.push(enter(criticality).unwrap());
            }
            assert!(enter(criticality).is_none(), "{criticality:?} is full");
        }
        held.truncate(7);
        assert!(
            enter(Criticality::Spend).is_none(),
            "7 of 8 are for vital calls only"
        );
        assert!(enter(Criticality::Vital).is_some());
        held.clear();
        assert_eq!(
            gate.calls.load(Ordering::Relaxed),
            0,
            "every place came back"
        );
    }

    #[test]
    fn streams_have_a_limit_of_their_own() {
        let gate = Arc::new(Gate::new(1, 1, CancellationToken::new()));
        let stream = gate.admit(Class::Stream).unwrap();
        assert!(gate.admit(Class::Stream).is_none());
        assert!(
            gate.admit(Class::Unary(Criticality::Report)).is_some(),
            "at least one each"
        );
        drop(stream);
        assert!(gate.admit(Class::Stream).is_some());
    }
}
