//! What follows an order days later: a refund, a review, a message.

use rapport_math::Rng;
use rapport_types::UnixMillis;

use super::SessionStart;
use crate::catalogue::{Catalogue, Item};
use crate::event::{Body, Line, TownEvent};
use crate::messages::{Intent, message_templates};
use crate::shopper::{Language, Shopper};

const HOUR_MS: i64 = 3_600_000;
/// How often each intent is written about, in the order of [`Intent::ALL`].
const INTENT_WEIGHTS: [f64; Intent::ALL.len()] = [3.0, 1.5, 1.0, 3.0, 1.0, 1.5, 1.0, 1.0, 1.0, 0.5];

/// Draws what follows an order, each a day to eight days later.
pub(crate) fn follow_ups(
    catalogue: &Catalogue,
    shopper: &Shopper,
    start: &SessionStart,
    (seed, mut rng): (u64, Rng),
    order: &TownEvent,
) -> Vec<TownEvent> {
    let Body::Purchase { order_id, lines } = &order.body else {
        return Vec::new();
    };
    let Some(item) = lines.first().and_then(|line| catalogue.find(&line.item_id)) else {
        return Vec::new();
    };
    let item = &catalogue.items()[item];
    let mut events = Vec::new();
    let mut later = |rng: &mut Rng, place: &str, body: Body| {
        let at: UnixMillis = order
            .at
            .plus(24 * HOUR_MS + rng.below(7 * 24 * HOUR_MS as u64) as i64);
        events.push(start.event(seed, place, at, body));
    };
    if rng.chance(0.15) {
        let review = review(&mut rng, shopper, item, lines);
        later(&mut rng, "review", review);
    }
    let refunded = rng.chance(0.06);
    if refunded {
        let back = Body::Refund {
            order_id: order_id.clone(),
            lines: lines.clone(),
        };
        later(&mut rng, "refund", back);
    }
    // Who sends something back tends to say so; of the others a few ask where the parcel is.
    let about = if refunded {
        Intent::Refund
    } else {
        Intent::Delivery
    };
    if rng.chance(if refunded { 0.6 } else { 0.06 }) {
        let message = message(&mut rng, shopper, item, order_id, Some(about));
        later(&mut rng, "message", message);
    }
    events
}

/// Draws a message: of the given intent, else of any, in the shopper's language.
pub(super) fn message(
    rng: &mut Rng,
    shopper: &Shopper,
    item: &Item,
    order_id: &str,
    about: Option<Intent>,
) -> Body {
    let intent = about.unwrap_or_else(|| Intent::ALL[rng.weighted(&INTENT_WEIGHTS)]);
    let texts = message_templates(shopper.language)
        .iter()
        .filter(|text| text.intent == intent);
    let texts: Vec<_> = texts.collect(); // never empty: a test holds six of every intent
    let template = texts[rng.below(texts.len() as u64) as usize];
    Body::Message {
        message_id: format!("M{:016x}", rng.next_u64()),
        text: template.filled(item.title(shopper.language), order_id),
        language: shopper.language,
        intent,
        emotion: template.emotion,
    }
}

fn review(rng: &mut Rng, shopper: &Shopper, item: &Item, lines: &[Line]) -> Body {
    let content = 0.75 + 0.2 * libm::tanh(shopper.affinity(item) - 1.0);
    let good = rng.chance(content);
    let rating = if good {
        4 + rng.below(2)
    } else {
        1 + rng.below(3)
    } as u32;
    let texts = match (shopper.language, good) {
        (Language::Chinese, true) => ["很好用，推荐购买", "质量不错，物超所值", "和描述一致，喜欢"],
        (Language::Chinese, false) => [
            "一般般，不太值",
            "有点失望，和想的不一样",
            "用了两天就出问题",
        ],
        (Language::English, true) => [
            "Very good, recommended",
            "Great quality for the price",
            "As described, love it",
        ],
        (Language::English, false) => [
            "Not really worth it",
            "A bit disappointing",
            "Stopped working after two days",
        ],
    };
    let text = texts[rng.below(3) as usize].to_owned();
    Body::Review {
        item_id: lines[0].item_id.clone(),
        rating,
        text,
    }
}
