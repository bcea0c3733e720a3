//! The outbox against a log that fails before and after it writes.
#![expect(clippy::unwrap_used, reason = "tests")]

mod support;

use std::sync::Arc;
use std::time::Duration;

use prost::Message;
use rapport_api::event::v1::{AdDecided, DecisionCheckpoint, DecisionHeader, EventRecord};
use rapport_flow::{DecisionDraft, Outbox, OutboxConfig, OutboxEvent, OutboxFull, any_of};
use rapport_math::Rng;
use rapport_types::{ManualClock, SubjectId, UnixMillis};
use support::serve;

const AD: &str = "rapport.event.v1.AdDecided";
const CHECKPOINT: &str = "type.googleapis.com/rapport.event.v1.DecisionCheckpoint";
const NOW: UnixMillis = UnixMillis(1_700_000_000_000);
const DEADLINE: Duration = Duration::from_secs(30);

fn config(queue_max: usize) -> OutboxConfig {
    OutboxConfig {
        service: "ads",
        replica: "ads-0".to_owned(),
        clock: Arc::new(ManualClock::at(NOW)),
        rng: Rng::seeded(1),
        queue_max,
    }
}

fn decide(outbox: &Outbox, n: u8) -> Result<(), OutboxFull> {
    let subject = Some(SubjectId::new([n; 16]));
    let draft = DecisionDraft {
        subject,
        occurred_at: NOW,
        ..DecisionDraft::default()
    };
    let build = |header| {
        any_of(
            AD,
            &AdDecided {
                header: Some(header),
                ..AdDecided::default()
            },
        )
    };
    outbox.decide(draft, build).map(|_id| ())
}

fn headers(events: &[EventRecord]) -> Vec<DecisionHeader> {
    let decisions = events.iter().filter(|event| event.r#type.ends_with(AD));
    decisions
        .filter_map(|event| AdDecided::decode(event.payload.clone()).unwrap().header)
        .collect()
}

fn last_checkpoint(events: &[EventRecord]) -> Option<DecisionCheckpoint> {
    let checkpoints = events.iter().filter(|event| event.r#type == CHECKPOINT);
    let decoded =
        checkpoints.map(|event| DecisionCheckpoint::decode(event.payload.clone()).unwrap());
    decoded.max_by_key(|checkpoint| checkpoint.number)
}

#[tokio::test]
async fn a_flaky_log_gets_every_decision_once_and_the_last_number() {
    let (log, channel) = serve().await;
    log.fail_collects(2, 2);
    let outbox = Outbox::spawn(channel, config(10_000));
    for n in 0..2_500u32 {
        decide(&outbox, n as u8).unwrap();
        if n == 1_200 {
            outbox.flushed().await;
            log.fail_collects(1, 1);
        }
    }
    outbox.drain(DEADLINE).await.unwrap();
    let events = log.all();
    let mut numbers: Vec<u64> = headers(&events)
        .iter()
        .map(|header| header.number)
        .collect();
    numbers.sort_unstable();
    assert_eq!(
        numbers,
        (1..=2_500).collect::<Vec<u64>>(),
        "no hole, no duplicate"
    );
    let checkpoint = last_checkpoint(&events).unwrap();
    assert_eq!((checkpoint.number, checkpoint.boot_ms), (2_500, NOW.0));
    for event in events.iter().filter(|event| event.r#type.ends_with(AD)) {
        let header = headers(std::slice::from_ref(event)).remove(0);
        let id = rapport_types::DecisionId::parse(&header.decision_id).unwrap();
        assert_eq!(event.event_id, id.to_string(), "idempotent by decision id");
    }
}

#[tokio::test]
async fn a_full_outbox_refuses_without_using_a_number() {
    let (log, channel) = serve().await;
    log.fail_collects(usize::MAX, 0);
    let outbox = Outbox::spawn(channel, config(3));
    decide(&outbox, 0).unwrap();
    while log.collects() == 0 {
        tokio::task::yield_now().await;
    }
    // The sender is stuck with the first; three more may wait.
    for n in 1..=3 {
        decide(&outbox, n).unwrap();
    }
    assert_eq!(decide(&outbox, 4), Err(OutboxFull));
    let stuck = outbox.drain(Duration::from_millis(20)).await.unwrap_err();
    assert_eq!(stuck.waiting, 4);
    assert_eq!(decide(&outbox, 0), Err(OutboxFull), "draining refuses");
    log.fail_collects(0, 0);
    outbox.drain(DEADLINE).await.unwrap();
    let mut numbers: Vec<u64> = headers(&log.all())
        .iter()
        .map(|header| header.number)
        .collect();
    numbers.sort_unstable();
    assert_eq!(numbers, [1, 2, 3, 4], "refusals left no hole");
    assert_eq!(last_checkpoint(&log.all()).unwrap().number, 4);
}

#[tokio::test]
async fn one_malformed_event_does_not_hold_up_the_others() {
    let (log, channel) = serve().await;
    log.call_malformed("bad");
    let outbox = Outbox::spawn(channel, config(100));
    for event_id in ["a", "b", "bad", "c", "d"] {
        let event = OutboxEvent {
            event_id: event_id.to_owned(),
            subject: None,
            occurred_at: NOW,
            payload: any_of("rapport.event.v1.AdImpression", &()),
            personal: None,
        };
        outbox.publish(event).unwrap();
    }
    outbox.flushed().await;
    let mut ids: Vec<_> = log.all().into_iter().map(|event| event.event_id).collect();
    ids.sort_unstable();
    assert_eq!(ids, ["a", "b", "c", "d"]);
}
