//! A town of shoppers whose truth is known: who they are, what they like, what truly works.
//!
//! The suite is measured against it. A driver pulls [`Moment`]s in order of time, asks real services
//! what to show, hands that to [`Town::respond`] and sends the events that come back; then what the
//! services measured is compared with [`Town::truth`]. Pure: no I/O, no clock, and the same seed and
//! the same answers give the same events on every platform.
//!
//! Each visit draws from a generator of its own, so what one shopper is shown never changes when or
//! whether anybody comes again: two runs that differ in one treatment differ in its effect only.

mod advert;
mod catalogue;
mod event;
mod history;
mod messages;
mod session;
mod shopper;
mod town;
mod truth;

pub use advert::LineItem;
pub use catalogue::{CATEGORIES, Catalogue, Category, ITEMS_PER_CATEGORY, Item};
pub use event::{Body, Cause, Channel, Line, TownEvent};
pub use history::{History, history};
pub use messages::{Emotion, Intent, MessageTemplate, message_templates};
pub use session::{Arm, Served, SessionStart};
pub use shopper::{AgeBand, Language, Shopper};
pub use town::{Moment, RECOMMENDED_MAX, SHOPPERS_MAX, Town, TownConfig, TownError};
pub use truth::{ArmTruth, ChannelTruth, LineItemTruth, LinkTruth, Truth};
