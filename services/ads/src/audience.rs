//! What ads knows of a subject: age band, region, language, interests, whether it has bought.
//!
//! A projection of the log, per subject and mergeable. Interests are learnt only from events that were
//! appended under the `advertise` consent, and nothing here is read without it.

use std::collections::BTreeMap;
use std::sync::Arc;

use ads_domain::AgeBand;
use prost::Message as _;
use rapport_api::event::v1::{self as event, EventRecord};
use rapport_flow::{DecodeError, Projection};
use rapport_types::{Purpose, PurposeSet};

/// Categories kept per subject; beyond it the weakest goes.
const CATEGORIES_MAX: usize = 32;
/// Interests that a person has: the strongest categories.
const INTERESTS_MAX: usize = 10;
/// Longest category that is kept, in characters.
const CATEGORY_CHARS_MAX: usize = 48;
const VIEW: u32 = 1;
const CART: u32 = 3;
const PURCHASE: u32 = 5;

/// Lifecycle stage of somebody who has bought.
pub const CUSTOMER: &str = "customer";
/// Lifecycle stage of somebody who has not.
pub const PROSPECT: &str = "prospect";

/// What is known of one subject. Stored as protobuf.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Known {
    /// An `AgeBand` of the last sign-up that gave one, whatever order they came in: an import brings
    /// old ones late. Of two at the same time a minor's.
    #[prost(enumeration = "event::AgeBand", tag = "1")]
    pub age_band: i32,
    /// When region and language were last given, in milliseconds.
    #[prost(int64, tag = "2")]
    pub signed_up_at_ms: i64,
    /// The region of that sign-up.
    #[prost(string, tag = "3")]
    pub region: String,
    /// The language of that sign-up.
    #[prost(string, tag = "4")]
    pub language: String,
    /// Weight by category.
    #[prost(btree_map = "string, uint32", tag = "5")]
    pub categories: BTreeMap<String, u32>,
    /// Whether anything was bought.
    #[prost(bool, tag = "6")]
    pub has_bought: bool,
    /// When the age band was given, in milliseconds.
    #[prost(int64, tag = "7")]
    pub age_given_at_ms: i64,
}

/// A person, folded from its subjects.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Facts {
    /// How old: one minor among the subjects makes a minor.
    pub age_band: AgeBand,
    /// Region, empty if unknown.
    pub region: String,
    /// Language, empty if unknown.
    pub language: String,
    /// Interest tags, `category:tea`, strongest first.
    pub interests: Vec<String>,
    /// Lifecycle stage.
    pub lifecycle: &'static str,
}

/// The projection.
#[derive(Debug, Clone, Copy, Default)]
pub struct AudienceProjection;

impl Projection for AudienceProjection {
    const NAME: &'static str = "audience";
    const VERSION: u32 = 2;
    const TYPES: &'static [&'static str] = &["sign_up", "view_item", "add_to_cart", "purchase"];
    type State = Known;

    fn apply(&self, _key: &[u8], state: &mut Known, record: &EventRecord) {
        let admitted = u8::try_from(record.admitted).unwrap_or_default();
        let may_learn = PurposeSet(admitted).contains(Purpose::Advertise);
        let payload = record.payload.as_ref();
        // What does not decode was written by a newer contract: it says nothing that is known here.
        match record.r#type.as_str() {
            "sign_up" => {
                if let Ok(event) = event::SignUp::decode(payload) {
                    state.sign_up(event, record.occurred_at_ms);
                }
            }
            "view_item" if may_learn => {
                if let Ok(event) = event::ViewItem::decode(payload) {
                    state.learn(&event.category, VIEW);
                }
            }
            "add_to_cart" if may_learn => {
                if let Ok(event) = event::AddToCart::decode(payload) {
                    event
                        .line
                        .iter()
                        .for_each(|line| state.learn(&line.category, CART));
                }
            }
            "purchase" if may_learn => {
                if let Ok(event) = event::Purchase::decode(payload) {
                    state.has_bought = true;
                    let lines = event.lines.iter();
                    lines.for_each(|line| state.learn(&line.category, PURCHASE));
                }
            }
            _ => {}
        }
    }

    fn encode(state: &Known) -> Vec<u8> {
        state.encode_to_vec()
    }

    fn decode(bytes: &[u8]) -> Result<Known, DecodeError> {
        Ok(Known::decode(bytes)?)
    }
}

impl Known {
    fn sign_up(&mut self, event: event::SignUp, at_ms: i64) {
        let minor = event::AgeBand::Minor;
        let given = (at_ms, event.age_band() == minor);
        let is_last = given >= (self.age_given_at_ms, self.age_band() == minor);
        if event.age_band() != event::AgeBand::Unspecified
            && (is_last || self.age_band() == event::AgeBand::Unspecified)
        {
            self.age_band = event.age_band;
            self.age_given_at_ms = at_ms;
        }
        if at_ms >= self.signed_up_at_ms {
            self.signed_up_at_ms = at_ms;
            self.region = event.region;
            self.language = event.language;
        }
    }

    fn learn(&mut self, category: &str, weight: u32) {
        if category.is_empty() || category.chars().count() > CATEGORY_CHARS_MAX {
            return;
        }
        let known = self.categories.entry(category.to_owned()).or_default();
        *known = known.saturating_add(weight);
        if self.categories.len() > CATEGORIES_MAX {
            // The new one stays: what is bought now must be able to displace what once was.
            let others = self.categories.iter().filter(|(name, _)| *name != category);
            let weakest = others.min_by_key(|(name, weight)| (**weight, (*name).clone()));
            if let Some(weakest) = weakest.map(|(name, _)| name.clone()) {
                self.categories.remove(&weakest);
            }
        }
    }
}

/// Folds a person's subjects. The order of the subjects does not matter.
#[must_use]
pub fn fold(members: &[Arc<Known>]) -> Facts {
    let ages = members.iter().map(|known| known.age_band());
    let age_band = ages.fold(AgeBand::Unknown, |folded, age| match (folded, age) {
        (AgeBand::Minor, _) | (_, event::AgeBand::Minor) => AgeBand::Minor,
        (AgeBand::Adult, _) | (_, event::AgeBand::Adult) => AgeBand::Adult,
        (AgeBand::Unknown, event::AgeBand::Unspecified) => AgeBand::Unknown,
    });
    let signed_up = members.iter().filter(|known| known.signed_up_at_ms != 0);
    let latest =
        signed_up.max_by_key(|known| (known.signed_up_at_ms, &known.region, &known.language));
    let mut weights: BTreeMap<&str, u64> = BTreeMap::new();
    for (category, weight) in members.iter().flat_map(|known| &known.categories) {
        *weights.entry(category).or_default() += u64::from(*weight);
    }
    let mut ranked: Vec<(&str, u64)> = weights.into_iter().collect();
    ranked.sort_by(|a, b| b.1.cmp(&a.1).then_with(|| a.0.cmp(b.0)));
    let interests = ranked.iter().take(INTERESTS_MAX);
    let has_bought = members.iter().any(|known| known.has_bought);
    Facts {
        age_band,
        region: latest.map(|known| known.region.clone()).unwrap_or_default(),
        language: latest
            .map(|known| known.language.clone())
            .unwrap_or_default(),
        interests: interests
            .map(|(category, _)| format!("category:{category}"))
            .collect(),
        lifecycle: if has_bought { CUSTOMER } else { PROSPECT },
    }
}

#[cfg(test)]
mod tests;
