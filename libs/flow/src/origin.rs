//! The traces that events belong to, so that work after the answer shows in the trace of the request that
//! caused it: a send of the outbox continues one trace of its batch and links the others; applying an
//! event continues the event's own.

use rapport_api::event::v1::EventRecord;
use rapport_api::profile::v1::NewEvent;
use rapport_telemetry::context::{LINKS_MAX, Origin, follow};
use tracing::Span;

/// The most spans that applying one batch opens; further traces of the batch end with the append.
const SPANS_MAX: usize = 32;

/// Returns the present span as events carry it, empty where it is not exported.
pub(crate) fn current() -> Vec<u8> {
    Origin::current().map_or_else(Vec::new, |origin| origin.to_bytes().to_vec())
}

/// Returns the span of sending `events`: in the trace of the first that is traced, linked to the others
/// and disabled when none is.
pub(crate) fn sending(events: &[NewEvent]) -> Span {
    let contexts = events.iter().map(|event| event.trace_context.as_slice());
    let origins = distinct(contexts, 1 + LINKS_MAX);
    if origins.is_empty() {
        return Span::none();
    }
    let span = tracing::info_span!(
        parent: None,
        "outbox",
        otel.name = "outbox send",
        otel.kind = "producer",
        messaging.batch.message_count = events.len(),
    );
    follow(&span, &origins);
    span
}

/// Opens one span for each trace among `events`, which `reader` is about to apply; hold them until it
/// has. Costs nothing but a look at each event where nothing is traced.
pub(crate) fn applying(reader: &'static str, events: &[EventRecord]) -> Vec<Span> {
    let contexts = events.iter().map(|event| &*event.trace_context);
    let open = |origin: Origin| {
        let span = tracing::info_span!(
            parent: None,
            "apply",
            otel.name = format!("apply {reader}"),
            otel.kind = "consumer",
            messaging.batch.message_count = events.len(),
        );
        follow(&span, &[origin]);
        span
    };
    distinct(contexts, SPANS_MAX)
        .into_iter()
        .map(open)
        .collect()
}

/// Returns the first `most` different origins, in order.
fn distinct<'a>(contexts: impl Iterator<Item = &'a [u8]>, most: usize) -> Vec<Origin> {
    let mut origins = Vec::new();
    for context in contexts.filter(|context| !context.is_empty()) {
        if let Some(origin) = Origin::from_bytes(context)
            && !origins.contains(&origin)
        {
            origins.push(origin);
            if origins.len() == most {
                break;
            }
        }
    }
    origins
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_trace_counts_once_in_order_and_within_bounds() {
        let contexts = [[1_u8; 24].as_slice(), &[], &[2; 24], &[1; 24], &[9; 3]];
        let origins = distinct(contexts.into_iter(), 10);
        let firsts: Vec<u8> = origins.iter().map(|origin| origin.to_bytes()[0]).collect();
        assert_eq!(firsts, [1, 2]);
        assert_eq!(distinct(contexts.into_iter(), 1).len(), 1);
    }

    #[test]
    fn events_without_a_trace_open_no_span() {
        assert!(sending(&[NewEvent::default()]).is_disabled());
        assert!(applying("test", &[EventRecord::default()]).is_empty());
    }
}
