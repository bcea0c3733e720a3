//! The keeper of the log's old part: seals runs into segments, takes erased subjects out of these, forgets
//! what nobody may need, and sweeps files that crashes left. One replica keeps at a time.
//!
//! **Crashes.** A run is sealed in this order: its file is written and read back, then one fenced
//! transaction records it, then its rows are deleted, about 1 MiB at a time so that appends on SQLite
//! never wait long. A crash before the record leaves a file that nobody knows, which the next keeper
//! deletes; a crash after it leaves rows that the segment covers, which the next keeper deletes. Readers
//! ask rows first and segments second and go on by sequence: both at once is never read twice.
//!
//! **The control partition stays in rows.** It is low in volume, every replica starts from it, and its
//! erasure records must go on naming whom they erased, which no segment may.

mod forget;
mod seal;

use std::collections::HashSet;
use std::fmt::Debug;
use std::sync::Arc;
use std::time::Duration;

use rapport_store::lease::{self, Lease, LeaseError};
use rapport_store::{Db, StoreError};
use rapport_types::{Clock, PARTITIONS, SubjectId};

use self::seal::Plan;
use super::{Damage, SegmentError, Segments};
use crate::store::segment;

const LEASE: &str = "log/keeper";
/// How soon another replica goes on when the keeper dies. Longer than packing a block takes by far.
const LEASE_TTL_MS: i64 = 2_000;
const DAY_MS: i64 = 24 * 60 * 60 * 1_000;
/// An erasure waits this long before it reaches segments: whoever reads the log with up to a day's delay
/// still finds its copy in the subject's partition.
pub const ERASURE_GRACE_MS: i64 = DAY_MS;

/// Why a part of the keeper's work was not done. The next round tries again.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum KeepError {
    /// Another replica keeps now, or the store failed.
    #[error(transparent)]
    Lease(#[from] LeaseError),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A segment.
    #[error(transparent)]
    Segment(#[from] SegmentError),
    /// The rows of a partition cannot be sealed: they are left where they are.
    #[error("rows of partition {partition} cannot be sealed: {why}")]
    Rows {
        /// The partition.
        partition: u32,
        /// What is wrong with them.
        why: Damage,
    },
    /// A worker thread ended early: the process is shutting down.
    #[error("sealing was interrupted")]
    Interrupted,
}

/// When the keeper does what.
#[derive(Debug, Clone)]
pub struct KeeperOptions {
    /// Bytes of rows that make a segment. One segment is in memory at a time, packed.
    pub segment_bytes: u64,
    /// Age at which a partition's rows are sealed however few.
    pub segment_age: Duration,
    /// Age at which erasures reach the segments, beside [`ERASURE_GRACE_MS`].
    pub erase_every: Duration,
    /// Age at which segments are forgotten; `None` keeps them for ever.
    pub retention: Option<Duration>,
    /// Rows go only once their segment is recorded. On, always: a test turns it off to show that it
    /// fails without.
    pub record_first: bool,
}

/// What one round did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Kept {
    /// Segments that were written.
    pub sealed: u64,
    /// Bytes of rows that they took.
    pub row_bytes: u64,
    /// Bytes of their files.
    pub file_bytes: u64,
    /// Segments that were looked through for erased subjects.
    pub searched: u64,
    /// Segments that were written anew without erased subjects.
    pub rewritten: u64,
    /// Segments that were forgotten.
    pub forgotten: u64,
    /// Files that nobody knew.
    pub swept: u64,
}

/// Who was erased. The log knows no subjects, so somebody must tell it.
#[tonic::async_trait]
pub trait Erasures: Debug + Send + Sync {
    /// Returns the subjects erased after `after_ms` and not after `to_ms`.
    ///
    /// # Errors
    /// [`StoreError`].
    async fn between(&self, after_ms: i64, to_ms: i64) -> Result<HashSet<SubjectId>, StoreError>;
}

/// The keeper of one process.
#[derive(Debug)]
pub struct Keeper {
    db: Db,
    segments: Segments,
    erasures: Arc<dyn Erasures>,
    clock: Arc<dyn Clock>,
    options: KeeperOptions,
    owner: String,
    lease: Option<Lease>,
    /// What each partition has to seal, as far as it was counted.
    plans: Vec<Plan>,
    /// Whether no rows and no files of an earlier crash can be left.
    tidy: bool,
}

impl Keeper {
    /// Returns a keeper of the log in `db` and `segments`.
    #[must_use]
    pub fn new(
        db: Db,
        segments: Segments,
        erasures: Arc<dyn Erasures>,
        clock: Arc<dyn Clock>,
        options: KeeperOptions,
    ) -> Self {
        let owner = match &db {
            Db::Postgres(_) => uuid::Uuid::now_v7().to_string(),
            // One process has the file: it need not wait for its own former lease.
            Db::Sqlite(_) => "only".to_owned(),
        };
        Self {
            db,
            segments,
            erasures,
            clock,
            options,
            owner,
            lease: None,
            plans: (0..PARTITIONS).map(|_| Plan::default()).collect(),
            tidy: false,
        }
    }

    /// Does what is due and returns what that was: nothing while another replica keeps.
    ///
    /// A partition that cannot be sealed does not hold up the others; it is logged.
    ///
    /// # Errors
    /// [`KeepError`]: the round ended early, and the next one goes on.
    pub async fn round(&mut self) -> Result<Kept, KeepError> {
        let mut kept = Kept::default();
        if !self.take().await? {
            return Ok(kept);
        }
        let done = self.keep(&mut kept).await;
        if let Err(KeepError::Lease(LeaseError::Fenced { .. })) = &done {
            self.lease = None;
        }
        if done.is_err() {
            // Whatever was half done is found again.
            self.tidy = false;
        }
        done.map(|()| kept)
    }

    async fn keep(&mut self, kept: &mut Kept) -> Result<(), KeepError> {
        let sealed = segment::sealed(&self.db).await?;
        if !self.tidy {
            for partition in &sealed {
                self.clear(partition.partition, partition.sealed).await?;
            }
            self.sweep(kept).await?;
            self.tidy = true;
        }
        for partition in sealed.iter().filter(|one| one.partition < PARTITIONS) {
            let (partition, sealed) = (partition.partition, partition.sealed);
            match self.seal_partition(partition, sealed, kept).await {
                Err(error @ KeepError::Rows { .. }) => {
                    let error = &error as &dyn std::error::Error;
                    tracing::error!(error, "a partition cannot be sealed");
                }
                other => other?,
            }
        }
        self.expire(kept).await?;
        self.erase(kept).await
    }

    /// Takes or renews the lease. Returns whether this replica keeps.
    async fn take(&mut self) -> Result<bool, KeepError> {
        if self.lease.is_some() {
            match self.hold().await {
                Ok(_) => return Ok(true),
                Err(KeepError::Lease(LeaseError::Fenced { .. })) => self.lease = None,
                Err(error) => return Err(error),
            }
        }
        let now = self.clock.now();
        self.lease = lease::acquire(&self.db, LEASE, &self.owner, now, LEASE_TTL_MS).await?;
        // Somebody else may have kept in between.
        self.tidy = false;
        self.plans
            .iter_mut()
            .for_each(|plan| *plan = Plan::default());
        Ok(self.lease.is_some())
    }

    /// Returns the lease, renewed when half of its time is over.
    async fn hold(&mut self) -> Result<Lease, KeepError> {
        let lost = || LeaseError::Fenced {
            name: LEASE.to_owned(),
            epoch: 0,
        };
        let lease = self.lease.clone().ok_or_else(lost)?;
        let now = self.clock.now();
        if lease.expires.since(now) > LEASE_TTL_MS / 2 {
            return Ok(lease);
        }
        let lease = lease::renew(&self.db, &lease, now, LEASE_TTL_MS).await?;
        self.lease = Some(lease.clone());
        Ok(lease)
    }

    /// Returns until when erasures are due in segments.
    fn horizon_ms(&self) -> i64 {
        self.clock.now().0 - ERASURE_GRACE_MS
    }
}

fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}
