//! Campaigns and line items as they were written, and the version that tells replicas to look.

use rapport_store::{Db, StoreError, Tx, on_db, on_tx};

/// Rows read in one page.
const PAGE_ROWS: i64 = 1_000;

const VERSION: &str = "select version from catalogue where name = 'campaigns'";
const RAISE: &str = "update catalogue set version = version + 1 where name = 'campaigns'";
const CAMPAIGNS: &str = "select campaign_id, definition from campaign
    where campaign_id > $1 order by campaign_id limit $2";
const LINE_ITEMS: &str = "select line_item_id, definition from line_item
    where line_item_id > $1 order by line_item_id limit $2";
const CAMPAIGN: &str = "select definition from campaign where campaign_id = $1";
const LINE_ITEM: &str = "select definition from line_item where line_item_id = $1";
const CAMPAIGN_COUNT: &str = "select count(*) from campaign";
const LINE_ITEM_COUNT: &str = "select count(*) from line_item";
const BYTES_BESIDE: &str = "select cast(coalesce(sum(length(definition)), 0) as bigint)
    from line_item where campaign_id = $1 and line_item_id <> $2";
const PUT_CAMPAIGN: &str = "insert into campaign (campaign_id, definition) values ($1, $2)
    on conflict (campaign_id) do update set definition = excluded.definition";
const PUT_LINE_ITEM: &str = "insert into line_item (line_item_id, campaign_id, definition)
    values ($1, $2, $3) on conflict (line_item_id) do update
    set campaign_id = excluded.campaign_id, definition = excluded.definition";

/// Which of the two kinds of definition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Campaigns.
    Campaign,
    /// Line items.
    LineItem,
}

/// Returns the version of the catalogue: it rises with every write.
///
/// # Errors
/// [`StoreError`].
pub async fn version(db: &Db) -> Result<i64, StoreError> {
    Ok(on_db!(db, |pool| sqlx::query_scalar(VERSION)
        .fetch_one(pool)
        .await)?)
}

/// Returns every definition of a kind, in the order of the ids.
///
/// # Errors
/// [`StoreError`].
pub async fn all(db: &Db, kind: Kind) -> Result<Vec<Vec<u8>>, StoreError> {
    let text = match kind {
        Kind::Campaign => CAMPAIGNS,
        Kind::LineItem => LINE_ITEMS,
    };
    let (mut after, mut found) = (String::new(), Vec::new());
    loop {
        let rows: Vec<(String, Vec<u8>)> = on_db!(db, |pool| sqlx::query_as(text)
            .bind(after.as_str())
            .bind(PAGE_ROWS)
            .fetch_all(pool)
            .await)?;
        let is_full = rows.len() as i64 == PAGE_ROWS;
        for (id, definition) in rows {
            after = id;
            found.push(definition);
        }
        if !is_full {
            return Ok(found);
        }
    }
}

/// Returns a definition, `None` if there is none.
///
/// # Errors
/// [`StoreError`].
pub async fn find(tx: &mut Tx, kind: Kind, id: &str) -> Result<Option<Vec<u8>>, StoreError> {
    let text = match kind {
        Kind::Campaign => CAMPAIGN,
        Kind::LineItem => LINE_ITEM,
    };
    Ok(on_tx!(tx, |conn| sqlx::query_scalar(text)
        .bind(id)
        .fetch_optional(conn)
        .await)?)
}

/// Locks the catalogue against other writers until the transaction ends, and raises its version.
///
/// # Errors
/// [`StoreError`].
pub async fn lock(tx: &mut Tx) -> Result<(), StoreError> {
    on_tx!(tx, |conn| sqlx::query(RAISE)
        .execute(conn)
        .await
        .map(|_| ()))?;
    Ok(())
}

/// Returns how many definitions of a kind there are.
///
/// # Errors
/// [`StoreError`].
pub async fn count(tx: &mut Tx, kind: Kind) -> Result<i64, StoreError> {
    let text = match kind {
        Kind::Campaign => CAMPAIGN_COUNT,
        Kind::LineItem => LINE_ITEM_COUNT,
    };
    Ok(on_tx!(tx, |conn| sqlx::query_scalar(text)
        .fetch_one(conn)
        .await)?)
}

/// Returns the bytes of the definitions of a campaign's line items, but for one of them.
///
/// # Errors
/// [`StoreError`].
pub async fn bytes_beside(
    tx: &mut Tx,
    campaign_id: &str,
    line_item_id: &str,
) -> Result<i64, StoreError> {
    Ok(on_tx!(tx, |conn| sqlx::query_scalar(BYTES_BESIDE)
        .bind(campaign_id)
        .bind(line_item_id)
        .fetch_one(conn)
        .await)?)
}

/// Inserts or replaces a campaign.
///
/// # Errors
/// [`StoreError`].
pub async fn put_campaign(tx: &mut Tx, id: &str, definition: &[u8]) -> Result<(), StoreError> {
    on_tx!(tx, |conn| sqlx::query(PUT_CAMPAIGN)
        .bind(id)
        .bind(definition)
        .execute(conn)
        .await
        .map(|_| ()))?;
    Ok(())
}

/// Inserts or replaces a line item. Its campaign must exist.
///
/// # Errors
/// [`StoreError`].
pub async fn put_line_item(
    tx: &mut Tx,
    id: &str,
    campaign_id: &str,
    definition: &[u8],
) -> Result<(), StoreError> {
    on_tx!(tx, |conn| sqlx::query(PUT_LINE_ITEM)
        .bind(id)
        .bind(campaign_id)
        .bind(definition)
        .execute(conn)
        .await
        .map(|_| ()))?;
    Ok(())
}
