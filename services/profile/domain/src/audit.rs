//! The audit hash chain: every record seals all records before it. Storing and anchoring are the
//! service's; nothing here knows what a record means.

#[cfg(test)]
mod tests;

use sha2::{Digest, Sha256};

/// Where a chain stands: what the service anchors in its database.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ChainHead {
    /// Records in the chain.
    pub length: u64,
    /// The hash of the last record.
    pub hash: [u8; 32],
}

/// One stored record with the hash that sealed it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuditRecord {
    /// The record, opaque.
    pub bytes: Vec<u8>,
    /// `SHA-256(previous hash, record)`.
    pub hash: [u8; 32],
}

/// Why a chain does not hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ChainError {
    /// A record, its hash or its place was changed: the first that does not follow, from 0.
    #[error("audit record {0} does not follow from the one before it")]
    Broken(u64),
    /// Records at the end are gone.
    #[error("the audit chain has {found} record(s), {anchored} were anchored")]
    Truncated {
        /// Records found.
        found: u64,
        /// Records anchored.
        anchored: u64,
    },
    /// The chain is consistent in itself but is another one than was anchored.
    #[error("the audit chain was rewritten: its hash at record {0} is not the anchored one")]
    Rewritten(u64),
}

impl ChainHead {
    /// The head of an empty chain.
    pub const GENESIS: Self = Self {
        length: 0,
        hash: [0; 32],
    };

    /// Returns the head after `record`, and so the hash to store with it.
    #[must_use]
    pub fn append(self, record: &[u8]) -> Self {
        let mut digest = Sha256::new();
        digest.update(self.hash); // 32 bytes always, so hash and record cannot run together
        digest.update(record);
        Self {
            length: self.length.saturating_add(1),
            hash: digest.finalize().into(),
        }
    }
}

/// Checks a whole chain against an anchored head. Records after the anchor are allowed.
///
/// * `records` in order, from the first; the cost is one SHA-256 each, no allocation.
/// * Returns the head that the records lead to, to be anchored next.
///
/// # Errors
/// [`ChainError`]: the first thing that does not hold.
pub fn verify_chain<'a>(
    records: impl IntoIterator<Item = &'a AuditRecord>,
    anchor: &ChainHead,
) -> Result<ChainHead, ChainError> {
    let mut head = ChainHead::GENESIS;
    let mut at_anchor = (anchor.length == 0).then_some(head);
    for record in records {
        let next = head.append(&record.bytes);
        if next.hash != record.hash {
            return Err(ChainError::Broken(head.length));
        }
        head = next;
        if head.length == anchor.length {
            at_anchor = Some(head);
        }
    }
    match at_anchor {
        None => Err(ChainError::Truncated {
            found: head.length,
            anchored: anchor.length,
        }),
        Some(reached) if reached.hash != anchor.hash => Err(ChainError::Rewritten(anchor.length)),
        Some(_) => Ok(head),
    }
}
