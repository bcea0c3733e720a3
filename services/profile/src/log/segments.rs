//! Sealed segments in the object store: written once, read block by block, shared between readers.

use std::sync::Arc;

use moka::sync::Cache;
use rapport_store::objects::{ObjectError, ObjectStore};

use super::StoredBatch;
use super::segment::{self, Damage, PREFIX_BYTES, SealedSegment, SegmentHeader};
use crate::store::segment::SegmentRow;

/// Unpacked blocks kept for readers that are near each other, in bytes.
const BLOCKS_BYTES_MAX: u64 = 32 * 1024 * 1024;
/// Headers kept, a few KiB each.
const HEADERS_MAX: u64 = 256;
/// What a segment's object is called after its place and its writer.
const SUFFIX: &str = ".seg";

/// A segment that cannot be read or written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SegmentError {
    /// The file is not what was written: it is refused whole, never read around.
    #[error("segment {name} is damaged: {why}")]
    Damaged {
        /// The object's name.
        name: String,
        /// What is wrong.
        why: Damage,
    },
    /// The object store does not answer; the same call may succeed later.
    #[error("segment {name} cannot be reached")]
    Unavailable {
        /// The object's name.
        name: String,
        /// Why.
        #[source]
        source: ObjectError,
    },
}

/// The segments of one log. Cloning shares the caches.
#[derive(Debug, Clone)]
pub struct Segments {
    objects: ObjectStore,
    folder: String,
    headers: Cache<String, Arc<Opened>>,
    blocks: Cache<(String, usize), Arc<StoredBatch>>,
}

/// A header, and where the blocks begin.
#[derive(Debug)]
struct Opened {
    header: SegmentHeader,
    body: u64,
}

impl Segments {
    /// Returns the segments of the log `log_id` in `objects`.
    #[must_use]
    pub fn new(objects: ObjectStore, log_id: &str) -> Self {
        let blocks = Cache::builder()
            .weigher(|_, block: &Arc<StoredBatch>| {
                u32::try_from(block.encoded.len()).unwrap_or(u32::MAX)
            })
            .max_capacity(BLOCKS_BYTES_MAX);
        Self {
            objects,
            folder: format!("log/{log_id}"),
            headers: Cache::new(HEADERS_MAX),
            blocks: blocks.build(),
        }
    }

    /// Returns a name that no segment ever had, for a writer that holds the lease's `epoch`.
    #[must_use]
    pub(super) fn new_name(&self, header: &SegmentHeader, epoch: i64) -> String {
        let (first, last) = (header.first_sequence, header.last_sequence);
        let unique = uuid::Uuid::new_v4().simple();
        format!(
            "{}{first:020}-{last:020}.{epoch}.{unique}{SUFFIX}",
            self.prefix(header.partition)
        )
    }

    fn prefix(&self, partition: u32) -> String {
        format!("{}/{partition:02}/", self.folder)
    }

    /// Writes a segment and reads it back, every block of it, from where readers will.
    ///
    /// # Errors
    /// [`SegmentError`]: what is under that name is not to be recorded.
    pub(super) async fn write(
        &self,
        row: &SegmentRow,
        segment: SealedSegment,
    ) -> Result<(), SegmentError> {
        let unavailable = |source| unavailable(&row.name, source);
        let written = self.objects.put(&row.name, segment.file).await;
        written.map_err(unavailable)?;
        let opened = self.open(row).await?;
        let opened = opened.ok_or_else(|| damaged(&row.name, Damage::Missing))?;
        for index in 0..opened.header.blocks.len() {
            let block = self.read(row, &opened, index).await?;
            let block = block.ok_or_else(|| damaged(&row.name, Damage::Missing))?;
            check_sequences(&block).map_err(|why| damaged(&row.name, why))?;
        }
        self.headers.insert(row.name.clone(), opened);
        Ok(())
    }

    /// Returns the block that holds `sequence`; `None` when there is no such file (any more).
    ///
    /// # Errors
    /// [`SegmentError`]; a damaged file gives no event at all.
    pub async fn block(
        &self,
        row: &SegmentRow,
        sequence: u64,
    ) -> Result<Option<Arc<StoredBatch>>, SegmentError> {
        let opened = match self.headers.get(&row.name) {
            Some(opened) => opened,
            None => {
                let Some(opened) = self.open(row).await? else {
                    return Ok(None);
                };
                self.headers.insert(row.name.clone(), Arc::clone(&opened));
                opened
            }
        };
        let found = opened.header.block_of(sequence, opened.body);
        let (index, _) = found.ok_or_else(|| damaged(&row.name, Damage::Sequence(sequence)))?;
        let key = (row.name.clone(), index);
        if let Some(block) = self.blocks.get(&key) {
            return Ok(Some(block));
        }
        let Some(block) = self.read(row, &opened, index).await? else {
            return Ok(None);
        };
        let block = Arc::new(block);
        self.blocks.insert(key, Arc::clone(&block));
        Ok(Some(block))
    }

    /// Returns every block of a segment's header, by their first sequences.
    ///
    /// # Errors
    /// As [`Segments::block`]; [`Damage::Missing`] when the file is not there.
    pub(super) async fn firsts(&self, row: &SegmentRow) -> Result<Vec<u64>, SegmentError> {
        let opened = self.open(row).await?;
        let opened = opened.ok_or_else(|| damaged(&row.name, Damage::Missing))?;
        let blocks = opened.header.blocks.iter();
        Ok(blocks.map(|block| block.first_sequence).collect())
    }

    async fn open(&self, row: &SegmentRow) -> Result<Option<Arc<Opened>>, SegmentError> {
        let refuse = |why| damaged(&row.name, why);
        let Some(prefix) = self.range(&row.name, 0, PREFIX_BYTES).await? else {
            return Ok(None);
        };
        let length = segment::header_bytes(&prefix).map_err(refuse)?;
        let bytes = self.range(&row.name, PREFIX_BYTES as u64, length).await?;
        let Some(bytes) = bytes else { return Ok(None) };
        if bytes.len() < length {
            return Err(refuse(Damage::CutOff));
        }
        let header = segment::open_header(&bytes, &row.digest).map_err(refuse)?;
        let place = (
            header.partition,
            header.first_sequence,
            header.last_sequence,
        );
        if place != (row.partition, row.first_sequence, row.last_sequence) {
            return Err(refuse(Damage::Sequence(header.first_sequence)));
        }
        let body = (PREFIX_BYTES + length) as u64;
        Ok(Some(Arc::new(Opened { header, body })))
    }

    async fn read(
        &self,
        row: &SegmentRow,
        opened: &Arc<Opened>,
        index: usize,
    ) -> Result<Option<StoredBatch>, SegmentError> {
        let (header, refuse) = (&opened.header, |why| damaged(&row.name, why));
        let block = header.blocks.get(index);
        let block = block.ok_or_else(|| refuse(Damage::Block(index)))?;
        let place = header.block_of(block.first_sequence, opened.body);
        let (_, offset) = place.ok_or_else(|| refuse(Damage::Block(index)))?;
        let length = block.packed_bytes as usize;
        let Some(packed) = self.range(&row.name, offset, length).await? else {
            return Ok(None);
        };
        if packed.len() < length {
            return Err(refuse(Damage::CutOff));
        }
        let opened = Arc::clone(opened);
        // Hashing and unpacking 1 MiB takes milliseconds: not on a thread that serves calls.
        let unpacked = tokio::task::spawn_blocking(move || {
            segment::open_block(&opened.header, index, &packed)
        });
        let unpacked = unpacked.await.map_err(|stopped| {
            unavailable(
                &row.name,
                ObjectError::Unavailable(std::io::Error::other(stopped)),
            )
        })?;
        unpacked.map(Some).map_err(refuse)
    }

    async fn range(
        &self,
        name: &str,
        offset: u64,
        length: usize,
    ) -> Result<Option<Vec<u8>>, SegmentError> {
        let bytes = self.objects.get_range(name, offset, length).await;
        bytes.map_err(|source| unavailable(name, source))
    }

    /// Deletes a segment that is recorded no longer.
    ///
    /// # Errors
    /// [`SegmentError::Unavailable`]: a later sweep finds it.
    pub(super) async fn delete(&self, name: &str) -> Result<(), SegmentError> {
        let deleted = self.objects.delete(name).await;
        deleted
            .map(|_| ())
            .map_err(|source| unavailable(name, source))
    }

    /// Returns a page of a partition's objects after `after` that writers of an epoch up to `epoch` left,
    /// with their first sequences, and whether there may be more.
    ///
    /// # Errors
    /// [`SegmentError::Unavailable`].
    pub(super) async fn written(
        &self,
        partition: u32,
        epoch: i64,
        after: Option<&str>,
    ) -> Result<(Vec<(String, u64)>, Option<String>), SegmentError> {
        let prefix = self.prefix(partition);
        let names = self.objects.list(&prefix, after).await;
        let names = names.map_err(|source| unavailable(&prefix, source))?;
        let next = names.last().cloned();
        let ours = names.into_iter().filter_map(|name| {
            let (place, rest) = name.strip_prefix(&prefix)?.split_once('.')?;
            let (written_at, rest) = rest.split_once('.')?;
            let first = place.split_once('-')?.0.parse().ok()?;
            let old = written_at.parse::<i64>().ok()? <= epoch;
            (old && rest.ends_with(SUFFIX)).then_some((name.clone(), first))
        });
        Ok((ours.collect(), next))
    }
}

/// Checks that a block's events are the sequences that it says.
fn check_sequences(block: &StoredBatch) -> Result<(), Damage> {
    let mut next = block.first_sequence;
    let events = block
        .events()
        .map_err(|_malformed| Damage::Sequence(next))?;
    for event in &events {
        if event.sequence != next || event.partition != block.partition {
            return Err(Damage::Sequence(next));
        }
        next += 1;
    }
    match next == block.last_sequence + 1 {
        true => Ok(()),
        false => Err(Damage::Sequence(next)),
    }
}

fn damaged(name: &str, why: Damage) -> SegmentError {
    SegmentError::Damaged {
        name: name.to_owned(),
        why,
    }
}

fn unavailable(name: &str, source: ObjectError) -> SegmentError {
    SegmentError::Unavailable {
        name: name.to_owned(),
        source,
    }
}
