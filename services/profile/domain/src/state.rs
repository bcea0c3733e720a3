//! What is kept per subject: the projection state, `apply`, `merge` and the stored bytes.
//!
//! Integers only, so `merge` is associative and commutative to the bit. `apply` keeps every list
//! within its maximum; `merge` does not evict (a person has at most 64 members, so its size is
//! bounded anyway), because an eviction that depends on grouping would break that law.

mod purchases;
mod tags;
#[cfg(test)]
mod tests;
mod usage;

use rapport_math::stable_hash64;
use rapport_types::{Currency, UnixMillis};
use serde::{Deserialize, Serialize};

pub(crate) use purchases::{Day, Purchases, day_of};
pub use purchases::{PURCHASE_DAYS_MAX, PurchaseTotals};
pub use tags::{EVIDENCE_MAX, TAGS_PER_KIND_MAX};
pub(crate) use tags::{Tag, Tags};
pub(crate) use usage::{Usage, Usages};

use crate::decay::Decayed;
use crate::event::{AgeBand, Behaviour, ITEMS_MAX, ItemRef, ProfileEvent, TagKind};

/// The version that leads the stored bytes. A new shape takes the next number and rebuilds.
const STATE_VERSION: u8 = 1;
/// The time in which an observed emotion fades to half: moods last days, not weeks.
pub(crate) const EMOTION_HALF_LIFE_MS: i64 = 3 * 86_400_000;
/// What a purchase adds to each tag of an item, and a refund takes: the top of `Action`'s ladder.
const PURCHASE_WEIGHT: f64 = 5.0;
/// What a searched keyword adds: the words are the subject's own, a view may be chance.
const SEARCH_WEIGHT: f64 = 2.0;
/// What a tag weighs that the subject stated itself: more than any one event can say.
const STATED_WEIGHT: f64 = 10.0;

/// Why stored bytes are not a state.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum StateError {
    /// Written by another version: rebuild the projection.
    #[error("profile state has version {0}, this build reads {STATE_VERSION}")]
    Version(u8),
    /// Not a state at all.
    #[error("profile state is malformed")]
    Malformed,
}

/// What the events of one subject add up to, or those of several merged.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProfileState {
    pub(crate) first_seen: Option<UnixMillis>,
    pub(crate) last_seen: Option<UnixMillis>,
    pub(crate) events: Usages<String>,
    pub(crate) channels: Usages<u8>,
    pub(crate) devices: Usages<String>,
    /// Events by hour of the day, UTC.
    pub(crate) hours: [u32; 24],
    pub(crate) purchases: Purchases,
    pub(crate) tags: Tags,
    pub(crate) emotion: Emotion,
    pub(crate) attributes: Attributes,
}

/// Emotion as fading sums: the mean at any time is `valence / weight`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Emotion {
    pub(crate) weight: Decayed,
    pub(crate) valence: Decayed,
    pub(crate) arousal: Decayed,
    pub(crate) labels: Usages<String>,
}

/// What the subject said about itself: each field with when, the latest wins, ties by value.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Attributes {
    pub(crate) language: Option<(UnixMillis, String)>,
    pub(crate) region: Option<(UnixMillis, String)>,
    pub(crate) age_band: Option<(UnixMillis, AgeBand)>,
}

impl ProfileState {
    /// Adds one event. Never reads a clock, never fails: fields out of range are left out.
    ///
    /// * Cost: a few map look-ups per item; allocates only for names not seen before.
    pub fn apply(&mut self, event: &ProfileEvent<'_>) {
        let at = event.occurred_at;
        self.first_seen = earliest(self.first_seen, Some(at));
        self.last_seen = self.last_seen.max(Some(at));
        self.events.add(event.event_type, at);
        if event.channel != 0 {
            self.channels.add(&event.channel, at);
        }
        self.devices.add(event.device, at);
        let hour = at.0.div_euclid(3_600_000).rem_euclid(24) as usize;
        self.hours[hour] = self.hours[hour].saturating_add(1);
        match event.behaviour {
            Behaviour::Seen => {}
            Behaviour::Items(action, items) => self.learn(event, items, action.weight()),
            Behaviour::Purchase {
                order_id,
                currency,
                amount,
                items,
            } => {
                let order = stable_hash64(&[order_id.as_bytes()]);
                self.purchases
                    .buy(at, order, Currency::parse(currency), amount);
                self.learn(event, items, PURCHASE_WEIGHT);
            }
            Behaviour::Refund {
                currency,
                amount,
                items,
            } => {
                self.purchases.refund(at, Currency::parse(currency), amount);
                self.learn(event, items, -PURCHASE_WEIGHT);
            }
            Behaviour::Search(words) => {
                for word in words.iter().take(ITEMS_MAX) {
                    self.tags
                        .learn(TagKind::Keyword, word, SEARCH_WEIGHT, event);
                }
            }
            Behaviour::Emotion {
                label,
                valence,
                arousal,
            } => self.emotion.add(at, label, valence, arousal),
            Behaviour::Attributes {
                language,
                region,
                age_band,
            } => {
                self.attributes.say(at, language, region, age_band);
            }
            Behaviour::StateTag { kind, name, keep } => {
                if self.tags.state(kind, name, keep, at) && keep {
                    self.tags.learn(kind, name, STATED_WEIGHT, event);
                }
            }
        }
    }

    fn learn(&mut self, event: &ProfileEvent<'_>, items: &[ItemRef<'_>], weight: f64) {
        for item in items.iter().take(ITEMS_MAX) {
            self.tags
                .learn(TagKind::Category, item.category, weight, event);
            self.tags.learn(TagKind::Brand, item.brand, weight, event);
            for keyword in item.keywords.iter().take(ITEMS_MAX) {
                self.tags.learn(TagKind::Keyword, keyword, weight, event);
            }
        }
    }

    /// Adds everything another state holds. Associative and commutative; the empty state is neutral.
    pub fn merge(&mut self, other: &Self) {
        self.first_seen = earliest(self.first_seen, other.first_seen);
        self.last_seen = self.last_seen.max(other.last_seen);
        self.events.merge(&other.events);
        self.channels.merge(&other.channels);
        self.devices.merge(&other.devices);
        for (mine, theirs) in self.hours.iter_mut().zip(other.hours) {
            *mine = mine.saturating_add(theirs);
        }
        self.purchases.merge(&other.purchases);
        self.tags.merge(&other.tags);
        self.emotion.merge(&other.emotion);
        self.attributes.merge(&other.attributes);
    }

    /// Folds the states of a person's members. No members give the empty state.
    #[must_use]
    pub fn folded<'a>(members: impl IntoIterator<Item = &'a Self>) -> Self {
        members
            .into_iter()
            .fold(Self::default(), |mut whole, member| {
                whole.merge(member);
                whole
            })
    }

    /// Returns the bytes to store: the version, then postcard. Equal states give equal bytes.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        postcard::to_extend(self, vec![STATE_VERSION]).expect("plain fields and maps always encode")
    }

    /// Reads what [`Self::to_bytes`] wrote.
    ///
    /// # Errors
    /// [`StateError::Version`] for another version, [`StateError::Malformed`] for anything else.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, StateError> {
        let (&version, body) = bytes.split_first().ok_or(StateError::Malformed)?;
        if version != STATE_VERSION {
            return Err(StateError::Version(version));
        }
        match postcard::take_from_bytes(body) {
            Ok((state, [])) => Ok(state),
            Ok(_) | Err(_) => Err(StateError::Malformed),
        }
    }

    /// Returns when the subject was last seen, `None` before its first event: the `as_of` to offer.
    #[must_use]
    pub fn last_seen(&self) -> Option<UnixMillis> {
        self.last_seen
    }
}

impl Emotion {
    fn add(&mut self, at: UnixMillis, label: &str, valence: f64, arousal: f64) {
        if !valence.is_finite() || !arousal.is_finite() {
            return;
        }
        self.weight.add(at, 1.0, EMOTION_HALF_LIFE_MS);
        self.valence
            .add(at, valence.clamp(-1.0, 1.0), EMOTION_HALF_LIFE_MS);
        self.arousal
            .add(at, arousal.clamp(0.0, 1.0), EMOTION_HALF_LIFE_MS);
        self.labels.add(label, at);
    }

    fn merge(&mut self, other: &Self) {
        self.weight.merge(&other.weight);
        self.valence.merge(&other.valence);
        self.arousal.merge(&other.arousal);
        self.labels.merge(&other.labels);
    }
}

impl Attributes {
    fn say(&mut self, at: UnixMillis, language: &str, region: &str, age_band: AgeBand) {
        let said = |text: &str| usage::named(text).then(|| (at, text.to_owned()));
        self.language = self.language.take().max(said(language));
        self.region = self.region.take().max(said(region));
        self.age_band = self
            .age_band
            .max((age_band != AgeBand::Unknown).then_some((at, age_band)));
    }

    fn merge(&mut self, other: &Self) {
        self.language = self.language.take().max(other.language.clone());
        self.region = self.region.take().max(other.region.clone());
        self.age_band = self.age_band.max(other.age_band);
    }
}

/// Returns the earlier of two instants; `None` is no instant rather than the earliest.
pub(crate) fn earliest(left: Option<UnixMillis>, right: Option<UnixMillis>) -> Option<UnixMillis> {
    match (left, right) {
        (Some(left), Some(right)) => Some(left.min(right)),
        (one, other) => one.or(other),
    }
}
