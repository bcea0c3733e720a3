//! Applying events to nothing but memory: for rebuilding models, for tests, and to measure speed.

use std::collections::HashMap;

use rapport_api::event::v1::EventRecord;
use rapport_types::PARTITIONS;

use super::Projection;
use super::table::{Dirty, Table};

/// Returns the states that a projection gives for events, by partition and key. Each partition's
/// events must be in order; erasures among them are obeyed. The truth that every run must equal.
#[must_use]
pub fn replay<P: Projection>(
    projection: &P,
    events: &[EventRecord],
) -> HashMap<(u32, Box<[u8]>), P::State> {
    let table = Table::new();
    let mut dirty = Dirty::new();
    for event in events {
        if event.partition < PARTITIONS {
            let one = std::slice::from_ref(event);
            table.apply(projection, event.partition, one, &mut dirty);
        }
    }
    (0..PARTITIONS)
        .flat_map(|partition| {
            let states = table.all(partition).into_iter();
            states.map(move |(key, state)| ((partition, key), P::State::clone(&state)))
        })
        .collect()
}
