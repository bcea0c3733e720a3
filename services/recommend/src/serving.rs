//! What answers read: catalogue, models and popularity on one numbering of items, never changed and
//! swapped whole. Building it is pure; who rebuilds it and when is `refresh`.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use recommend_domain::{
    BasketModel, Catalogue, CompiledFilter, Filter, Item, ItemIdx, ItemItemModel, Items, LivePairs,
    Models, Popularity, PopularityTable, TrainedModels, Unlisted, Violation,
};

use crate::store::model::ModelRow;

/// How fast popularity is forgotten: an event counts half after two weeks.
const HALF_LIFE_MS: i64 = 14 * 86_400_000;

/// A model that was read from its file.
#[derive(Debug)]
pub struct LoadedModel {
    /// What is known of it.
    pub row: ModelRow,
    /// The model, on its own numbering.
    pub trained: TrainedModels,
}

/// Counts of every item that anything happened with, on a numbering of their own.
#[derive(Debug, Default)]
pub struct Counted {
    /// The numbering.
    pub items: Items,
    /// The counts.
    pub counts: Popularity,
}

/// Everything that changes seldom, on the numbering that the whole snapshot shares.
#[derive(Debug, Default)]
pub struct Shelf {
    /// The numbering: items of the catalogue and of the model, in the order of their ids; without a
    /// catalogue, items of events too.
    pub items: Items,
    /// The listed items.
    pub catalogue: Catalogue,
    /// The model, `None` before the first training.
    pub model: Option<ModelRow>,
    similar: ItemItemModel,
    together: BasketModel,
}

/// One snapshot.
#[derive(Debug, Default)]
pub struct Serving {
    /// What changes seldom.
    pub shelf: Arc<Shelf>,
    popular: PopularityTable,
    live: LivePairs,
}

impl Shelf {
    /// Builds a shelf. Same input, same numbering: ids are interned in their order.
    ///
    /// Cost: sorts all ids and copies the model; some tens of milliseconds for 40,000 items.
    #[must_use]
    pub fn build(
        listed: &BTreeMap<String, Item>,
        model: Option<&LoadedModel>,
        counted: &Counted,
    ) -> Self {
        let mut ids: BTreeSet<&str> = listed.keys().map(String::as_str).collect();
        if let Some(model) = model {
            ids.extend(model.trained.items.iter().map(|(_, id)| id));
        }
        if listed.is_empty() {
            ids.extend(counted.items.iter().map(|(_, id)| id));
        }
        let mut items = Items::default();
        for id in ids {
            // What is malformed was never stored, and more than the table holds stays unknown.
            if items.intern(id).is_err() {
                break;
            }
        }
        let mut catalogue = Catalogue::default();
        for (id, item) in listed {
            if let Some(index) = items.get(id) {
                catalogue.put(index, item.clone());
            }
        }
        let moved = model.and_then(|model| {
            let moved = model.trained.clone().into_numbering(&mut items).ok()?;
            Some((model.row.clone(), moved.similar, moved.together))
        });
        let (model, similar, together) = match moved {
            Some((row, similar, together)) => (Some(row), similar, together),
            None => (None, ItemItemModel::default(), BasketModel::default()),
        };
        Self {
            items,
            catalogue,
            model,
            similar,
            together,
        }
    }

    /// Returns whether `counted` has items that this shelf should have and has not.
    #[must_use]
    pub fn misses(&self, counted: &Counted) -> bool {
        let is_new = |id: &str| self.items.get(id).is_none();
        self.catalogue.is_empty() && counted.items.iter().any(|(_, id)| is_new(id))
    }

    /// Returns whether items that nobody listed may be shown: only while nothing is listed at all, so
    /// that histories imported without a catalogue can be tried, and a shop never offers what it does
    /// not sell.
    #[must_use]
    pub fn unlisted(&self) -> Unlisted {
        if self.catalogue.is_empty() {
            Unlisted::Allow
        } else {
            Unlisted::Hide
        }
    }

    /// Returns the index of an item that may be asked about: listed, or known at all while nothing is.
    #[must_use]
    pub fn index(&self, item_id: &str) -> Option<ItemIdx> {
        let index = self.items.get(item_id)?;
        let known = self.catalogue.is_empty() || self.catalogue.item(index).is_some();
        known.then_some(index)
    }
}

impl Serving {
    /// Builds a snapshot. Counts of items that the shelf does not have are left out.
    ///
    /// Cost: `O(n log n)` for `n` items.
    #[must_use]
    pub fn build(shelf: Arc<Shelf>, counted: &Counted) -> Self {
        let mut counts = Popularity::default();
        for (index, id) in counted.items.iter() {
            if let Some(item) = shelf.items.get(id) {
                for (bucket, milli) in counted.counts.buckets(index) {
                    counts.add(item, bucket, milli);
                }
            }
        }
        let popular = PopularityTable::build(&counts, HALF_LIFE_MS, &shelf.items, &shelf.catalogue);
        Self {
            shelf,
            popular,
            live: LivePairs::default(),
        }
    }

    /// Returns what ranking reads.
    #[must_use]
    pub fn models(&self) -> Models<'_> {
        Models {
            items: &self.shelf.items,
            catalogue: &self.shelf.catalogue,
            similar: &self.shelf.similar,
            live: &self.live,
            together: &self.shelf.together,
            popular: &self.popular,
        }
    }

    /// Returns a filter that lets only through what can be bought.
    ///
    /// # Errors
    /// Every violation at once.
    pub fn filter(
        &self,
        categories: Vec<Vec<String>>,
        exclude_ids: Vec<String>,
    ) -> Result<CompiledFilter, Vec<Violation>> {
        let filter = Filter {
            categories,
            exclude_ids,
            purchasable_only: true,
            unlisted: self.shelf.unlisted(),
            ..Filter::default()
        };
        filter.compile(&self.shelf.items, &self.shelf.catalogue)
    }
}
