//! The receipt of an erasure: what was destroyed, in a form that can be signed and checked later.
//! Erasing and signing are the service's.

use std::collections::BTreeMap;

use rapport_types::{SubjectId, UnixMillis};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

/// Days within which derived files (models, lake, snapshots) are rewritten after an erasure.
pub const ERASURE_DERIVED_DAYS: i64 = 30;

/// What was erased. Holds no personal data: subject ids are random and now point at nothing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ErasureReceipt {
    /// The receipt's identifier.
    pub receipt_id: [u8; 16],
    /// The subjects of the person, in rising order.
    subjects: Vec<[u8; 16]>,
    /// When it was asked for.
    pub requested_at: UnixMillis,
    /// When keys, rows and caches were gone.
    pub completed_at: UnixMillis,
    /// Data keys destroyed: sealed bytes that remain anywhere can be read by nobody.
    pub keys_shredded: u64,
    /// Links of the identity graph that were cancelled.
    pub links_cancelled: u64,
    /// Rows removed, by table.
    pub rows_removed: BTreeMap<String, u64>,
    /// The graph version after the erasure.
    pub graph_version: u64,
}

impl ErasureReceipt {
    /// Returns a receipt for `subjects` (any order, repeats allowed) with every count at 0.
    #[must_use]
    pub fn new(receipt_id: [u8; 16], subjects: &[SubjectId], requested_at: UnixMillis) -> Self {
        let mut ids: Vec<[u8; 16]> = subjects.iter().map(|subject| *subject.as_bytes()).collect();
        ids.sort_unstable();
        ids.dedup();
        Self {
            receipt_id,
            subjects: ids,
            requested_at,
            completed_at: requested_at,
            keys_shredded: 0,
            links_cancelled: 0,
            rows_removed: BTreeMap::new(),
            graph_version: 0,
        }
    }

    /// Returns the erased subjects in rising order.
    pub fn subjects(&self) -> impl Iterator<Item = SubjectId> + '_ {
        self.subjects.iter().map(|bytes| SubjectId::new(*bytes))
    }

    /// Returns the instant by which derived files must be rewritten.
    #[must_use]
    pub fn derived_deadline(&self) -> UnixMillis {
        const DAY_MS: i64 = 86_400_000;
        self.completed_at.plus(ERASURE_DERIVED_DAYS * DAY_MS)
    }

    /// Returns the bytes to sign and store: the same receipt gives the same bytes.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        postcard::to_allocvec(self).expect("a receipt has only plain fields, which always encode")
    }

    /// Reads what [`Self::to_bytes`] wrote, `None` for anything else.
    #[must_use]
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        postcard::take_from_bytes(bytes)
            .ok()
            .and_then(|(receipt, rest)| rest.is_empty().then_some(receipt))
    }

    /// Computes the SHA-256 of [`Self::to_bytes`]: what the audit chain records.
    #[must_use]
    pub fn digest(&self) -> [u8; 32] {
        Sha256::digest(self.to_bytes()).into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_erasure_gives_the_same_bytes() {
        let [first, second] = [1, 2].map(|byte| SubjectId::new([byte; 16]));
        let mut receipt = ErasureReceipt::new([9; 16], &[second, first, second], UnixMillis(5));
        let same = ErasureReceipt::new([9; 16], &[first, second], UnixMillis(5));
        assert_eq!(receipt.digest(), same.digest());
        assert_eq!(receipt.subjects().collect::<Vec<_>>(), [first, second]);
        receipt.rows_removed.insert("identifiers".into(), 3);
        assert_ne!(receipt.digest(), same.digest());
        assert_eq!(
            ErasureReceipt::from_bytes(&receipt.to_bytes()),
            Some(receipt.clone())
        );
        assert_eq!(ErasureReceipt::from_bytes(&[1, 2, 3]), None);
        assert_eq!(receipt.derived_deadline(), UnixMillis(5 + 30 * 86_400_000));
    }
}
