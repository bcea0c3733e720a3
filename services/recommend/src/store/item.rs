//! The catalogue: items, and the version that every write raises.

use rapport_store::{Db, StoreError, Tx, on_db, on_tx};
use rapport_types::Micros;
use recommend_domain::{Availability, Item, ItemFields, parse_category_path};

const RAISE: &str =
    "update catalogue set version = version + 1 where name = 'items' returning version";
const VERSION: &str = "select version from catalogue where name = 'items'";
const UPSERT: &str = "insert into item
        (item_id, title, category, brand, price_micros, currency, available, tags, version)
    values ($1, $2, $3, $4, $5, $6, $7, $8, $9)
    on conflict (item_id) do update set title = excluded.title, category = excluded.category,
        brand = excluded.brand, price_micros = excluded.price_micros,
        currency = excluded.currency, available = excluded.available, tags = excluded.tags,
        version = excluded.version";
const GET: &str = "select item_id, title, category, brand, price_micros, currency, available, tags,
        version from item where item_id = $1";
const LIST: &str =
    "select item_id, title, category, brand, price_micros, currency, available, tags,
        version from item where item_id > $1 order by item_id limit $2";
const CHANGED: &str = "select item_id, title, category, brand, price_micros, currency, available,
        tags, version from item where (version, item_id) > ($1, $2)
    order by version, item_id limit $3";

type Row = (
    String,
    String,
    String,
    String,
    Option<i64>,
    String,
    bool,
    String,
    i64,
);

/// Inserts or replaces items and returns the catalogue's new version. Concurrent writers wait for
/// each other, so a reader that saw a version has everything up to it.
///
/// # Errors
/// [`StoreError`].
pub async fn upsert(tx: &mut Tx, items: &[Item]) -> Result<i64, StoreError> {
    let version: i64 = on_tx!(&mut *tx, |conn| sqlx::query_scalar(RAISE)
        .fetch_one(conn)
        .await)?;
    for item in items {
        let tags = serde_json::to_string(&item.tags).expect("a list of texts is JSON");
        on_tx!(&mut *tx, |conn| sqlx::query(UPSERT)
            .bind(item.id.as_str())
            .bind(item.title.as_str())
            .bind(item.category_path.join("/"))
            .bind(item.brand.as_str())
            .bind(item.price.map(|price| price.0))
            .bind(item.currency.as_str())
            .bind(item.availability.is_purchasable())
            .bind(tags)
            .bind(version)
            .execute(conn)
            .await
            .map(|_| ()))?;
    }
    Ok(version)
}

/// Returns the catalogue's version: how many writes it has seen.
///
/// # Errors
/// [`StoreError`].
pub async fn version(db: &Db) -> Result<i64, StoreError> {
    Ok(on_db!(db, |pool| sqlx::query_scalar(VERSION)
        .fetch_one(pool)
        .await)?)
}

/// Returns an item, `None` if there is none.
///
/// # Errors
/// [`StoreError`].
pub async fn get(db: &Db, item_id: &str) -> Result<Option<Item>, StoreError> {
    let row: Option<Row> = on_db!(db, |pool| sqlx::query_as(GET)
        .bind(item_id)
        .fetch_optional(pool)
        .await)?;
    Ok(row.and_then(to_item))
}

/// One page of items.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page {
    /// The items.
    pub items: Vec<Item>,
    /// Version and id of the last row that was read, when there are more.
    pub next: Option<(i64, String)>,
}

/// Returns up to `limit` items after the id `after` in the order of their ids.
///
/// # Errors
/// [`StoreError`].
pub async fn list(db: &Db, after: &str, limit: u32) -> Result<Page, StoreError> {
    let rows: Vec<Row> = on_db!(db, |pool| sqlx::query_as(LIST)
        .bind(after)
        .bind(i64::from(limit) + 1)
        .fetch_all(pool)
        .await)?;
    Ok(to_page(rows, limit))
}

/// Returns up to `limit` items written after `version`, or at it with a higher id, in that order.
///
/// # Errors
/// [`StoreError`].
pub async fn changed(
    db: &Db,
    (version, item_id): (i64, &str),
    limit: u32,
) -> Result<Page, StoreError> {
    let rows: Vec<Row> = on_db!(db, |pool| sqlx::query_as(CHANGED)
        .bind(version)
        .bind(item_id)
        .bind(i64::from(limit) + 1)
        .fetch_all(pool)
        .await)?;
    Ok(to_page(rows, limit))
}

/// `rows` has one more than the page when there are more.
fn to_page(mut rows: Vec<Row>, limit: u32) -> Page {
    let more = rows.len() > limit as usize;
    rows.truncate(limit as usize);
    let last = rows.last().filter(|_| more);
    let next = last.map(|(item_id, .., version)| (*version, item_id.clone()));
    Page {
        items: rows.into_iter().filter_map(to_item).collect(),
        next,
    }
}

/// Rows were checked when they were written; one that today's rules refuse is left out and said.
fn to_item(row: Row) -> Option<Item> {
    let (id, title, category, brand, price_micros, currency, available, tags, version) = row;
    let fields = ItemFields {
        id,
        title,
        category_path: parse_category_path(&category),
        brand,
        price: price_micros.map(Micros),
        currency,
        availability: if available {
            Availability::InStock
        } else {
            Availability::OutOfStock
        },
        tags: serde_json::from_str(&tags).unwrap_or_default(),
    };
    match Item::parse(fields) {
        Ok(item) => Some(item),
        Err(violations) => {
            let fields = violations.len();
            tracing::warn!(version, fields, "a stored item breaks today's rules");
            None
        }
    }
}
