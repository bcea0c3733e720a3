//! How much each item is wanted lately, by everybody: counts that belong to nobody.
//!
//! Counts carry no subject, so they need no consent and survive an erasure. Partial counts of one
//! item lie in up to 64 partitions; readers add them up.

use bytes::Bytes;
use rapport_api::event::v1::EventRecord;
use rapport_flow::{DecodeError, Projection};
use rapport_types::{SubjectId, UnixMillis};
use recommend_domain::{ItemIdx, Items, Kind, Popularity};

use super::feedback;

/// Items counted of one event; the projection's limit. A longer order is a wholesaler's.
const ITEMS_PER_EVENT_MAX: usize = 20;
/// The index of a state's one item.
const ITEM: ItemIdx = ItemIdx(0);
/// Stands for the item in a stored state: the key says which one it is.
const NAME_IN_STATE: &str = "-";

/// The projection.
#[derive(Debug, Clone, Copy, Default)]
pub struct ItemPopularity;

/// The counts of one item in one partition.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Counts(Popularity);

impl Counts {
    /// Adds these counts to those of `item` in `into`.
    pub fn add_to(&self, into: &mut Popularity, item: ItemIdx) {
        for (bucket, milli) in self.0.buckets(ITEM) {
            into.add(item, bucket, milli);
        }
    }
}

/// What one interaction counts, in thousandths: what it says about taste, whatever the quantity. A
/// refund takes a purchase back.
fn weight_milli(kind: Kind) -> i64 {
    let strength = match kind {
        Kind::Refund => -Kind::Purchase.strength(),
        Kind::View
        | Kind::Cart
        | Kind::Purchase
        | Kind::Favourite
        | Kind::Share
        | Kind::Dislike => kind.strength(),
    };
    (strength * 1_000.0) as i64
}

impl Projection for ItemPopularity {
    const NAME: &'static str = "recommend_popularity";
    const VERSION: u32 = 1;
    const TYPES: &'static [&'static str] = feedback::TYPES;
    type State = Counts;

    fn keys(&self, event: &EventRecord, keys: &mut Vec<Bytes>) {
        for feedback in feedback::of(event) {
            if keys.len() >= ITEMS_PER_EVENT_MAX {
                return;
            }
            let key = Bytes::from(feedback.item_id);
            if weight_milli(feedback.kind) != 0 && !keys.contains(&key) {
                keys.push(key);
            }
        }
    }

    fn apply(&self, key: &[u8], state: &mut Counts, event: &EventRecord) {
        let occurred_at = UnixMillis(event.occurred_at_ms);
        for feedback in feedback::of(event) {
            if feedback.item_id.as_bytes() == key {
                state.0.add(ITEM, occurred_at, weight_milli(feedback.kind));
            }
        }
    }

    fn encode(state: &Counts) -> Vec<u8> {
        let mut items = Items::default();
        items.intern(NAME_IN_STATE).expect("it is an item id");
        state.0.to_bytes(&items)
    }

    fn decode(bytes: &[u8]) -> Result<Counts, DecodeError> {
        let mut items = Items::default();
        Ok(Counts(Popularity::from_bytes(bytes, &mut items)?))
    }

    fn erased(&self, _subject: SubjectId) -> Option<Bytes> {
        None
    }
}
