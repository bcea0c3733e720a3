//! What leaves segments: erased subjects, runs past their retention, and files that nobody knows.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use rapport_store::lease;
use rapport_types::{PARTITIONS, SubjectId};
use tokio::task::spawn_blocking;

use super::super::redact::redact;
use super::super::segment::{SealedSegment, SegmentBuilder};
use super::super::{Damage, SegmentError, StoredBatch};
use super::{DAY_MS, KeepError, Keeper, Kept, millis};
use crate::store::segment::SegmentRow;
use crate::store::{reader, segment};

impl Keeper {
    /// Takes the events of erased subjects out of segments, some each round. Every segment remembers how
    /// far it got, so a crash repeats at most one of them.
    pub(super) async fn erase(&mut self, kept: &mut Kept) -> Result<(), KeepError> {
        let horizon_ms = self.horizon_ms();
        let due_ms = horizon_ms.saturating_sub(millis(self.options.erase_every));
        for row in segment::not_erased_since(&self.db, due_ms).await? {
            let erased = self
                .erasures
                // As in sealing: a day for clocks that differ.
                .between(row.erased_to_ms.saturating_sub(DAY_MS), horizon_ms)
                .await?;
            kept.searched += 1;
            match self.without(&row, erased).await {
                Ok(None) => {
                    self.replace(
                        &row.name,
                        &SegmentRow {
                            erased_to_ms: horizon_ms,
                            ..row.clone()
                        },
                    )
                    .await?
                }
                Ok(Some(segment)) => {
                    let last_ms = row.last_received_at_ms;
                    let new = self.row(&segment, last_ms, horizon_ms).await?;
                    self.segments.write(&new, segment).await?;
                    self.replace(&row.name, &new).await?;
                    // What this leaves behind, the sweep after the next start finds.
                    self.segments.delete(&row.name).await?;
                    kept.rewritten += 1;
                }
                Err(KeepError::Segment(error @ SegmentError::Damaged { .. })) => {
                    let error = &error as &dyn std::error::Error;
                    tracing::error!(error, "erased subjects cannot be taken out of a segment");
                }
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    async fn replace(&mut self, former: &str, row: &SegmentRow) -> Result<(), KeepError> {
        let lease = self.hold().await?;
        let mut tx = self.db.begin().await?;
        lease::fence(&mut tx, &lease).await?;
        segment::replace(&mut tx, former, row).await?;
        Ok(tx.commit().await?)
    }

    /// Returns a segment's file without `erased`, or `None` if it holds none of them.
    async fn without(
        &mut self,
        row: &SegmentRow,
        erased: HashSet<SubjectId>,
    ) -> Result<Option<SealedSegment>, KeepError> {
        if erased.is_empty() {
            return Ok(None);
        }
        let erased = Arc::new(erased);
        let firsts = self.segments.firsts(row).await?;
        let mut found = false;
        for first in &firsts {
            let block = self.block(row, *first).await?;
            let (block, erased) = (Arc::clone(&block), Arc::clone(&erased));
            let redacted = spawn_blocking(move || redact(&block, &erased)).await;
            let redacted = redacted.map_err(|_stopped| KeepError::Interrupted)?;
            found |= malformed(redacted, row, *first)?.is_some();
            if found {
                break;
            }
        }
        if !found {
            return Ok(None);
        }
        let mut builder = SegmentBuilder::new(row.partition, row.first_sequence);
        for first in firsts {
            let block = self.block(row, first).await?;
            let erased = Arc::clone(&erased);
            let packed = spawn_blocking(move || {
                let redacted =
                    redact(&block, &erased).map_err(|_malformed| Damage::Sequence(first))?;
                builder.push(redacted.as_ref().unwrap_or(&block))?;
                Ok(builder)
            });
            let packed = packed.await.map_err(|_stopped| KeepError::Interrupted)?;
            builder = packed.map_err(|why| damaged(row, why))?;
            self.hold().await?;
        }
        Ok(Some(builder.finish().map_err(|why| damaged(row, why))?))
    }

    async fn block(&self, row: &SegmentRow, first: u64) -> Result<Arc<StoredBatch>, KeepError> {
        let block = self.segments.block(row, first).await?;
        block.ok_or_else(|| damaged(row, Damage::Missing))
    }

    /// Forgets segments past their retention, as far as every registered reader has verified what it has
    /// of them.
    pub(super) async fn expire(&mut self, kept: &mut Kept) -> Result<(), KeepError> {
        let Some(retention) = self.options.retention else {
            return Ok(());
        };
        let before_ms = self.clock.now().0.saturating_sub(millis(retention));
        let mut old: BTreeMap<u32, Vec<SegmentRow>> = BTreeMap::new();
        for row in segment::received_before(&self.db, before_ms).await? {
            old.entry(row.partition).or_default().push(row);
        }
        if old.is_empty() {
            return Ok(());
        }
        let lease = self.hold().await?;
        let mut tx = self.db.begin().await?;
        lease::fence(&mut tx, &lease).await?;
        reader::lock(&mut tx).await?;
        let mut gone = Vec::new();
        for (partition, rows) in old {
            let floor = reader::floor(&mut tx, partition).await?;
            let verified = floor.as_ref().map_or(u64::MAX, |(_, verified)| *verified);
            let before = gone.len();
            gone.extend(
                rows.into_iter()
                    .take_while(|row| row.last_sequence <= verified),
            );
            match gone.get(before..).and_then(|rows| rows.last()) {
                Some(last) => segment::forget(&mut tx, partition, last.last_sequence).await?,
                None => {
                    let reader = floor.map(|(reader, _)| reader).unwrap_or_default();
                    tracing::info!(
                        partition,
                        verified,
                        reader,
                        "a reader holds the low-water mark"
                    );
                }
            }
        }
        tx.commit().await?;
        for row in gone {
            self.segments.delete(&row.name).await?;
            kept.forgotten += 1;
        }
        Ok(())
    }

    /// Deletes files that no segment is in: what crashes left between a file and its record, or between a
    /// record and its former file. Files of later keepers are left alone.
    pub(super) async fn sweep(&mut self, kept: &mut Kept) -> Result<(), KeepError> {
        let epoch = self.hold().await?.epoch;
        for partition in 0..PARTITIONS {
            let mut after: Option<String> = None;
            loop {
                let (files, next) = self
                    .segments
                    .written(partition, epoch, after.as_deref())
                    .await?;
                for (name, first) in files {
                    if !segment::is_named(&self.db, partition, first, &name).await? {
                        self.segments.delete(&name).await?;
                        kept.swept += 1;
                    }
                }
                let Some(next) = next else { break };
                after = Some(next);
                self.hold().await?;
            }
        }
        Ok(())
    }
}

fn malformed<T>(
    redacted: Result<T, prost::DecodeError>,
    row: &SegmentRow,
    first: u64,
) -> Result<T, KeepError> {
    redacted.map_err(|_malformed| damaged(row, Damage::Sequence(first)))
}

fn damaged(row: &SegmentRow, why: Damage) -> KeepError {
    let name = row.name.clone();
    KeepError::Segment(SegmentError::Damaged { name, why })
}
