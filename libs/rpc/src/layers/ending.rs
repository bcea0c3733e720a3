//! A stream's body that is cut off at an instant, with a status that says why.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use http_body::{Frame, SizeHint};
use pin_project_lite::pin_project;
use tokio::time::{Instant, Sleep, sleep_until};
use tonic::Status;
use tonic::body::Body;

pin_project! {
    /// Passes frames on until its time is over, then ends with the status of `why`.
    pub(crate) struct EndingBody {
        #[pin]
        inner: Body,
        #[pin]
        sleep: Sleep,
        why: fn() -> Status,
        over: bool,
    }
}

impl EndingBody {
    pub(crate) fn new(inner: Body, ends: Instant, why: fn() -> Status) -> Self {
        Self {
            inner,
            sleep: sleep_until(ends),
            why,
            over: false,
        }
    }
}

impl http_body::Body for EndingBody {
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
        // The time comes first: a stream that always has something to say must end too.
        if this.sleep.poll(context).is_pending() {
            return Poll::Ready(ready!(this.inner.poll_frame(context)));
        }
        *this.over = true;
        Poll::Ready(Some(Ok(super::trailers(&(this.why)()))))
    }

    fn is_end_stream(&self) -> bool {
        self.over || self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::default()
    }
}
