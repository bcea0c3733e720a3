//! Counts by name with the last time each was seen.

use std::borrow::Borrow;
use std::collections::BTreeMap;

use rapport_types::UnixMillis;
use serde::{Deserialize, Serialize};

/// Names that one subject's counter tells apart; events under further names are counted nowhere
/// else, so that a stream of made-up names cannot grow the state.
const NAMES_MAX: usize = 128;
/// Bytes of a name: longer ones are not names.
pub(crate) const NAME_BYTES_MAX: usize = 128;

/// How often and when last.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Usage {
    pub(crate) count: u64,
    pub(crate) last: UnixMillis,
}

/// Counts by name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Usages<K: Ord>(BTreeMap<K, Usage>);

impl<K: Ord> Default for Usages<K> {
    fn default() -> Self {
        Self(BTreeMap::new())
    }
}

/// Whether text can be a name: not empty, not too long.
pub(crate) fn named(text: &str) -> bool {
    (1..=NAME_BYTES_MAX).contains(&text.len())
}

/// What may name a count.
pub(crate) trait Name {
    /// Whether it counts at all.
    fn counts(&self) -> bool;
}

impl Name for str {
    fn counts(&self) -> bool {
        named(self)
    }
}

impl Name for u8 {
    fn counts(&self) -> bool {
        true
    }
}

impl<K: Ord + Clone> Usages<K> {
    pub(super) fn add<Q>(&mut self, name: &Q, at: UnixMillis)
    where
        K: Borrow<Q>,
        Q: Ord + Name + ToOwned<Owned = K> + ?Sized,
    {
        if let Some(usage) = self.0.get_mut(name) {
            usage.count = usage.count.saturating_add(1);
            usage.last = usage.last.max(at);
        } else if name.counts() && self.0.len() < NAMES_MAX {
            self.0.insert(name.to_owned(), Usage { count: 1, last: at });
        }
    }

    pub(super) fn merge(&mut self, other: &Self) {
        for (name, usage) in &other.0 {
            let mine = self.0.entry(name.clone()).or_insert(Usage {
                count: 0,
                last: usage.last,
            });
            mine.count = mine.count.saturating_add(usage.count);
            mine.last = mine.last.max(usage.last);
        }
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (&K, Usage)> {
        self.0.iter().map(|(name, usage)| (name, *usage))
    }
}
