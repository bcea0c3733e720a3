//! From an event to what was done with which item.

use prost::Message;
use rapport_api::event::v1::{
    AddToCart, AddToWishlist, Dislike, EventRecord, OrderLine, Purchase, Refund, Review,
    SelectItem, Share, ViewItem,
};
use recommend_domain::{Kind, WEIGHT_MAX_MILLI, WEIGHT_ONE_MILLI, is_item_id};

/// The events that say something about items.
pub const TYPES: &[&str] = &[
    "view_item",
    "select_item",
    "add_to_cart",
    "add_to_wishlist",
    "share",
    "purchase",
    "refund",
    "dislike",
    "review",
];

/// Lines read of one order: the contract's limit.
const LINES_MAX: usize = 100;
/// Stars from which a review is a favourite.
const LIKED_MIN: u32 = 4;
/// Stars up to which a review is a dislike; 0 is no rating.
const DISLIKED_MAX: u32 = 2;

/// One thing done with one item.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Feedback {
    /// The item.
    pub item_id: String,
    /// What was done.
    pub kind: Kind,
    /// Quantity in thousandths; one where there is none.
    pub weight_milli: u32,
}

/// Returns what an event says about items, in the order of its lines. Nothing for an unknown type,
/// a payload that does not decode, an id that names no item or a quantity below one: the log stores
/// what it is given, and a projection must not stop at it.
///
/// A chosen item was looked at. A review counts as a favourite from four stars, as a dislike up to
/// two, and otherwise as a look.
#[must_use]
pub fn of(event: &EventRecord) -> Vec<Feedback> {
    let mut feedback = read(event).unwrap_or_default();
    feedback.retain(|feedback| is_item_id(&feedback.item_id));
    feedback
}

fn read(event: &EventRecord) -> Option<Vec<Feedback>> {
    let payload = event.payload.as_ref();
    let one = |item_id: String, kind| vec![once(item_id, kind)];
    Some(match event.r#type.as_str() {
        "view_item" => one(ViewItem::decode(payload).ok()?.item_id, Kind::View),
        "select_item" => one(SelectItem::decode(payload).ok()?.item_id, Kind::View),
        "add_to_cart" => lines(AddToCart::decode(payload).ok()?.line.as_slice(), Kind::Cart),
        "add_to_wishlist" => one(
            AddToWishlist::decode(payload).ok()?.item_id,
            Kind::Favourite,
        ),
        "share" => one(Share::decode(payload).ok()?.item_id, Kind::Share),
        "purchase" => lines(&Purchase::decode(payload).ok()?.lines, Kind::Purchase),
        "refund" => lines(&Refund::decode(payload).ok()?.lines, Kind::Refund),
        "dislike" => one(Dislike::decode(payload).ok()?.item_id, Kind::Dislike),
        "review" => {
            let review = Review::decode(payload).ok()?;
            one(review.item_id, kind_of_rating(review.rating))
        }
        _ => return None,
    })
}

fn kind_of_rating(rating: u32) -> Kind {
    match rating {
        0 => Kind::View,
        1..=DISLIKED_MAX => Kind::Dislike,
        LIKED_MIN.. => Kind::Favourite,
        _ => Kind::View,
    }
}

fn once(item_id: String, kind: Kind) -> Feedback {
    Feedback {
        item_id,
        kind,
        weight_milli: WEIGHT_ONE_MILLI,
    }
}

fn lines(lines: &[OrderLine], kind: Kind) -> Vec<Feedback> {
    let feedback = |line: &OrderLine| {
        let milli = line.quantity.saturating_mul(i64::from(WEIGHT_ONE_MILLI));
        Feedback {
            item_id: line.item_id.clone(),
            kind,
            weight_milli: milli.min(i64::from(WEIGHT_MAX_MILLI)) as u32,
        }
    };
    let lines = lines.iter().take(LINES_MAX);
    lines
        .filter(|line| line.quantity >= 1)
        .map(feedback)
        .collect()
}
