//! What a catalogue item is, and the rules it must meet. Field names follow the Merchant Center feed.

use crate::items::{ITEM_ID_CHARS_MAX, is_item_id};
use rapport_types::{Currency, Micros};
use std::ops::Deref;

/// Longest title, in characters.
pub const TITLE_CHARS_MAX: usize = 256;
/// Longest brand, in characters (the Merchant Center limit).
pub const BRAND_CHARS_MAX: usize = 70;
/// Deepest category path.
pub const CATEGORY_DEPTH_MAX: usize = 8;
/// Longest name of one category level, in characters.
pub const CATEGORY_CHARS_MAX: usize = 100;
/// Most tags of one item.
pub const TAGS_MAX: usize = 32;
/// Longest tag, in characters.
pub const TAG_CHARS_MAX: usize = 64;
/// Highest price: ten million units of currency. A larger one is a unit mistake.
pub const PRICE_MAX: Micros = Micros::from_units(10_000_000);

/// One broken rule: the field by its wire name, and what is wrong with it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    /// The field, with an index for repeated ones: `tags[3]`.
    pub field: String,
    /// Lower case, no full stop.
    pub reason: String,
}

impl Violation {
    pub(crate) fn new(field: impl Into<String>, reason: impl Into<String>) -> Self {
        Self {
            field: field.into(),
            reason: reason.into(),
        }
    }
}

/// Whether an item can be bought. The names are the Merchant Center's.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub enum Availability {
    /// Ships now.
    #[default]
    InStock,
    /// Cannot be bought.
    OutOfStock,
    /// Can be bought, ships when released.
    Preorder,
    /// Can be bought, ships when restocked.
    Backorder,
}

impl Availability {
    /// Returns whether an order is accepted.
    #[must_use]
    pub const fn is_purchasable(self) -> bool {
        !matches!(self, Self::OutOfStock)
    }

    /// Returns the feed's name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::InStock => "in_stock",
            Self::OutOfStock => "out_of_stock",
            Self::Preorder => "preorder",
            Self::Backorder => "backorder",
        }
    }

    /// Parses the feed's name, `None` for any other text.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        [
            Self::InStock,
            Self::OutOfStock,
            Self::Preorder,
            Self::Backorder,
        ]
        .into_iter()
        .find(|availability| availability.name() == name)
    }
}

/// The fields of an item before anybody has checked them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ItemFields {
    /// The shop's own identifier, 1 to [`ITEM_ID_CHARS_MAX`] characters.
    pub id: String,
    /// What people read.
    pub title: String,
    /// From the widest category to the narrowest; may be empty.
    pub category_path: Vec<String>,
    /// May be empty.
    pub brand: String,
    /// The price for one, `None` for content that is not sold.
    pub price: Option<Micros>,
    /// ISO 4217; required with a price, empty without.
    pub currency: String,
    /// Whether it can be bought.
    pub availability: Availability,
    /// Free labels, unique.
    pub tags: Vec<String>,
}

/// A catalogue item that meets every rule; [`Item::parse`] is the only way in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Item(ItemFields);

impl Item {
    /// Checks every rule.
    ///
    /// # Errors
    /// Every violation at once, in field order.
    pub fn parse(fields: ItemFields) -> Result<Self, Vec<Violation>> {
        let mut bad = Vec::new();
        if !is_item_id(&fields.id) {
            let why =
                format!("must have 1 to {ITEM_ID_CHARS_MAX} characters and no control characters");
            bad.push(Violation::new("id", why));
        }
        check_text(&mut bad, "title", &fields.title, 1, TITLE_CHARS_MAX);
        check_path(&mut bad, "category_path", &fields.category_path);
        check_text(&mut bad, "brand", &fields.brand, 0, BRAND_CHARS_MAX);
        check_price(&mut bad, &fields);
        check_tags(&mut bad, &fields.tags);
        if bad.is_empty() {
            Ok(Self(fields))
        } else {
            Err(bad)
        }
    }

    /// Returns the price's currency, `None` without a price.
    #[must_use]
    pub fn currency(&self) -> Option<Currency> {
        self.0.price.and_then(|_| Currency::parse(&self.0.currency))
    }

    /// Gives the fields back, for a changed copy.
    #[must_use]
    pub fn into_fields(self) -> ItemFields {
        self.0
    }
}

impl Deref for Item {
    type Target = ItemFields;
    fn deref(&self) -> &ItemFields {
        &self.0
    }
}

fn check_text(bad: &mut Vec<Violation>, field: &str, text: &str, min: usize, max: usize) {
    let chars = text.chars().count();
    if !(min..=max).contains(&chars) || text.chars().any(char::is_control) {
        bad.push(Violation::new(
            field,
            format!("must have {min} to {max} characters and no control characters"),
        ));
    }
}

/// Splits the wire form of a category path, `tea/green`; an empty text is the empty path.
#[must_use]
pub fn parse_category_path(text: &str) -> Vec<String> {
    if text.is_empty() {
        Vec::new()
    } else {
        text.split('/').map(str::to_owned).collect()
    }
}

/// Checks a category path; shared with the filter, which takes the same paths.
pub(crate) fn check_path(bad: &mut Vec<Violation>, field: &str, path: &[String]) {
    if path.len() > CATEGORY_DEPTH_MAX {
        bad.push(Violation::new(
            field,
            format!("must have at most {CATEGORY_DEPTH_MAX} levels"),
        ));
    }
    for (at, level) in path.iter().take(CATEGORY_DEPTH_MAX).enumerate() {
        let field = format!("{field}[{at}]");
        // `/` joins the levels on the wire and in reasons, so a level may not contain it.
        if level.contains('/') {
            bad.push(Violation::new(field, "must not contain `/`"));
        } else {
            check_text(bad, &field, level, 1, CATEGORY_CHARS_MAX);
        }
    }
}

fn check_price(bad: &mut Vec<Violation>, fields: &ItemFields) {
    match fields.price {
        Some(price) => {
            if !(Micros::ZERO..=PRICE_MAX).contains(&price) {
                bad.push(Violation::new(
                    "price",
                    format!("must be between 0 and {PRICE_MAX}"),
                ));
            }
            if Currency::parse(&fields.currency).is_none() {
                bad.push(Violation::new(
                    "currency",
                    "must be an ISO 4217 code in capitals",
                ));
            }
        }
        None if !fields.currency.is_empty() => {
            bad.push(Violation::new("currency", "must be empty without a price"));
        }
        None => {}
    }
}

fn check_tags(bad: &mut Vec<Violation>, tags: &[String]) {
    if tags.len() > TAGS_MAX {
        bad.push(Violation::new(
            "tags",
            format!("must have at most {TAGS_MAX} entries"),
        ));
    }
    for (at, tag) in tags.iter().take(TAGS_MAX).enumerate() {
        let field = format!("tags[{at}]");
        check_text(bad, &field, tag, 1, TAG_CHARS_MAX);
        if tags[..at].contains(tag) {
            bad.push(Violation::new(field, "is listed twice"));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mug() -> ItemFields {
        ItemFields {
            id: "85123A".to_owned(),
            title: "White mug".to_owned(),
            category_path: vec!["Home".to_owned(), "Kitchen".to_owned()],
            price: Some(Micros(2_550_000)),
            currency: "GBP".to_owned(),
            tags: vec!["gift".to_owned()],
            ..ItemFields::default()
        }
    }

    #[track_caller]
    fn check(change: impl FnOnce(&mut ItemFields), expected: &[&str]) {
        let mut fields = mug();
        change(&mut fields);
        let bad = Item::parse(fields).err().unwrap_or_default();
        assert_eq!(
            bad.iter()
                .map(|violation| violation.field.as_str())
                .collect::<Vec<_>>(),
            expected
        );
    }

    #[test]
    fn every_rule_names_its_field() {
        check(|_| {}, &[]);
        check(|item| item.id.clear(), &["id"]);
        check(|item| item.title = "x".repeat(257), &["title"]);
        check(|item| item.brand = "x".repeat(71), &["brand"]);
        check(
            |item| item.category_path = vec!["a".to_owned(); 9],
            &["category_path"],
        );
        check(
            |item| item.category_path[1] = "a/b".to_owned(),
            &["category_path[1]"],
        );
        check(|item| item.price = Some(Micros(-1)), &["price"]);
        check(|item| item.currency = "gbp".to_owned(), &["currency"]);
        check(|item| item.price = None, &["currency"]);
        check(|item| item.tags.push("gift".to_owned()), &["tags[1]"]);
        check(
            |item| item.tags = (0..33).map(|tag| tag.to_string()).collect(),
            &["tags"],
        );
    }

    #[test]
    fn all_violations_come_at_once() {
        let empty = ItemFields {
            price: Some(PRICE_MAX + Micros(1)),
            ..ItemFields::default()
        };
        let fields: Vec<_> = Item::parse(empty)
            .unwrap_err()
            .into_iter()
            .map(|bad| bad.field)
            .collect();
        assert_eq!(fields, ["id", "title", "price", "currency"]);
    }

    #[test]
    fn the_wire_form_of_a_path_keeps_its_mistakes_visible() {
        assert_eq!(parse_category_path("tea/green"), ["tea", "green"]);
        assert!(parse_category_path("").is_empty());
        check(
            |item| item.category_path = parse_category_path("tea//green"),
            &["category_path[1]"],
        );
    }

    #[test]
    fn availability_names_round_trip() {
        for name in ["in_stock", "out_of_stock", "preorder", "backorder"] {
            assert_eq!(
                Availability::parse(name).map(Availability::name),
                Some(name)
            );
        }
        assert_eq!(Availability::parse("sold"), None);
        assert!(!Availability::OutOfStock.is_purchasable());
    }
}
