//! One trace across all services of a request: five processes export by OTLP to a collector of this
//! test, and a shop outside says by `traceparent` which trace its calls belong to.

use opentelemetry_proto::tonic::trace::v1::span::SpanKind;
use opentelemetry_proto::tonic::trace::v1::status::StatusCode;
use rapport_stories::{Five, Launch, SERVICES};

use crate::collector::{Collector, Exported};
use crate::visit::{Outside, Visitor};

/// The trace that no service may export.
const QUIET: Outside = Outside::new(0xa1, false);
/// The trace of a whole visit.
const VISIT: Outside = Outside::new(0xb2, true);
/// Two traces whose decisions may leave in one batch.
const LEFT: Outside = Outside::new(0xc3, true);
const RIGHT: Outside = Outside::new(0xd4, true);

/// Exports what callers sample and nothing that starts here, so that every span has a known cause.
fn exporting(url: &str) -> impl Fn(&str, Launch) -> Launch {
    move |_, launch| {
        launch
            .env("RAPPORT_OTLP_ENDPOINT", url)
            .env("RAPPORT_TRACE_SAMPLE_RATIO", "0")
            .env("OTEL_BSP_SCHEDULE_DELAY", "50")
    }
}

#[tokio::test]
async fn one_visit_is_one_trace_through_all_five_services() {
    let (collector, url) = Collector::start().await;
    let folder = tempfile::tempdir().unwrap();
    let five = Five::start(folder, exporting(&url)).await.unwrap();
    let shop = Visitor::of(&five, None);
    // First the visit that is not sampled: whatever it left behind would be there before the next ends.
    let (quiet, alice) = (shop.subject("quiet").await, shop.subject("alice").await);
    visit(&shop.within(QUIET), &quiet).await;
    visit(&shop.within(VISIT), &alice).await;
    every_service_answers_in_the_trace(&collector, &five).await;
    every_service_hears_of_the_consent(&collector).await;
    care_asks_profile_within_its_own_span(&collector).await;
    decisions_go_to_the_log_and_on_in_the_trace(&collector).await;
    batches_of_two_traces_belong_to_both(&collector, &shop, &alice).await;
    a_bad_request_is_the_callers_error(&collector, &shop, &alice).await;
    // Stopping sends the last spans: then nothing is still on its way.
    five.stop().await.unwrap();
    let known = [VISIT.trace, LEFT.trace, RIGHT.trace];
    for one in collector.spans() {
        let trace = one.span.trace_id.as_slice();
        assert!(known.iter().any(|known| known == trace), "{one:?}");
        assert!(!one.belongs_to(QUIET.trace), "{one:?}");
    }
}

/// Does everything that a visitor's page asks for, in the trace of `shop`.
async fn visit(shop: &Visitor, subject: &[u8]) {
    shop.grant(subject).await;
    shop.recommend(subject, 3).await.unwrap();
    shop.decide(subject).await;
    shop.write_to_care(subject).await.unwrap();
    shop.ask_for_arms(subject).await;
}

/// A span of a service by name, within the trace of the visit.
fn in_visit<'a>(service: &'a str, name: &'a str) -> impl Fn(&Exported) -> bool + 'a {
    move |one| {
        let own = one.service == format!("rapport-{service}");
        own && one.span.name == name && one.span.trace_id == VISIT.trace
    }
}

async fn every_service_answers_in_the_trace(collector: &Collector, five: &Five) {
    for (service, method) in [
        ("profile", "rapport.profile.v1.ConsentService/SetConsent"),
        (
            "recommend",
            "rapport.recommend.v1.RecommendService/Recommend",
        ),
        ("ads", "rapport.ads.v1.DecisionService/Decide"),
        ("care", "rapport.care.v1.CaseService/OpenCase"),
        (
            "evaluate",
            "rapport.evaluate.v1.ExperimentService/GetAssignments",
        ),
    ] {
        let one = collector.find(method, in_visit(service, method)).await;
        assert_eq!(one.span.kind(), SpanKind::Server, "{method}");
        assert_eq!(one.span.parent_span_id, VISIT.span, "{method}");
        // Semantic conventions 1.45: the method's full name holds the service.
        assert_eq!(one.attribute("rpc.system.name"), "grpc");
        assert_eq!(one.attribute("rpc.method"), method);
        assert_eq!(one.attribute("rpc.response.status_code"), "OK");
        assert_eq!(one.attribute("error.type"), "");
        assert_eq!(one.resource("service.namespace"), "rapport");
        assert_eq!(one.resource("service.version"), env!("CARGO_PKG_VERSION"));
    }
    assert!(five.folder().exists(), "the services still run");
}

/// Setting a consent is one call to profile; the other four keep a view of it, and say so in the trace.
async fn every_service_hears_of_the_consent(collector: &Collector) {
    let set = "rapport.profile.v1.ConsentService/SetConsent";
    let set = collector.find(set, in_visit("profile", set)).await;
    for service in SERVICES.into_iter().filter(|name| *name != "profile") {
        let heard = collector.find("a heard consent", in_visit(service, "apply people"));
        let heard = heard.await;
        assert_eq!(heard.span.kind(), SpanKind::Consumer);
        assert_eq!(heard.span.parent_span_id, set.span.span_id, "{service}");
    }
}

async fn care_asks_profile_within_its_own_span(collector: &Collector) {
    let open = "rapport.care.v1.CaseService/OpenCase";
    let keys = "rapport.profile.v1.KeyService/GetDataKeys";
    let open = collector.find(open, in_visit("care", open)).await;
    let asks = collector.find(keys, in_visit("care", keys)).await;
    let told = collector.find(keys, in_visit("profile", keys)).await;
    assert_eq!(asks.span.kind(), SpanKind::Client);
    assert_eq!(asks.span.parent_span_id, open.span.span_id);
    assert_eq!(asks.attribute("server.address"), "127.0.0.1");
    assert!(!asks.attribute("server.port").is_empty());
    assert_eq!(told.span.kind(), SpanKind::Server);
    assert_eq!(told.span.parent_span_id, asks.span.span_id);
}

/// An answer does not wait for its decision: the decision follows in a batch, to profile and from
/// there to evaluate, each step in the trace of the request that was decided.
async fn decisions_go_to_the_log_and_on_in_the_trace(collector: &Collector) {
    let collect = "rapport.profile.v1.EventService/CollectEvents";
    for (service, method) in [
        (
            "recommend",
            "rapport.recommend.v1.RecommendService/Recommend",
        ),
        ("ads", "rapport.ads.v1.DecisionService/Decide"),
        ("care", "rapport.care.v1.CaseService/OpenCase"),
    ] {
        let answered = collector.find(method, in_visit(service, method)).await;
        let flushed = collector.find("a flush", in_visit(service, "outbox send"));
        let flushed = flushed.await;
        assert_eq!(flushed.span.kind(), SpanKind::Producer);
        assert_eq!(flushed.span.parent_span_id, answered.span.span_id);
        let sent = |one: &Exported| {
            in_visit(service, collect)(one) && one.span.parent_span_id == flushed.span.span_id
        };
        let sent = collector.find("a call of the log", sent).await;
        let taken = |one: &Exported| {
            in_visit("profile", collect)(one) && one.span.parent_span_id == sent.span.span_id
        };
        collector.find("an append", taken).await;
        // The event carries the span that decided, not the one that sent.
        let applied = |one: &Exported| {
            one.service == "rapport-evaluate"
                && one.span.name.starts_with("apply ")
                && one.span.trace_id == VISIT.trace
                && one.span.parent_span_id == answered.span.span_id
        };
        if service != "care" {
            collector.find("a decision seen by evaluate", applied).await;
        }
    }
}

/// Two requests at the same time: their decisions leave together or apart, and either way both traces
/// lead to the send.
async fn batches_of_two_traces_belong_to_both(collector: &Collector, shop: &Visitor, alice: &[u8]) {
    let (left, right) = (shop.within(LEFT), shop.within(RIGHT));
    let (left, right) = tokio::join!(left.recommend(alice, 3), right.recommend(alice, 3));
    left.unwrap();
    right.unwrap();
    for outside in [LEFT, RIGHT] {
        let sent = |one: &Exported| one.span.name == "outbox send" && one.belongs_to(outside.trace);
        collector.find("a send of two traces", sent).await;
        let applied = |one: &Exported| {
            one.service == "rapport-evaluate"
                && one.span.name.starts_with("apply ")
                && one.span.trace_id == outside.trace
        };
        collector
            .find("each decision in its own trace", applied)
            .await;
    }
}

async fn a_bad_request_is_the_callers_error(collector: &Collector, shop: &Visitor, alice: &[u8]) {
    shop.within(RIGHT).recommend(alice, -1).await.unwrap_err();
    let refused = |one: &Exported| one.attribute("rpc.response.status_code") == "INVALID_ARGUMENT";
    let refused = collector.find("a refused call", refused).await;
    assert_eq!(refused.span.trace_id, RIGHT.trace);
    let status = refused.span.status.unwrap_or_default();
    assert_eq!(status.code(), StatusCode::Unset, "not the server's failure");
}
