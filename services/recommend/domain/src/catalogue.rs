//! The catalogue as serving sees it: one small row per item index, categories as a tree of numbers.

use crate::item::{Availability, Item};
use crate::items::ItemIdx;
use rapport_types::{Currency, Micros};
use std::collections::HashMap;
use std::sync::Arc;

/// Most distinct categories, inner ones included.
pub const CATEGORIES_MAX: usize = 65_536;

/// The dense index of a category; [`CategoryIdx::NONE`] stands for items without one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CategoryIdx(pub u32);

impl CategoryIdx {
    /// No category: the root of the tree.
    pub const NONE: Self = Self(0);

    /// Returns the index as an array position.
    #[must_use]
    pub const fn at(self) -> usize {
        self.0 as usize
    }
}

/// What filters and ranking need of one item, in 32 bytes.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Row {
    pub(crate) price: Option<Micros>,
    pub(crate) category: CategoryIdx,
    pub(crate) currency: Option<Currency>,
    pub(crate) availability: Availability,
    pub(crate) is_listed: bool,
}

const UNLISTED: Row = Row {
    price: None,
    category: CategoryIdx::NONE,
    currency: None,
    availability: Availability::OutOfStock,
    is_listed: false,
};

#[derive(Debug, Clone)]
struct Category {
    path: String,
    parent: CategoryIdx,
    depth: u32,
}

/// Every listed item by index. Built by the service and swapped whole; cloning shares the items.
#[derive(Debug, Clone)]
pub struct Catalogue {
    rows: Vec<Row>,
    items: Vec<Option<Arc<Item>>>,
    categories: Vec<Category>,
    by_path: HashMap<String, CategoryIdx>,
    listed: usize,
}

impl Default for Catalogue {
    fn default() -> Self {
        let root = Category {
            path: String::new(),
            parent: CategoryIdx::NONE,
            depth: 0,
        };
        Self {
            rows: Vec::new(),
            items: Vec::new(),
            categories: vec![root],
            by_path: HashMap::new(),
            listed: 0,
        }
    }
}

impl Catalogue {
    /// Lists `item` under `index`, replacing what was there.
    ///
    /// With [`CATEGORIES_MAX`] categories known, a new category counts as its nearest known ancestor.
    pub fn put(&mut self, index: ItemIdx, item: Item) {
        if self.rows.len() <= index.at() {
            self.rows.resize(index.at() + 1, UNLISTED);
            self.items.resize(index.at() + 1, None);
        }
        let category = self.intern_path(&item.category_path);
        self.listed += usize::from(!self.rows[index.at()].is_listed);
        self.rows[index.at()] = Row {
            price: item.price,
            category,
            currency: item.currency(),
            availability: item.availability,
            is_listed: true,
        };
        self.items[index.at()] = Some(Arc::new(item));
    }

    /// Takes the item off the shelf; returns whether it was listed.
    pub fn remove(&mut self, index: ItemIdx) -> bool {
        let Some(row) = self.rows.get_mut(index.at()).filter(|row| row.is_listed) else {
            return false;
        };
        *row = UNLISTED;
        self.items[index.at()] = None;
        self.listed -= 1;
        true
    }

    /// Returns the item of `index`, `None` when it is not listed.
    #[must_use]
    pub fn item(&self, index: ItemIdx) -> Option<&Arc<Item>> {
        self.items.get(index.at())?.as_ref()
    }

    /// Returns how many items are listed.
    #[must_use]
    pub fn len(&self) -> usize {
        self.listed
    }

    /// Returns whether nothing is listed.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.listed == 0
    }

    /// Returns the narrowest category of an item, [`CategoryIdx::NONE`] without one.
    #[must_use]
    pub fn category(&self, index: ItemIdx) -> CategoryIdx {
        self.row(index).category
    }

    /// Returns the category of a path, `None` when no item was ever listed under it.
    #[must_use]
    pub fn category_of_path(&self, path: &[String]) -> Option<CategoryIdx> {
        self.by_path.get(&path.join("/")).copied()
    }

    /// Returns the path joined by `/`; empty for [`CategoryIdx::NONE`] and foreign indices.
    #[must_use]
    pub fn category_path(&self, category: CategoryIdx) -> &str {
        self.categories
            .get(category.at())
            .map_or("", |category| &category.path)
    }

    /// Returns how many categories exist, the root included; indices are below it.
    #[must_use]
    pub fn category_count(&self) -> usize {
        self.categories.len()
    }

    /// Returns `category` and its ancestors, narrowest first, without the root.
    pub fn ancestors(&self, category: CategoryIdx) -> impl Iterator<Item = CategoryIdx> + '_ {
        std::iter::successors(Some(category), |at| Some(self.categories[at.at()].parent))
            .take_while(|at| *at != CategoryIdx::NONE)
    }

    /// Computes how alike two categories are, in `[0, 1]`: twice the depth of their deepest common
    /// ancestor over the sum of their depths. Items without category are alike to nothing.
    /// Source: Wu and Palmer, ACL 1994, section 4.
    #[must_use]
    pub fn category_similarity(&self, a: CategoryIdx, b: CategoryIdx) -> f32 {
        let (mut left, mut right) = (a, b);
        let depth = |at: CategoryIdx| self.categories[at.at()].depth;
        while left != right {
            if depth(left) >= depth(right) {
                left = self.categories[left.at()].parent;
            } else {
                right = self.categories[right.at()].parent;
            }
        }
        let sum = depth(a) + depth(b);
        if sum == 0 {
            0.0
        } else {
            2.0 * depth(left) as f32 / sum as f32
        }
    }

    pub(crate) fn row(&self, index: ItemIdx) -> Row {
        self.rows.get(index.at()).copied().unwrap_or(UNLISTED)
    }

    fn intern_path(&mut self, path: &[String]) -> CategoryIdx {
        let mut parent = CategoryIdx::NONE;
        for depth in 1..=path.len() {
            let joined = path[..depth].join("/");
            parent = match self.by_path.get(&joined) {
                Some(known) => *known,
                None if self.categories.len() >= CATEGORIES_MAX => return parent,
                None => {
                    let index = CategoryIdx(self.categories.len() as u32);
                    let depth = depth as u32;
                    self.categories.push(Category {
                        path: joined.clone(),
                        parent,
                        depth,
                    });
                    self.by_path.insert(joined, index);
                    index
                }
            };
        }
        parent
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::item::{ItemFields, parse_category_path};
    use crate::items::Items;

    /// Lists items given as `(id, "A/B", price in micros)`; an empty path means no category.
    pub(crate) fn shelf(rows: &[(&str, &str, i64)]) -> (Items, Catalogue) {
        let (mut items, mut catalogue) = (Items::default(), Catalogue::default());
        for (id, path, price) in rows {
            let item = Item::parse(ItemFields {
                id: (*id).to_owned(),
                title: format!("The {id}"),
                category_path: parse_category_path(path),
                price: Some(Micros(*price)),
                currency: "EUR".to_owned(),
                ..ItemFields::default()
            });
            catalogue.put(items.intern(id).unwrap(), item.unwrap());
        }
        (items, catalogue)
    }

    #[test]
    fn similarity_follows_the_tree() {
        let (items, catalogue) = shelf(&[
            ("mug", "Home/Kitchen/Cups", 1),
            ("pan", "Home/Kitchen", 1),
            ("lamp", "Home/Light", 1),
            ("ball", "Sport", 1),
            ("gift", "", 1),
        ]);
        let alike = |a: &str, b: &str| {
            let category = |id| catalogue.category(items.get(id).unwrap());
            catalogue.category_similarity(category(a), category(b))
        };
        assert_eq!(alike("mug", "mug"), 1.0);
        assert_eq!(alike("mug", "pan"), 0.8); // 2 * 2 / (3 + 2)
        assert_eq!(alike("lamp", "mug"), 0.4); // 2 * 1 / (2 + 3)
        assert_eq!(alike("ball", "mug"), 0.0);
        assert_eq!(alike("gift", "gift"), 0.0);
    }

    #[test]
    fn removing_unlists_and_counts() {
        let (items, mut catalogue) = shelf(&[("mug", "Home", 1), ("pan", "Home", 1)]);
        let mug = items.get("mug").unwrap();
        assert!(catalogue.remove(mug));
        assert!(!catalogue.remove(mug));
        assert_eq!((catalogue.len(), catalogue.item(mug).is_some()), (1, false));
        assert_eq!(catalogue.category(mug), CategoryIdx::NONE);
    }
}
