//! What was counted on whose frequency counters: what they are rebuilt from.
//!
//! A decision is stored before its answer, with the subject that it was counted on, so these rows know
//! every reservation that anybody may have seen. They are kept longer than any window lasts.

use rapport_store::{Db, StoreError, on_db};
use rapport_types::{SubjectId, UnixMillis};

/// Rows read in one page.
const PAGE_ROWS: i64 = 5_000;

const COUNTED: &str = "select counted_on, decided_at_ms, decision_id, line_item_id from decision
    where counted_on is not null and (counted_on, decided_at_ms, decision_id) > ($1, $2, $3)
    order by counted_on, decided_at_ms, decision_id limit $4";

/// Where a page of [`counted`] begins; by default before the first.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CountedAfter {
    /// The subject of the last row of the page before.
    pub subject: Vec<u8>,
    /// When that row was decided.
    pub at: UnixMillis,
    /// Its id.
    pub id: Vec<u8>,
}

/// An ad that was counted on somebody's frequency counters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Counted {
    /// On whose.
    pub subject: SubjectId,
    /// Which line item.
    pub line_item_id: String,
    /// When.
    pub at: UnixMillis,
}

/// Returns a page of counted ads by subject, and where the next page begins, `None` at the end.
///
/// # Errors
/// [`StoreError`].
pub async fn counted(
    db: &Db,
    after: &CountedAfter,
) -> Result<(Vec<Counted>, Option<CountedAfter>), StoreError> {
    type Row = (Vec<u8>, i64, Vec<u8>, Option<String>);
    let rows: Vec<Row> = on_db!(db, |pool| sqlx::query_as(COUNTED)
        .bind(&after.subject)
        .bind(after.at.0)
        .bind(&after.id)
        .bind(PAGE_ROWS)
        .fetch_all(pool)
        .await)?;
    let next = rows.last().filter(|_| rows.len() as i64 == PAGE_ROWS);
    let next = next.map(|(subject, at, id, _)| CountedAfter {
        subject: subject.clone(),
        at: UnixMillis(*at),
        id: id.clone(),
    });
    let counted = rows.into_iter().filter_map(|(subject, at, _, line_item)| {
        Some(Counted {
            subject: SubjectId::parse(&subject).ok()?,
            line_item_id: line_item?,
            at: UnixMillis(at),
        })
    });
    Ok((counted.collect(), next))
}
