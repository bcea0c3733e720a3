//! What evaluate keeps of the log. `journey` and `totals` are the states and how they fold,
//! `journeys` and `shop` say what each event does to them. Pure: no clock, no consent, no I/O;
//! whom a report may count is decided when it is read.

mod journey;
mod journeys;
mod shop;
#[cfg(test)]
pub(crate) mod tests;
mod totals;

pub use journey::{AdTouch, Answer, FirstSeen, Journey, Order, Stage};
pub use journeys::Journeys;
pub use shop::Shop;
pub use totals::{DayMoney, Key, Numbers, Shown, Totals};

use prost::Message;
use rapport_api::event::v1::{EventRecord, OrderLine};
use rapport_math::stable_hash64;

/// The first byte of every stored state: another number is another format.
const FORMAT: u8 = 1;

/// Why stored bytes are no state.
#[derive(Debug, thiserror::Error)]
#[error("a stored state has format {0:?}, not {FORMAT}")]
struct UnknownFormat(Option<u8>);

fn encode(state: &impl serde::Serialize) -> Vec<u8> {
    postcard::to_extend(state, vec![FORMAT]).expect("a state has no unserialisable part")
}

fn decode<S: serde::de::DeserializeOwned>(bytes: &[u8]) -> Result<S, rapport_flow::DecodeError> {
    match bytes.split_first() {
        Some((&FORMAT, state)) => Ok(postcard::from_bytes(state)?),
        other => Err(Box::new(UnknownFormat(other.map(|(format, _)| *format)))),
    }
}

/// Returns an event's payload, `None` if it is not what its type says: such an event counts for
/// nothing, rather than stop the log.
fn payload<M: Message + Default>(event: &EventRecord) -> Option<M> {
    M::decode(event.payload.as_ref()).ok()
}

/// Returns what an order is known by. An event without the id of an order is one of its own: the
/// contract does not ask for an id, and all of a person's orders must not become one.
fn order_hash(event: &EventRecord, order_id: &str) -> u64 {
    match order_id {
        "" => event_hash(event),
        id => stable_hash64(&[id.as_bytes()]),
    }
}

/// Returns a hash of an event's id, which is unique per source.
fn event_hash(event: &EventRecord) -> u64 {
    stable_hash64(&[event.source.as_bytes(), event.event_id.as_bytes()])
}

/// Returns what lines cost together, in millionths, saturating.
fn amount(lines: &[OrderLine]) -> i64 {
    let cost = |line: &OrderLine| i128::from(line.quantity) * i128::from(line.unit_price_micros);
    let sum = lines.iter().map(cost).fold(0, i128::saturating_add);
    sum.clamp(i128::from(i64::MIN), i128::from(i64::MAX)) as i64
}
