//! Puts the subscriber in place, once per process, and takes the last spans out at the end.

use std::io::IsTerminal;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use opentelemetry::KeyValue;
use opentelemetry::trace::TracerProvider as _;
use opentelemetry_otlp::{SpanExporter, WithExportConfig};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::{Sampler, SdkTracerProvider};
use tracing_subscriber::layer::{Layer, SubscriberExt};
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Registry};

use crate::config::{LogFormat, TelemetryConfig};

/// How long the last spans may take to leave when the process ends.
const FLUSH_MAX: Duration = Duration::from_secs(2);

/// Why telemetry could not start.
#[derive(Debug, thiserror::Error)]
pub enum TelemetryError {
    /// [`init`] ran before, or another subscriber is in place.
    #[error("telemetry is initialised already")]
    Initialised,
    /// The log filter is not one.
    #[error("the log filter is not valid")]
    Filter(#[source] tracing_subscriber::filter::ParseError),
    /// The span exporter refused its settings.
    #[error("the span exporter cannot be built")]
    Exporter(#[source] opentelemetry_otlp::ExporterBuildError),
}

/// Holds the span exporter. Dropping it sends the last spans, for two seconds at most; drop it last,
/// outside the runtime's worker threads.
#[derive(Debug)]
#[must_use = "dropping the guard ends the export of spans"]
pub struct Guard {
    provider: Option<SdkTracerProvider>,
}

impl Guard {
    /// Sends what is waiting, for instance before a long pause. Blocks; errors are logged.
    pub fn flush(&self) {
        if let Some(Err(error)) = self.provider.as_ref().map(SdkTracerProvider::force_flush) {
            tracing::warn!(error = %error, "spans were not flushed");
        }
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        if let Some(provider) = self.provider.take() {
            // Nobody is left to tell: the subscriber that would log this is going down too.
            let _ = provider.shutdown_with_timeout(FLUSH_MAX);
        }
    }
}

static INITIALISED: AtomicBool = AtomicBool::new(false);

/// Starts logs, metrics and, when an endpoint is configured, spans for this process.
///
/// `service` is the `service.name` of every span. With an OTLP endpoint, call it inside a tokio
/// runtime, whose threads carry the export. Errors: a bad filter, a bad endpoint, a second call.
pub fn init(config: &TelemetryConfig, service: &'static str) -> Result<Guard, TelemetryError> {
    if INITIALISED.swap(true, Ordering::SeqCst) {
        return Err(TelemetryError::Initialised);
    }
    let filter = EnvFilter::try_new(&config.log).map_err(TelemetryError::Filter)?;
    let provider = match &config.otlp_endpoint {
        Some(endpoint) => Some(provider(config, endpoint, service)?),
        None => None,
    };
    let spans = provider
        .as_ref()
        .map(|provider| tracing_opentelemetry::layer().with_tracer(provider.tracer("rapport")));
    crate::prometheus::install();
    tracing_subscriber::registry()
        .with(lines(config.log_format))
        .with(spans)
        .with(filter)
        .try_init()
        .map_err(|_| TelemetryError::Initialised)?;
    Ok(Guard { provider })
}

fn lines(format: LogFormat) -> Box<dyn Layer<Registry> + Send + Sync> {
    let lines = tracing_subscriber::fmt::layer().with_writer(std::io::stderr);
    match format {
        LogFormat::Json => lines.json().flatten_event(true).boxed(),
        LogFormat::Text => lines.with_ansi(std::io::stderr().is_terminal()).boxed(),
    }
}

fn provider(
    config: &TelemetryConfig,
    endpoint: &str,
    service: &'static str,
) -> Result<SdkTracerProvider, TelemetryError> {
    let exporter = SpanExporter::builder()
        .with_tonic()
        .with_endpoint(endpoint)
        .build()
        .map_err(TelemetryError::Exporter)?;
    let started_here = Sampler::TraceIdRatioBased(config.trace_sample_ratio.get());
    Ok(SdkTracerProvider::builder()
        .with_batch_exporter(exporter)
        .with_sampler(Sampler::ParentBased(Box::new(started_here)))
        .with_resource(resource(service))
        .build())
}

/// Says which process a span comes from. `OTEL_RESOURCE_ATTRIBUTES` adds what the platform knows.
fn resource(service: &'static str) -> Resource {
    Resource::builder()
        .with_service_name(service)
        .with_attributes([
            KeyValue::new("service.namespace", "rapport"),
            KeyValue::new("service.version", env!("CARGO_PKG_VERSION")),
        ])
        .build()
}
