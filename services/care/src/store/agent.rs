//! Agents: one row each. The load is changed only where it stays within the capacity.

use std::collections::BTreeSet;

use care_domain::{Agent, Presence};
use rapport_store::{Db, StoreError, Tx, on_db, on_tx};
use rapport_types::UnixMillis;

/// An agent as the table has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AgentRow {
    /// The name, for people.
    pub name: String,
    /// What routing sees.
    pub agent: Agent,
}

type Columns = (String, String, i32, i32, i32, String, String, i64);

macro_rules! columns {
    () => {
        "agent_id, name, presence, capacity, load, languages, skills, idle_since_ms"
    };
}

const UPSERT: &str = concat!(
    "insert into agents (",
    columns!(),
    ") values ($1, $2, $3, $4, 0, $5, $6, $7)
    on conflict (agent_id) do update set name = excluded.name, capacity = excluded.capacity,
        languages = excluded.languages, skills = excluded.skills
    returning ",
    columns!()
);
// Changes nothing but holds the row until the transaction ends.
const LOCK: &str = concat!(
    "update agents set load = load where agent_id = $1 returning ",
    columns!()
);
const GET: &str = concat!("select ", columns!(), " from agents where agent_id = $1");
const PRESENCE: &str = "update agents set presence = $2, idle_since_ms = $3 where agent_id = $1";
const TAKE: &str = "update agents set load = load + 1, idle_since_ms = $2
    where agent_id = $1 and presence = 1 and load < capacity";
// The negative control of the claim: the load that was read, plus one.
const TAKE_UNGUARDED: &str = "update agents set load = $3, idle_since_ms = $2 where agent_id = $1";
const GIVE_BACK: &str = "update agents set load = load - 1, idle_since_ms = $2
    where agent_id = $1 and load > 0";
const EMPTY: &str = "update agents set load = 0, idle_since_ms = $2 where agent_id = $1";
const COUNT: &str = "select count(*) from agents";
const PAGE: &str = concat!(
    "select ",
    columns!(),
    " from agents where agent_id > $1 order by agent_id limit $2"
);
const FREE: &str = concat!(
    "select ",
    columns!(),
    " from agents
    where presence = 1 and load < capacity order by idle_since_ms, agent_id limit $1"
);

/// Inserts an agent, or replaces all but its load, presence and idle time. Returns the row as it is.
///
/// # Errors
/// [`StoreError`].
pub async fn upsert(tx: &mut Tx, row: &AgentRow) -> Result<AgentRow, StoreError> {
    let columns: Columns = on_tx!(tx, |conn| {
        sqlx::query_as(UPSERT)
            .bind(row.agent.agent_id.as_str())
            .bind(row.name.as_str())
            .bind(to_number(row.agent.presence))
            .bind(row.agent.capacity as i32)
            .bind(joined(&row.agent.languages))
            .bind(joined(&row.agent.skills))
            .bind(row.agent.idle_since.0)
            .fetch_one(conn)
            .await
    })?;
    Ok(from_columns(columns))
}

/// Returns an agent and holds the row until the transaction ends; without the guard only reads it.
///
/// # Errors
/// [`StoreError`].
pub async fn lock(
    tx: &mut Tx,
    agent_id: &str,
    guarded: bool,
) -> Result<Option<AgentRow>, StoreError> {
    let text = if guarded { LOCK } else { GET };
    let row: Option<Columns> = on_tx!(tx, |conn| sqlx::query_as(text)
        .bind(agent_id)
        .fetch_optional(conn)
        .await)?;
    Ok(row.map(from_columns))
}

/// Writes an agent's presence.
///
/// # Errors
/// [`StoreError`].
pub async fn set_presence(
    tx: &mut Tx,
    agent_id: &str,
    presence: Presence,
    idle_since: UnixMillis,
) -> Result<(), StoreError> {
    on_tx!(tx, |conn| {
        sqlx::query(PRESENCE)
            .bind(agent_id)
            .bind(to_number(presence))
            .bind(idle_since.0)
            .execute(conn)
            .await
            .map(drop)
    })?;
    Ok(())
}

/// Takes one place of an agent's capacity, if the agent is online and has one. Returns whether.
///
/// # Errors
/// [`StoreError`].
pub async fn take(
    tx: &mut Tx,
    agent: &Agent,
    now: UnixMillis,
    guarded: bool,
) -> Result<bool, StoreError> {
    let changed = on_tx!(tx, |conn| {
        let query = sqlx::query(if guarded { TAKE } else { TAKE_UNGUARDED });
        let query = query.bind(agent.agent_id.as_str()).bind(now.0);
        let query = if guarded {
            query
        } else {
            query.bind(agent.load as i32 + 1)
        };
        query.execute(conn).await.map(|done| done.rows_affected())
    })?;
    Ok(changed == 1)
}

/// Gives one place of an agent's capacity back.
///
/// # Errors
/// [`StoreError`].
pub async fn give_back(tx: &mut Tx, agent_id: &str, now: UnixMillis) -> Result<(), StoreError> {
    change(tx, GIVE_BACK, agent_id, now).await
}

/// Gives every place of an agent's capacity back.
///
/// # Errors
/// [`StoreError`].
pub async fn empty(tx: &mut Tx, agent_id: &str, now: UnixMillis) -> Result<(), StoreError> {
    change(tx, EMPTY, agent_id, now).await
}

async fn change(
    tx: &mut Tx,
    text: &'static str,
    agent_id: &str,
    now: UnixMillis,
) -> Result<(), StoreError> {
    on_tx!(tx, |conn| {
        sqlx::query(text)
            .bind(agent_id)
            .bind(now.0)
            .execute(conn)
            .await
            .map(drop)
    })?;
    Ok(())
}

/// Returns how many agents there are.
///
/// # Errors
/// [`StoreError`].
pub async fn count(tx: &mut Tx) -> Result<u64, StoreError> {
    let count: i64 = on_tx!(tx, |conn| sqlx::query_scalar(COUNT).fetch_one(conn).await)?;
    Ok(u64::try_from(count).unwrap_or(0))
}

/// Returns a page of agents after an id, by id.
///
/// # Errors
/// [`StoreError`].
pub async fn page(db: &Db, after: &str, limit: u32) -> Result<Vec<AgentRow>, StoreError> {
    let rows: Vec<Columns> = on_db!(db, |pool| {
        sqlx::query_as(PAGE)
            .bind(after)
            .bind(i64::from(limit))
            .fetch_all(pool)
            .await
    })?;
    Ok(rows.into_iter().map(from_columns).collect())
}

/// [`page`], inside a transaction.
///
/// # Errors
/// [`StoreError`].
pub async fn page_in(tx: &mut Tx, after: &str, limit: u32) -> Result<Vec<AgentRow>, StoreError> {
    let rows: Vec<Columns> = on_tx!(tx, |conn| {
        sqlx::query_as(PAGE)
            .bind(after)
            .bind(i64::from(limit))
            .fetch_all(conn)
            .await
    })?;
    Ok(rows.into_iter().map(from_columns).collect())
}

/// Returns online agents with room, longest idle first.
///
/// # Errors
/// [`StoreError`].
pub async fn free(db: &Db, limit: u32) -> Result<Vec<AgentRow>, StoreError> {
    let rows: Vec<Columns> = on_db!(db, |pool| {
        sqlx::query_as(FREE)
            .bind(i64::from(limit))
            .fetch_all(pool)
            .await
    })?;
    Ok(rows.into_iter().map(from_columns).collect())
}

/// Returns words between spaces, as the columns keep them and the query for waiting cases wants
/// them; nothing for no words.
#[must_use]
pub fn joined(words: &BTreeSet<String>) -> String {
    if words.is_empty() {
        return String::new();
    }
    words
        .iter()
        .fold(" ".to_owned(), |all, word| all + word + " ")
}

fn split(words: &str) -> BTreeSet<String> {
    words.split_whitespace().map(str::to_owned).collect()
}

fn from_columns(columns: Columns) -> AgentRow {
    let presence = match columns.2 {
        1 => Presence::Online,
        2 => Presence::Away,
        // What nobody writes takes no cases.
        _ => Presence::Offline,
    };
    AgentRow {
        name: columns.1,
        agent: Agent {
            agent_id: columns.0,
            languages: split(&columns.5),
            skills: split(&columns.6),
            presence,
            capacity: u32::try_from(columns.3).unwrap_or(0),
            load: u32::try_from(columns.4).unwrap_or(0),
            idle_since: UnixMillis(columns.7),
        },
    }
}

/// Numbers of the contract; the conditions name them.
fn to_number(presence: Presence) -> i32 {
    match presence {
        Presence::Online => 1,
        Presence::Away => 2,
        Presence::Offline => 3,
    }
}
