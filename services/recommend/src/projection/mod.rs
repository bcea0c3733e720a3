//! What the log says about items, as mergeable state: timelines by subject, counts by item.
//!
//! Pure: what an event means for ranking is in `recommend-domain`.

pub mod feedback;
pub mod popularity;
#[cfg(test)]
mod tests;
pub mod timeline;

pub use popularity::ItemPopularity;
pub use timeline::{SubjectTimeline, Timelines};
