//! Numbers, ids and request sizes; sending is tested against a real server in `tests/`.

use rapport_types::ManualClock;

use super::numbering::Numbering;
use super::send::{BATCH_BYTES_MAX, split_by_bytes};
use super::*;

fn numbering(seed: u64) -> Numbering {
    Numbering::new(&OutboxConfig {
        service: "ads",
        replica: "ads-0".to_owned(),
        clock: Arc::new(ManualClock::at(UnixMillis(0x0192_1234_5678))),
        rng: Rng::seeded(seed),
        queue_max: 1,
    })
}

#[test]
fn a_decision_id_is_a_uuid_version_7() {
    let (numbering, mut last) = (numbering(1), None);
    for _ in 0..100 {
        let id = numbering.new_id();
        let bytes = id.as_bytes();
        assert_eq!(
            bytes[..6],
            [0x01, 0x92, 0x12, 0x34, 0x56, 0x78],
            "the time leads"
        );
        assert_eq!(
            (bytes[6] >> 4, bytes[8] >> 6),
            (7, 0b10),
            "version and variant"
        );
        assert_ne!(last.replace(id), Some(id));
    }
}

#[test]
fn the_same_seed_and_clock_give_the_same_ids() {
    assert_eq!(numbering(4).new_id(), numbering(4).new_id());
    assert_ne!(numbering(4).new_id(), numbering(5).new_id());
}

#[test]
fn a_checkpoint_id_fits_however_long_the_replicas_name_is() {
    let mut config = OutboxConfig {
        service: "recommend",
        replica: "x".repeat(253),
        clock: Arc::new(ManualClock::default()),
        rng: Rng::seeded(1),
        queue_max: 1,
    };
    let long = Numbering::new(&config).checkpoint(u64::MAX).event_id;
    assert!(long.len() <= 64, "{long}");
    config.replica.push('y');
    assert_ne!(long, Numbering::new(&config).checkpoint(u64::MAX).event_id);
}

#[test]
fn requests_stay_within_their_size_and_keep_the_order() {
    let event = |n: usize, bytes: usize| NewEvent {
        event_id: n.to_string(),
        payload: Some(Any {
            type_url: String::new(),
            value: vec![0; bytes],
        }),
        ..NewEvent::default()
    };
    let sizes = [10, BATCH_BYTES_MAX, 10, 10, BATCH_BYTES_MAX - 100, 200];
    let events: Vec<_> = sizes
        .into_iter()
        .enumerate()
        .map(|(n, size)| event(n, size))
        .collect();
    let requests = split_by_bytes(events);
    let ids: Vec<String> = requests
        .iter()
        .map(|request| {
            request
                .iter()
                .map(|event| event.event_id.as_str())
                .collect()
        })
        .collect();
    // One too large for company goes alone.
    assert_eq!(ids, ["0", "1", "234", "5"]);
}
