//! The pure core of `recommend`: catalogue rules, timelines, learners and ranking.
//!
//! No I/O, no clock, no async: the service hands in state and time and stores what comes back.

mod baskets;
mod bounds;
mod catalogue;
mod codec;
mod content;
mod distil;
mod draw;
mod ease;
mod filter;
mod graph_filter;
mod hold_out;
mod ials;
mod incidence;
mod item;
mod item_item;
mod items;
mod model_file;
mod popularity;
mod rank;
mod reason;
mod rerank;
mod selection;
mod session;
mod slim;
mod social;
mod timeline;
mod user_knn;

pub use baskets::{BASKET_ITEMS_MAX, BasketModel, BasketOptions, PARTNERS_MAX, Partner};
pub use catalogue::{CATEGORIES_MAX, Catalogue, CategoryIdx};
pub use codec::DecodeError;
pub use content::{CONTENT_SPREAD_MAX, CONTENT_WORDS_MAX, train_content};
pub use distil::lane;
pub use ease::{EASE_ITEMS_MAX, EASE_RIDGE, EaseModel};
pub use filter::{CompiledFilter, FILTER_CATEGORIES_MAX, FILTER_EXCLUDED_MAX, Filter, Unlisted};
pub use graph_filter::{
    BLOCK_HISTORIES, FACTORS_MAX, GraphFilter, GraphFilterOptions, GraphFilterScratch,
    GraphSpectrum,
};
pub use hold_out::{HeldOut, discount, hold_out, ideal_gain};
pub use ials::{
    IALS_EPOCHS_MAX, IALS_FACTORS_MAX, IalsModel, IalsOptions, IalsScratch, SolveScratch,
};
pub use item::{
    Availability, BRAND_CHARS_MAX, CATEGORY_CHARS_MAX, CATEGORY_DEPTH_MAX, Item, ItemFields,
    PRICE_MAX, TAG_CHARS_MAX, TAGS_MAX, TITLE_CHARS_MAX, Violation, parse_category_path,
};
pub use item_item::{
    HISTORY_ITEMS_MAX, ItemItemModel, ItemItemOptions, LIVE_ITEMS_MAX, LIVE_NEIGHBOURS_MAX,
    LIVE_RECENT_MAX, LivePairs, NEIGHBOURS_MAX, Neighbour,
};
pub use items::{ITEM_ID_CHARS_MAX, ITEMS_MAX, InternError, ItemIdx, Items, is_item_id};
pub use model_file::{MODEL_BYTES_MAX, TrainedModels};
pub use popularity::{BUCKET_MS, BUCKETS_MAX, CATEGORY_POPULAR_MAX, Popularity, PopularityTable};
pub use rank::{
    CANDIDATES_MAX, Candidate, LIMIT_MAX, Models, Query, REASONS_MAX, RankOptions, Ranked, Ranking,
    SOURCES_MAX, Scratch, SeenPolicy, rank,
};
pub use reason::{Language, Reason};
pub use rerank::{POOL_MAX, Rerank, rerank};
pub use selection::{Selection, SimilarAlgorithm, Trial, select_similar};
pub use session::{
    ATTENTION_ITEMS_MAX, ATTENTION_WIDTH_MAX, AttentionModel, AttentionOptions, BLEND_PARTS_MAX,
    BlendModel, BlendOptions, CLICKS_MAX, EPOCHS_MAX, MarkovModel, MarkovOptions,
    POPULAR_SCORED_MAX, REACH_MAX, SAMPLE_MAX, SESSION_CLICKS_MAX, SESSIONS_MAX, SUCCESSORS_MAX,
    SessionIndex, SessionItemKnn, SessionItemKnnOptions, SessionModel, SessionPopularity,
    SessionScores, SessionScratch, SessionWhy, Sessions, StanModel, StanOptions, VmisModel,
    VmisOptions, WINDOW_MAX,
};
pub use slim::{SLIM_SUPPORT_MAX, SlimOptions, train_slim};
pub use social::{FRIENDS_MAX, SocialModel, SocialOptions};
pub use timeline::{
    BROWSED_MAX, DEEDS_MAX, HistoryItem, Interaction, Kind, STRENGTH_MAX, Timeline,
    WEIGHT_MAX_MILLI, WEIGHT_ONE_MILLI, order_key,
};
pub use user_knn::{USER_NEIGHBOURS_MAX, UserUserModel, UserUserOptions, UserUserScratch};
