//! Watches the frames of a request's body: refuses a message that is too long before its bytes are
//! held, and remembers whether the whole body was read, which tells who an error came from.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use pin_project_lite::pin_project;
use tonic::{Code, Status};

use crate::status::{DOMAIN, RpcError, reason, rpc_error};

/// The length of a gRPC frame's header: one flag byte, four of length.
const HEADER_BYTES: usize = 5;

/// Whether the decoder has read the body to its end. A unary handler runs only after that, so a decode
/// error on an unread body is the decoder's, and one on a read body was made by the handler.
pub(crate) type Drained = Arc<AtomicBool>;

pin_project! {
    /// A request's body, watched.
    #[derive(Debug)]
    pub(crate) struct Watched<B> {
        #[pin]
        inner: B,
        frames: Frames,
        drained: Drained,
    }
}

impl<B> Watched<B> {
    /// Watches `inner`, whose messages may have `message_bytes_max` each; `compressed` says that the
    /// request named an encoding, so that the compressed flag is allowed.
    pub(crate) fn new(inner: B, message_bytes_max: usize, compressed: bool) -> (Self, Drained) {
        let drained = Drained::default();
        let frames = Frames {
            message_bytes_max,
            compressed,
            ..Frames::default()
        };
        (
            Self {
                inner,
                frames,
                drained: Arc::clone(&drained),
            },
            drained,
        )
    }
}

impl<B> Body for Watched<B>
where
    B: Body<Data = Bytes>,
    B::Error: Into<tonic::codegen::StdError>,
{
    type Data = Bytes;
    type Error = tonic::codegen::StdError;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        let this = self.project();
        let Some(frame) = ready!(this.inner.poll_frame(context)) else {
            this.drained.store(true, Ordering::Relaxed);
            return Poll::Ready(this.frames.end().err().map(|status| Err(status.into())));
        };
        let frame = frame.map_err(Into::into)?;
        if let Some(bytes) = frame.data_ref() {
            this.frames.read(bytes)?;
        }
        if frame.is_trailers() {
            this.drained.store(true, Ordering::Relaxed);
        }
        Poll::Ready(Some(Ok(frame)))
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

/// Follows the frames through chunks of any size.
#[derive(Debug, Default)]
struct Frames {
    header: [u8; HEADER_BYTES],
    header_filled: usize,
    message_left: usize,
    message_bytes_max: usize,
    compressed: bool,
}

impl Frames {
    fn read(&mut self, mut bytes: &[u8]) -> Result<(), Status> {
        while !bytes.is_empty() {
            let skipped = self.message_left.min(bytes.len());
            self.message_left -= skipped;
            bytes = &bytes[skipped..];
            let taken = (HEADER_BYTES - self.header_filled).min(bytes.len());
            self.header[self.header_filled..self.header_filled + taken]
                .copy_from_slice(&bytes[..taken]);
            self.header_filled += taken;
            bytes = &bytes[taken..];
            if self.header_filled == HEADER_BYTES {
                self.header_filled = 0;
                self.message_left = self.open()?;
            }
        }
        Ok(())
    }

    fn open(&self) -> Result<usize, Status> {
        let [flag, length @ ..] = self.header;
        match flag {
            0 => {}
            1 if self.compressed => {}
            1 => return Err(malformed("a compressed message needs grpc-encoding")),
            _ => return Err(malformed("the compressed flag is neither 0 nor 1")),
        }
        let length = usize::try_from(u32::from_be_bytes(length)).unwrap_or(usize::MAX);
        if length > self.message_bytes_max {
            return Err(too_large(self.message_bytes_max));
        }
        Ok(length)
    }

    fn end(&mut self) -> Result<(), Status> {
        let whole = self.header_filled == 0 && self.message_left == 0;
        // Said once: a body is not read on after its end.
        (self.header_filled, self.message_left) = (0, 0);
        if whole {
            Ok(())
        } else {
            Err(malformed("the request ends inside a message"))
        }
    }
}

pub(crate) fn malformed(message: &str) -> Status {
    rpc_error(
        Code::InvalidArgument,
        reason::MALFORMED_REQUEST,
        DOMAIN,
        message,
    )
}

pub(crate) fn too_large(bytes_max: usize) -> Status {
    let message = format!("the message is longer than {bytes_max} bytes");
    RpcError::new(
        Code::ResourceExhausted,
        reason::MESSAGE_TOO_LARGE,
        DOMAIN,
        message,
    )
    .with("bytes_max", bytes_max.to_string())
    .into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::status::reason_of;

    fn run(chunks: &[&[u8]], compressed: bool) -> Result<(), String> {
        let mut frames = Frames {
            message_bytes_max: 4,
            compressed,
            ..Frames::default()
        };
        let mut go = || {
            for chunk in chunks {
                frames.read(chunk)?;
            }
            frames.end()
        };
        go().map_err(|status: Status| reason_of(&status).unwrap())
    }

    #[test]
    fn frames_are_followed_through_any_chunks() {
        let two = [0, 0, 0, 0, 2, 9, 9, 0, 0, 0, 0, 0];
        assert_eq!(run(&[&two], false), Ok(()));
        for cut in 0..two.len() {
            assert_eq!(
                run(&[&two[..cut], &two[cut..]], false),
                Ok(()),
                "cut at {cut}"
            );
            let whole = [0, 7].contains(&cut);
            assert_eq!(run(&[&two[..cut]], false).is_ok(), whole, "ends at {cut}");
        }
    }

    #[test]
    fn bad_frames_are_refused_with_their_reason() {
        let too_long = run(&[&[0, 0, 0, 0, 5]], false);
        assert_eq!(
            too_long,
            Err("MESSAGE_TOO_LARGE".to_owned()),
            "before a byte of it arrives"
        );
        let malformed = Err("MALFORMED_REQUEST".to_owned());
        assert_eq!(run(&[&[1, 0, 0, 0, 0]], false), malformed);
        assert_eq!(run(&[&[1, 0, 0, 0, 0]], true), Ok(()));
        assert_eq!(run(&[&[2, 0, 0, 0, 0]], true), malformed);
    }
}
