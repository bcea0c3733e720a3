//! W3C trace context in HTTP headers: read it from a request, write it to one.

use http::{HeaderMap, HeaderName, HeaderValue};
use opentelemetry::propagation::{Extractor, Injector, TextMapPropagator};
use opentelemetry::trace::TraceContextExt;
use opentelemetry_sdk::propagation::TraceContextPropagator;
use tracing::Span;
use tracing_opentelemetry::OpenTelemetrySpanExt;

/// The header that names the trace and the calling span.
pub const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");

/// The lengths of the fields of a `traceparent`: version, trace, span, flags. Later versions may append.
const FIELD_LENGTHS: [usize; 4] = [2, 32, 16, 2];

/// The longest header that is read, in bytes: `tracestate` may have 512.
const HEADER_BYTES_MAX: usize = 512;

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
}
