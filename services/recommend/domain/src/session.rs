//! Session models: what comes next in a visit, judged from the visit alone. Nobody need be known.
//!
//! Every model reads [`Sessions`], whole visits oldest first, and scores a prefix of a visit into
//! [`SessionScores`]. Where a model says nothing the list goes on with what is popular.

mod attention;
mod blend;
mod index;
mod item_knn;
mod markov;
mod popularity;
mod scores;
mod sessions;
mod stan;
mod vmis;

pub use attention::{
    ATTENTION_ITEMS_MAX, ATTENTION_WIDTH_MAX, AttentionModel, AttentionOptions, EPOCHS_MAX,
};
pub use blend::{BLEND_PARTS_MAX, BlendModel, BlendOptions};
pub use index::{SAMPLE_MAX, SessionIndex, WINDOW_MAX};
pub use item_knn::{SessionItemKnn, SessionItemKnnOptions};
pub use markov::{MarkovModel, MarkovOptions, REACH_MAX, SUCCESSORS_MAX};
pub use popularity::{POPULAR_SCORED_MAX, SessionPopularity};
pub use scores::SessionScores;
pub use sessions::{CLICKS_MAX, SESSION_CLICKS_MAX, SESSIONS_MAX, Sessions};
pub use stan::{StanModel, StanOptions};
pub use vmis::{VmisModel, VmisOptions};

use crate::items::ItemIdx;
use attention::AttentionScratch;
use index::{Found, Shared};

/// A model that says what comes next in a visit.
pub trait SessionModel: std::fmt::Debug + Send + Sync {
    /// Adds to `scores`, which is reset to the catalogue first, what may follow a prefix.
    ///
    /// * `prefix`: the visit so far, oldest first; items that training never saw are passed over.
    /// * Scores are positive, only comparable within one model and one prefix. Items of the prefix are
    ///   scored like any other.
    /// * Same prefix, same bytes, whatever was scored with the scratch before.
    fn score(&self, prefix: &[ItemIdx], scratch: &mut SessionScratch, scores: &mut SessionScores);

    /// Returns why an item is suggested after a prefix; `None` if the model does not suggest it.
    fn why(
        &self,
        prefix: &[ItemIdx],
        item: ItemIdx,
        scratch: &mut SessionScratch,
    ) -> Option<SessionWhy>;
}

/// Why a session model suggests an item.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct SessionWhy {
    /// The item of the visit that speaks for it most; `None` where it is simply popular.
    pub because_of: Option<ItemIdx>,
    /// How much of its score that item explains, in `(0, 1]`.
    pub share: f32,
    /// Earlier visits that were counted for it; 0 for a model that counts none.
    pub sessions: u32,
}

/// What one thread needs to score; reusable, so that a request allocates nothing once it is warm.
#[derive(Debug, Default)]
pub struct SessionScratch {
    shared: Vec<Shared>,
    found: Vec<Found>,
    keys: Vec<u64>,
    attention: AttentionScratch,
    part: SessionScores,
}

/// Returns, most recent first, up to `window` distinct items of a prefix that are below `items`, with
/// how many distinct items came after each.
fn recent_distinct(
    prefix: &[ItemIdx],
    window: usize,
    items: usize,
) -> impl Iterator<Item = (usize, u32)> {
    let last = prefix.len();
    prefix
        .iter()
        .enumerate()
        .rev()
        .filter(move |(at, item)| item.at() < items && !prefix[at + 1..last].contains(item))
        .map(|(_, item)| item.0)
        .take(window)
        .enumerate()
}
