//! Which items an answer may contain: a closed struct, compiled once per request to array look-ups.

use crate::catalogue::{Catalogue, CategoryIdx};
use crate::item::{Violation, check_path};
use crate::items::{ITEM_ID_CHARS_MAX, ItemIdx, Items, is_item_id};
use rapport_types::{Currency, Micros};

/// Most categories of one filter.
pub const FILTER_CATEGORIES_MAX: usize = 32;
/// Most identifiers that one filter excludes.
pub const FILTER_EXCLUDED_MAX: usize = 500;

/// Whether items that nobody listed may be shown.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Unlisted {
    /// Only what the catalogue lists: a shop must not offer what it does not sell.
    #[default]
    Hide,
    /// Items known from events only, too: for histories without a catalogue.
    Allow,
}

/// Which items may be shown. Empty fields do not restrict.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Filter {
    /// Category paths; an item under any of them matches.
    pub categories: Vec<Vec<String>>,
    /// Lowest price, inclusive.
    pub price_min: Option<Micros>,
    /// Highest price, inclusive.
    pub price_max: Option<Micros>,
    /// The currency of the price bounds; required with one of them.
    pub currency: String,
    /// Only items whose order would be accepted.
    pub purchasable_only: bool,
    /// Never these; unknown identifiers are ignored.
    pub exclude_ids: Vec<String>,
    /// What to do with items that are not in the catalogue.
    pub unlisted: Unlisted,
}

/// A filter bound to one catalogue: answers per item in constant time.
#[derive(Debug, Clone, Default)]
pub struct CompiledFilter {
    /// One flag per category index; empty when categories do not restrict.
    in_category: Vec<bool>,
    named_categories: Vec<CategoryIdx>,
    price_min: Option<Micros>,
    price_max: Option<Micros>,
    currency: Option<Currency>,
    purchasable_only: bool,
    excluded: Vec<ItemIdx>,
    unlisted: Unlisted,
}

impl Filter {
    /// Checks the fields and binds the filter to a catalogue.
    ///
    /// A category that no item is listed under matches nothing. Cost: `O(categories)` when the
    /// filter names any, else `O(exclude_ids)`.
    ///
    /// # Errors
    /// Every violation at once, in field order.
    pub fn compile(
        &self,
        items: &Items,
        catalogue: &Catalogue,
    ) -> Result<CompiledFilter, Vec<Violation>> {
        let bad = self.violations();
        if !bad.is_empty() {
            return Err(bad);
        }
        let named_categories: Vec<_> = self
            .categories
            .iter()
            .filter_map(|path| catalogue.category_of_path(path))
            .collect();
        let mut in_category = Vec::new();
        if !self.categories.is_empty() {
            in_category = (0..catalogue.category_count() as u32)
                .map(|at| {
                    catalogue
                        .ancestors(CategoryIdx(at))
                        .any(|up| named_categories.contains(&up))
                })
                .collect();
        }
        let has_price = self.price_min.is_some() || self.price_max.is_some();
        Ok(CompiledFilter {
            in_category,
            named_categories,
            price_min: self.price_min,
            price_max: self.price_max,
            currency: Currency::parse(&self.currency).filter(|_| has_price),
            purchasable_only: self.purchasable_only,
            excluded: self
                .exclude_ids
                .iter()
                .filter_map(|id| items.get(id))
                .collect(),
            unlisted: self.unlisted,
        })
    }

    fn violations(&self) -> Vec<Violation> {
        let mut bad = Vec::new();
        if self.categories.len() > FILTER_CATEGORIES_MAX {
            let why = format!("must have at most {FILTER_CATEGORIES_MAX} entries");
            bad.push(Violation::new("categories", why));
        }
        for (at, path) in self
            .categories
            .iter()
            .take(FILTER_CATEGORIES_MAX)
            .enumerate()
        {
            let field = format!("categories[{at}]");
            if path.is_empty() {
                bad.push(Violation::new(field, "must name at least one level"));
            } else {
                check_path(&mut bad, &field, path);
            }
        }
        self.check_prices(&mut bad);
        if self.exclude_ids.len() > FILTER_EXCLUDED_MAX {
            let why = format!("must have at most {FILTER_EXCLUDED_MAX} entries");
            bad.push(Violation::new("exclude_ids", why));
        }
        for (at, id) in self
            .exclude_ids
            .iter()
            .take(FILTER_EXCLUDED_MAX)
            .enumerate()
        {
            if !is_item_id(id) {
                let why = format!("must have 1 to {ITEM_ID_CHARS_MAX} characters");
                bad.push(Violation::new(format!("exclude_ids[{at}]"), why));
            }
        }
        bad
    }

    fn check_prices(&self, bad: &mut Vec<Violation>) {
        for (field, bound) in [("price_min", self.price_min), ("price_max", self.price_max)] {
            if bound.is_some_and(|price| price < Micros::ZERO) {
                bad.push(Violation::new(field, "must not be negative"));
            }
        }
        if let (Some(min), Some(max)) = (self.price_min, self.price_max)
            && min > max
        {
            bad.push(Violation::new("price_max", "must not be below price_min"));
        }
        let is_priced = self.price_min.is_some() || self.price_max.is_some();
        if (is_priced || !self.currency.is_empty()) && Currency::parse(&self.currency).is_none() {
            bad.push(Violation::new(
                "currency",
                "must be an ISO 4217 code in capitals",
            ));
        }
    }
}

impl CompiledFilter {
    /// Returns whether the item may be shown. Excluded identifiers are the caller's to block once.
    #[must_use]
    pub fn permits(&self, index: ItemIdx, catalogue: &Catalogue) -> bool {
        let row = catalogue.row(index);
        if !row.is_listed && self.unlisted == Unlisted::Hide {
            return false;
        }
        // What is known of unlisted items is nothing, so any restriction on content refuses them.
        if self.purchasable_only && row.is_listed && !row.availability.is_purchasable() {
            return false;
        }
        if !self.in_category.is_empty()
            && !self
                .in_category
                .get(row.category.at())
                .is_some_and(|yes| *yes)
        {
            return false;
        }
        if self.currency.is_none() {
            return true;
        }
        let Some(price) = row.price else { return false };
        row.currency == self.currency
            && self.price_min.is_none_or(|min| price >= min)
            && self.price_max.is_none_or(|max| price <= max)
    }

    /// Returns the items never to show.
    #[must_use]
    pub fn excluded(&self) -> &[ItemIdx] {
        &self.excluded
    }

    /// Returns the categories that the filter names and the catalogue knows.
    #[must_use]
    pub fn categories(&self) -> &[CategoryIdx] {
        &self.named_categories
    }

    /// Returns a filter that hides nothing, unlisted items included.
    #[must_use]
    pub fn everything() -> Self {
        Self {
            unlisted: Unlisted::Allow,
            ..Self::default()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalogue::tests::shelf;

    const ROWS: [(&str, &str, i64); 4] = [
        ("mug", "Home/Kitchen", 2_000_000),
        ("lamp", "Home/Light", 9_000_000),
        ("ball", "Sport", 5_000_000),
        ("gift", "", 1_000_000),
    ];

    #[track_caller]
    fn check(filter: &Filter, expected: &[&str]) {
        let (mut items, catalogue) = shelf(&ROWS);
        items.intern("ghost").unwrap();
        let compiled = filter.compile(&items, &catalogue).unwrap();
        let permitted = items
            .iter()
            .filter(|(index, _)| compiled.permits(*index, &catalogue));
        assert_eq!(
            permitted.map(|(_, name)| name).collect::<Vec<_>>(),
            expected
        );
    }

    use crate::item::parse_category_path as path;

    #[test]
    fn each_field_restricts_alone() {
        check(&Filter::default(), &["mug", "lamp", "ball", "gift"]);
        let unlisted = Filter {
            unlisted: Unlisted::Allow,
            ..Filter::default()
        };
        check(&unlisted, &["mug", "lamp", "ball", "gift", "ghost"]);
        check(
            &Filter {
                categories: vec![path("Home")],
                ..Filter::default()
            },
            &["mug", "lamp"],
        );
        let two = vec![path("Home/Light"), path("Sport")];
        check(
            &Filter {
                categories: two,
                ..Filter::default()
            },
            &["lamp", "ball"],
        );
        check(
            &Filter {
                categories: vec![path("Cars")],
                ..Filter::default()
            },
            &[],
        );
        let priced = Filter {
            price_min: Some(Micros(2_000_000)),
            price_max: Some(Micros(5_000_000)),
            currency: "EUR".to_owned(),
            ..Filter::default()
        };
        check(&priced, &["mug", "ball"]);
        check(
            &Filter {
                currency: "USD".to_owned(),
                ..priced
            },
            &[],
        );
    }

    #[test]
    fn unlisted_items_fail_a_price_or_category_restriction() {
        let unlisted = Unlisted::Allow;
        check(
            &Filter {
                categories: vec![path("Home")],
                unlisted,
                ..Filter::default()
            },
            &["mug", "lamp"],
        );
        let currency = "EUR".to_owned();
        check(
            &Filter {
                price_min: Some(Micros(9_000_000)),
                currency,
                unlisted,
                ..Filter::default()
            },
            &["lamp"],
        );
    }

    #[test]
    fn every_bad_field_is_named_at_once() {
        let filter = Filter {
            categories: vec![vec![]],
            price_min: Some(Micros(2)),
            price_max: Some(Micros(1)),
            exclude_ids: vec![String::new()],
            ..Filter::default()
        };
        let (items, catalogue) = shelf(&ROWS);
        let bad = filter.compile(&items, &catalogue).unwrap_err();
        let fields: Vec<_> = bad
            .iter()
            .map(|violation| violation.field.as_str())
            .collect();
        assert_eq!(
            fields,
            ["categories[0]", "price_max", "currency", "exclude_ids[0]"]
        );
    }
}
