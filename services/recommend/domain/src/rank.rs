//! Ranking: from one person's history to a short list with reasons and logged propensities. Pure.
//!
//! Candidates come from the neighbours of recent history, baskets and popularity; `gather` collects
//! them in dense buffers, `select` makes the list diverse and explores.

mod gather;
mod select;

pub use gather::Scratch;

use crate::baskets::BasketModel;
use crate::catalogue::Catalogue;
use crate::filter::CompiledFilter;
use crate::item::Violation;
use crate::item_item::{ItemItemModel, LivePairs};
use crate::items::{ItemIdx, Items};
use crate::popularity::PopularityTable;
use crate::reason::Reason;
use crate::timeline::HistoryItem;
use rapport_types::{Probability, UnixMillis};

/// Most items in one answer.
pub const LIMIT_MAX: usize = 100;
/// Most items of the history that an answer reads, the newest.
pub const SOURCES_MAX: usize = 100;
/// Most candidates logged with one decision, shown ones included.
pub const CANDIDATES_MAX: usize = 50;
/// Most reasons per item.
pub const REASONS_MAX: usize = 3;

/// What happens to items that the person knows already. Disliked ones are never shown.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum SeenPolicy {
    /// Nothing from the history.
    #[default]
    Hide,
    /// Nothing that was bought; what was only looked at may come back.
    HidePurchased,
    /// Everything may come back: for goods that are used up.
    Show,
}

/// How an answer is composed. The weights share the scale of the item-item scores.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct RankOptions {
    /// The age at which an interaction counts half, in milliseconds, at least 1.
    pub recency_half_life_ms: i64,
    /// The least that old history counts, in `[0, 1]`.
    pub recency_floor: f32,
    /// The weight of basket confidence, `>= 0`.
    pub together_weight: f32,
    /// The weight of popularity in a category of the history, `>= 0`.
    pub category_weight: f32,
    /// The weight of popularity everywhere, `>= 0`.
    pub popular_weight: f32,
    /// The weight of an item of the history itself, where the policy lets it come back, `>= 0`.
    pub revisit_weight: f32,
    /// How much a category already in the list holds an item back, in `[0, 1]`; 0 keeps score order.
    pub diversity: f32,
    /// What to do with known items.
    pub seen: SeenPolicy,
    /// Items of the history that candidates come from, the newest; coerced to [`SOURCES_MAX`]. With 0
    /// the answer is popular items, and what is known still counts as known.
    pub sources_max: usize,
    /// The chance that the last place goes to a candidate drawn at random.
    pub exploration: Probability,
}

impl Default for RankOptions {
    fn default() -> Self {
        Self {
            recency_half_life_ms: 30 * 86_400_000,
            recency_floor: 0.2,
            together_weight: 0.1,
            category_weight: 0.005,
            popular_weight: 0.001,
            revisit_weight: 0.05,
            diversity: 0.1,
            seen: SeenPolicy::Hide,
            sources_max: SOURCES_MAX,
            exploration: Probability::saturating(0.05),
        }
    }
}

impl RankOptions {
    /// Checks every range.
    ///
    /// # Errors
    /// Every violation at once.
    pub fn validate(&self) -> Result<(), Vec<Violation>> {
        let mut bad = Vec::new();
        if self.recency_half_life_ms < 1 {
            bad.push(Violation::new("recency_half_life_ms", "must be at least 1"));
        }
        for (field, value) in [
            ("recency_floor", self.recency_floor),
            ("diversity", self.diversity),
        ] {
            if !(0.0..=1.0).contains(&value) {
                bad.push(Violation::new(field, "must be between 0 and 1"));
            }
        }
        for (field, value) in [
            ("together_weight", self.together_weight),
            ("category_weight", self.category_weight),
            ("popular_weight", self.popular_weight),
            ("revisit_weight", self.revisit_weight),
        ] {
            if !value.is_finite() || value < 0.0 {
                bad.push(Violation::new(field, "must be finite and not negative"));
            }
        }
        if bad.is_empty() { Ok(()) } else { Err(bad) }
    }
}

/// Everything that serving reads, on one numbering of items.
#[derive(Debug, Clone, Copy)]
pub struct Models<'a> {
    /// Identifiers.
    pub items: &'a Items,
    /// Listed items.
    pub catalogue: &'a Catalogue,
    /// Neighbours from training.
    pub similar: &'a ItemItemModel,
    /// Neighbours since training.
    pub live: &'a LivePairs,
    /// Baskets.
    pub together: &'a BasketModel,
    /// Popularity.
    pub popular: &'a PopularityTable,
}

/// One question.
#[derive(Debug, Clone, Copy)]
pub struct Query<'a> {
    /// The person's history, newest first; empty asks for a non-personal answer.
    pub history: &'a [HistoryItem],
    /// What may be shown.
    pub filter: &'a CompiledFilter,
    /// Items wanted; coerced to [`LIMIT_MAX`].
    pub limit: usize,
    /// When it is asked.
    pub now: UnixMillis,
    /// What chance is drawn from: the same key gives the same answer. Taken from the decision id.
    pub key: u64,
    /// How to compose.
    pub options: &'a RankOptions,
}

/// One item of an answer.
#[derive(Debug, Clone, PartialEq)]
pub struct Ranked {
    /// The item.
    pub item: ItemIdx,
    /// Relevance before diversity, `>= 0`; the order of the list is the answer, not the score.
    pub score: f32,
    /// One to [`REASONS_MAX`] reasons, strongest first.
    pub reasons: Vec<Reason>,
}

/// One item that could have been shown, for the decision log.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Candidate {
    /// The item.
    pub item: ItemIdx,
    /// Relevance before diversity.
    pub score: f32,
    /// The probability that this answer shows it, over the draw of the key.
    pub propensity: Probability,
    /// Whether it was shown.
    pub is_shown: bool,
}

/// An answer.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Ranking {
    /// The list, best first, without duplicates.
    pub items: Vec<Ranked>,
    /// At most [`CANDIDATES_MAX`], shown ones first in list order. Their propensities sum to the
    /// number of shown items among them.
    pub candidates: Vec<Candidate>,
}

/// Ranks items for one person. Same query and models give the same answer, byte for byte.
///
/// `scratch` is working memory to be reused between calls; nothing of it reaches the answer.
/// Cost: `O(sources * neighbours)` for the scores, `O(candidates)` for the selection and
/// `O(limit^2)` for diversity; nothing grows with the catalogue unless the filter refuses most of it.
#[must_use]
pub fn rank(query: &Query<'_>, models: &Models<'_>, scratch: &mut Scratch) -> Ranking {
    let limit = query.limit.min(LIMIT_MAX);
    if limit == 0 {
        return Ranking::default();
    }
    // Diversity and exploration choose from more than is shown.
    let pool = scratch.gather(query, models, (3 * limit).max(CANDIDATES_MAX));
    let list = select::diversify(&pool, limit, query.options.diversity, models.catalogue);
    let drawn = select::explore(&pool, list, query.key, query.options.exploration);
    let items = drawn.shown.iter().map(|at| {
        let (score, item) = pool[*at];
        let mut reasons = scratch.reasons(item, models);
        if drawn.explored == Some(*at) {
            reasons.truncate(REASONS_MAX - 1);
            reasons.push(Reason::Explored);
        }
        Ranked {
            item,
            score,
            reasons,
        }
    });
    Ranking {
        items: items.collect(),
        candidates: drawn.candidates,
    }
}

#[cfg(test)]
mod tests;
