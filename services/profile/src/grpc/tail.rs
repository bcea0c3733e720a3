//! `TailEvents` without decoding: a reader gets the bytes that lie on disk.
//!
//! Generated code would have every event decoded and encoded again for each reader. So this stands in
//! front of the generated server and answers that one method with frames that hold encoded events; on
//! the wire they are the contract's.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};

use futures::Stream;
use rapport_api::profile::v1::TailEventsRequest;
use rapport_api::profile::v1::event_service_server::EventServiceServer;
use tonic::body::Body;
use tonic::codegen::{BoxFuture, Service, http};
use tonic::server::{Grpc, NamedService, ServerStreamingService};
use tonic::{Request, Response, Status};
use tonic_prost::ProstCodec;

use super::event::{EventApi, REQUEST_BYTES_MAX};
use crate::error::Error;
use crate::log::TailFrame;

/// The path of the method that is answered here.
const TAIL_EVENTS: &str = "/rapport.profile.v1.EventService/TailEvents";
/// Bytes of a request's message around its events.
const ENVELOPE_BYTES_MAX: usize = 64 * 1024;

/// `EventService`, the tail without decoding.
#[derive(Debug, Clone)]
pub struct EventServer {
    generated: EventServiceServer<EventApi>,
    tail: TailApi,
}

impl EventServer {
    /// Returns the service as routes take it.
    #[must_use]
    pub fn new(api: EventApi) -> Self {
        let generated = EventServiceServer::new(api.clone());
        Self {
            generated: generated.max_decoding_message_size(REQUEST_BYTES_MAX + ENVELOPE_BYTES_MAX),
            tail: TailApi(api),
        }
    }
}

impl NamedService for EventServer {
    const NAME: &'static str = <EventServiceServer<EventApi> as NamedService>::NAME;
}

impl Service<http::Request<Body>> for EventServer {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<Self::Response, Infallible>;

    fn poll_ready(&mut self, _context: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        if request.uri().path() != TAIL_EVENTS {
            return self.generated.call(request);
        }
        let tail = self.tail.clone();
        Box::pin(async move {
            let mut grpc = Grpc::new(ProstCodec::default());
            Ok(grpc.server_streaming(tail, request).await)
        })
    }
}

/// The one method.
#[derive(Debug, Clone)]
struct TailApi(EventApi);

impl ServerStreamingService<TailEventsRequest> for TailApi {
    type Response = TailFrame;
    type ResponseStream = Pin<Box<dyn Stream<Item = Result<TailFrame, Status>> + Send>>;
    type Future = std::future::Ready<Result<Response<Self::ResponseStream>, Status>>;

    fn call(&mut self, request: Request<TailEventsRequest>) -> Self::Future {
        let tail = self.0.tail(request.into_inner());
        let frames = tail.map_err(Status::from).map(|tail| {
            let frames = futures::stream::try_unfold(tail, |mut tail| async move {
                let frame = tail.next_frame().await.map_err(Error::from)?;
                Ok(frame.map(|frame| (frame, tail)))
            });
            Response::new(Box::pin(frames) as Self::ResponseStream)
        });
        std::future::ready(frames)
    }
}
