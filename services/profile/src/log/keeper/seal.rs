//! From rows to a segment: count, read, pack, write, read back, record, and only then delete.

use std::collections::HashSet;
use std::sync::Arc;

use rapport_store::lease;
use rapport_types::SubjectId;
use tokio::task::spawn_blocking;

use super::super::redact::redact;
use super::super::segment::{BLOCKS_MAX, SealedSegment, SegmentBuilder};
use super::super::{Damage, STORED_BYTES_MAX, StoredBatch};
use super::{DAY_MS, KeepError, Keeper, Kept, millis};
use crate::store::segment::{self, BatchSize, SegmentRow};

/// Rows counted by one statement.
const ROWS_PER_PAGE: u32 = 5_000;
/// Rows deleted by one statement, and their bytes: SQLite's writer is held up for that long.
const CLEARED_ROWS_MAX: u32 = 1_000;
const CLEARED_BYTES_MAX: u64 = 1024 * 1024;

/// The rows of one partition that are to become a segment, as far as they were counted: at most
/// [`BLOCKS_MAX`] entries, so that no page is counted twice and none is kept.
#[derive(Debug, Clone, Default)]
pub(super) struct Plan {
    /// The last sequence before the plan.
    sealed: u64,
    /// The last sequence that was counted.
    counted: u64,
    blocks: Vec<BatchSize>,
    bytes: u64,
    /// When the log took the first event, once it was asked.
    oldest_ms: Option<i64>,
}

impl Plan {
    fn after(sealed: u64) -> Self {
        Self {
            sealed,
            counted: sealed,
            ..Self::default()
        }
    }

    /// Adds a row: to the last block, or to a new one when that is full.
    fn add(&mut self, row: BatchSize) {
        self.counted = row.last_sequence;
        self.bytes += row.bytes;
        match self.blocks.last_mut() {
            Some(block) if block.bytes + row.bytes <= STORED_BYTES_MAX as u64 => {
                block.last_sequence = row.last_sequence;
                block.bytes += row.bytes;
            }
            Some(_) | None => self.blocks.push(row),
        }
    }
}

impl Keeper {
    /// Seals what fills segments, and the rest of a partition once its first row is old enough.
    pub(super) async fn seal_partition(
        &mut self,
        partition: u32,
        sealed: u64,
        kept: &mut Kept,
    ) -> Result<(), KeepError> {
        let mut plan = std::mem::take(&mut self.plans[partition as usize]);
        if plan.sealed != sealed {
            plan = Plan::after(sealed);
        }
        loop {
            let rows = segment::rows(&self.db, partition, plan.counted, ROWS_PER_PAGE).await?;
            let last = rows.len() < ROWS_PER_PAGE as usize;
            for row in rows {
                if row.first_sequence != plan.counted + 1 {
                    let why = Damage::Sequence(plan.counted + 1);
                    return Err(KeepError::Rows { partition, why });
                }
                plan.add(row);
                if plan.bytes >= self.options.segment_bytes || plan.blocks.len() >= BLOCKS_MAX {
                    plan = self.seal(partition, &plan, kept).await?;
                }
            }
            if last {
                break;
            }
        }
        if self.is_old(partition, &mut plan).await? {
            plan = self.seal(partition, &plan, kept).await?;
        }
        self.plans[partition as usize] = plan;
        Ok(())
    }

    /// Returns whether the first row of a plan is older than rows may become.
    async fn is_old(&self, partition: u32, plan: &mut Plan) -> Result<bool, KeepError> {
        let Some(first) = plan.blocks.first() else {
            return Ok(false);
        };
        let oldest_ms = match plan.oldest_ms {
            Some(known) => known,
            None => {
                let batches = self.read(partition, first).await?;
                let event = batches.first().and_then(|batch| batch.events().ok());
                let event = event.and_then(|events| events.into_iter().next());
                let why = Damage::Sequence(first.first_sequence);
                event
                    .ok_or(KeepError::Rows { partition, why })?
                    .received_at_ms
            }
        };
        plan.oldest_ms = Some(oldest_ms);
        Ok(self.clock.now().0 - oldest_ms >= millis(self.options.segment_age))
    }

    async fn read(&self, partition: u32, run: &BatchSize) -> Result<Vec<StoredBatch>, KeepError> {
        let (first, last) = (run.first_sequence, run.last_sequence);
        Ok(segment::read(&self.db, partition, first, last).await?)
    }

    /// Makes a segment of a plan and returns the plan of what comes next.
    async fn seal(
        &mut self,
        partition: u32,
        plan: &Plan,
        kept: &mut Kept,
    ) -> Result<Plan, KeepError> {
        let (segment, row) = self.pack(partition, plan).await?;
        kept.sealed += 1;
        kept.row_bytes += plan.bytes;
        kept.file_bytes += row.bytes;
        if !self.options.record_first {
            self.clear(partition, plan.counted).await?;
        }
        self.segments.write(&row, segment).await?;
        let lease = self.hold().await?;
        let mut tx = self.db.begin().await?;
        lease::fence(&mut tx, &lease).await?;
        segment::record(&mut tx, &row).await?;
        tx.commit().await?;
        tracing::info!(
            partition,
            last_sequence = row.last_sequence,
            row_bytes = plan.bytes,
            file_bytes = row.bytes,
            "segment sealed"
        );
        self.clear(partition, plan.counted).await?;
        Ok(Plan::after(plan.counted))
    }

    /// Packs the rows of a plan, without the events of erased subjects: one block of rows in memory at
    /// a time, beside the packed ones.
    async fn pack(
        &mut self,
        partition: u32,
        plan: &Plan,
    ) -> Result<(SealedSegment, SegmentRow), KeepError> {
        let horizon_ms = self.horizon_ms();
        let mut erased: Option<Arc<HashSet<SubjectId>>> = None;
        let mut builder = SegmentBuilder::new(partition, plan.sealed + 1);
        let mut received_at_ms = 0;
        for run in &plan.blocks {
            let batches = self.read(partition, run).await?;
            let erased = match &erased {
                Some(known) => Arc::clone(known),
                None => {
                    // Whoever was erased before the first event came has none here. A day is allowed for
                    // replicas whose clocks differ.
                    let first = batches.first().and_then(first_received_at_ms);
                    let after_ms = first.unwrap_or(0).saturating_sub(DAY_MS);
                    let found = self.erasures.between(after_ms, horizon_ms).await?;
                    Arc::clone(erased.insert(Arc::new(found)))
                }
            };
            let run = *run;
            let packed = spawn_blocking(move || pack_block(builder, run, &batches, &erased)).await;
            let packed = packed.map_err(|_stopped| KeepError::Interrupted)?;
            (builder, received_at_ms) = packed.map_err(|why| KeepError::Rows { partition, why })?;
            self.hold().await?;
        }
        let segment = builder.finish();
        let segment = segment.map_err(|why| KeepError::Rows { partition, why })?;
        let row = self.row(&segment, received_at_ms, horizon_ms).await?;
        Ok((segment, row))
    }

    /// Returns how a new segment is recorded, under a name of its own.
    pub(super) async fn row(
        &mut self,
        segment: &SealedSegment,
        last_received_at_ms: i64,
        erased_to_ms: i64,
    ) -> Result<SegmentRow, KeepError> {
        let epoch = self.hold().await?.epoch;
        Ok(SegmentRow {
            partition: segment.header.partition,
            first_sequence: segment.header.first_sequence,
            last_sequence: segment.header.last_sequence,
            name: self.segments.new_name(&segment.header, epoch),
            digest: segment.digest.to_vec(),
            bytes: segment.file.len() as u64,
            last_received_at_ms,
            erased_to_ms,
        })
    }

    /// Deletes the rows of a partition up to `sealed`, a little at a time.
    pub(super) async fn clear(&self, partition: u32, sealed: u64) -> Result<(), KeepError> {
        loop {
            let rows = segment::rows(&self.db, partition, 0, CLEARED_ROWS_MAX).await?;
            let covered = rows.into_iter().filter(|row| row.last_sequence <= sealed);
            let mut last = None;
            let mut bytes = 0;
            for row in covered {
                bytes += row.bytes;
                if last.is_some() && bytes > CLEARED_BYTES_MAX {
                    break;
                }
                last = Some(row.last_sequence);
            }
            let Some(last) = last else { return Ok(()) };
            segment::clear(&self.db, partition, last).await?;
        }
    }
}

/// Adds a run of rows as one block. Returns the builder and when the log took the run's last event.
fn pack_block(
    mut builder: SegmentBuilder,
    run: BatchSize,
    batches: &[StoredBatch],
    erased: &HashSet<SubjectId>,
) -> Result<(SegmentBuilder, i64), Damage> {
    let mut next = run.first_sequence;
    let mut encoded = Vec::with_capacity(run.bytes as usize);
    let mut received_at_ms = 0;
    for batch in batches {
        let malformed = |_| Damage::Sequence(batch.first_sequence);
        let events = batch.events().map_err(malformed)?;
        let gapless = (next..)
            .zip(&events)
            .all(|(at, event)| event.sequence == at);
        if batch.first_sequence != next || events.len() as u64 != batch.len() || !gapless {
            return Err(Damage::Sequence(next));
        }
        next = batch.last_sequence + 1;
        received_at_ms = events.last().map_or(0, |event| event.received_at_ms);
        let redacted = redact(batch, erased).map_err(malformed)?;
        encoded.extend_from_slice(&redacted.as_ref().unwrap_or(batch).encoded);
    }
    if next != run.last_sequence + 1 {
        return Err(Damage::Sequence(next));
    }
    builder.push(&StoredBatch {
        partition: batches.first().map_or(0, |batch| batch.partition),
        first_sequence: run.first_sequence,
        last_sequence: run.last_sequence,
        encoded: encoded.into(),
    })?;
    Ok((builder, received_at_ms))
}

fn first_received_at_ms(batch: &StoredBatch) -> Option<i64> {
    let events = batch.events().ok()?;
    events.first().map(|event| event.received_at_ms)
}
