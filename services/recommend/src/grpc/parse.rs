//! Parsing requests: every bad field at once, and types that cannot be wrong.

use rapport_api::recommend::v1 as pb;
use rapport_rpc::{Fields, InvalidRequest};
use rapport_types::{Micros, SubjectId};
use recommend_domain::{
    Availability, FILTER_EXCLUDED_MAX, ITEM_ID_CHARS_MAX, Item, ItemFields, Violation, is_item_id,
    parse_category_path,
};

/// Longest placement, in characters.
pub const PLACEMENT_CHARS_MAX: usize = 64;
/// Items of one upsert.
pub const UPSERT_ITEMS_MAX: usize = 1_000;
/// Items that one request excludes.
pub const EXCLUDED_MAX: usize = 200;
const _: () = assert!(EXCLUDED_MAX <= FILTER_EXCLUDED_MAX);
/// Answers of one request, unless it says otherwise and at most.
const ANSWERS: PageSize = PageSize {
    default: 20,
    max: 100,
};
/// Timeline entries of one request.
const ENTRIES: PageSize = PageSize {
    default: 20,
    max: 200,
};
/// Catalogue items of one page.
const ITEMS: PageSize = PageSize {
    default: 100,
    max: 1_000,
};

#[derive(Debug, Clone, Copy)]
struct PageSize {
    default: u32,
    max: u32,
}

/// What to recommend.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecommendQuery {
    /// Whom for.
    pub subject: SubjectId,
    /// How many.
    pub limit: usize,
    /// Where.
    pub placement: String,
    /// Below which categories, at most one.
    pub categories: Vec<Vec<String>>,
    /// Without which items.
    pub exclude_ids: Vec<String>,
}

fn check_item_id(fields: &mut Fields, field: &str, id: &str) {
    if id.is_empty() {
        fields.refuse(field, "is required");
    } else if !is_item_id(id) {
        let why =
            format!("must have 1 to {ITEM_ID_CHARS_MAX} characters and no control characters");
        fields.refuse(field, why);
    }
}

fn limit(fields: &mut Fields, raw: i32, size: PageSize) -> usize {
    fields.page_size(raw, size.default, size.max) as usize
}

/// Parses `Recommend`.
///
/// # Errors
/// Every violation.
pub fn recommend(raw: pb::RecommendRequest) -> Result<RecommendQuery, InvalidRequest> {
    let mut fields = Fields::default();
    let subject = fields.subject("subject_id", &raw.subject_id);
    let limit = limit(&mut fields, raw.page_size, ANSWERS);
    let is_long = raw.placement.chars().count() > PLACEMENT_CHARS_MAX;
    if is_long || raw.placement.chars().any(char::is_control) {
        let why =
            format!("must have at most {PLACEMENT_CHARS_MAX} characters and no control characters");
        fields.refuse("placement", why);
    }
    let categories = match raw.category.as_str() {
        "" => Vec::new(),
        path => vec![parse_category_path(path)],
    };
    let excluded = raw.exclude_item_ids.len();
    if excluded > EXCLUDED_MAX {
        let why = format!("must have at most {EXCLUDED_MAX} entries, has {excluded}");
        fields.refuse("exclude_item_ids", why);
    }
    for (at, id) in raw.exclude_item_ids.iter().take(EXCLUDED_MAX).enumerate() {
        check_item_id(&mut fields, &format!("exclude_item_ids[{at}]"), id);
    }
    if let Some(why) = wrong_category(&categories) {
        fields.refuse("category", why);
    }
    fields.finish(RecommendQuery {
        subject,
        limit,
        placement: raw.placement,
        categories,
        exclude_ids: raw.exclude_item_ids,
    })
}

/// Checks a category by the rules of items: a path that no item may have is a mistake.
fn wrong_category(categories: &[Vec<String>]) -> Option<String> {
    let path = categories.first()?;
    let fields = ItemFields {
        id: "-".to_owned(),
        title: "-".to_owned(),
        category_path: path.clone(),
        ..ItemFields::default()
    };
    let bad = Item::parse(fields).err()?;
    Some(bad.first()?.reason.clone())
}

/// Parses a request about one item: the id and how many answers.
///
/// # Errors
/// Every violation.
pub fn about_item(item_id: String, page_size: i32) -> Result<(String, usize), InvalidRequest> {
    let mut fields = Fields::default();
    check_item_id(&mut fields, "item_id", &item_id);
    let limit = limit(&mut fields, page_size, ANSWERS);
    fields.finish((item_id, limit))
}

/// Parses `GetTimeline`.
///
/// # Errors
/// Every violation.
pub fn timeline(raw: &pb::GetTimelineRequest) -> Result<(SubjectId, usize), InvalidRequest> {
    let mut fields = Fields::default();
    let subject = fields.subject("subject_id", &raw.subject_id);
    let limit = limit(&mut fields, raw.page_size, ENTRIES);
    fields.finish((subject, limit))
}

/// Parses `GetItem`.
///
/// # Errors
/// Every violation.
pub fn get_item(raw: pb::GetItemRequest) -> Result<String, InvalidRequest> {
    let mut fields = Fields::default();
    check_item_id(&mut fields, "item_id", &raw.item_id);
    fields.finish(raw.item_id)
}

/// Parses `ListItems`: the id to go on after, and how many.
///
/// # Errors
/// Every violation.
pub fn list_items(raw: &pb::ListItemsRequest) -> Result<(String, usize), InvalidRequest> {
    let mut fields = Fields::default();
    let limit = limit(&mut fields, raw.page_size, ITEMS);
    let after = if raw.page_token.is_empty() {
        String::new()
    } else {
        read_token(&raw.page_token).unwrap_or_else(|| {
            fields.refuse("page_token", "must come from the page before");
            String::new()
        })
    };
    fields.finish((after, limit))
}

/// Parses `UpsertItems`: every violation of every item, as `items[3].title`.
///
/// # Errors
/// Every violation.
pub fn upsert_items(raw: pb::UpsertItemsRequest) -> Result<Vec<Item>, InvalidRequest> {
    let mut fields = Fields::default();
    fields.request_id(&raw.request_id);
    if raw.items.is_empty() || raw.items.len() > UPSERT_ITEMS_MAX {
        let why = format!(
            "must have 1 to {UPSERT_ITEMS_MAX} entries, has {}",
            raw.items.len()
        );
        fields.refuse("items", why);
    }
    let mut seen = std::collections::HashSet::new();
    let mut items = Vec::new();
    for (at, raw) in raw.items.into_iter().take(UPSERT_ITEMS_MAX).enumerate() {
        if !raw.item_id.is_empty() && !seen.insert(raw.item_id.clone()) {
            fields.refuse(&format!("items[{at}].item_id"), "is listed twice");
        }
        match Item::parse(to_fields(raw)) {
            Ok(item) => items.push(item),
            Err(bad) => {
                for Violation { field, reason } in bad {
                    fields.refuse(&format!("items[{at}].{}", wire_field(&field)), reason);
                }
            }
        }
    }
    fields.finish(items)
}

fn to_fields(raw: pb::Item) -> ItemFields {
    let (price, currency) = match raw.price {
        Some(money) => (Some(Micros(money.micros)), money.currency),
        None => (None, String::new()),
    };
    ItemFields {
        id: raw.item_id,
        title: raw.title,
        category_path: parse_category_path(&raw.category),
        brand: raw.brand,
        price,
        currency,
        availability: if raw.available {
            Availability::InStock
        } else {
            Availability::OutOfStock
        },
        tags: raw.tags,
    }
}

/// Says a field of the domain as the contract names it.
fn wire_field(field: &str) -> String {
    match field {
        "id" => "item_id".to_owned(),
        "price" => "price.micros".to_owned(),
        "currency" => "price.currency".to_owned(),
        path if path.starts_with("category_path") => "category".to_owned(),
        other => other.to_owned(),
    }
}

/// Starts every page token, so that a token of another kind or day is not misread.
const TOKEN_KIND: &[u8] = b"i1";

/// Returns the token of the page after `last`.
#[must_use]
pub fn write_token(last: &str) -> String {
    let bytes = [TOKEN_KIND, last.as_bytes()].concat();
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn read_token(token: &str) -> Option<String> {
    let digits = token.as_bytes();
    let digits_max = 2 * (TOKEN_KIND.len() + 4 * ITEM_ID_CHARS_MAX);
    if !digits.len().is_multiple_of(2) || digits.len() > digits_max {
        return None;
    }
    let nibble = |digit: u8| char::from(digit).to_digit(16);
    let byte = |pair: &[u8]| Some((nibble(pair[0])? * 16 + nibble(pair[1])?) as u8);
    let bytes: Vec<u8> = digits.chunks_exact(2).map(byte).collect::<Option<_>>()?;
    let last = bytes.strip_prefix(TOKEN_KIND)?;
    let last = String::from_utf8(last.to_vec()).ok()?;
    is_item_id(&last).then_some(last)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_round_trip_and_foreign_ones_are_refused() {
        for id in ["a", "85123A", "茶-1"] {
            assert_eq!(read_token(&write_token(id)).as_deref(), Some(id));
        }
        for foreign in ["a", "zz", "6931", "686461", &"61".repeat(300)] {
            assert_eq!(read_token(foreign), None, "{foreign}");
        }
    }
}
