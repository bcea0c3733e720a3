//! States and offsets in the service's own database, one text on both engines.

use async_trait::async_trait;
use bytes::Bytes;
use rapport_store::lease::{self, Lease};
use rapport_store::{Db, StoreError, Tx, on_db, on_tx};
use sqlx::AssertSqlSafe;

use super::{PartitionChange, Projection, StateChange, StateError, StatePage, StateStore};

/// The tables on Postgres, for a service's first migration; it also needs
/// [`rapport_store::lease::TABLE`].
pub const TABLES_POSTGRES: &str = "create table projection_state (
    projection text not null,
    version bigint not null,
    partition bigint not null,
    key bytea not null,
    state bytea not null,
    primary key (projection, version, partition, key)
);
create table projection_offset (
    projection text not null,
    version bigint not null,
    partition bigint not null,
    epoch bigint not null,
    sequence bigint not null,
    primary key (projection, version, partition)
);";

/// The tables on SQLite.
pub const TABLES_SQLITE: &str = "create table projection_state (
    projection text not null,
    version bigint not null,
    partition bigint not null,
    key blob not null,
    state blob not null,
    primary key (projection, version, partition, key)
) without rowid;
create table projection_offset (
    projection text not null,
    version bigint not null,
    partition bigint not null,
    epoch bigint not null,
    sequence bigint not null,
    primary key (projection, version, partition)
) without rowid;";

const UPSERT_POSTGRES: &str =
    "insert into projection_state (projection, version, partition, key, state)
    select $1, $2, $3, key, state from unnest($4::bytea[], $5::bytea[]) as changed (key, state)
    on conflict (projection, version, partition, key) do update set state = excluded.state";
/// State and offset go together, so what a crash of the database takes back is read from the log again:
/// no commit of a projection need wait for the disk.
const ASYNC_POSTGRES: &str = "set local synchronous_commit = off";
/// States written by one statement on SQLite: 3 + 2 × 64 binds.
const ROWS_MAX: usize = 64;

const CLAIM: &str =
    "insert into projection_offset (projection, version, partition, epoch, sequence)
    values ($1, $2, $3, $4, 0)
    on conflict (projection, version, partition) do update set epoch = excluded.epoch
    returning sequence";
const ADVANCE: &str = "update projection_offset set sequence = $6
    where projection = $1 and version = $2 and partition = $3 and epoch = $4 and sequence = $5";
const SCAN: &str = "select key, state from projection_state
    where projection = $1 and version = $2 and partition = $3 and key > $4
    order by key limit $5";
const DELETE: &str = "delete from projection_state
    where projection = $1 and version = $2 and partition = $3 and key = $4";
const OFFSETS: &str = "select partition, sequence from projection_offset
    where projection = $1 and version = $2";
const RESET_OFFSET: &str = "update projection_offset set sequence = 0
    where projection = $1 and version = $2 and partition = $3";
const RESET_STATES: &str = "delete from projection_state
    where projection = $1 and version = $2 and partition = $3";
const DROP_OWN_STATES: &str = "delete from projection_state
    where projection = $1 and version = $2";
const DROP_OWN_OFFSETS: &str = "delete from projection_offset
    where projection = $1 and version = $2";
/// States on one page.
const PAGE_ROWS: u32 = 1_000;
const DROP_STATES: &str = "delete from projection_state where projection = $1 and version < $2";
const DROP_OFFSETS: &str = "delete from projection_offset where projection = $1 and version < $2";

/// The states of one projection version in a SQL database. Cloning shares the connections.
#[derive(Debug, Clone)]
pub struct SqlStates {
    db: Db,
    projection: &'static str,
    version: i64,
}

impl SqlStates {
    /// Returns the states of `P` in a database that has [`TABLES_POSTGRES`] or [`TABLES_SQLITE`].
    #[must_use]
    pub fn new<P: Projection>(db: Db) -> Self {
        Self {
            db,
            projection: P::NAME,
            version: i64::from(P::VERSION),
        }
    }

    /// Deletes every older version's states: after the new one has caught up and no replica of an
    /// older release reads them. One transaction; returns how many states went.
    ///
    /// # Errors
    /// [`StateError::Store`] when the database fails: nothing was deleted.
    pub async fn drop_older_versions(&self) -> Result<u64, StateError> {
        self.delete_all([DROP_OFFSETS, DROP_STATES]).await
    }

    /// Runs two statements over a version, in one transaction; returns what the second deleted.
    async fn delete_all(&self, texts: [&'static str; 2]) -> Result<u64, StateError> {
        let mut tx = self.db.begin().await?;
        let mut dropped = 0;
        for text in texts {
            dropped = on_tx!(&mut tx, |conn| sqlx::query(text)
                .bind(self.projection)
                .bind(self.version)
                .execute(conn)
                .await
                .map(|done| done.rows_affected()))
            .map_err(StoreError::from)?;
        }
        tx.commit().await?;
        Ok(dropped)
    }

    async fn advance(
        &self,
        tx: &mut Tx,
        lease: &Lease,
        change: &PartitionChange,
    ) -> Result<(), StateError> {
        let moved = on_tx!(tx, |conn| sqlx::query(ADVANCE)
            .bind(self.projection)
            .bind(self.version)
            .bind(i64::from(change.partition))
            .bind(lease.epoch)
            .bind(change.expected as i64)
            .bind(change.next as i64)
            .execute(conn)
            .await
            .map(|done| done.rows_affected()))
        .map_err(StoreError::from)?;
        match moved {
            1 => Ok(()),
            _ => Err(StateError::OffsetMoved {
                partition: change.partition,
            }),
        }
    }

    /// Writes states: on Postgres all in one statement; on SQLite, which has no arrays, [`ROWS_MAX`] to a
    /// statement and the rest one by one, two prepared texts.
    async fn upsert(
        &self,
        tx: &mut Tx,
        partition: u32,
        states: &[(&[u8], &[u8])],
    ) -> Result<(), StateError> {
        let partition = i64::from(partition);
        match tx {
            Tx::Postgres(tx) if !states.is_empty() => {
                let (keys, values): (Vec<&[u8]>, Vec<&[u8]>) = states.iter().copied().unzip();
                let query = sqlx::query(UPSERT_POSTGRES)
                    .bind(self.projection)
                    .bind(self.version)
                    .bind(partition);
                let done = query.bind(keys).bind(values).execute(&mut **tx).await;
                done.map_err(StoreError::from)?;
            }
            Tx::Postgres(_) => {}
            Tx::Sqlite(tx) => {
                let (many, one) = (upsert_text(ROWS_MAX), upsert_text(1));
                let whole = states.len() - states.len() % ROWS_MAX;
                let chunks = states[..whole].chunks(ROWS_MAX);
                for rows in chunks.chain(states[whole..].chunks(1)) {
                    let text = if rows.len() == ROWS_MAX { &many } else { &one };
                    let mut query = sqlx::query(AssertSqlSafe(text.clone()))
                        .bind(self.projection)
                        .bind(self.version)
                        .bind(partition);
                    for (key, state) in rows {
                        query = query.bind(*key).bind(*state);
                    }
                    let done = query.execute(&mut **tx).await;
                    done.map_err(StoreError::from)?;
                }
            }
        }
        Ok(())
    }

    async fn delete(&self, tx: &mut Tx, partition: u32, key: &[u8]) -> Result<(), StateError> {
        on_tx!(tx, |conn| sqlx::query(DELETE)
            .bind(self.projection)
            .bind(self.version)
            .bind(i64::from(partition))
            .bind(key)
            .execute(conn)
            .await
            .map(|_| ()))
        .map_err(StoreError::from)?;
        Ok(())
    }
}

#[async_trait]
impl StateStore for SqlStates {
    async fn claim(&self, lease: &Lease, partitions: &[u32]) -> Result<Vec<u64>, StateError> {
        let mut tx = self.db.begin().await?;
        lease::fence(&mut tx, lease).await?;
        let mut offsets = Vec::with_capacity(partitions.len());
        for partition in partitions {
            let sequence: i64 = on_tx!(&mut tx, |conn| sqlx::query_scalar(CLAIM)
                .bind(self.projection)
                .bind(self.version)
                .bind(i64::from(*partition))
                .bind(lease.epoch)
                .fetch_one(conn)
                .await)
            .map_err(StoreError::from)?;
            offsets.push(sequence as u64);
        }
        tx.commit().await?;
        Ok(offsets)
    }

    async fn load(
        &self,
        partition: u32,
        keys: &[Bytes],
    ) -> Result<Vec<Option<Vec<u8>>>, StateError> {
        let mut found: Vec<(Vec<u8>, Vec<u8>)> = Vec::new();
        for keys in keys.chunks(ROWS_MAX) {
            // A list padded with its first key, so that there are two texts to prepare.
            let width = if keys.len() == 1 { 1 } else { ROWS_MAX };
            let text = load_text(width);
            let rows: Vec<(Vec<u8>, Vec<u8>)> = on_db!(&self.db, |pool| {
                let mut query = sqlx::query_as(AssertSqlSafe(text.clone()))
                    .bind(self.projection)
                    .bind(self.version)
                    .bind(i64::from(partition));
                for place in 0..width {
                    query = query.bind(keys.get(place).unwrap_or(&keys[0]).as_ref());
                }
                query.fetch_all(pool).await
            })
            .map_err(StoreError::from)?;
            found.extend(rows);
        }
        found.sort_unstable();
        let state = |key: &Bytes| {
            let at = found
                .binary_search_by(|(other, _)| other.as_slice().cmp(key))
                .ok()?;
            Some(found[at].1.clone())
        };
        Ok(keys.iter().map(state).collect())
    }

    async fn scan(
        &self,
        partition: u32,
        after: Option<&[u8]>,
        limit: u32,
    ) -> Result<Vec<(Vec<u8>, Vec<u8>)>, StateError> {
        // No key is empty, so the empty one comes before all.
        let after = after.unwrap_or_default();
        Ok(on_db!(&self.db, |pool| sqlx::query_as(SCAN)
            .bind(self.projection)
            .bind(self.version)
            .bind(i64::from(partition))
            .bind(after)
            .bind(i64::from(limit))
            .fetch_all(pool)
            .await)
        .map_err(StoreError::from)?)
    }

    async fn commit(&self, lease: &Lease, changes: &[PartitionChange]) -> Result<(), StateError> {
        let mut tx = self.db.begin().await?;
        if let Tx::Postgres(tx) = &mut tx {
            let done = sqlx::query(ASYNC_POSTGRES).execute(&mut **tx).await;
            done.map_err(StoreError::from)?;
        }
        lease::fence(&mut tx, lease).await?;
        for change in changes {
            self.advance(&mut tx, lease, change).await?;
            let kept = |change: &'_ StateChange| change.state.is_some();
            let states: Vec<(&[u8], &[u8])> = change
                .changes
                .iter()
                .filter_map(|change| Some((&*change.key, change.state.as_deref()?)))
                .collect();
            self.upsert(&mut tx, change.partition, &states).await?;
            for gone in change.changes.iter().filter(|change| !kept(change)) {
                self.delete(&mut tx, change.partition, &gone.key).await?;
            }
        }
        tx.commit().await?;
        Ok(())
    }

    async fn offsets(&self, partitions: &[u32]) -> Result<Vec<u64>, StateError> {
        let rows: Vec<(i64, i64)> = on_db!(&self.db, |pool| sqlx::query_as(OFFSETS)
            .bind(self.projection)
            .bind(self.version)
            .fetch_all(pool)
            .await)
        .map_err(StoreError::from)?;
        let offset = |partition: &u32| {
            let row = rows.iter().find(|(of, _)| *of == i64::from(*partition));
            row.map_or(0, |(_, sequence)| *sequence as u64)
        };
        Ok(partitions.iter().map(offset).collect())
    }

    async fn page(&self, partition: u32, from: Option<&[u8]>) -> Result<StatePage, StateError> {
        let states = self.scan(partition, from, PAGE_ROWS).await?;
        let next = states.last().filter(|_| states.len() == PAGE_ROWS as usize);
        let next = next.map(|(key, _)| key.clone());
        Ok(StatePage { states, next })
    }

    async fn reset(&self, lease: &Lease, partition: u32) -> Result<(), StateError> {
        let mut tx = self.db.begin().await?;
        lease::fence(&mut tx, lease).await?;
        for text in [RESET_OFFSET, RESET_STATES] {
            on_tx!(&mut tx, |conn| sqlx::query(text)
                .bind(self.projection)
                .bind(self.version)
                .bind(i64::from(partition))
                .execute(conn)
                .await
                .map(|_| ()))
            .map_err(StoreError::from)?;
        }
        tx.commit().await?;
        Ok(())
    }

    async fn drop_all(&self) -> Result<u64, StateError> {
        self.delete_all([DROP_OWN_OFFSETS, DROP_OWN_STATES]).await
    }
}

fn upsert_text(rows: usize) -> String {
    let row = |at: usize| format!("($1, $2, $3, ${}, ${})", 4 + 2 * at, 5 + 2 * at);
    let values: Vec<String> = (0..rows).map(row).collect();
    format!(
        "insert into projection_state (projection, version, partition, key, state) values {}
        on conflict (projection, version, partition, key) do update set state = excluded.state",
        values.join(", ")
    )
}

fn load_text(keys: usize) -> String {
    let binds: Vec<String> = (0..keys).map(|at| format!("${}", 4 + at)).collect();
    format!(
        "select key, state from projection_state
        where projection = $1 and version = $2 and partition = $3 and key in ({})",
        binds.join(", ")
    )
}
