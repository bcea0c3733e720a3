//! What one subject did with items: a bounded set that merges in any order, and a person's view of it.
//!
//! State is a set union cut to the newest, so it is associative, commutative and idempotent;
//! refunds are kept as entries and resolved at read, so that they are mergeable too.

use crate::codec::{DecodeError, Reader, Writer};
use crate::items::{ITEM_ID_BYTES_MAX, ItemIdx, Items};
use rapport_types::UnixMillis;
use std::cmp::Ordering;
use std::collections::HashMap;

/// Most views and cart entries kept. Apart from deeds, so that browsing never pushes a purchase out.
pub const BROWSED_MAX: usize = 200;
/// Most purchases, favourites, shares, dislikes and refunds kept.
pub const DEEDS_MAX: usize = 200;
/// The weight of one, in thousandths.
pub const WEIGHT_ONE_MILLI: u32 = 1_000;
/// Highest weight of one interaction, in thousandths: a million pieces.
pub const WEIGHT_MAX_MILLI: u32 = 1_000_000_000;
/// Highest strength of one item in a history.
pub const STRENGTH_MAX: f32 = 10.0;

const VERSION: u8 = 1;

/// What was done. The numbers are stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Kind {
    /// Looked at the item.
    View = 1,
    /// Put it into the cart.
    Cart = 2,
    /// Bought it; the weight is the quantity.
    Purchase = 3,
    /// Marked it as a favourite.
    Favourite = 4,
    /// Asked for less of it.
    Dislike = 5,
    /// Gave it back; the weight is the quantity.
    Refund = 6,
    /// Showed it to somebody else.
    Share = 7,
}

impl Kind {
    /// Every kind, by number.
    pub const ALL: [Self; 7] = [
        Self::View,
        Self::Cart,
        Self::Purchase,
        Self::Favourite,
        Self::Dislike,
        Self::Refund,
        Self::Share,
    ];

    /// Returns the wire's name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::View => "view",
            Self::Cart => "cart",
            Self::Purchase => "purchase",
            Self::Favourite => "favourite",
            Self::Dislike => "dislike",
            Self::Refund => "refund",
            Self::Share => "share",
        }
    }

    /// Returns how much one interaction says about taste. A view is one; only the order matters.
    #[must_use]
    pub const fn strength(self) -> f32 {
        match self {
            Self::View => 1.0,
            Self::Cart => 2.0,
            Self::Favourite | Self::Share => 3.0,
            Self::Purchase => 4.0,
            Self::Dislike | Self::Refund => 0.0,
        }
    }

    const fn is_browsing(self) -> bool {
        matches!(self, Self::View | Self::Cart)
    }
}

/// Packs the place of an interaction in the log: equal times still have one order, in every process.
///
/// `partition` is below 128, `sequence` below 2^45 and `line` (the item's position in its event)
/// below 4,096; higher bits are cut.
#[must_use]
pub const fn order_key(partition: u32, sequence: u64, line: u16) -> u64 {
    ((partition as u64 & 0x7f) << 57) | ((sequence & ((1 << 45) - 1)) << 12) | (line as u64 & 0xfff)
}

/// One thing done with one item.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Interaction {
    /// The item.
    pub item: ItemIdx,
    /// What was done.
    pub kind: Kind,
    /// When, as claimed by the caller and clamped by the log.
    pub occurred_at: UnixMillis,
    /// Quantity or rating in thousandths, at most [`WEIGHT_MAX_MILLI`].
    pub weight_milli: u32,
    /// The place in the log, from [`order_key`].
    pub order: u64,
}

impl Interaction {
    /// Orders newest first; a total order over distinct interactions.
    fn newest_first(&self, other: &Self) -> Ordering {
        let key = |it: &Self| (it.occurred_at, it.order, it.kind, it.item, it.weight_milli);
        key(other).cmp(&key(self))
    }
}

/// The newest interactions of one subject, or of a person after [`Timeline::fold`].
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Timeline {
    /// Newest first, no duplicates, at most [`BROWSED_MAX`].
    browsed: Vec<Interaction>,
    /// Newest first, no duplicates, at most [`DEEDS_MAX`].
    deeds: Vec<Interaction>,
}

/// What a person did with one item, all interactions together.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct HistoryItem {
    /// The item.
    pub item: ItemIdx,
    /// The newest interaction with it.
    pub last_at: UnixMillis,
    /// How much it says about taste, in `(0, STRENGTH_MAX]`; 0 if it is disliked.
    pub strength: f32,
    /// Bought and not given back.
    pub is_purchased: bool,
    /// Disliked after the last purchase, favourite or share.
    pub is_disliked: bool,
}

impl Timeline {
    /// Adds one interaction; adding it again changes nothing. Returns whether it was kept.
    ///
    /// Cost: `O(log n)` comparisons and one move of at most [`BROWSED_MAX`] entries.
    pub fn insert(&mut self, interaction: Interaction) -> bool {
        let interaction = Interaction {
            weight_milli: interaction.weight_milli.min(WEIGHT_MAX_MILLI),
            ..interaction
        };
        let (list, max) = if interaction.kind.is_browsing() {
            (&mut self.browsed, BROWSED_MAX)
        } else {
            (&mut self.deeds, DEEDS_MAX)
        };
        let Err(at) = list.binary_search_by(|kept| kept.newest_first(&interaction)) else {
            return false;
        };
        if at >= max {
            return false;
        }
        list.insert(at, interaction);
        list.truncate(max);
        true
    }

    /// Joins another timeline into this one. Associative, commutative and idempotent.
    pub fn merge(&mut self, other: &Self) {
        union_newest(&mut self.browsed, &other.browsed, BROWSED_MAX);
        union_newest(&mut self.deeds, &other.deeds, DEEDS_MAX);
    }

    /// Returns a person's timeline from its members', in any order.
    #[must_use]
    pub fn fold<'a>(members: impl IntoIterator<Item = &'a Self>) -> Self {
        let mut folded = Self::default();
        members.into_iter().for_each(|member| folded.merge(member));
        folded
    }

    /// Returns whether nothing is kept.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.browsed.is_empty() && self.deeds.is_empty()
    }

    /// Returns how many interactions are kept.
    #[must_use]
    pub fn len(&self) -> usize {
        self.browsed.len() + self.deeds.len()
    }

    /// Returns every interaction kept, views and carts before deeds, newest first within each.
    pub fn interactions(&self) -> impl Iterator<Item = &Interaction> {
        self.browsed.iter().chain(&self.deeds)
    }

    /// Returns whether the item occurs, whatever was done with it.
    #[must_use]
    pub fn contains(&self, item: ItemIdx) -> bool {
        self.interactions()
            .any(|interaction| interaction.item == item)
    }

    /// Computes one line per item, newest first: what ranking reads.
    ///
    /// A refund takes its quantity from the newest purchases of the item before it; a purchase with
    /// nothing left says nothing. Items with only refunded purchases are left out.
    /// Cost: `O(n log n)` for `n` kept interactions.
    #[must_use]
    pub fn history(&self) -> Vec<HistoryItem> {
        let mut entries = self.browsed.clone();
        entries.extend(self.standing_deeds());
        // By item, newest first within an item: groups are then runs.
        entries.sort_unstable_by(|a, b| a.item.cmp(&b.item).then_with(|| a.newest_first(b)));
        let mut lines: Vec<(u64, HistoryItem)> = entries
            .chunk_by(|a, b| a.item == b.item)
            .map(|run| (run[0].order, summarise(run)))
            .collect();
        lines.sort_unstable_by_key(|(order, line)| {
            std::cmp::Reverse((line.last_at, *order, line.item))
        });
        lines.into_iter().map(|(_, line)| line).collect()
    }

    /// Returns items bought together: purchases not given back, cut where more than `gap_ms` passed
    /// between two of them. Oldest basket first; every basket holds each item once, by index.
    #[must_use]
    pub fn baskets(&self, gap_ms: i64) -> Vec<Vec<ItemIdx>> {
        let mut bought: Vec<_> = self
            .standing_deeds()
            .into_iter()
            .filter(|deed| deed.kind == Kind::Purchase)
            .collect();
        bought.reverse();
        bought
            .chunk_by(|older, newer| newer.occurred_at.since(older.occurred_at) <= gap_ms)
            .map(|run| {
                let mut basket: Vec<_> = run.iter().map(|purchase| purchase.item).collect();
                basket.sort_unstable();
                basket.dedup();
                basket
            })
            .collect()
    }

    /// Returns the deeds after refunds, newest first: refunds gone, purchases cut by what came back.
    fn standing_deeds(&self) -> Vec<Interaction> {
        let mut deeds = self.deeds.clone();
        for at in (0..deeds.len())
            .rev()
            .filter(|at| self.deeds[*at].kind == Kind::Refund)
        {
            let (item, mut returned) = (deeds[at].item, deeds[at].weight_milli);
            // Everything behind `at` is older; the nearest purchase is the newest.
            for deed in &mut deeds[at + 1..] {
                if deed.kind == Kind::Purchase && deed.item == item {
                    let taken = returned.min(deed.weight_milli);
                    deed.weight_milli -= taken;
                    returned -= taken;
                }
            }
        }
        deeds.retain(|deed| match deed.kind {
            Kind::Refund => false,
            Kind::Purchase => deed.weight_milli > 0,
            Kind::View | Kind::Cart | Kind::Favourite | Kind::Share | Kind::Dislike => true,
        });
        deeds
    }

    /// Writes the state with item identifiers, so that any process can read it back.
    #[must_use]
    pub fn to_bytes(&self, items: &Items) -> Vec<u8> {
        let mut numbers = HashMap::new();
        let mut names = Vec::new();
        for interaction in self.interactions() {
            numbers.entry(interaction.item).or_insert_with(|| {
                names.push(items.name(interaction.item));
                names.len() - 1
            });
        }
        let mut out = Writer::default();
        out.u8(VERSION);
        out.varint(names.len() as u64);
        names.iter().for_each(|name| out.str(name));
        for list in [&self.browsed, &self.deeds] {
            out.varint(list.len() as u64);
            let mut previous = 0;
            for entry in list {
                out.signed(entry.occurred_at.0.wrapping_sub(previous));
                previous = entry.occurred_at.0;
                out.varint(entry.order);
                out.u8(entry.kind as u8);
                out.varint(numbers[&entry.item] as u64);
                out.varint(u64::from(entry.weight_milli));
            }
        }
        out.0
    }

    /// Reads what [`Timeline::to_bytes`] wrote, interning its items.
    ///
    /// # Errors
    /// [`DecodeError`] for anything else; identifiers interned until then stay.
    pub fn from_bytes(bytes: &[u8], items: &mut Items) -> Result<Self, DecodeError> {
        let mut input = Reader(bytes);
        let version = input.u8()?;
        if version != VERSION {
            return Err(DecodeError::Version(u32::from(version)));
        }
        let count = input.count(BROWSED_MAX + DEEDS_MAX, "items")?;
        let mut indices = Vec::with_capacity(count);
        for _ in 0..count {
            let id = input.str(ITEM_ID_BYTES_MAX)?;
            indices.push(
                items
                    .intern(id)
                    .map_err(|_| DecodeError::Invalid("item id"))?,
            );
        }
        let mut timeline = Self::default();
        for max in [BROWSED_MAX, DEEDS_MAX] {
            let count = input.count(max, "interactions")?;
            let mut previous = 0;
            for _ in 0..count {
                let entry = read_entry(&mut input, previous, &indices)?;
                previous = entry.occurred_at.0;
                timeline.insert(entry);
            }
        }
        input.finish()?;
        Ok(timeline)
    }
}

fn read_entry(
    input: &mut Reader<'_>,
    previous: i64,
    indices: &[ItemIdx],
) -> Result<Interaction, DecodeError> {
    let occurred_at = UnixMillis(previous.wrapping_add(input.signed()?));
    let order = input.varint()?;
    let number = input.u8()?;
    let kind = Kind::ALL.into_iter().find(|kind| *kind as u8 == number);
    let item = indices.get(input.u32("item")? as usize);
    Ok(Interaction {
        item: *item.ok_or(DecodeError::Invalid("item"))?,
        kind: kind.ok_or(DecodeError::Invalid("kind"))?,
        occurred_at,
        weight_milli: input.u32("weight")?,
        order,
    })
}

/// Merges two lists sorted newest first, dropping duplicates, and keeps the first `max`.
fn union_newest(into: &mut Vec<Interaction>, other: &[Interaction], max: usize) {
    if other.is_empty() {
        return;
    }
    into.extend_from_slice(other);
    into.sort_by(Interaction::newest_first); // two sorted runs: the stable sort merges them in O(n)
    into.dedup();
    into.truncate(max);
}

/// Sums up the interactions with one item, given newest first and not empty.
fn summarise(run: &[Interaction]) -> HistoryItem {
    let newest_of = |wanted: &[Kind]| run.iter().position(|entry| wanted.contains(&entry.kind));
    let liked = newest_of(&[Kind::Purchase, Kind::Favourite, Kind::Share]);
    let is_disliked =
        newest_of(&[Kind::Dislike]).is_some_and(|at| liked.is_none_or(|liked| at < liked));
    let strength: f32 = run
        .iter()
        // Ten pieces of one thing are not ten times the taste for it.
        .map(|entry| {
            entry.kind.strength() * entry.weight_milli.min(WEIGHT_ONE_MILLI) as f32 / 1_000.0
        })
        .sum();
    HistoryItem {
        item: run[0].item,
        last_at: run[0].occurred_at,
        strength: if is_disliked {
            0.0
        } else {
            strength.min(STRENGTH_MAX)
        },
        is_purchased: newest_of(&[Kind::Purchase]).is_some(),
        is_disliked,
    }
}

#[cfg(test)]
mod tests;
