//! The file of a sealed segment: a run of one partition, as blocks that can be read one by one.
//!
//! ```text
//! "RPSEGMT" 1 | length of the header, 4 bytes | header | SHA-256 of the header | block | block | ...
//! ```
//!
//! Numbers are big-endian. The header is a [`SegmentHeader`]; it holds the SHA-256 of every block, and
//! the database holds the SHA-256 of the header, so nothing in the file can change unnoticed. A block is
//! zstd of what a row of the log holds, `EventBatch.events`, of about [`STORED_BYTES_MAX`]. Pure: files are
//! `segments`' work.

use bytes::Bytes;
use prost::Message;
use ring::digest;

use super::{STORED_BYTES_MAX, StoredBatch};

const MAGIC: [u8; 8] = *b"RPSEGMT\x01";
/// The one schema of headers and blocks that this version reads and writes.
const SCHEMA: u32 = 1;
const DIGEST_BYTES: usize = 32;
/// Bytes before the header: what a reader asks for first.
pub(super) const PREFIX_BYTES: usize = MAGIC.len() + 4;
/// Longest header: some thousand blocks.
pub(super) const HEADER_BYTES_MAX: usize = 1024 * 1024;
/// Blocks of one segment.
pub(super) const BLOCKS_MAX: usize = 4_096;
/// A block holds at most this when unpacked: a stored batch is at most an event longer than its limit.
const UNPACKED_BYTES_MAX: usize = STORED_BYTES_MAX + 256 * 1024;
/// zstd's own default: twice as fast as disks are, and higher ones gain some percent.
const LEVEL: i32 = 3;

/// What is wrong with a segment's file.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Damage {
    /// The file begins with something else.
    #[error("it is no segment")]
    NotASegment,
    /// Written by a version that this one does not know.
    #[error("its schema {0} is unknown")]
    Schema(u32),
    /// The file ends too soon.
    #[error("it is cut off")]
    CutOff,
    /// The header is not the one that was recorded.
    #[error("its header is not the one that was written")]
    Header,
    /// A block's bytes are not those that were written.
    #[error("its block {0} is not the one that was written")]
    Block(usize),
    /// The sequences have a gap or do not match what was recorded.
    #[error("its sequences do not follow each other at {0}")]
    Sequence(u64),
    /// The file is not there.
    #[error("it is not there")]
    Missing,
}

/// What a segment says of itself.
#[derive(Clone, PartialEq, Message)]
pub(super) struct SegmentHeader {
    /// The schema of the rest, 1.
    #[prost(uint32, tag = "1")]
    pub schema: u32,
    /// The partition.
    #[prost(uint32, tag = "2")]
    pub partition: u32,
    /// Sequence of the first event.
    #[prost(uint64, tag = "3")]
    pub first_sequence: u64,
    /// Sequence of the last event.
    #[prost(uint64, tag = "4")]
    pub last_sequence: u64,
    /// Events, tombstones among them.
    #[prost(uint64, tag = "5")]
    pub count: u64,
    /// The blocks, in order, without gaps.
    #[prost(message, repeated, tag = "6")]
    pub blocks: Vec<Block>,
}

/// One block of a segment.
#[derive(Clone, PartialEq, Message)]
pub(super) struct Block {
    /// Sequence of the first event.
    #[prost(uint64, tag = "1")]
    pub first_sequence: u64,
    /// Sequence of the last event.
    #[prost(uint64, tag = "2")]
    pub last_sequence: u64,
    /// Bytes in the file.
    #[prost(uint64, tag = "3")]
    pub packed_bytes: u64,
    /// Bytes when unpacked.
    #[prost(uint64, tag = "4")]
    pub unpacked_bytes: u64,
    /// SHA-256 of the bytes in the file.
    #[prost(bytes = "vec", tag = "5")]
    pub sha256: Vec<u8>,
}

impl SegmentHeader {
    /// Returns the block that holds `sequence`, and where in the file it begins.
    pub(super) fn block_of(&self, sequence: u64, body: u64) -> Option<(usize, u64)> {
        let index = self
            .blocks
            .partition_point(|block| block.last_sequence < sequence);
        self.blocks.get(index)?;
        let before = self.blocks.iter().take(index);
        let offset = body + before.map(|block| block.packed_bytes).sum::<u64>();
        Some((index, offset))
    }

    /// Checks that the header speaks of a gapless run and of sizes that a reader can hold.
    fn check(&self) -> Result<(), Damage> {
        let mut next = self.first_sequence;
        for (index, block) in self.blocks.iter().enumerate() {
            let sizes = block.unpacked_bytes <= UNPACKED_BYTES_MAX as u64
                && block.packed_bytes <= packed_bytes_max() as u64;
            if !sizes || block.sha256.len() != DIGEST_BYTES {
                return Err(Damage::Block(index));
            }
            if block.first_sequence != next || block.last_sequence < next {
                return Err(Damage::Sequence(next));
            }
            next = block.last_sequence + 1;
        }
        let whole = next == self.last_sequence + 1 && self.blocks.len() <= BLOCKS_MAX;
        if !whole || self.count != next - self.first_sequence {
            return Err(Damage::Sequence(next));
        }
        Ok(())
    }
}

fn packed_bytes_max() -> usize {
    zstd::zstd_safe::compress_bound(UNPACKED_BYTES_MAX)
}

/// A segment taking shape in memory: its packed blocks, nothing else.
#[derive(Debug)]
pub(super) struct SegmentBuilder {
    header: SegmentHeader,
    body: Vec<u8>,
}

/// A segment, ready to be written.
#[derive(Debug)]
pub(super) struct SealedSegment {
    /// The whole file.
    pub file: Vec<u8>,
    /// SHA-256 of the header.
    pub digest: [u8; DIGEST_BYTES],
    /// What it says of itself.
    pub header: SegmentHeader,
}

impl SegmentBuilder {
    /// Begins a segment of `partition` at `first_sequence`.
    #[must_use]
    pub(super) fn new(partition: u32, first_sequence: u64) -> Self {
        let header = SegmentHeader {
            schema: SCHEMA,
            partition,
            first_sequence,
            last_sequence: first_sequence - 1,
            count: 0,
            blocks: Vec::new(),
        };
        Self {
            header,
            body: Vec::new(),
        }
    }

    /// Adds the next block. Cost: packing it, a few milliseconds for 1 MiB.
    ///
    /// # Errors
    /// [`Damage::Sequence`] when it does not continue the segment, [`Damage::Block`] when it is longer
    /// than a block may be or cannot be packed.
    pub(super) fn push(&mut self, block: &StoredBatch) -> Result<(), Damage> {
        let index = self.header.blocks.len();
        if block.first_sequence != self.header.last_sequence + 1 || block.is_empty() {
            return Err(Damage::Sequence(self.header.last_sequence + 1));
        }
        if block.encoded.len() > UNPACKED_BYTES_MAX || index >= BLOCKS_MAX {
            return Err(Damage::Block(index));
        }
        let packed = zstd::bulk::compress(&block.encoded, LEVEL);
        let packed = packed.map_err(|_too_little_memory| Damage::Block(index))?;
        self.header.blocks.push(Block {
            first_sequence: block.first_sequence,
            last_sequence: block.last_sequence,
            packed_bytes: packed.len() as u64,
            unpacked_bytes: block.encoded.len() as u64,
            sha256: sha256(&packed).to_vec(),
        });
        self.header.last_sequence = block.last_sequence;
        self.header.count += block.len();
        self.body.extend_from_slice(&packed);
        Ok(())
    }

    /// Returns the file.
    ///
    /// # Errors
    /// As [`SegmentBuilder::push`]: it has no block.
    pub(super) fn finish(self) -> Result<SealedSegment, Damage> {
        let Self { header, body } = self;
        if header.blocks.is_empty() {
            return Err(Damage::Sequence(header.first_sequence));
        }
        let encoded = header.encode_to_vec();
        let digest = sha256(&encoded);
        let length = u32::try_from(encoded.len()).map_err(|_too_long| Damage::Header)?;
        let mut file = Vec::with_capacity(PREFIX_BYTES + encoded.len() + DIGEST_BYTES + body.len());
        file.extend_from_slice(&MAGIC);
        file.extend_from_slice(&length.to_be_bytes());
        file.extend_from_slice(&encoded);
        file.extend_from_slice(&digest);
        file.extend_from_slice(&body);
        Ok(SealedSegment {
            file,
            digest,
            header,
        })
    }
}

/// Returns how many bytes the header and its digest take, by the file's first [`PREFIX_BYTES`].
///
/// # Errors
/// [`Damage`]: this is no segment.
pub(super) fn header_bytes(prefix: &[u8]) -> Result<usize, Damage> {
    let (magic, length) = prefix.split_at_checked(MAGIC.len()).ok_or(Damage::CutOff)?;
    if magic != MAGIC {
        return Err(Damage::NotASegment);
    }
    let length: [u8; 4] = length.try_into().map_err(|_short| Damage::CutOff)?;
    let length = u32::from_be_bytes(length) as usize;
    if length > HEADER_BYTES_MAX {
        return Err(Damage::Header);
    }
    Ok(length + DIGEST_BYTES)
}

/// Opens a header with its digest, as [`header_bytes`] long; `recorded` is what the database says of it.
///
/// # Errors
/// [`Damage`]: another header than was written.
pub(super) fn open_header(bytes: &[u8], recorded: &[u8]) -> Result<SegmentHeader, Damage> {
    let end = bytes.len().checked_sub(DIGEST_BYTES);
    let (encoded, written) = bytes.split_at(end.ok_or(Damage::CutOff)?);
    let digest = sha256(encoded);
    if digest != written || digest != recorded {
        return Err(Damage::Header);
    }
    let header = SegmentHeader::decode(encoded).map_err(|_malformed| Damage::Header)?;
    if header.schema != SCHEMA {
        return Err(Damage::Schema(header.schema));
    }
    header.check()?;
    Ok(header)
}

/// Unpacks a block from its bytes in the file.
///
/// # Errors
/// [`Damage::Block`]: other bytes than were written.
pub(super) fn open_block(
    header: &SegmentHeader,
    index: usize,
    packed: &[u8],
) -> Result<StoredBatch, Damage> {
    let damaged = || Damage::Block(index);
    let block = header.blocks.get(index).ok_or_else(damaged)?;
    if sha256(packed) != block.sha256.as_slice() {
        return Err(damaged());
    }
    let unpacked = zstd::bulk::decompress(packed, block.unpacked_bytes as usize);
    let unpacked = unpacked.map_err(|_malformed| damaged())?;
    if unpacked.len() as u64 != block.unpacked_bytes {
        return Err(damaged());
    }
    Ok(StoredBatch {
        partition: header.partition,
        first_sequence: block.first_sequence,
        last_sequence: block.last_sequence,
        encoded: Bytes::from(unpacked),
    })
}

fn sha256(bytes: &[u8]) -> [u8; DIGEST_BYTES] {
    let mut hash = [0; DIGEST_BYTES];
    hash.copy_from_slice(digest::digest(&digest::SHA256, bytes).as_ref());
    hash
}

#[cfg(test)]
mod tests {
    use super::*;

    fn batch(first: u64, last: u64, fill: u8) -> StoredBatch {
        StoredBatch {
            partition: 7,
            first_sequence: first,
            last_sequence: last,
            encoded: vec![fill; 5_000].into(),
        }
    }

    fn segment() -> SealedSegment {
        let mut builder = SegmentBuilder::new(7, 5);
        builder.push(&batch(5, 9, 1)).unwrap();
        builder.push(&batch(10, 10, 2)).unwrap();
        builder.push(&batch(11, 40, 3)).unwrap();
        builder.finish().unwrap()
    }

    /// Opens a file as a reader does: prefix, header, then the block of a sequence.
    fn read(file: &[u8], digest: &[u8], sequence: u64) -> Result<StoredBatch, Damage> {
        let prefix = file.get(..PREFIX_BYTES).ok_or(Damage::CutOff)?;
        let length = header_bytes(prefix)?;
        let body = PREFIX_BYTES + length;
        let header = open_header(file.get(PREFIX_BYTES..body).ok_or(Damage::CutOff)?, digest)?;
        let (index, offset) = header.block_of(sequence, body as u64).unwrap();
        let end = offset + header.blocks[index].packed_bytes;
        let packed = file.get(offset as usize..end as usize);
        open_block(&header, index, packed.ok_or(Damage::CutOff)?)
    }

    #[test]
    fn every_sequence_is_in_the_block_that_says_so() {
        let sealed = segment();
        assert_eq!((sealed.header.count, sealed.header.last_sequence), (36, 40));
        for (sequence, first, last, fill) in
            [(5, 5, 9, 1), (9, 5, 9, 1), (10, 10, 10, 2), (40, 11, 40, 3)]
        {
            let block = read(&sealed.file, &sealed.digest, sequence).unwrap();
            assert_eq!(block.encoded, batch(first, last, fill).encoded);
            assert_eq!((block.first_sequence, block.last_sequence), (first, last));
        }
        assert_eq!(sealed.header.block_of(41, 0), None);
    }

    #[test]
    fn every_flipped_bit_and_every_cut_is_noticed() {
        let sealed = segment();
        let all = |file: &[u8]| [5, 10, 11].map(|sequence| read(file, &sealed.digest, sequence));
        assert!(all(&sealed.file).iter().all(Result::is_ok));
        for at in 0..sealed.file.len() {
            let mut file = sealed.file.clone();
            file[at] ^= 1 << (at % 8);
            assert!(all(&file).iter().any(Result::is_err), "byte {at}");
            assert!(
                all(&sealed.file[..at]).iter().any(Result::is_err),
                "cut at {at}"
            );
        }
    }

    #[test]
    fn a_whole_segment_in_the_place_of_another_is_noticed() {
        let mut builder = SegmentBuilder::new(7, 5);
        builder.push(&batch(5, 40, 9)).unwrap();
        let other = builder.finish().unwrap();
        assert_eq!(read(&other.file, &segment().digest, 5), Err(Damage::Header));
    }

    #[test]
    fn a_gap_is_refused_when_it_is_written() {
        let mut builder = SegmentBuilder::new(7, 5);
        assert_eq!(builder.push(&batch(6, 9, 1)), Err(Damage::Sequence(5)));
        builder.push(&batch(5, 9, 1)).unwrap();
        assert_eq!(builder.push(&batch(11, 12, 1)), Err(Damage::Sequence(10)));
        let none = SegmentBuilder::new(7, 5).finish();
        assert_eq!(none.err(), Some(Damage::Sequence(5)));
    }
}
