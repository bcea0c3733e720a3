//! What many people want lately: counts per time bucket that merge exactly, and a table to serve from.
//!
//! Counts are integers per bucket, not decayed floats: addition stays associative to the last bit,
//! and no clock is needed, because exponential decay multiplies every count by the same factor as
//! time passes, so the order of two items never depends on when it is asked.

use crate::catalogue::{Catalogue, CategoryIdx};
use crate::codec::{DecodeError, Reader, Writer};
use crate::items::{ITEM_ID_BYTES_MAX, ITEMS_MAX, ItemIdx, Items};
use rapport_types::UnixMillis;

/// Most buckets kept per item, the newest ones: with a bucket of a day, about two months.
pub const BUCKETS_MAX: usize = 64;
/// Items kept per category in the table.
pub const CATEGORY_POPULAR_MAX: usize = 200;
/// The default width of a bucket: one day.
pub const BUCKET_MS: i64 = 86_400_000;

const VERSION: u8 = 1;

/// Weighted counts per item and time bucket. Mergeable: exactly associative and commutative.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Popularity {
    bucket_ms: i64,
    /// Per item, `(bucket, thousandths)` in ascending order of bucket.
    counts: Vec<Vec<(i64, i64)>>,
}

impl Default for Popularity {
    fn default() -> Self {
        Self::new(BUCKET_MS)
    }
}

impl Popularity {
    /// Returns empty counts with buckets of `bucket_ms`, at least one millisecond.
    #[must_use]
    pub fn new(bucket_ms: i64) -> Self {
        Self {
            bucket_ms: bucket_ms.max(1),
            counts: Vec::new(),
        }
    }

    /// Adds `weight_milli` (negative to take back, as a refund does) at the time of the event.
    pub fn add(&mut self, item: ItemIdx, occurred_at: UnixMillis, weight_milli: i64) {
        if self.counts.len() <= item.at() {
            self.counts.resize_with(item.at() + 1, Vec::new);
        }
        let bucket = occurred_at.0.div_euclid(self.bucket_ms);
        add_bucket(&mut self.counts[item.at()], bucket, weight_milli);
    }

    /// Adds another's counts. Both must have buckets of the same width.
    ///
    /// # Errors
    /// [`DecodeError::Invalid`] when the widths differ; nothing changes then.
    pub fn merge(&mut self, other: &Self) -> Result<(), DecodeError> {
        if self.bucket_ms != other.bucket_ms {
            return Err(DecodeError::Invalid("bucket width"));
        }
        if self.counts.len() < other.counts.len() {
            self.counts.resize_with(other.counts.len(), Vec::new);
        }
        for (into, from) in self.counts.iter_mut().zip(&other.counts) {
            from.iter()
                .for_each(|(bucket, milli)| add_bucket(into, *bucket, *milli));
        }
        Ok(())
    }

    /// Computes the decayed count of an item, in units of one event in the bucket of `as_of`.
    ///
    /// An event counts one half after `half_life_ms`, one quarter after two; never below 0. Events
    /// after `as_of` count whole. Source: forward decay, Cormode et al., ICDE 2009, section III.
    #[must_use]
    pub fn decayed(&self, item: ItemIdx, as_of: UnixMillis, half_life_ms: i64) -> f64 {
        let now = as_of.0.div_euclid(self.bucket_ms);
        let halves_per_bucket = self.bucket_ms as f64 / half_life_ms.max(1) as f64;
        let counts = self.counts.get(item.at()).map_or(&[][..], |counts| counts);
        let sum: f64 = counts
            .iter()
            .map(|(bucket, milli)| {
                let age = now.saturating_sub(*bucket).max(0) as f64;
                *milli as f64 / 1_000.0 * (-age * halves_per_bucket).exp2()
            })
            .sum();
        sum.max(0.0)
    }

    /// Returns the counts of an item in thousandths by the start of their bucket, oldest first: for
    /// adding them to counts of another numbering.
    pub fn buckets(&self, item: ItemIdx) -> impl Iterator<Item = (UnixMillis, i64)> + '_ {
        let counts = self.counts.get(item.at()).map_or(&[][..], |counts| counts);
        let start = |bucket: i64| UnixMillis(bucket.saturating_mul(self.bucket_ms));
        counts
            .iter()
            .map(move |(bucket, milli)| (start(*bucket), *milli))
    }

    /// Returns the start of the newest bucket of any item, `None` when nothing was counted.
    #[must_use]
    pub fn newest(&self) -> Option<UnixMillis> {
        let newest = self
            .counts
            .iter()
            .filter_map(|counts| counts.last())
            .map(|(bucket, _)| *bucket)
            .max();
        newest.map(|bucket| UnixMillis(bucket.saturating_mul(self.bucket_ms)))
    }

    /// Writes the state with item identifiers, so that any process can read it back.
    #[must_use]
    pub fn to_bytes(&self, items: &Items) -> Vec<u8> {
        let mut out = Writer::default();
        out.u8(VERSION);
        out.varint(self.bucket_ms as u64);
        let mut rows: Vec<_> = self
            .counts
            .iter()
            .enumerate()
            .filter(|(_, counts)| !counts.is_empty())
            .map(|(at, counts)| (items.name(ItemIdx(at as u32)), counts))
            .collect();
        rows.sort_unstable_by_key(|(name, _)| *name); // the same bytes whatever the indices are
        out.varint(rows.len() as u64);
        for (name, counts) in rows {
            out.str(name);
            out.varint(counts.len() as u64);
            let mut previous = 0;
            for (bucket, milli) in counts {
                out.signed(bucket.wrapping_sub(previous));
                out.signed(*milli);
                previous = *bucket;
            }
        }
        out.0
    }

    /// Reads what [`Popularity::to_bytes`] wrote, interning its items.
    ///
    /// # Errors
    /// [`DecodeError`] for anything else; identifiers interned until then stay.
    pub fn from_bytes(bytes: &[u8], items: &mut Items) -> Result<Self, DecodeError> {
        let mut input = Reader(bytes);
        let version = input.u8()?;
        if version != VERSION {
            return Err(DecodeError::Version(u32::from(version)));
        }
        let width =
            i64::try_from(input.varint()?).map_err(|_| DecodeError::TooLarge("bucket width"))?;
        let mut popularity = Self::new(width);
        for _ in 0..input.count(ITEMS_MAX, "items")? {
            let id = input.str(ITEM_ID_BYTES_MAX)?;
            let item = items
                .intern(id)
                .map_err(|_| DecodeError::Invalid("item id"))?;
            if popularity.counts.len() <= item.at() {
                popularity.counts.resize_with(item.at() + 1, Vec::new);
            }
            let mut bucket = 0i64;
            for _ in 0..input.count(BUCKETS_MAX, "buckets")? {
                bucket = bucket.wrapping_add(input.signed()?);
                add_bucket(&mut popularity.counts[item.at()], bucket, input.signed()?);
            }
        }
        input.finish()?;
        Ok(popularity)
    }
}

/// Adds to one bucket and keeps those less than [`BUCKETS_MAX`] buckets older than the item's newest.
/// The cut depends on the maximum alone, so that the order of additions cannot matter.
fn add_bucket(counts: &mut Vec<(i64, i64)>, bucket: i64, milli: i64) {
    let newest = counts
        .last()
        .map_or(bucket, |(newest, _)| (*newest).max(bucket));
    let oldest = newest.saturating_sub(BUCKETS_MAX as i64 - 1);
    if bucket < oldest {
        return;
    }
    match counts.binary_search_by_key(&bucket, |(kept, _)| *kept) {
        Ok(at) => counts[at].1 = counts[at].1.saturating_add(milli),
        Err(at) => counts.insert(at, (bucket, milli)),
    }
    let gone = counts.partition_point(|(kept, _)| *kept < oldest);
    counts.drain(..gone);
}

/// Popularity ready to serve: built off the hot path, swapped whole.
#[derive(Debug, Clone, Default)]
pub struct PopularityTable {
    /// By item index, in `[0, 1]`: the decayed count over the highest one.
    score: Vec<f32>,
    /// Every interned item, best first; ties by identifier.
    order: Vec<ItemIdx>,
    /// By category index, inner categories included; at most [`CATEGORY_POPULAR_MAX`] each.
    by_category: Vec<Vec<ItemIdx>>,
}

impl PopularityTable {
    /// Computes the table for every interned item; what was never counted stands last, by identifier.
    ///
    /// Cost: `O(n log n)` for `n` items, plus their category depths.
    #[must_use]
    pub fn build(
        counts: &Popularity,
        half_life_ms: i64,
        items: &Items,
        catalogue: &Catalogue,
    ) -> Self {
        let as_of = counts.newest().unwrap_or_default();
        let decayed: Vec<f64> = (0..items.len())
            .map(|at| counts.decayed(ItemIdx(at as u32), as_of, half_life_ms))
            .collect();
        let highest = decayed.iter().copied().fold(0.0, f64::max);
        let score: Vec<f32> = decayed
            .iter()
            .map(|count| {
                if highest > 0.0 {
                    (count / highest) as f32
                } else {
                    0.0
                }
            })
            .collect();
        let mut order: Vec<ItemIdx> = (0..items.len() as u32).map(ItemIdx).collect();
        order.sort_unstable_by(|a, b| {
            decayed[b.at()]
                .total_cmp(&decayed[a.at()])
                .then_with(|| items.compare(*a, *b))
        });
        let mut by_category = vec![Vec::new(); catalogue.category_count()];
        for item in &order {
            for category in catalogue.ancestors(catalogue.category(*item)) {
                let list: &mut Vec<ItemIdx> = &mut by_category[category.at()];
                if list.len() < CATEGORY_POPULAR_MAX {
                    list.push(*item);
                }
            }
        }
        Self {
            score,
            order,
            by_category,
        }
    }

    /// Returns the popularity of an item in `[0, 1]`; 0 for one that was never counted.
    #[must_use]
    pub fn score(&self, item: ItemIdx) -> f32 {
        self.score.get(item.at()).copied().unwrap_or(0.0)
    }

    /// Returns every item, most popular first.
    #[must_use]
    pub fn order(&self) -> &[ItemIdx] {
        &self.order
    }

    /// Returns the most popular items of a category and of everything under it.
    #[must_use]
    pub fn in_category(&self, category: CategoryIdx) -> &[ItemIdx] {
        self.by_category.get(category.at()).map_or(&[], |list| list)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalogue::tests::shelf;
    use proptest::prelude::*;

    const DAY: i64 = BUCKET_MS;

    #[test]
    fn counts_halve_once_per_half_life() {
        let mut counts = Popularity::default();
        counts.add(ItemIdx(0), UnixMillis(0), 1_000);
        counts.add(ItemIdx(0), UnixMillis(7 * DAY), 2_000);
        let at = |days: i64| counts.decayed(ItemIdx(0), UnixMillis(days * DAY), 7 * DAY);
        assert_eq!(at(7), 2.5); // 1/2 + 2
        assert_eq!(at(14), 1.25); // 1/4 + 1
        assert_eq!(at(0), 3.0); // the future counts whole
        counts.add(ItemIdx(0), UnixMillis(7 * DAY), -9_000);
        assert_eq!(
            counts.decayed(ItemIdx(0), UnixMillis(7 * DAY), 7 * DAY),
            0.0
        );
        assert_eq!(counts.decayed(ItemIdx(9), UnixMillis(0), 7 * DAY), 0.0);
    }

    #[test]
    fn the_table_ranks_by_count_then_by_identifier() {
        let (items, catalogue) = shelf(&[
            ("d", "Home/A", 1),
            ("c", "Home", 1),
            ("b", "Sport", 1),
            ("a", "Home/A", 1),
        ]);
        let mut counts = Popularity::default();
        counts.add(items.get("c").unwrap(), UnixMillis(0), 4_000);
        counts.add(items.get("b").unwrap(), UnixMillis(0), 1_000);
        let table = PopularityTable::build(&counts, 7 * DAY, &items, &catalogue);
        let names = |list: &[ItemIdx]| {
            list.iter()
                .map(|item| items.name(*item))
                .collect::<String>()
        };
        assert_eq!(names(table.order()), "cbad");
        let home = catalogue.category_of_path(&["Home".to_owned()]).unwrap();
        assert_eq!(names(table.in_category(home)), "cad");
        assert_eq!(table.score(items.get("b").unwrap()), 0.25);
        assert_eq!(table.score(ItemIdx(99)), 0.0);
    }

    #[test]
    fn widths_that_differ_do_not_merge() {
        let mut counts = Popularity::new(10);
        assert!(counts.merge(&Popularity::new(20)).is_err());
    }

    fn counts() -> impl Strategy<Value = Popularity> {
        // 200 days over buckets of one: the cut at BUCKETS_MAX bites.
        prop::collection::vec((0u32..4, 0i64..200, -2_000i64..9_000), 0..60).prop_map(|events| {
            let mut counts = Popularity::default();
            events.iter().for_each(|(item, day, milli)| {
                counts.add(ItemIdx(*item), UnixMillis(day * DAY), *milli);
            });
            counts.counts.resize_with(4, Vec::new);
            counts
        })
    }

    fn merged(a: &Popularity, b: &Popularity) -> Popularity {
        let mut sum = a.clone();
        sum.merge(b).unwrap();
        sum
    }

    proptest! {
        #[test]
        fn merging_is_exactly_commutative_and_associative(a in counts(), b in counts(), c in counts()) {
            prop_assert_eq!(merged(&a, &b), merged(&b, &a));
            prop_assert_eq!(merged(&merged(&a, &b), &c), merged(&a, &merged(&b, &c)));
        }

        #[test]
        fn bytes_round_trip(kept in counts()) {
            let mut items = Items::default();
            for item in 0..4 {
                items.intern(&format!("sku-{item}")).unwrap();
            }
            let bytes = kept.to_bytes(&items);
            let mut read = Popularity::from_bytes(&bytes, &mut items).unwrap();
            read.counts.resize_with(4, Vec::new);
            prop_assert_eq!(read, kept);
            for cut in 0..bytes.len() {
                prop_assert!(Popularity::from_bytes(&bytes[..cut], &mut items).is_err());
            }
        }

        #[test]
        fn the_order_does_not_depend_on_when_it_is_asked(kept in counts(), later in 200i64..4_000) {
            let at = |item, day: i64| kept.decayed(ItemIdx(item), UnixMillis(day * DAY), 7 * DAY);
            let (now, then) = ((at(0, 200), at(1, 200)), (at(0, later), at(1, later)));
            if (now.0 - now.1).abs() > 1e-9 * (now.0 + now.1) {
                prop_assert_eq!(now.0 > now.1, then.0 > then.1);
            }
        }
    }
}
