//! W3C trace context in HTTP headers: read it from a request, write it to one.

use http::{HeaderMap, HeaderName, HeaderValue};
use opentelemetry::propagation::{Extractor, Injector, TextMapPropagator};
use opentelemetry::trace::TraceContextExt;
use opentelemetry_sdk::propagation::TraceContextPropagator;
use tracing::Span;
use tracing_opentelemetry::OpenTelemetrySpanExt;

/// The header that names the trace and the calling span.
pub const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");

/// The longest `traceparent` that is read, in bytes: version 00 has 55, later ones may append.
const TRACEPARENT_BYTES_MAX: usize = 128;

struct Reader<'a>(&'a HeaderMap);

impl Extractor for Reader<'_> {
    fn get(&self, key: &str) -> Option<&str> {
        self.0
            .get(key)?
            .to_str()
            .ok()
            .filter(|text| text.len() <= TRACEPARENT_BYTES_MAX * 4)
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
    if !headers.contains_key(TRACEPARENT) || span.is_disabled() {
        return;
    }
    let parent = TraceContextPropagator::new().extract(&Reader(headers));
    if parent.span().span_context().is_valid() {
        // The one error says that no exporter is installed; then there is no trace to join.
        let _ = span.set_parent(parent);
    }
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

/// Returns the request's `traceparent` when its form is right (version 00 as in W3C Trace Context,
/// section 3.2), to be forwarded as it came.
#[must_use]
pub fn received(headers: &HeaderMap) -> Option<HeaderValue> {
    let value = headers.get(TRACEPARENT)?;
    if value.len() > TRACEPARENT_BYTES_MAX {
        return None;
    }
    let parent = TraceContextPropagator::new().extract(&Reader(headers));
    parent
        .span()
        .span_context()
        .is_valid()
        .then(|| value.clone())
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
        for bad in [zeros, "00-0af7-b7-01", "hello", &"0".repeat(200)] {
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
