//! Which subjects decisions name, and making them name one no longer. The decision stays: its money
//! and its clicks are nobody's.

use rapport_store::{Db, StoreError, on_db, on_writer};
use rapport_types::SubjectId;

/// Subjects in one page.
pub const PAGE_SUBJECTS: usize = 1_000;

const FORGET: &str = "update decision set subject_id = nullif(subject_id, $1),
        counted_on = nullif(counted_on, $1)
    where subject_id = $1 or counted_on = $1";
const SHOWN_TO: &str = "select distinct subject_id from decision
    where subject_id is not null and subject_id > $1 order by subject_id limit $2";
const COUNTED_ON: &str = "select distinct counted_on from decision
    where counted_on is not null and counted_on > $1 order by counted_on limit $2";

/// Why a decision names a subject. The two may differ: ads count on a person's anchor, and persons
/// part again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Named {
    /// The ad was decided for it.
    ShownTo,
    /// The ad was counted on its frequency counters.
    CountedOn,
}

/// Returns a page of the subjects that decisions name, each once, in order, and after `after` where
/// it is given. Fewer than [`PAGE_SUBJECTS`] means that it is the last.
///
/// # Errors
/// [`StoreError`].
pub async fn named(
    db: &Db,
    why: Named,
    after: Option<SubjectId>,
) -> Result<Vec<SubjectId>, StoreError> {
    let text = match why {
        Named::ShownTo => SHOWN_TO,
        Named::CountedOn => COUNTED_ON,
    };
    // No bytes at all sort before any id.
    let after = after.map(SubjectId::to_vec).unwrap_or_default();
    let rows: Vec<Vec<u8>> = on_db!(db, |pool| sqlx::query_scalar(text)
        .bind(&after)
        .bind(PAGE_SUBJECTS as i64)
        .fetch_all(pool)
        .await)?;
    let subjects = rows.iter().filter_map(|row| SubjectId::parse(row).ok());
    Ok(subjects.collect())
}

/// Takes a subject out of every decision and returns out of how many.
///
/// # Errors
/// [`StoreError`].
pub async fn forget(db: &Db, subject: SubjectId) -> Result<u64, StoreError> {
    Ok(on_writer!(db, |pool| sqlx::query(FORGET)
        .bind(subject.to_vec())
        .execute(pool)
        .await
        .map(|done| done.rows_affected()))?)
}
