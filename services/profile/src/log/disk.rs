//! The log's disk as a reader sees it: rows in SQL, older runs in segments, and nothing below the
//! low-water mark. Where a sequence lies is nobody else's affair.

use std::sync::Arc;

use rapport_store::Db;

use super::segment::Damage;
use super::{SegmentError, Segments, StoredBatch, TailError};
use crate::store::{log, segment};

/// Looks at rows and segments before a sequence is given up: its file may be replaced meanwhile.
const LOOKS_MAX: u32 = 5;

/// Where stored batches are read from. Cloning shares it.
#[derive(Debug, Clone)]
pub struct Disk {
    db: Db,
    segments: Option<Segments>,
}

impl From<Db> for Disk {
    /// A log that was never sealed.
    fn from(db: Db) -> Self {
        Self { db, segments: None }
    }
}

impl Disk {
    /// Returns the disk of a log whose old runs lie in `segments`.
    #[must_use]
    pub fn new(db: Db, segments: Option<Segments>) -> Self {
        Self { db, segments }
    }

    /// Returns the database.
    #[must_use]
    pub fn db(&self) -> &Db {
        &self.db
    }

    /// Returns some batches from the one on that holds the event after `after_sequence`, in order: at
    /// most 64 rows, or one block. Empty when there is no such event (yet).
    ///
    /// # Errors
    /// [`TailError`]; [`TailError::Expired`] when the event was forgotten, [`TailError::Lost`] when
    /// later ones are there and it is not.
    pub async fn read_after(
        &self,
        partition: u32,
        after_sequence: u64,
    ) -> Result<Vec<Arc<StoredBatch>>, TailError> {
        let wanted = after_sequence + 1;
        let mut gone = None;
        for _ in 0..LOOKS_MAX {
            let rows = log::read_after(&self.db, partition, after_sequence).await?;
            if rows.first().is_some_and(|row| row.first_sequence <= wanted) {
                return Ok(rows.into_iter().map(Arc::new).collect());
            }
            // In this order: a run is recorded as a segment before its rows go, and the mark rises in the
            // transaction that forgets the segment. So whoever finds nothing here finds it in the next.
            let Some(row) = segment::holding(&self.db, partition, wanted).await? else {
                let low_water = segment::low_water(&self.db, partition).await?;
                return match (after_sequence < low_water, rows.is_empty()) {
                    (true, _) => Err(TailError::Expired {
                        partition,
                        low_water,
                    }),
                    (false, true) => Ok(Vec::new()),
                    (false, false) => Err(TailError::Lost(partition, wanted)),
                };
            };
            if let Some(segments) = &self.segments
                && let Some(block) = segments.block(&row, wanted).await?
            {
                return Ok(vec![block]);
            }
            gone = Some(row.name);
        }
        let name = gone.unwrap_or_default();
        let why = Damage::Missing;
        Err(TailError::Segment(SegmentError::Damaged { name, why }))
    }
}
