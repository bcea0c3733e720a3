//! Item identifiers interned to dense `u32`s, so that serving indexes arrays instead of hashing text.
//!
//! Indices belong to one process: whatever leaves it (stored state, model files, answers) carries
//! the identifier itself.

use std::cmp::Ordering;
use std::collections::HashMap;
use std::sync::Arc;

/// Longest item identifier, in characters.
pub const ITEM_ID_CHARS_MAX: usize = 64;

/// Longest item identifier, in bytes: what stored state is read with.
pub(crate) const ITEM_ID_BYTES_MAX: usize = 4 * ITEM_ID_CHARS_MAX;

/// Most items one process interns. A stream of made-up identifiers must not fill the memory.
pub const ITEMS_MAX: usize = 10_000_000;

/// The dense index of an item in an [`Items`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ItemIdx(pub u32);

impl ItemIdx {
    /// Returns the index as an array position.
    #[must_use]
    pub const fn at(self) -> usize {
        self.0 as usize
    }
}

/// Why an identifier was not interned.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum InternError {
    /// Empty, longer than [`ITEM_ID_CHARS_MAX`], or with control characters.
    #[error("item id must have 1 to {ITEM_ID_CHARS_MAX} characters and no control characters")]
    Malformed,
    /// [`ITEMS_MAX`] identifiers are interned already.
    #[error("more than {ITEMS_MAX} items")]
    Full,
}

/// The identifiers of one process, append only.
#[derive(Debug, Clone, Default)]
pub struct Items {
    names: Vec<Arc<str>>,
    by_name: HashMap<Arc<str>, ItemIdx>,
}

impl Items {
    /// Returns the index of `id`, giving it the next one at first sight.
    ///
    /// # Errors
    /// [`InternError`] for a malformed identifier or a full table; nothing changes then.
    pub fn intern(&mut self, id: &str) -> Result<ItemIdx, InternError> {
        if let Some(index) = self.by_name.get(id) {
            return Ok(*index);
        }
        if !is_item_id(id) {
            return Err(InternError::Malformed);
        }
        if self.names.len() >= ITEMS_MAX {
            return Err(InternError::Full);
        }
        let index = ItemIdx(self.names.len() as u32);
        let name: Arc<str> = Arc::from(id);
        self.names.push(Arc::clone(&name));
        self.by_name.insert(name, index);
        Ok(index)
    }

    /// Returns the index of `id`, `None` if it was never interned.
    #[must_use]
    pub fn get(&self, id: &str) -> Option<ItemIdx> {
        self.by_name.get(id).copied()
    }

    /// Returns the identifier of `index`; empty for an index of another table.
    #[must_use]
    pub fn name(&self, index: ItemIdx) -> &str {
        self.names.get(index.at()).map_or("", |name| name)
    }

    /// Orders two items by identifier: the last resort of every ranking, equal in every process.
    #[must_use]
    pub fn compare(&self, a: ItemIdx, b: ItemIdx) -> Ordering {
        if a == b {
            Ordering::Equal
        } else {
            self.name(a).cmp(self.name(b))
        }
    }

    /// Returns how many identifiers are interned; indices are below it.
    #[must_use]
    pub fn len(&self) -> usize {
        self.names.len()
    }

    /// Returns whether nothing is interned.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.names.is_empty()
    }

    /// Returns every index with its identifier, in index order.
    pub fn iter(&self) -> impl Iterator<Item = (ItemIdx, &str)> {
        self.names
            .iter()
            .enumerate()
            .map(|(at, name)| (ItemIdx(at as u32), name.as_ref()))
    }
}

/// Returns whether `id` may name an item.
#[must_use]
pub fn is_item_id(id: &str) -> bool {
    (1..=ITEM_ID_CHARS_MAX).contains(&id.chars().count()) && !id.chars().any(char::is_control)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_identifier_keeps_its_index() {
        let mut items = Items::default();
        let first = items.intern("b").unwrap();
        let second = items.intern("a").unwrap();
        assert_eq!(items.intern("b"), Ok(first));
        assert_eq!((first, second, items.len()), (ItemIdx(0), ItemIdx(1), 2));
        assert_eq!(items.name(second), "a");
        assert_eq!(items.name(ItemIdx(9)), "");
        assert_eq!(items.compare(first, second), Ordering::Greater); // by text, not by index
    }

    #[test]
    fn malformed_identifiers_change_nothing() {
        let mut items = Items::default();
        for id in ["", "a\nb", &"茶".repeat(ITEM_ID_CHARS_MAX + 1)] {
            assert_eq!(items.intern(id), Err(InternError::Malformed));
        }
        assert!(items.is_empty());
    }
}
