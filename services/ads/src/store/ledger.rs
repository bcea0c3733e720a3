//! The money: accounts, entries and leases of one line item, changed under its lock.
//!
//! Whoever changes a ledger locks its row, restores the domain's [`LineLedger`], runs one command on
//! it, and stores the postings that come back. What the rules are is the domain's.

use std::collections::BTreeMap;

use ads_domain::{Account, Lease, LineLedger, Transaction};
use rapport_store::{Db, StoreError, Tx, on_db, on_tx};
use rapport_types::{DecisionId, Micros, UnixMillis};

use crate::error::Error;

/// Most accounts in one answer.
pub const ACCOUNTS_MAX: i64 = 10_000;
/// Ledgers with ended leases that one look returns.
const ENDED_MAX: i64 = 100;

const OPEN: &str = "insert into ledger (line_item_id, version, last_epoch) values ($1, 0, 0)
    on conflict (line_item_id) do nothing";
// Takes the row: on Postgres every statement after it sees what the last holder committed.
const LOCK: &str = "update ledger set version = version + 1 where line_item_id = $1
    returning version, last_epoch";
const EPOCH: &str = "update ledger set last_epoch = $2 where line_item_id = $1";
const ACCOUNTS_OF: &str = "select account, balance_micros from account
    where line_item_id = $1 order by account";
const LEASES_OF: &str = "select replica, epoch, expires_at_ms from budget_lease
    where line_item_id = $1 order by replica";
const PUT_LEASE: &str = "insert into budget_lease (line_item_id, replica, epoch, expires_at_ms)
    values ($1, $2, $3, $4) on conflict (line_item_id, replica) do update
    set epoch = excluded.epoch, expires_at_ms = excluded.expires_at_ms";
const DROP_LEASE: &str = "delete from budget_lease where line_item_id = $1 and replica = $2";
// Replicas come and go: the account of a closed lease goes with it, its entries stay.
const DROP_ACCOUNT: &str = "delete from account where account = $1 and balance_micros = 0";
const ENTER: &str = "insert into entry
    (line_item_id, version, position, account, amount_micros, reason, decision_id, created_at_ms)
    values ($1, $2, $3, $4, $5, $6, $7, $8)";
const SUM_OF: &str = "select cast(coalesce(sum(amount_micros), 0) as bigint) from entry
    where line_item_id = $1 and version = $2";
const ADD: &str = "update account set balance_micros = balance_micros + $2 where account = $1";
const CREATE: &str =
    "insert into account (account, line_item_id, balance_micros) values ($1, $2, $3)";
const FENCE_SQLITE: &str = "select epoch from budget_lease
    where line_item_id = $1 and replica = $2 and epoch = $3 and expires_at_ms > $4";
// Held until the commit, or the lease could be taken back in between.
const FENCE_PG: &str = "select epoch from budget_lease
    where line_item_id = $1 and replica = $2 and epoch = $3 and expires_at_ms > $4 for share";
const ENDED: &str = "select distinct line_item_id from budget_lease
    where expires_at_ms <= $1 order by line_item_id limit $2";
const HELD: &str = "select line_item_id, epoch from budget_lease
    where replica = $1 order by line_item_id";
const ALL: &str = "select account, balance_micros from account order by account limit $1";
const SUM: &str = "select cast(coalesce(sum(balance_micros), 0) as bigint) from account";
const SPENT: &str = "select line_item_id, balance_micros from account
    where account >= 'spent:' and account < 'spent;' order by account";

/// Why money moves, and when: what every entry says.
#[derive(Debug, Clone, Copy)]
pub struct Note {
    /// One word.
    pub reason: &'static str,
    /// The decision that is billed.
    pub decision: Option<DecisionId>,
    /// When.
    pub at: UnixMillis,
}

impl Note {
    /// Returns the note of a movement that no decision caused.
    #[must_use]
    pub fn new(reason: &'static str, at: UnixMillis) -> Self {
        Self {
            reason,
            decision: None,
            at,
        }
    }
}

/// Creates the empty ledger of a line item, unless it exists.
///
/// # Errors
/// [`StoreError`].
pub async fn open(tx: &mut Tx, line_item: &str) -> Result<(), StoreError> {
    on_tx!(tx, |conn| sqlx::query(OPEN)
        .bind(line_item)
        .execute(conn)
        .await
        .map(|_| ()))?;
    Ok(())
}

/// Runs a command on a line item's ledger, in the caller's transaction, and stores what it did.
///
/// The postings of one run are one transaction of the ledger: their sum is checked in the database
/// before this returns.
///
/// # Errors
/// [`Error::LineItemNotFound`], the command's own, [`Error::Store`].
pub async fn run_in<T>(
    tx: &mut Tx,
    line_item: &str,
    note: Note,
    command: impl FnOnce(&mut LineLedger) -> Result<(T, Vec<Transaction>), Error>,
) -> Result<T, Error> {
    let (version, last_epoch) = lock(tx, line_item).await?;
    let mut ledger = restore(tx, line_item, last_epoch).await?;
    let before = ledger.leases().clone();
    let (answer, transactions) = command(&mut ledger)?;
    post(tx, line_item, version, note, &transactions).await?;
    save_leases(tx, line_item, &before, ledger.leases()).await?;
    if ledger.last_epoch() as i64 != last_epoch {
        on_tx!(tx, |conn| sqlx::query(EPOCH)
            .bind(line_item)
            .bind(ledger.last_epoch() as i64)
            .execute(conn)
            .await
            .map(|_| ()))
        .map_err(StoreError::from)?;
    }
    Ok(answer)
}

/// As [`run_in`], in a transaction of its own.
///
/// # Errors
/// As [`run_in`].
pub async fn run<T>(
    db: &Db,
    line_item: &str,
    note: Note,
    command: impl FnOnce(&mut LineLedger) -> Result<(T, Vec<Transaction>), Error>,
) -> Result<T, Error> {
    let mut tx = db.begin().await?;
    let answer = run_in(&mut tx, line_item, note, command).await?;
    tx.commit().await?;
    Ok(answer)
}

async fn lock(tx: &mut Tx, line_item: &str) -> Result<(i64, i64), Error> {
    let row: Option<(i64, i64)> = on_tx!(tx, |conn| sqlx::query_as(LOCK)
        .bind(line_item)
        .fetch_optional(conn)
        .await)
    .map_err(StoreError::from)?;
    row.ok_or_else(|| Error::LineItemNotFound(line_item.to_owned()))
}

async fn restore(tx: &mut Tx, line_item: &str, last_epoch: i64) -> Result<LineLedger, Error> {
    let accounts: Vec<(String, i64)> = on_tx!(tx, |conn| sqlx::query_as(ACCOUNTS_OF)
        .bind(line_item)
        .fetch_all(&mut *conn)
        .await)
    .map_err(StoreError::from)?;
    let open: Vec<(String, i64, i64)> = on_tx!(tx, |conn| sqlx::query_as(LEASES_OF)
        .bind(line_item)
        .fetch_all(&mut *conn)
        .await)
    .map_err(StoreError::from)?;
    let (mut free, mut spent) = (Micros::ZERO, Micros::ZERO);
    let mut held = BTreeMap::new();
    for (name, balance) in accounts {
        let balance = Micros(balance);
        match Account::parse(&name) {
            Some(Account::Budget(_)) => free = balance,
            Some(Account::Spent(_)) => spent = balance,
            Some(Account::Lease { replica, .. }) => {
                held.insert(replica, balance);
            }
            Some(Account::Funding) | None => {
                return Err(Error::Internal("a ledger has an account of another kind"));
            }
        }
    }
    let mut leases = BTreeMap::new();
    for (replica, epoch, expires_at_ms) in open {
        let lease = Lease {
            epoch: epoch as u64,
            balance: held.remove(&replica).unwrap_or_default(),
            expires_at: UnixMillis(expires_at_ms),
        };
        leases.insert(replica, lease);
    }
    if held.values().any(|balance| *balance != Micros::ZERO) {
        return Err(Error::Internal("a closed lease holds money"));
    }
    Ok(LineLedger::restore(
        line_item,
        free,
        spent,
        leases,
        last_epoch as u64,
    )?)
}

async fn post(
    tx: &mut Tx,
    line_item: &str,
    version: i64,
    note: Note,
    transactions: &[Transaction],
) -> Result<(), Error> {
    let postings = transactions.iter().flat_map(Transaction::postings);
    let decision = note.decision.map(|id| id.to_vec());
    let moved = postings.filter(|posting| posting.amount != Micros::ZERO);
    for (position, posting) in moved.enumerate() {
        let account = posting.account.to_string();
        let owner = match posting.account {
            Account::Funding => "",
            Account::Budget(_) | Account::Spent(_) | Account::Lease { .. } => line_item,
        };
        on_tx!(tx, |conn| {
            let entry = sqlx::query(ENTER).bind(line_item).bind(version);
            let entry = entry
                .bind(position as i64)
                .bind(&account)
                .bind(posting.amount.0);
            let entry = entry.bind(note.reason).bind(&decision).bind(note.at.0);
            entry.execute(conn).await.map(|_| ())
        })
        .map_err(StoreError::from)?;
        add(tx, &account, owner, posting.amount).await?;
    }
    let sum: i64 = on_tx!(tx, |conn| sqlx::query_scalar(SUM_OF)
        .bind(line_item)
        .bind(version)
        .fetch_one(conn)
        .await)
    .map_err(StoreError::from)?;
    match sum {
        0 => Ok(()),
        _ => Err(Error::Internal(
            "the entries of a transaction do not balance",
        )),
    }
}

/// Adds to an account, which may be its first.
async fn add(tx: &mut Tx, account: &str, owner: &str, amount: Micros) -> Result<(), StoreError> {
    let changed = on_tx!(tx, |conn| sqlx::query(ADD)
        .bind(account)
        .bind(amount.0)
        .execute(conn)
        .await
        .map(|done| done.rows_affected()))?;
    if changed == 0 {
        on_tx!(tx, |conn| sqlx::query(CREATE)
            .bind(account)
            .bind(owner)
            .bind(amount.0)
            .execute(conn)
            .await
            .map(|_| ()))?;
    }
    Ok(())
}

async fn save_leases(
    tx: &mut Tx,
    line_item: &str,
    before: &BTreeMap<String, Lease>,
    after: &BTreeMap<String, Lease>,
) -> Result<(), StoreError> {
    for replica in before
        .keys()
        .filter(|replica| !after.contains_key(*replica))
    {
        let account = Account::Lease {
            line_item: line_item.to_owned(),
            replica: replica.clone(),
        };
        on_tx!(tx, |conn| sqlx::query(DROP_LEASE)
            .bind(line_item)
            .bind(replica)
            .execute(conn)
            .await
            .map(|_| ()))?;
        on_tx!(tx, |conn| sqlx::query(DROP_ACCOUNT)
            .bind(account.to_string())
            .execute(conn)
            .await
            .map(|_| ()))?;
    }
    let same = |replica: &String, lease: &Lease| {
        let old = before.get(replica);
        old.is_some_and(|old| (old.epoch, old.expires_at) == (lease.epoch, lease.expires_at))
    };
    for (replica, lease) in after
        .iter()
        .filter(|(replica, lease)| !same(replica, lease))
    {
        on_tx!(tx, |conn| {
            let put = sqlx::query(PUT_LEASE).bind(line_item).bind(replica);
            let put = put.bind(lease.epoch as i64).bind(lease.expires_at.0);
            put.execute(conn).await.map(|_| ())
        })?;
    }
    Ok(())
}

/// Returns whether a lease is open at `now`, and keeps it so until the transaction ends.
///
/// # Errors
/// [`StoreError`].
pub async fn fence(
    tx: &mut Tx,
    line_item: &str,
    replica: &str,
    epoch: u64,
    now: UnixMillis,
) -> Result<bool, StoreError> {
    let text = match tx {
        Tx::Postgres(_) => FENCE_PG,
        Tx::Sqlite(_) => FENCE_SQLITE,
    };
    let found: Option<i64> = on_tx!(tx, |conn| sqlx::query_scalar(text)
        .bind(line_item)
        .bind(replica)
        .bind(epoch as i64)
        .bind(now.0)
        .fetch_optional(conn)
        .await)?;
    Ok(found.is_some())
}

/// Returns line items with leases past their end, at most a hundred.
///
/// # Errors
/// [`StoreError`].
pub async fn ended(db: &Db, now: UnixMillis) -> Result<Vec<String>, StoreError> {
    Ok(on_db!(db, |pool| sqlx::query_scalar(ENDED)
        .bind(now.0)
        .bind(ENDED_MAX)
        .fetch_all(pool)
        .await)?)
}

/// Returns the line items and epochs of the leases under a replica's name.
///
/// # Errors
/// [`StoreError`].
pub async fn held(db: &Db, replica: &str) -> Result<Vec<(String, u64)>, StoreError> {
    let rows: Vec<(String, i64)> = on_db!(db, |pool| sqlx::query_as(HELD)
        .bind(replica)
        .fetch_all(pool)
        .await)?;
    let unsigned = |(line_item, epoch): (String, i64)| (line_item, epoch as u64);
    Ok(rows.into_iter().map(unsigned).collect())
}

/// Returns accounts with their balances in order of their names, at most [`ACCOUNTS_MAX`]: those of a
/// line item, or all for an empty one.
///
/// # Errors
/// [`StoreError`].
pub async fn accounts(db: &Db, line_item: &str) -> Result<Vec<(String, i64)>, StoreError> {
    Ok(on_db!(db, |pool| match line_item {
        "" => sqlx::query_as(ALL).bind(ACCOUNTS_MAX).fetch_all(pool).await,
        _ =>
            sqlx::query_as(ACCOUNTS_OF)
                .bind(line_item)
                .fetch_all(pool)
                .await,
    })?)
}

/// Returns the sum of all balances: 0, or the ledger is broken.
///
/// # Errors
/// [`StoreError`].
pub async fn sum(db: &Db) -> Result<i64, StoreError> {
    Ok(on_db!(db, |pool| sqlx::query_scalar(SUM)
        .fetch_one(pool)
        .await)?)
}

/// Returns what every line item has spent.
///
/// # Errors
/// [`StoreError`].
pub async fn spent(db: &Db) -> Result<Vec<(String, i64)>, StoreError> {
    Ok(on_db!(db, |pool| sqlx::query_as(SPENT)
        .fetch_all(pool)
        .await)?)
}
