//! Measures how fast a projection applies events in memory, without network or disk:
//! `cargo run --example replay -p rapport-flow [events]`.

use std::time::Instant;

use rapport_api::event::v1::EventRecord;
use rapport_flow::{DecodeError, Projection, replay};
use rapport_math::Rng;
use rapport_types::SubjectId;

/// The last 50 event times of a subject: about what a timeline costs.
#[derive(Debug)]
struct Timeline;

impl Projection for Timeline {
    const NAME: &'static str = "timeline";
    const VERSION: u32 = 1;
    const TYPES: &'static [&'static str] = &["view_item"];
    type State = Vec<i64>;

    fn apply(&self, _key: &[u8], state: &mut Vec<i64>, event: &EventRecord) {
        if state.len() == 50 {
            state.remove(0);
        }
        state.push(event.occurred_at_ms);
    }

    fn encode(state: &Vec<i64>) -> Vec<u8> {
        state.iter().flat_map(|time| time.to_le_bytes()).collect()
    }

    fn decode(bytes: &[u8]) -> Result<Vec<i64>, DecodeError> {
        let times = bytes
            .chunks_exact(8)
            .map(|time| Ok(i64::from_le_bytes(time.try_into()?)));
        times.collect()
    }
}

#[expect(clippy::print_stdout, reason = "the result of a measurement")]
fn main() {
    let count: u64 = std::env::args()
        .nth(1)
        .and_then(|text| text.parse().ok())
        .unwrap_or(1_000_000);
    let mut rng = Rng::seeded(1);
    let subjects: Vec<SubjectId> = (0..10_000).map(|_| SubjectId::new(rng.bytes())).collect();
    let mut sequences = [0; 64];
    let mut event = |at: u64| {
        let subject = subjects[rng.below(subjects.len() as u64) as usize];
        let partition = subject.partition();
        sequences[partition as usize] += 1;
        EventRecord {
            partition,
            sequence: sequences[partition as usize],
            r#type: "view_item".to_owned(),
            subject_id: subject.to_vec().into(),
            occurred_at_ms: at as i64,
            ..EventRecord::default()
        }
    };
    let events: Vec<EventRecord> = (0..count).map(&mut event).collect();
    let started = Instant::now();
    let states = replay(&Timeline, &events);
    let seconds = started.elapsed().as_secs_f64();
    let rate = count as f64 / seconds;
    println!(
        "{count} events, {} states, {seconds:.3} s, {rate:.0} events/s",
        states.len()
    );
}
