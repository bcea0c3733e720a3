//! How the log recognises an event that it already has.

use ring::digest;

/// Days for which an event id is remembered. Older live arrivals are refused, because a duplicate
/// among them could no longer be told.
pub const DEDUP_HORIZON_DAYS: i64 = 35;

/// Bytes of a key.
pub(super) const KEY_BYTES: usize = 16;
/// What an event is remembered under: see [`dedup_key`].
pub(super) type Key = [u8; KEY_BYTES];
/// Bytes of an entry: fingerprint, partition, sequence.
pub(super) const ENTRY_BYTES: usize = 16 + 2 + 8;

/// Returns the key under which `(source, event_id)` is remembered: 16 bytes of SHA-256.
///
/// A fixed-length key keeps the table narrow; 128 bits make an accidental collision impossible in
/// practice, and a deliberate one gains nothing, since the fingerprints would differ.
#[must_use]
pub fn dedup_key(source: &str, event_id: &str) -> [u8; 16] {
    let mut context = digest::Context::new(&digest::SHA256);
    context.update(&(source.len() as u64).to_be_bytes());
    context.update(source.as_bytes());
    context.update(event_id.as_bytes());
    let hash = context.finish();
    let mut key = [0; 16];
    key.copy_from_slice(&hash.as_ref()[..16]);
    key
}

/// What is remembered of an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Entry {
    /// Keyed hash of what the event said.
    pub fingerprint: [u8; 16],
    /// Where it is.
    pub partition: u32,
    /// Its sequence there.
    pub sequence: u64,
}

impl Entry {
    /// Appends the stored form to `to`.
    pub fn write(&self, to: &mut Vec<u8>) {
        to.extend_from_slice(&self.fingerprint);
        to.extend_from_slice(&(self.partition as u16).to_be_bytes());
        to.extend_from_slice(&self.sequence.to_be_bytes());
    }

    /// Reads the stored form, `None` if it is damaged.
    pub(crate) fn read(bytes: &[u8]) -> Option<Self> {
        let bytes: &[u8; ENTRY_BYTES] = bytes.try_into().ok()?;
        let (fingerprint, rest) = bytes.split_at(16);
        let (partition, sequence) = rest.split_at(2);
        Some(Self {
            fingerprint: fingerprint.try_into().ok()?,
            partition: u32::from(u16::from_be_bytes(partition.try_into().ok()?)),
            sequence: u64::from_be_bytes(sequence.try_into().ok()?),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn source_and_id_cannot_run_into_each_other() {
        assert_ne!(dedup_key("ab", "c"), dedup_key("a", "bc"));
        assert_eq!(dedup_key("shop", "1"), dedup_key("shop", "1"));
    }

    #[test]
    fn an_entry_survives_its_stored_form() {
        let entry = Entry {
            fingerprint: [3; 16],
            partition: 64,
            sequence: u64::MAX,
        };
        let mut stored = Vec::new();
        entry.write(&mut stored);
        assert_eq!(Entry::read(&stored), Some(entry));
        assert_eq!(Entry::read(&stored[1..]), None);
    }
}
