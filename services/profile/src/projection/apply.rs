//! From a log record to what the domain learns from it: one arm per event type.

use profile_domain::{Action, AgeBand, Behaviour, ITEMS_MAX, ItemRef, ProfileEvent, ProfileState};
use prost::{DecodeError, Message};
use rapport_api::event::v1 as events;
use rapport_types::{Micros, UnixMillis};

/// Adds one event to a state. Types that say nothing about the subject's doings are ignored.
///
/// # Errors
/// When the payload is not what its type says: nothing was added.
pub(super) fn apply(
    state: &mut ProfileState,
    record: &events::EventRecord,
) -> Result<(), DecodeError> {
    let payload = record.payload.as_ref();
    let mut learn = |channel: i32, behaviour: Behaviour<'_>| {
        state.apply(&ProfileEvent {
            event_id: &record.event_id,
            event_type: &record.r#type,
            occurred_at: UnixMillis(record.occurred_at_ms),
            channel: u8::try_from(channel).unwrap_or(0),
            device: "",
            behaviour,
        });
    };
    match record.r#type.as_str() {
        "view_item" => {
            let event = events::ViewItem::decode(payload)?;
            let items = [item(&event.category)];
            learn(event.channel, Behaviour::Items(Action::View, &items));
        }
        "select_item" => {
            let event = events::SelectItem::decode(payload)?;
            learn(
                0,
                Behaviour::Items(Action::Select, &[item(&event.category)]),
            );
        }
        "add_to_cart" => {
            let event = events::AddToCart::decode(payload)?;
            let line = event.line.unwrap_or_default();
            learn(0, Behaviour::Items(Action::Cart, &[item(&line.category)]));
        }
        "add_to_wishlist" => {
            let event = events::AddToWishlist::decode(payload)?;
            learn(
                0,
                Behaviour::Items(Action::Wishlist, &[item(&event.category)]),
            );
        }
        "purchase" | "refund" => money(&record.r#type, payload, learn)?,
        "sign_up" => {
            let event = events::SignUp::decode(payload)?;
            let behaviour = Behaviour::Attributes {
                language: &event.language,
                region: &event.region,
                age_band: match event.age_band() {
                    events::AgeBand::Unspecified => AgeBand::Unknown,
                    events::AgeBand::Minor => AgeBand::Minor,
                    events::AgeBand::Adult => AgeBand::Adult,
                },
            };
            learn(event.channel, behaviour);
        }
        _ => {
            if let Some(channel) = seen(&record.r#type, payload)? {
                learn(channel, Behaviour::Seen);
            }
        }
    }
    Ok(())
}

/// Learns from an order or from money that went back.
fn money(
    name: &str,
    payload: &[u8],
    mut learn: impl FnMut(i32, Behaviour<'_>),
) -> Result<(), DecodeError> {
    if name == "purchase" {
        let event = events::Purchase::decode(payload)?;
        let behaviour = Behaviour::Purchase {
            order_id: &event.order_id,
            currency: &event.currency,
            amount: amount(&event.lines),
            items: &items(&event.lines),
        };
        learn(event.channel, behaviour);
    } else {
        let event = events::Refund::decode(payload)?;
        let behaviour = Behaviour::Refund {
            currency: &event.currency,
            amount: amount(&event.lines),
            items: &items(&event.lines),
        };
        learn(0, behaviour);
    }
    Ok(())
}

/// Returns the channel of an event that only says that the subject was there; `None` for a type that
/// is not of the subject's doing.
fn seen(name: &str, payload: &[u8]) -> Result<Option<i32>, DecodeError> {
    let channel = match name {
        "view_item_list" => events::ViewItemList::decode(payload).map(|_| 0)?,
        "remove_from_cart" => events::RemoveFromCart::decode(payload).map(|_| 0)?,
        "dislike" => events::Dislike::decode(payload).map(|_| 0)?,
        "share" => events::Share::decode(payload)?.channel,
        "search" => events::Search::decode(payload).map(|_| 0)?,
        "review" => events::Review::decode(payload).map(|_| 0)?,
        "sign_in" => events::SignIn::decode(payload)?.channel,
        "message_received" => events::MessageReceived::decode(payload)?.channel,
        "emotion_observed" => events::EmotionObserved::decode(payload).map(|_| 0)?,
        "ad_click" => events::AdClick::decode(payload).map(|_| 0)?,
        _ => return Ok(None),
    };
    Ok(Some(channel))
}

fn item(category: &str) -> ItemRef<'_> {
    ItemRef {
        category,
        ..ItemRef::default()
    }
}

fn items(lines: &[events::OrderLine]) -> Vec<ItemRef<'_>> {
    let lines = lines.iter().take(ITEMS_MAX);
    lines.map(|line| item(&line.category)).collect()
}

/// Returns the money of order lines, held at the ends of the range: a total that does not fit is no
/// total, and must not wrap around into another.
fn amount(lines: &[events::OrderLine]) -> Micros {
    let line = |line: &events::OrderLine| line.quantity.saturating_mul(line.unit_price_micros);
    Micros(lines.iter().map(line).fold(0, i64::saturating_add))
}
