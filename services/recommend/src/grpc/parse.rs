//! Parsing requests: every bad field at once, and types that cannot be wrong.

use rapport_api::recommend::v1 as pb;
use rapport_rpc::status::FieldViolation;
use rapport_types::{Micros, SubjectId};
use recommend_domain::{
    Availability, FILTER_EXCLUDED_MAX, ITEM_ID_CHARS_MAX, Item, ItemFields, Violation, is_item_id,
    parse_category_path,
};

use crate::error::Error;

/// Longest request id, in characters.
pub const REQUEST_ID_CHARS_MAX: usize = 64;
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
    default: usize,
    max: usize,
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

/// Collects the violations of one request.
#[derive(Debug, Default)]
pub struct Fields {
    bad: Vec<FieldViolation>,
}

impl Fields {
    /// Notes that `field` is wrong.
    pub fn refuse(&mut self, field: &str, why: impl ToString) {
        self.bad.push(FieldViolation::new(field, why.to_string()));
    }

    /// Parses a subject id.
    pub fn subject(&mut self, field: &str, bytes: &[u8]) -> SubjectId {
        SubjectId::parse(bytes).unwrap_or_else(|why| {
            self.refuse(field, why);
            SubjectId::new([0; 16])
        })
    }

    /// Checks an idempotency key.
    pub fn request_id(&mut self, text: &str) {
        let count = text.chars().count();
        if count == 0 {
            self.refuse("request_id", "is required");
        } else if count > REQUEST_ID_CHARS_MAX {
            let why = format!("must have at most {REQUEST_ID_CHARS_MAX} characters, has {count}");
            self.refuse("request_id", why);
        }
    }

    /// Checks an item id.
    pub fn item_id(&mut self, field: &str, id: &str) {
        if id.is_empty() {
            self.refuse(field, "is required");
        } else if !is_item_id(id) {
            let why =
                format!("must have 1 to {ITEM_ID_CHARS_MAX} characters and no control characters");
            self.refuse(field, why);
        }
    }

    fn limit(&mut self, raw: i32, size: PageSize) -> usize {
        match usize::try_from(raw) {
            Ok(0) => size.default,
            Ok(wanted) => wanted.min(size.max),
            Err(_) => {
                self.refuse("page_size", "must not be negative");
                size.default
            }
        }
    }

    /// Returns `value` if nothing was wrong.
    ///
    /// # Errors
    /// [`Error::InvalidRequest`] with every violation.
    pub fn finish<T>(self, value: T) -> Result<T, Error> {
        if self.bad.is_empty() {
            Ok(value)
        } else {
            Err(Error::InvalidRequest(self.bad))
        }
    }
}

/// Parses `Recommend`.
///
/// # Errors
/// [`Error::InvalidRequest`] with every violation.
pub fn recommend(raw: pb::RecommendRequest) -> Result<RecommendQuery, Error> {
    let mut fields = Fields::default();
    let subject = fields.subject("subject_id", &raw.subject_id);
    let limit = fields.limit(raw.page_size, ANSWERS);
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
        fields.item_id(&format!("exclude_item_ids[{at}]"), id);
    }
    fields.bad.extend(check_category(&categories));
    fields.finish(RecommendQuery {
        subject,
        limit,
        placement: raw.placement,
        categories,
        exclude_ids: raw.exclude_item_ids,
    })
}

/// Checks a category by the rules of items: a path that no item may have is a mistake.
fn check_category(categories: &[Vec<String>]) -> Option<FieldViolation> {
    let path = categories.first()?;
    let fields = ItemFields {
        id: "-".to_owned(),
        title: "-".to_owned(),
        category_path: path.clone(),
        ..ItemFields::default()
    };
    let bad = Item::parse(fields).err()?;
    Some(FieldViolation::new("category", bad.first()?.reason.clone()))
}

/// Parses a request about one item: the id and how many answers.
///
/// # Errors
/// [`Error::InvalidRequest`] with every violation.
pub fn about_item(item_id: String, page_size: i32) -> Result<(String, usize), Error> {
    let mut fields = Fields::default();
    fields.item_id("item_id", &item_id);
    let limit = fields.limit(page_size, ANSWERS);
    fields.finish((item_id, limit))
}

/// Parses `GetTimeline`.
///
/// # Errors
/// [`Error::InvalidRequest`] with every violation.
pub fn timeline(raw: &pb::GetTimelineRequest) -> Result<(SubjectId, usize), Error> {
    let mut fields = Fields::default();
    let subject = fields.subject("subject_id", &raw.subject_id);
    let limit = fields.limit(raw.page_size, ENTRIES);
    fields.finish((subject, limit))
}

/// Parses `GetItem`.
///
/// # Errors
/// [`Error::InvalidRequest`].
pub fn get_item(raw: pb::GetItemRequest) -> Result<String, Error> {
    let mut fields = Fields::default();
    fields.item_id("item_id", &raw.item_id);
    fields.finish(raw.item_id)
}

/// Parses `ListItems`: the id to go on after, and how many.
///
/// # Errors
/// [`Error::InvalidRequest`] with every violation.
pub fn list_items(raw: &pb::ListItemsRequest) -> Result<(String, usize), Error> {
    let mut fields = Fields::default();
    let limit = fields.limit(raw.page_size, ITEMS);
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
/// [`Error::InvalidRequest`].
pub fn upsert_items(raw: pb::UpsertItemsRequest) -> Result<Vec<Item>, Error> {
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
