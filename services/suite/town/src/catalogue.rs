//! The shop's catalogue: 8 categories of 15 items, invented, the same in every town.

mod titles;

use rapport_math::Rng;
use rapport_types::Micros;

use crate::shopper::Language;

/// Categories of the shop.
pub const CATEGORIES: usize = 8;
/// Items in each category.
pub const ITEMS_PER_CATEGORY: usize = 15;

/// One category.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Category {
    /// The id that events carry, such as `tea`.
    pub id: &'static str,
    /// The Chinese name.
    pub zh: &'static str,
    /// The English name.
    pub en: &'static str,
    /// Its brands, invented.
    pub brands: [&'static str; 4],
}

impl Category {
    /// Returns the name in a language.
    #[must_use]
    pub const fn name(&self, language: Language) -> &'static str {
        match language {
            Language::Chinese => self.zh,
            Language::English => self.en,
        }
    }
}

/// One item.
#[derive(Debug, Clone, PartialEq)]
pub struct Item {
    /// The id, such as `tea-03`.
    pub id: String,
    /// Its category, `0..CATEGORIES`.
    pub category: usize,
    /// The brand, invented.
    pub brand: &'static str,
    /// Which of the category's brands, `0..4`.
    pub brand_index: usize,
    /// The Chinese title.
    pub zh: &'static str,
    /// The English title.
    pub en: &'static str,
    /// The price in CNY.
    pub price: Micros,
    /// The price over the mean of its category.
    pub relative_price: f64,
    /// True attractiveness to everybody, above 0, about 1.
    pub appeal: f64,
}

impl Item {
    /// Returns the title in a language.
    #[must_use]
    pub fn title(&self, language: Language) -> &'static str {
        match language {
            Language::Chinese => self.zh,
            Language::English => self.en,
        }
    }
}

/// The catalogue of one town.
#[derive(Debug, Clone, PartialEq)]
pub struct Catalogue {
    items: Vec<Item>,
}

impl Catalogue {
    /// Returns the catalogue; the seed decides only the true appeal of each item.
    pub(crate) fn new(rng: &mut Rng) -> Self {
        let items = (0..CATEGORIES).flat_map(category_items).map(|mut item| {
            item.appeal = libm::exp(0.5 * rng.normal());
            item
        });
        Self {
            items: items.collect(),
        }
    }

    /// Returns the items, category by category.
    #[must_use]
    pub fn items(&self) -> &[Item] {
        &self.items
    }

    /// Returns the categories; [`Item::category`] is a place in them.
    #[must_use]
    pub fn categories(&self) -> &'static [Category; CATEGORIES] {
        &titles::CATEGORIES_TABLE
    }

    /// Returns the place of an item by id, `None` if the shop has no such item.
    #[must_use]
    pub fn find(&self, id: &str) -> Option<usize> {
        self.items.iter().position(|item| item.id == id)
    }

    /// Returns the items of a category with their places.
    pub(crate) fn of_category(&self, category: usize) -> impl Iterator<Item = (usize, &Item)> {
        let first = category * ITEMS_PER_CATEGORY;
        self.items
            .iter()
            .enumerate()
            .skip(first)
            .take(ITEMS_PER_CATEGORY)
    }
}

fn category_items(category: usize) -> Vec<Item> {
    let table = &titles::ITEMS_TABLE[category];
    let mean = table.iter().map(|(_, _, yuan)| *yuan as f64).sum::<f64>() / table.len() as f64;
    let named = titles::CATEGORIES_TABLE[category];
    let item = |(number, (zh, en, yuan)): (usize, &(&'static str, &'static str, i64))| Item {
        id: format!("{}-{:02}", named.id, number + 1),
        category,
        brand: named.brands[number % 4],
        brand_index: number % 4,
        zh,
        en,
        price: Micros::from_units(*yuan),
        relative_price: *yuan as f64 / mean,
        appeal: 1.0,
    };
    table.iter().enumerate().map(item).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn the_shop_has_120_distinct_items_in_8_categories() {
        let catalogue = Catalogue::new(&mut Rng::seeded(1));
        let distinct = |of: fn(&Item) -> &str| {
            catalogue
                .items()
                .iter()
                .map(of)
                .collect::<BTreeSet<_>>()
                .len()
        };
        assert_eq!(distinct(|item| &item.id), 120);
        assert_eq!(distinct(|item| item.zh), 120);
        assert_eq!(distinct(|item| item.en), 120);
        assert!(
            catalogue
                .items()
                .iter()
                .all(|item| item.price > Micros::ZERO && item.appeal > 0.0)
        );
        for (place, item) in catalogue.items().iter().enumerate() {
            assert_eq!(catalogue.find(&item.id), Some(place));
            assert!(
                catalogue
                    .of_category(item.category)
                    .any(|(at, _)| at == place)
            );
        }
        assert_eq!(catalogue.find("nothing"), None);
    }
}
