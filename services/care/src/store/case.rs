//! Cases: one row each, changed only from the version that was read.

use care_domain::{CaseState, QueuedCase, priority, rank};
use rapport_store::{Db, StoreError, Tx, on_db, on_tx};
use rapport_types::{SubjectId, UnixMillis};

use crate::error::hex;

/// A case as the table has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CaseRow {
    /// The case.
    pub case_id: [u8; 16],
    /// Its customer.
    pub subject: SubjectId,
    /// Where it stands.
    pub state: CaseState,
    /// Number of the channel.
    pub channel: i32,
    /// What it is about.
    pub intent: String,
    /// Primary subtag, empty if it is not known.
    pub language: String,
    /// Points before waiting counts.
    pub base_points: i64,
    /// When it began to wait.
    pub waiting_since: UnixMillis,
    /// The agent who has it, or had it last if it is over.
    pub agent_id: Option<String>,
    /// Raised each time an agent gets it.
    pub epoch: i64,
    /// When it was opened.
    pub opened_at: UnixMillis,
    /// When the first response is due.
    pub response_due: UnixMillis,
    /// When an agent first answered; 0 before.
    pub first_response: UnixMillis,
    /// Why it waits, as of the last try to route it; empty if it does not. Agents come and go without
    /// its being written again: a lock for that would hide the case from who could take it.
    pub queue_reason: String,
    /// Messages it holds.
    pub messages: i32,
    /// Raised with each change.
    pub version: i64,
}

impl CaseRow {
    /// Returns the case as routing sees it.
    #[must_use]
    pub fn queued(&self) -> QueuedCase {
        QueuedCase {
            case_id: hex(&self.case_id),
            language: self.language.clone(),
            intent: self.intent.clone(),
            base_points: self.base_points,
            waiting_since: self.waiting_since,
        }
    }

    /// Returns the priority: only waiting cases grow more urgent.
    #[must_use]
    pub fn priority(&self, now: UnixMillis) -> f64 {
        match self.state {
            CaseState::Queued => priority(self.base_points, self.waiting_since, now),
            CaseState::Assigned | CaseState::Pending | CaseState::Resolved | CaseState::Closed => {
                self.base_points as f64
            }
        }
    }
}

type Columns = (
    Vec<u8>,
    Vec<u8>,
    i32,
    i32,
    String,
    String,
    i64,
    i64,
    Option<String>,
    i64,
    i64,
    i64,
    i64,
    String,
    i32,
    i64,
);

macro_rules! columns {
    () => {
        "case_id, subject_id, state, channel, intent, language, base_points, waiting_since_ms,
        agent_id, epoch, opened_at_ms, response_due_ms, first_response_ms, queue_reason, messages,
        version"
    };
}

const INSERT: &str = concat!(
    "insert into cases (",
    columns!(),
    ", rank)
    values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17)"
);
const GET: &str = concat!("select ", columns!(), " from cases where case_id = $1");
const UPDATE: &str = "update cases set state = $3, intent = $4, language = $5, base_points = $6,
    waiting_since_ms = $7, agent_id = $8, epoch = $9, first_response_ms = $10, queue_reason = $11,
    messages = $12, rank = $13, version = $14
    where case_id = $1 and version = $2";
// The negative control of the claim: whoever writes last wins.
const UPDATE_UNGUARDED: &str = "update cases set state = $3, intent = $4, language = $5,
    base_points = $6, waiting_since_ms = $7, agent_id = $8, epoch = $9, first_response_ms = $10,
    queue_reason = $11, messages = $12, rank = $13, version = $14
    where case_id = $1 and $2 = $2";
// The pattern is exact but for `_` in a shop's own intents; the domain has the last word.
const WAITING: &str = concat!(
    "select ",
    columns!(),
    " from cases
    where state = 1 and (language = '' or $1 like '% ' || language || ' %')
        and ($2 = '' or $2 like '% ' || intent || ' %' or waiting_since_ms <= $3)
    order by rank desc, waiting_since_ms, case_id limit $4"
);
// A case that another transaction is giving away is neither waited for nor given twice.
const WAITING_LOCKED: &str = concat!(
    "select ",
    columns!(),
    " from cases
    where state = 1 and (language = '' or $1 like '% ' || language || ' %')
        and ($2 = '' or $2 like '% ' || intent || ' %' or waiting_since_ms <= $3)
    order by rank desc, waiting_since_ms, case_id limit $4 for update skip locked"
);
const OF_AGENT: &str = concat!(
    "select ",
    columns!(),
    " from cases
    where agent_id = $1 and state in (2, 3) order by case_id limit $2"
);
const TOP: &str = concat!(
    "select ",
    columns!(),
    " from cases
    where state = 1 order by rank desc, waiting_since_ms, case_id limit $1"
);
const QUEUE: &str = "select count(*), min(waiting_since_ms) from cases where state = 1";

/// Inserts a new case.
///
/// # Errors
/// [`StoreError`].
pub async fn insert(tx: &mut Tx, row: &CaseRow) -> Result<(), StoreError> {
    on_tx!(tx, |conn| {
        sqlx::query(INSERT)
            .bind(row.case_id.as_slice())
            .bind(row.subject.as_bytes().as_slice())
            .bind(to_number(row.state))
            .bind(row.channel)
            .bind(row.intent.as_str())
            .bind(row.language.as_str())
            .bind(row.base_points)
            .bind(row.waiting_since.0)
            .bind(row.agent_id.as_deref())
            .bind(row.epoch)
            .bind(row.opened_at.0)
            .bind(row.response_due.0)
            .bind(row.first_response.0)
            .bind(row.queue_reason.as_str())
            .bind(row.messages)
            .bind(row.version)
            .bind(rank(row.base_points, row.waiting_since))
            .execute(conn)
            .await
            .map(drop)
    })?;
    Ok(())
}

/// Writes a row that was read at `row.version`, which it then raises. Returns whether nobody else
/// wrote it meanwhile; if somebody did, nothing changed.
///
/// # Errors
/// [`StoreError`].
pub async fn update(tx: &mut Tx, row: &mut CaseRow, guarded: bool) -> Result<bool, StoreError> {
    let text = if guarded { UPDATE } else { UPDATE_UNGUARDED };
    let changed = on_tx!(tx, |conn| {
        sqlx::query(text)
            .bind(row.case_id.as_slice())
            .bind(row.version)
            .bind(to_number(row.state))
            .bind(row.intent.as_str())
            .bind(row.language.as_str())
            .bind(row.base_points)
            .bind(row.waiting_since.0)
            .bind(row.agent_id.as_deref())
            .bind(row.epoch)
            .bind(row.first_response.0)
            .bind(row.queue_reason.as_str())
            .bind(row.messages)
            .bind(rank(row.base_points, row.waiting_since))
            .bind(row.version + 1)
            .execute(conn)
            .await
            .map(|done| done.rows_affected())
    })?;
    row.version += 1;
    Ok(changed == 1)
}

/// Returns a case.
///
/// # Errors
/// [`StoreError`].
pub async fn get(db: &Db, case_id: &[u8; 16]) -> Result<Option<CaseRow>, StoreError> {
    let row: Option<Columns> = on_db!(db, |pool| {
        sqlx::query_as(GET)
            .bind(case_id.as_slice())
            .fetch_optional(pool)
            .await
    })?;
    Ok(row.and_then(from_columns))
}

/// Returns a case, inside a transaction.
///
/// # Errors
/// [`StoreError`].
pub async fn get_in(tx: &mut Tx, case_id: &[u8; 16]) -> Result<Option<CaseRow>, StoreError> {
    let row: Option<Columns> = on_tx!(tx, |conn| {
        sqlx::query_as(GET)
            .bind(case_id.as_slice())
            .fetch_optional(conn)
            .await
    })?;
    Ok(row.and_then(from_columns))
}

/// What an agent can take, as the query for waiting cases wants it.
#[derive(Debug, Clone)]
pub struct Wanted<'a> {
    /// Languages between spaces.
    pub languages: &'a str,
    /// Intents between spaces, empty for all.
    pub skills: &'a str,
    /// Cases that have waited since then or longer ask for no skill.
    pub relaxed: UnixMillis,
    /// Most cases to return.
    pub limit: u32,
}

/// Returns the waiting cases that an agent can take, most urgent first; on Postgres locked, those
/// aside that somebody else has locked.
///
/// # Errors
/// [`StoreError`].
pub async fn waiting(
    tx: &mut Tx,
    wanted: &Wanted<'_>,
    guarded: bool,
) -> Result<Vec<CaseRow>, StoreError> {
    let text = match tx {
        Tx::Postgres(_) if guarded => WAITING_LOCKED,
        Tx::Postgres(_) | Tx::Sqlite(_) => WAITING,
    };
    let rows: Vec<Columns> = on_tx!(tx, |conn| {
        sqlx::query_as(text)
            .bind(wanted.languages)
            .bind(wanted.skills)
            .bind(wanted.relaxed.0)
            .bind(i64::from(wanted.limit))
            .fetch_all(conn)
            .await
    })?;
    Ok(rows.into_iter().filter_map(from_columns).collect())
}

/// Returns whether any waiting case fits, locked or not.
///
/// # Errors
/// [`StoreError`].
pub async fn fits(db: &Db, wanted: &Wanted<'_>) -> Result<bool, StoreError> {
    let row: Option<Columns> = on_db!(db, |pool| {
        sqlx::query_as(WAITING)
            .bind(wanted.languages)
            .bind(wanted.skills)
            .bind(wanted.relaxed.0)
            .bind(1_i64)
            .fetch_optional(pool)
            .await
    })?;
    Ok(row.is_some())
}

/// Returns the cases that an agent has, by id.
///
/// # Errors
/// [`StoreError`].
pub async fn of_agent(tx: &mut Tx, agent_id: &str, limit: u32) -> Result<Vec<CaseRow>, StoreError> {
    let rows: Vec<Columns> = on_tx!(tx, |conn| {
        sqlx::query_as(OF_AGENT)
            .bind(agent_id)
            .bind(i64::from(limit))
            .fetch_all(conn)
            .await
    })?;
    Ok(rows.into_iter().filter_map(from_columns).collect())
}

/// Returns the most urgent waiting cases.
///
/// # Errors
/// [`StoreError`].
pub async fn top(db: &Db, limit: u32) -> Result<Vec<CaseRow>, StoreError> {
    let rows: Vec<Columns> = on_db!(db, |pool| {
        sqlx::query_as(TOP)
            .bind(i64::from(limit))
            .fetch_all(pool)
            .await
    })?;
    Ok(rows.into_iter().filter_map(from_columns).collect())
}

/// Returns how many cases wait and since when the first does.
///
/// # Errors
/// [`StoreError`].
pub async fn queue(db: &Db) -> Result<(u64, Option<UnixMillis>), StoreError> {
    let (waiting, since): (i64, Option<i64>) =
        on_db!(db, |pool| sqlx::query_as(QUEUE).fetch_one(pool).await)?;
    Ok((u64::try_from(waiting).unwrap_or(0), since.map(UnixMillis)))
}

/// Reads a row; `None` for one that no version of this service writes.
fn from_columns(columns: Columns) -> Option<CaseRow> {
    Some(CaseRow {
        case_id: columns.0.try_into().ok()?,
        subject: SubjectId::parse(&columns.1).ok()?,
        state: from_number(columns.2)?,
        channel: columns.3,
        intent: columns.4,
        language: columns.5,
        base_points: columns.6,
        waiting_since: UnixMillis(columns.7),
        agent_id: columns.8,
        epoch: columns.9,
        opened_at: UnixMillis(columns.10),
        response_due: UnixMillis(columns.11),
        first_response: UnixMillis(columns.12),
        queue_reason: columns.13,
        messages: columns.14,
        version: columns.15,
    })
}

/// Numbers of the contract; the indexes name them.
fn to_number(state: CaseState) -> i32 {
    match state {
        CaseState::Queued => 1,
        CaseState::Assigned => 2,
        CaseState::Pending => 3,
        CaseState::Resolved => 4,
        CaseState::Closed => 5,
    }
}

fn from_number(number: i32) -> Option<CaseState> {
    CaseState::ALL
        .into_iter()
        .find(|state| to_number(*state) == number)
}
