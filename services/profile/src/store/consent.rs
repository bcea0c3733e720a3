//! Consent registers: one row per subject and purpose, the last write wins.

use rapport_store::{Db, StoreError, Tx, on_db, on_tx};
use rapport_types::{ConsentState, Purpose, SubjectId, UnixMillis};

const WRITE: &str = "insert into consent (subject_id, purpose, state, evidence, changed_at_ms)
    values ($1, $2, $3, $4, $5)
    on conflict (subject_id, purpose) do update
    set state = excluded.state, evidence = excluded.evidence, changed_at_ms = excluded.changed_at_ms
    where consent.state <> excluded.state";
const FORGET: &str = "delete from consent where subject_id = $1";
const OF: &str = "select purpose, state from consent where subject_id = $1";
const PAGE: &str = "select subject_id, purpose, state from consent
    where subject_id > $1 order by subject_id, purpose limit $2";

/// Rows of one page of registers.
const PAGE_ROWS: i64 = 7_000;

/// What a subject said about each purpose, as two bit sets.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Registers {
    /// Purposes granted: bit `purpose - 1`.
    pub granted: u8,
    /// Purposes revoked: bit `purpose - 1`.
    pub revoked: u8,
}

impl Registers {
    fn set(&mut self, purpose: i32, state: i32) {
        let Some(bit) = u32::try_from(purpose - 1)
            .ok()
            .and_then(|shift| 1_u8.checked_shl(shift))
        else {
            return;
        };
        if state == ConsentState::Granted as i32 {
            self.granted |= bit;
        } else if state == ConsentState::Revoked as i32 {
            self.revoked |= bit;
        }
    }

    /// Returns the registers of a person: a revocation anywhere outweighs a grant elsewhere.
    #[must_use]
    pub fn fold(self, other: Self) -> Self {
        let revoked = self.revoked | other.revoked;
        Self {
            granted: (self.granted | other.granted) & !revoked,
            revoked,
        }
    }
}

/// Writes one register of one subject; returns whether it changed.
///
/// # Errors
/// [`StoreError`].
pub async fn write(
    tx: &mut Tx,
    subject: &SubjectId,
    (purpose, state): (Purpose, ConsentState),
    evidence: &str,
    now: UnixMillis,
) -> Result<bool, StoreError> {
    let changed = on_tx!(tx, |conn| {
        let query = sqlx::query(WRITE).bind(subject.as_bytes().as_slice());
        let query = query
            .bind(i32::from(purpose as u8))
            .bind(i32::from(state as u8));
        let query = query.bind(evidence).bind(now.0);
        query.execute(conn).await.map(|done| done.rows_affected())
    })?;
    Ok(changed > 0)
}

/// Deletes the registers of erased subjects: who is gone allows nothing.
///
/// # Errors
/// [`StoreError`].
pub async fn forget(tx: &mut Tx, subjects: &[SubjectId]) -> Result<(), StoreError> {
    on_tx!(tx, |conn| {
        for subject in subjects {
            let forget = sqlx::query(FORGET).bind(subject.as_bytes().as_slice());
            forget.execute(&mut *conn).await?;
        }
        Ok(())
    })
}

/// Returns the registers of one subject, inside a transaction.
///
/// # Errors
/// [`StoreError`].
pub async fn of(tx: &mut Tx, subject: &SubjectId) -> Result<Registers, StoreError> {
    let rows: Vec<(i32, i32)> = on_tx!(tx, |conn| {
        sqlx::query_as(OF)
            .bind(subject.as_bytes().as_slice())
            .fetch_all(conn)
            .await
    })?;
    let mut registers = Registers::default();
    rows.into_iter()
        .for_each(|(purpose, state)| registers.set(purpose, state));
    Ok(registers)
}

/// Returns a page of registers after the subject `after`, in order of subjects.
///
/// # Errors
/// [`StoreError`].
pub async fn page(db: &Db, after: &[u8]) -> Result<Vec<(SubjectId, Registers)>, StoreError> {
    let rows: Vec<(Vec<u8>, i32, i32)> = on_db!(db, |pool| {
        sqlx::query_as(PAGE)
            .bind(after)
            .bind(PAGE_ROWS)
            .fetch_all(pool)
            .await
    })?;
    let full = rows.len() as i64 == PAGE_ROWS;
    let mut page: Vec<(SubjectId, Registers)> = Vec::new();
    for (id, purpose, state) in rows {
        let Ok(subject) = SubjectId::parse(&id) else {
            continue;
        };
        if page.last().is_none_or(|(last, _)| *last != subject) {
            page.push((subject, Registers::default()));
        }
        if let Some((_, registers)) = page.last_mut() {
            registers.set(purpose, state);
        }
    }
    // A subject has at most seven rows, so a full page's last subject may go on: leave it for the next.
    if full {
        page.pop();
    }
    Ok(page)
}
