//! Experiments: written while in draft, started once, stopped once.

use evaluate_domain::experiment::{Allocation, State, Variant};
use rapport_store::{Db, StoreError, Tx, on_db, on_tx};
use rapport_types::UnixMillis;

use crate::error::Error;

const UPSERT: &str = "insert into experiment
    (key, hypothesis, variants, state, started_at_ms, stopped_at_ms) values ($1, $2, $3, 1, 0, 0)
    on conflict (key) do update set hypothesis = excluded.hypothesis, variants = excluded.variants
    where experiment.state = 1";
const MOVE: &str = "update experiment set state = $3, started_at_ms = $4, stopped_at_ms = $5
    where key = $1 and state = $2";
const COUNT: &str = "select count(*) from experiment where state = $1";
const FIND: &str = "select key, hypothesis, variants, state, started_at_ms, stopped_at_ms
    from experiment where key = $1";
const LIST: &str = "select key, hypothesis, variants, state, started_at_ms, stopped_at_ms
    from experiment where key > $1 and (cast($2 as integer) = 0 or state = cast($2 as integer))
    order by key limit $3";

/// The number of a draft.
pub const DRAFT: i32 = 1;
/// The number of a running experiment.
pub const RUNNING: i32 = 2;
/// The number of a stopped one.
pub const STOPPED: i32 = 3;

/// An experiment as it is stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Experiment {
    /// Its key, unique.
    pub key: String,
    /// What is tried.
    pub hypothesis: String,
    /// The arms, control first.
    pub allocation: Allocation,
    /// Where it stands.
    pub state: State,
}

#[derive(serde::Serialize, serde::Deserialize)]
struct VariantText {
    key: String,
    share: u32,
}

type Row = (String, String, String, i32, i64, i64);

/// Returns the number of a state, with its start and its stop, 0 where there is none.
#[must_use]
pub fn numbers(state: State) -> (i32, i64, i64) {
    match state {
        State::Draft => (DRAFT, 0, 0),
        State::Running { started_at } => (RUNNING, started_at.0, 0),
        State::Stopped {
            started_at,
            stopped_at,
        } => (STOPPED, started_at.0, stopped_at.0),
    }
}

/// Inserts an experiment in draft, or replaces one; returns whether it could, which is not so once it
/// ran.
///
/// # Errors
/// [`StoreError`].
pub async fn upsert(
    tx: &mut Tx,
    key: &str,
    hypothesis: &str,
    allocation: &Allocation,
) -> Result<bool, StoreError> {
    let text = |variant: &Variant| VariantText {
        key: variant.key.clone(),
        share: variant.share,
    };
    let variants: Vec<VariantText> = allocation.variants().iter().map(text).collect();
    let variants = serde_json::to_string(&variants).expect("keys and numbers are JSON");
    let written = on_tx!(tx, |conn| {
        let query = sqlx::query(UPSERT).bind(key).bind(hypothesis);
        let query = query.bind(variants).execute(conn);
        query.await.map(|done| done.rows_affected())
    })?;
    Ok(written == 1)
}

/// Moves an experiment from one state to another; returns whether it still was in the first.
///
/// # Errors
/// [`StoreError`].
pub async fn set_state(tx: &mut Tx, key: &str, from: State, to: State) -> Result<bool, StoreError> {
    let (state, started, stopped) = numbers(to);
    let moved = on_tx!(tx, |conn| {
        let query = sqlx::query(MOVE).bind(key).bind(numbers(from).0);
        let query = query.bind(state).bind(started).bind(stopped);
        query.execute(conn).await.map(|done| done.rows_affected())
    })?;
    Ok(moved == 1)
}

/// Returns how many experiments are in a state.
///
/// # Errors
/// [`StoreError`].
pub async fn count(tx: &mut Tx, state: i32) -> Result<u64, StoreError> {
    let count: i64 = on_tx!(tx, |conn| {
        sqlx::query_scalar(COUNT).bind(state).fetch_one(conn).await
    })?;
    Ok(count as u64)
}

/// Returns an experiment, `None` if there is none, inside a transaction.
///
/// # Errors
/// [`Error::Store`], [`Error::Internal`] for a row that cannot be.
pub async fn find(tx: &mut Tx, key: &str) -> Result<Option<Experiment>, Error> {
    let row: Option<Row> = on_tx!(tx, |conn| {
        sqlx::query_as(FIND).bind(key).fetch_optional(conn).await
    })
    .map_err(StoreError::from)?;
    row.map(experiment).transpose()
}

/// As [`find`], outside a transaction.
///
/// # Errors
/// As [`find`].
pub async fn get(db: &Db, key: &str) -> Result<Option<Experiment>, Error> {
    let row: Option<Row> = on_db!(db, |pool| {
        sqlx::query_as(FIND).bind(key).fetch_optional(pool).await
    })
    .map_err(StoreError::from)?;
    row.map(experiment).transpose()
}

/// Returns up to `limit` experiments after the key `after` in the order of their keys: of one state,
/// or of all with 0.
///
/// # Errors
/// As [`find`].
pub async fn list(db: &Db, state: i32, after: &str, limit: u32) -> Result<Vec<Experiment>, Error> {
    let rows: Vec<Row> = on_db!(db, |pool| {
        let query = sqlx::query_as(LIST).bind(after).bind(state);
        query.bind(i64::from(limit)).fetch_all(pool).await
    })
    .map_err(StoreError::from)?;
    rows.into_iter().map(experiment).collect()
}

fn experiment(row: Row) -> Result<Experiment, Error> {
    let (key, hypothesis, variants, state, started, stopped) = row;
    let variants: Vec<VariantText> = serde_json::from_str(&variants)
        .map_err(|_| Error::Internal("stored variants do not decode"))?;
    let variant = |text: VariantText| Variant {
        key: text.key,
        share: text.share,
    };
    let allocation = Allocation::new(variants.into_iter().map(variant).collect())
        .map_err(|_| Error::Internal("stored variants are no allocation"))?;
    let (started_at, stopped_at) = (UnixMillis(started), UnixMillis(stopped));
    let state = match state {
        DRAFT => State::Draft,
        RUNNING => State::Running { started_at },
        STOPPED => State::Stopped {
            started_at,
            stopped_at,
        },
        _ => return Err(Error::Internal("a stored state has no such number")),
    };
    Ok(Experiment {
        key,
        hypothesis,
        allocation,
        state,
    })
}
