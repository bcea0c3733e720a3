//! A snapshot's bytes: a magic, a header, then zstd blocks of length-delimited protobuf sorted by key.

use std::io::{self, Read as _};

use prost::Message as _;
use ring::digest::{Context, SHA256};

use super::BYTES_MAX;

/// Tells a snapshot from any other file.
const MAGIC: &[u8; 8] = b"RAPSNAP\x01";
/// What the bytes after the header mean.
const SCHEMA: u32 = 1;
/// Bytes of states that one block compresses; one state more may begin in it.
const BLOCK_BYTES: usize = 256 << 10;
/// Most bytes that one block may unpack to: a block, and the largest state.
const BLOCK_BYTES_MAX: u64 = 32 << 20;
const HEADER_BYTES_MAX: usize = 4 << 10;
/// zstd's default: states are read rarely and written off the hot path.
const LEVEL: i32 = 3;

/// Encoded states by key.
pub(in crate::projection) type States = Vec<(Box<[u8]>, Vec<u8>)>;

/// What a snapshot says of itself.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub(in crate::projection) struct Header {
    #[prost(uint32, tag = "1")]
    pub(super) schema: u32,
    #[prost(string, tag = "2")]
    pub(super) service: String,
    #[prost(string, tag = "3")]
    pub(super) projection: String,
    #[prost(uint32, tag = "4")]
    pub(super) version: u32,
    #[prost(uint32, tag = "5")]
    pub(super) partition: u32,
    /// The last sequence whose effect is in the states.
    #[prost(uint64, tag = "6")]
    pub(in crate::projection) sequence: u64,
    /// The identity graph when it was written.
    #[prost(uint64, tag = "7")]
    pub(super) graph_version: u64,
    #[prost(uint64, tag = "8")]
    pub(super) states: u64,
    /// Over everything after the header.
    #[prost(bytes = "vec", tag = "9")]
    pub(super) sha256: Vec<u8>,
}

#[derive(Clone, PartialEq, Eq, prost::Message)]
struct Entry {
    #[prost(bytes = "vec", tag = "1")]
    key: Vec<u8>,
    #[prost(bytes = "vec", tag = "2")]
    state: Vec<u8>,
}

/// Why a snapshot must not be used.
#[derive(Debug, thiserror::Error)]
pub(in crate::projection) enum DamagedSnapshot {
    #[error("it is no snapshot")]
    Magic,
    #[error("it is cut short")]
    Short,
    #[error("its header is damaged")]
    Header,
    #[error("it was written by a later release")]
    Schema,
    #[error("it is a snapshot of something else")]
    Other,
    #[error("its digest is not that of its blocks")]
    Digest,
    #[error("a block does not unpack")]
    Block(#[from] io::Error),
    #[error("a state does not decode")]
    State(#[from] prost::DecodeError),
    #[error("its states are not those that it says")]
    Count,
}

/// Encodes states that are sorted by key, each key once.
pub(super) fn encode(mut header: Header, states: &[(Box<[u8]>, Vec<u8>)]) -> io::Result<Vec<u8>> {
    let (mut blocks, mut block) = (Vec::new(), Vec::with_capacity(BLOCK_BYTES));
    for (key, state) in states {
        let entry = Entry {
            key: key.to_vec(),
            state: state.clone(),
        };
        entry
            .encode_length_delimited(&mut block)
            .expect("a Vec takes any bytes");
        if block.len() >= BLOCK_BYTES {
            close(&mut block, &mut blocks)?;
        }
    }
    if !block.is_empty() {
        close(&mut block, &mut blocks)?;
    }
    header.schema = SCHEMA;
    header.states = states.len() as u64;
    header.sha256 = sha256(&blocks);
    let header = header.encode_to_vec();
    let mut file = Vec::with_capacity(MAGIC.len() + 4 + header.len() + blocks.len());
    file.extend_from_slice(MAGIC);
    file.extend_from_slice(&(header.len() as u32).to_le_bytes());
    file.extend_from_slice(&header);
    file.append(&mut blocks);
    Ok(file)
}

fn close(block: &mut Vec<u8>, blocks: &mut Vec<u8>) -> io::Result<()> {
    let packed = zstd::bulk::compress(block, LEVEL)?;
    blocks.extend_from_slice(&(packed.len() as u32).to_le_bytes());
    blocks.extend_from_slice(&packed);
    block.clear();
    Ok(())
}

/// Verifies a file against what its name says and returns its header and states.
pub(super) fn decode(file: &[u8], expected: &Header) -> Result<(Header, States), DamagedSnapshot> {
    let rest = file.strip_prefix(MAGIC).ok_or(DamagedSnapshot::Magic)?;
    let (header, blocks) = cut(rest)?;
    if header.len() > HEADER_BYTES_MAX {
        return Err(DamagedSnapshot::Header);
    }
    let header = Header::decode(header).map_err(|_| DamagedSnapshot::Header)?;
    if header.schema != SCHEMA {
        return Err(DamagedSnapshot::Schema);
    }
    let identity = |header: &Header| {
        let Header {
            service,
            projection,
            ..
        } = header.clone();
        (
            service,
            projection,
            header.version,
            header.partition,
            header.sequence,
        )
    };
    if identity(&header) != identity(expected) {
        return Err(DamagedSnapshot::Other);
    }
    if sha256(blocks) != header.sha256 {
        return Err(DamagedSnapshot::Digest);
    }
    let states = unpack(blocks)?;
    let sorted = states.windows(2).all(|pair| pair[0].0 < pair[1].0);
    if !sorted || states.len() as u64 != header.states {
        return Err(DamagedSnapshot::Count);
    }
    Ok((header, states))
}

fn unpack(mut blocks: &[u8]) -> Result<States, DamagedSnapshot> {
    let (mut states, mut bytes, mut block) = (States::new(), 0, Vec::new());
    while !blocks.is_empty() {
        let (packed, rest) = cut(blocks)?;
        blocks = rest;
        block.clear();
        zstd::stream::read::Decoder::new(packed)?
            .take(BLOCK_BYTES_MAX)
            .read_to_end(&mut block)?;
        bytes += block.len();
        // A small file may claim to hold a lot.
        if bytes > BYTES_MAX {
            return Err(DamagedSnapshot::Count);
        }
        let mut left = block.as_slice();
        while !left.is_empty() {
            let entry = Entry::decode_length_delimited(&mut left)?;
            states.push((entry.key.into(), entry.state));
        }
    }
    Ok(states)
}

/// Splits what a length of four bytes announces from the rest.
fn cut(bytes: &[u8]) -> Result<(&[u8], &[u8]), DamagedSnapshot> {
    let (length, rest) = bytes.split_first_chunk().ok_or(DamagedSnapshot::Short)?;
    rest.split_at_checked(u32::from_le_bytes(*length) as usize)
        .ok_or(DamagedSnapshot::Short)
}

fn sha256(bytes: &[u8]) -> Vec<u8> {
    let mut context = Context::new(&SHA256);
    context.update(bytes);
    context.finish().as_ref().to_vec()
}
