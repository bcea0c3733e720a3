//! A stand-in for an OpenTelemetry collector: takes spans by OTLP over gRPC and keeps them.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use opentelemetry_proto::tonic::collector::trace::v1::trace_service_server::{
    TraceService, TraceServiceServer,
};
use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTraceServiceRequest, ExportTraceServiceResponse,
};
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue};
use opentelemetry_proto::tonic::trace::v1::Span;
use tokio::net::TcpListener;
use tokio::sync::Notify;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::{Request, Response, Status};

/// Longest wait for spans: they leave in batches, and projections follow the log a little behind.
const PATIENCE: Duration = Duration::from_secs(30);

/// One exported span and the resource that it came from.
#[derive(Debug, Clone)]
pub(crate) struct Exported {
    pub(crate) service: String,
    pub(crate) resource: Vec<KeyValue>,
    pub(crate) span: Span,
}

impl Exported {
    /// Returns an attribute of the span as text, empty when it is absent.
    pub(crate) fn attribute(&self, key: &str) -> String {
        text(&self.span.attributes, key)
    }

    /// Returns an attribute of the resource as text, empty when it is absent.
    pub(crate) fn resource(&self, key: &str) -> String {
        text(&self.resource, key)
    }

    /// Returns whether the span is in `trace`, or linked to it.
    pub(crate) fn belongs_to(&self, trace: [u8; 16]) -> bool {
        let linked = self.span.links.iter().any(|link| link.trace_id == trace);
        self.span.trace_id == trace || linked
    }
}

fn text(attributes: &[KeyValue], key: &str) -> String {
    let found = attributes.iter().find(|attribute| attribute.key == key);
    let value = found.and_then(|attribute| attribute.value.clone());
    match value {
        Some(AnyValue {
            value: Some(Value::StringValue(text)),
        }) => text,
        Some(AnyValue {
            value: Some(Value::IntValue(number)),
        }) => number.to_string(),
        Some(_) | None => String::new(),
    }
}

/// The collector. Cloning shares what it has received.
#[derive(Debug, Clone, Default)]
pub(crate) struct Collector {
    spans: Arc<Mutex<Vec<Exported>>>,
    arrived: Arc<Notify>,
}

impl Collector {
    /// Serves on a free port; returns its URL too.
    pub(crate) async fn start() -> (Self, String) {
        let collector = Self::default();
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let serve = tonic::transport::Server::builder()
            .add_service(TraceServiceServer::new(collector.clone()))
            .serve_with_incoming(TcpListenerStream::new(listener));
        tokio::spawn(serve);
        (collector, url)
    }

    /// Returns every span received so far.
    pub(crate) fn spans(&self) -> Vec<Exported> {
        self.spans.lock().unwrap().clone()
    }

    /// Waits until a span fits and returns the first that does; fails the test when none comes.
    pub(crate) async fn find(&self, what: &str, fits: impl Fn(&Exported) -> bool) -> Exported {
        let looking = async {
            loop {
                // Asked for before looking, so that an arrival in between wakes us.
                let arrived = self.arrived.notified();
                if let Some(found) = self.spans().into_iter().find(&fits) {
                    return found;
                }
                arrived.await;
            }
        };
        match tokio::time::timeout(PATIENCE, looking).await {
            Ok(found) => found,
            Err(_late) => panic!("no span of {what}; there are {}", self.told()),
        }
    }

    fn told(&self) -> String {
        let tell = |one: &Exported| {
            let trace = one.span.trace_id.first().copied().unwrap_or_default();
            format!("\n  {:02x}… {}: {}", trace, one.service, one.span.name)
        };
        self.spans().iter().map(tell).collect()
    }
}

#[tonic::async_trait]
impl TraceService for Collector {
    async fn export(
        &self,
        request: Request<ExportTraceServiceRequest>,
    ) -> Result<Response<ExportTraceServiceResponse>, Status> {
        for group in request.into_inner().resource_spans {
            let resource = group.resource.unwrap_or_default().attributes;
            let service = text(&resource, "service.name");
            let exported = group.scope_spans.into_iter().flat_map(|scope| scope.spans);
            let exported = exported.map(|span| Exported {
                service: service.clone(),
                resource: resource.clone(),
                span,
            });
            self.spans.lock().unwrap().extend(exported);
        }
        // One permit for whoever looks next, and a wake-up for whoever waits.
        self.arrived.notify_one();
        Ok(Response::new(ExportTraceServiceResponse::default()))
    }
}
