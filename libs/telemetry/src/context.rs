//! W3C trace context: in HTTP headers, read from a request and written to one; and in 24 bytes beside
//! work that goes on after its call, in a queue or in the log.

use http::{HeaderMap, HeaderName, HeaderValue};
use opentelemetry::Context;
use opentelemetry::propagation::{Extractor, Injector, TextMapPropagator};
use opentelemetry::trace::{SpanContext, SpanId, TraceContextExt, TraceFlags, TraceId, TraceState};
use opentelemetry_sdk::propagation::TraceContextPropagator;
use tracing::Span;
use tracing_opentelemetry::OpenTelemetrySpanExt;

/// The header that names the trace and the calling span.
pub const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");

/// The lengths of the fields of a `traceparent`: version, trace, span, flags. Later versions may append.
const FIELD_LENGTHS: [usize; 4] = [2, 32, 16, 2];

/// The longest header that is read, in bytes: `tracestate` may have 512.
const HEADER_BYTES_MAX: usize = 512;

/// The length of an [`Origin`] as bytes: 16 of the trace, 8 of the span.
pub const ORIGIN_BYTES: usize = 24;

/// The most spans that one span links: what OpenTelemetry exports unless told otherwise.
pub const LINKS_MAX: usize = 128;

/// The exported span that asked for work which no call carries, so that the work joins its trace.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Origin {
    trace: TraceId,
    span: SpanId,
}

impl Origin {
    /// Returns the present span, `None` where it is not exported: nobody could look it up.
    #[must_use]
    pub fn current() -> Option<Self> {
        let context = Span::current().context();
        let span = context.span().span_context().clone();
        (span.is_valid() && span.is_sampled()).then(|| Self {
            trace: span.trace_id(),
            span: span.span_id(),
        })
    }

    /// Returns trace and span, to be kept beside the work.
    #[must_use]
    pub fn to_bytes(self) -> [u8; ORIGIN_BYTES] {
        let mut bytes = [0; ORIGIN_BYTES];
        bytes[..16].copy_from_slice(&self.trace.to_bytes());
        bytes[16..].copy_from_slice(&self.span.to_bytes());
        bytes
    }

    /// Reads what [`Origin::to_bytes`] wrote; `None` for another length, and for zeros, which name nothing.
    #[must_use]
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let (trace, span) = bytes.split_at_checked(16)?;
        let origin = Self {
            trace: TraceId::from_bytes(trace.try_into().ok()?),
            span: SpanId::from_bytes(span.try_into().ok()?),
        };
        (origin.trace != TraceId::INVALID && origin.span != SpanId::INVALID).then_some(origin)
    }

    fn span_context(self) -> SpanContext {
        let (flags, state) = (TraceFlags::SAMPLED, TraceState::default());
        SpanContext::new(self.trace, self.span, flags, true, state)
    }
}

/// Puts `span`, which must not have been entered, into the trace of the first origin and links it to up
/// to [`LINKS_MAX`] of the others. Without an exporter nothing happens.
pub fn follow(span: &Span, origins: &[Origin]) {
    let Some((first, others)) = origins.split_first() else {
        return;
    };
    let parent = Context::new().with_remote_span_context(first.span_context());
    // As in `adopt`: the one error says that there is no trace to join.
    let _ = span.set_parent(parent);
    for origin in others.iter().take(LINKS_MAX) {
        span.add_link(origin.span_context());
    }
}

struct Reader<'a>(&'a HeaderMap);

impl Extractor for Reader<'_> {
    fn get(&self, key: &str) -> Option<&str> {
        self.0
            .get(key)?
            .to_str()
            .ok()
            .filter(|text| text.len() <= HEADER_BYTES_MAX)
    }

    fn keys(&self) -> Vec<&str> {
        self.0.keys().map(HeaderName::as_str).collect()
    }
}

struct Writer<'a>(&'a mut HeaderMap);

impl Injector for Writer<'_> {
    fn set(&mut self, key: &str, value: String) {
        if let (Ok(name), Ok(value)) = (HeaderName::try_from(key), HeaderValue::try_from(value)) {
            self.0.insert(name, value);
        }
    }
}

/// Makes the span that `headers` name the parent of `span`. Without a valid `traceparent`, or without
/// a span exporter, nothing happens: a broken header never fails a call.
pub fn adopt(span: &Span, headers: &HeaderMap) {
    if span.is_disabled() || received(headers).is_none() {
        return;
    }
    let parent = TraceContextPropagator::new().extract(&Reader(headers));
    // The one error says that no exporter is installed; then there is no trace to join.
    let _ = span.set_parent(parent);
}

/// Writes `span` into `headers` as the caller. Returns whether it did: without a span exporter there
/// is nothing to write, and the caller should forward the `traceparent` it received, if any.
pub fn inject(span: &Span, headers: &mut HeaderMap) -> bool {
    let context = span.context();
    if !context.span().span_context().is_valid() {
        return false;
    }
    TraceContextPropagator::new().inject_context(&context, &mut Writer(headers));
    true
}

/// Returns the request's `traceparent` when its form is right (W3C Trace Context, section 3.2), to be
/// forwarded as it came. The check is ours: the propagator takes fields of any length.
#[must_use]
pub fn received(headers: &HeaderMap) -> Option<HeaderValue> {
    let value = headers.get(TRACEPARENT)?;
    let text = value
        .to_str()
        .ok()
        .filter(|text| text.len() <= HEADER_BYTES_MAX)?;
    let fields: Vec<&str> = text.split('-').collect();
    let hex = |field: &str| {
        field
            .bytes()
            .all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
    };
    let zero = |field: &str| field.bytes().all(|byte| byte == b'0');
    let formed = fields.len() >= FIELD_LENGTHS.len()
        && fields
            .iter()
            .zip(FIELD_LENGTHS)
            .all(|(field, length)| field.len() == length && hex(field));
    let valid = formed
        && fields[0] != "ff"
        && (fields[0] != "00" || fields.len() == FIELD_LENGTHS.len())
        && !zero(fields[1])
        && !zero(fields[2]);
    valid.then(|| value.clone())
}

#[cfg(test)]
mod tests {
    use super::*;

    const EXAMPLE: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

    fn headers(traceparent: &str) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert(TRACEPARENT, HeaderValue::from_str(traceparent).unwrap());
        headers
    }

    #[test]
    fn a_traceparent_of_the_right_form_is_forwarded_and_others_are_not() {
        assert_eq!(received(&headers(EXAMPLE)).unwrap(), EXAMPLE);
        let zeros = "00-00000000000000000000000000000000-b7ad6b7169203331-01";
        let longer = format!("{EXAMPLE}-more");
        let capital = EXAMPLE.to_uppercase();
        let reserved = EXAMPLE.replacen("00", "ff", 1);
        for bad in [
            zeros,
            "00-0af7-b7-01",
            "hello",
            "",
            &longer,
            &capital,
            &reserved,
        ] {
            assert_eq!(received(&headers(bad)), None, "{bad}");
        }
        assert_eq!(received(&HeaderMap::new()), None);
    }

    #[test]
    fn without_an_exporter_nothing_is_injected_and_nothing_panics() {
        let mut out = HeaderMap::new();
        adopt(&Span::none(), &headers(EXAMPLE));
        assert!(!inject(&Span::none(), &mut out));
        assert!(out.is_empty());
    }

    #[test]
    fn with_an_exporter_the_trace_id_goes_from_the_request_to_the_next_call() {
        use opentelemetry::trace::TracerProvider as _;
        use tracing_subscriber::layer::SubscriberExt;
        let provider = opentelemetry_sdk::trace::SdkTracerProvider::builder().build();
        let layer = tracing_opentelemetry::layer().with_tracer(provider.tracer("test"));
        tracing::subscriber::with_default(tracing_subscriber::registry().with(layer), || {
            let span = tracing::info_span!("rpc");
            adopt(&span, &headers(EXAMPLE));
            let mut out = HeaderMap::new();
            assert!(inject(&span, &mut out));
            let sent = out.get(TRACEPARENT).unwrap().to_str().unwrap();
            assert_eq!(&sent[..36], &EXAMPLE[..36], "the same trace");
            assert_ne!(sent, EXAMPLE, "another span");
        });
    }

    #[test]
    fn an_origin_survives_as_bytes_and_puts_later_work_into_its_trace() {
        use opentelemetry::trace::TracerProvider as _;
        use tracing_subscriber::layer::SubscriberExt;
        assert_eq!(Origin::current(), None, "no exporter, no origin");
        let provider = opentelemetry_sdk::trace::SdkTracerProvider::builder().build();
        let layer = tracing_opentelemetry::layer().with_tracer(provider.tracer("test"));
        tracing::subscriber::with_default(tracing_subscriber::registry().with(layer), || {
            let asked = tracing::info_span!("asked");
            adopt(&asked, &headers(EXAMPLE));
            let origin = asked.in_scope(Origin::current).unwrap();
            assert_eq!(Origin::from_bytes(&origin.to_bytes()), Some(origin));
            let later = tracing::info_span!(parent: None, "later");
            follow(&later, &[origin]);
            let mut out = HeaderMap::new();
            assert!(inject(&later, &mut out));
            let sent = out.get(TRACEPARENT).unwrap().to_str().unwrap();
            assert_eq!(&sent[..36], &EXAMPLE[..36], "the same trace");
            let unsampled = tracing::info_span!(parent: None, "unsampled");
            adopt(&unsampled, &headers(&EXAMPLE.replace("-01", "-00")));
            assert_eq!(unsampled.in_scope(Origin::current), None);
        });
        for bad in [[0; ORIGIN_BYTES].as_slice(), &[1; 23], &[1; 25], &[]] {
            assert_eq!(Origin::from_bytes(bad), None);
        }
    }
}
