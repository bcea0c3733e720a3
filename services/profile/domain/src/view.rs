//! What a reader gets: a person's state as it stands at an instant. Consent is checked before.

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};

use rapport_types::{Currency, Micros, UnixMillis};

use crate::event::{AgeBand, TagKind};
use crate::lifecycle::{Lifecycle, lifecycle};
use crate::rfm::{Rfm, RfmScore, RfmTable, ValueSegment};
use crate::state::{
    Day, EMOTION_HALF_LIFE_MS, ProfileState, PurchaseTotals, Tag, Usage, Usages, day_of,
};

/// Tags below this have faded: about a view of a category after a year and a half.
const TAG_WEIGHT_MIN: f64 = 0.002;
/// How many events make a tag half certain: one view may be chance, a handful is not.
const TAG_CONFIDENCE_HALF: f64 = 2.0;

/// How to read a state.
#[derive(Debug, Clone, Copy)]
pub struct ViewOptions {
    /// The instant asked for; purchases after it are not counted.
    pub as_of: UnixMillis,
    /// Days of the RFM window, 1 to 400.
    pub window_days: u32,
    /// The currency of money; `None` takes the one with most orders in the window.
    pub currency: Option<Currency>,
    /// The score borders.
    pub table: RfmTable,
    /// Tags of each kind to return.
    pub tags_per_kind: usize,
}

impl ViewOptions {
    /// Returns a year's window, default borders and 20 tags of each kind.
    #[must_use]
    pub fn at(as_of: UnixMillis) -> Self {
        Self {
            as_of,
            window_days: 365,
            currency: None,
            table: RfmTable::default(),
            tags_per_kind: 20,
        }
    }
}

/// One interest tag.
#[derive(Debug, Clone, PartialEq)]
pub struct TagView {
    /// Its kind.
    pub kind: TagKind,
    /// Its name.
    pub name: String,
    /// Weight at `as_of`, above 0; comparable within a kind.
    pub weight: f64,
    /// Its part of the visible weight of its kind, in `(0, 1]`.
    pub share: f64,
    /// How sure, in `(0, 1)`: `count / (count + 2)`.
    pub confidence: f64,
    /// Events behind it.
    pub count: u64,
    /// The latest of them.
    pub last: UnixMillis,
    /// Whether the person stated it.
    pub stated: bool,
    /// The latest event ids behind it, newest first, at most 5.
    pub evidence: Vec<String>,
}

/// How often something was used, and when last.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UsageView<K> {
    /// The name or number.
    pub name: K,
    /// How often.
    pub count: u64,
    /// When last.
    pub last: UnixMillis,
}

/// Emotion at `as_of`.
#[derive(Debug, Clone, PartialEq)]
pub struct EmotionView {
    /// How pleasant, in `[-1, 1]`: the mean of what was observed, recent more than old.
    pub valence: f64,
    /// How excited, in `[0, 1]`.
    pub arousal: f64,
    /// How many observations that mean is worth now; fades by half every three days.
    pub weight: f64,
    /// Counts by emotion, most frequent first.
    pub labels: Vec<UsageView<String>>,
}

/// A person or subject at an instant.
#[derive(Debug, Clone, PartialEq)]
pub struct ProfileView {
    /// The first event, `None` if there was none.
    pub first_seen: Option<UnixMillis>,
    /// The last event.
    pub last_seen: Option<UnixMillis>,
    /// Events by type, most frequent first.
    pub events: Vec<UsageView<String>>,
    /// RFM measures, `None` without a purchase in the window.
    pub rfm: Option<Rfm>,
    /// Their scores.
    pub score: Option<RfmScore>,
    /// The value segment.
    pub segment: Option<ValueSegment>,
    /// The lifecycle stage.
    pub lifecycle: Lifecycle,
    /// Lifetime money by currency.
    pub totals: Vec<(Currency, PurchaseTotals)>,
    /// Purchase events ever; lines of one order may be events of their own.
    pub purchase_events: u64,
    /// Refund events ever.
    pub refund_events: u64,
    /// Tags by kind, heaviest first, ties by name.
    pub tags: Vec<TagView>,
    /// Emotion, `None` if none was ever observed.
    pub emotion: Option<EmotionView>,
    /// Channels by number of `rapport.type.v1.Channel`, most used first.
    pub channels: Vec<UsageView<u8>>,
    /// Devices by class, most used first.
    pub devices: Vec<UsageView<String>>,
    /// Events by hour of the day, UTC.
    pub hours_utc: [u32; 24],
    /// BCP 47 language the person stated.
    pub language: Option<String>,
    /// Region the person stated.
    pub region: Option<String>,
    /// Age band the person stated; unknown is to be treated as a minor.
    pub age_band: AgeBand,
}

impl ProfileView {
    /// Returns the hour (UTC) with the most events and its neighbours' support, ties to the earliest;
    /// `None` without events. A push at this hour finds the person awake.
    #[must_use]
    pub fn best_hour_utc(&self) -> Option<u8> {
        let around = |hour: usize| {
            let at = |offset: usize| u64::from(self.hours_utc[(hour + offset) % 24]);
            at(23) + 2 * at(0) + at(1) // smoothed 1-2-1, so that one lucky hour does not win
        };
        let best = (0..24).max_by_key(|hour| (around(*hour), std::cmp::Reverse(*hour)))?;
        (around(best) > 0).then_some(best as u8)
    }
}

impl ProfileState {
    /// Computes the view at an instant. Reads no clock; the same state and options give the same view.
    #[must_use]
    pub fn view(&self, options: &ViewOptions) -> ProfileView {
        let today = day_of(options.as_of);
        let rfm = self.rfm(options);
        let score = rfm.as_ref().map(|rfm| options.table.score(rfm));
        let purchase_days: Vec<i64> = {
            let bought = self
                .purchases
                .days
                .iter()
                .filter(|(_, day)| !day.orders.is_empty());
            bought
                .map(|((day, _), _)| *day)
                .collect::<BTreeSet<_>>()
                .into_iter()
                .collect()
        };
        let said =
            |entry: &Option<(UnixMillis, String)>| entry.as_ref().map(|(_, text)| text.clone());
        ProfileView {
            first_seen: self.first_seen,
            last_seen: self.last_seen,
            events: ranked(&self.events),
            rfm,
            score,
            segment: score.map(RfmScore::segment),
            lifecycle: lifecycle(&purchase_days, self.purchases.first.map(day_of), today),
            totals: self
                .purchases
                .totals
                .iter()
                .map(|(currency, totals)| (*currency, *totals))
                .collect(),
            purchase_events: self.purchases.purchase_events,
            refund_events: self.purchases.refund_events,
            tags: self.tag_views(options),
            emotion: self.emotion_view(options.as_of),
            channels: ranked(&self.channels),
            devices: ranked(&self.devices),
            hours_utc: self.hours,
            language: said(&self.attributes.language),
            region: said(&self.attributes.region),
            age_band: self
                .attributes
                .age_band
                .map_or(AgeBand::Unknown, |(_, band)| band),
        }
    }

    /// Computes the RFM measures, `None` without an order in the window.
    #[must_use]
    pub fn rfm(&self, options: &ViewOptions) -> Option<Rfm> {
        let today = day_of(options.as_of);
        let from = today.saturating_sub(i64::from(options.window_days) - 1);
        let window: Vec<_> = self
            .purchases
            .days
            .iter()
            .filter(|((day, _), _)| (from..=today).contains(day))
            .collect();
        let last_day = window
            .iter()
            .filter(|(_, day)| !day.orders.is_empty())
            .map(|((day, _), _)| *day)
            .max()?;
        let currency = options.currency.or_else(|| busiest_currency(&window));
        // An order's lines may fall on two days around midnight or in two currencies: hashes unite them.
        let orders: BTreeSet<u64> = window
            .iter()
            .flat_map(|(_, day)| day.orders.iter().copied())
            .collect();
        let money = window
            .iter()
            .filter(|((_, paid_in), _)| paid_in.is_some() && *paid_in == currency);
        let monetary: Micros = money.map(|(_, day)| day.totals.net()).sum();
        let recency_days = u32::try_from(today - last_day).unwrap_or(u32::MAX);
        Some(Rfm {
            recency_days,
            frequency: orders.len() as u32,
            monetary,
            currency,
        })
    }

    fn tag_views(&self, options: &ViewOptions) -> Vec<TagView> {
        let mut by_kind: BTreeMap<TagKind, Vec<TagView>> = BTreeMap::new();
        for (kind, name, tag, stated) in self.tags.visible() {
            // A tag seen after `as_of` is shown as it stood when last seen: its past is not kept.
            let weight = tag
                .weight
                .value(options.as_of.max(tag.last), kind.half_life_ms());
            if weight >= TAG_WEIGHT_MIN {
                by_kind
                    .entry(kind)
                    .or_default()
                    .push(tag_view(kind, name, tag, stated, weight));
            }
        }
        for tags in by_kind.values_mut() {
            tags.sort_by(|a, b| {
                b.weight
                    .total_cmp(&a.weight)
                    .then_with(|| a.name.cmp(&b.name))
            });
            let whole: f64 = tags.iter().map(|tag| tag.weight).sum();
            tags.iter_mut()
                .for_each(|tag| tag.share = tag.weight / whole);
            tags.truncate(options.tags_per_kind);
        }
        by_kind.into_values().flatten().collect()
    }

    fn emotion_view(&self, as_of: UnixMillis) -> Option<EmotionView> {
        let labels = ranked(&self.emotion.labels);
        let last = labels.iter().map(|label| label.last).max()?;
        let at = |sum: &crate::decay::Decayed| sum.value(as_of.max(last), EMOTION_HALF_LIFE_MS);
        let weight = at(&self.emotion.weight);
        // The ratio is the same at every instant after `last`, so it is taken there: no 0 / 0 later on.
        let mean = |sum: &crate::decay::Decayed| {
            sum.value(last, EMOTION_HALF_LIFE_MS)
                / self.emotion.weight.value(last, EMOTION_HALF_LIFE_MS)
        };
        Some(EmotionView {
            valence: mean(&self.emotion.valence).clamp(-1.0, 1.0),
            arousal: mean(&self.emotion.arousal).clamp(0.0, 1.0),
            weight,
            labels,
        })
    }
}

fn tag_view(kind: TagKind, name: &str, tag: &Tag, stated: bool, weight: f64) -> TagView {
    TagView {
        kind,
        name: name.to_owned(),
        weight,
        share: 0.0, // set once the kind's whole weight is known
        confidence: tag.count as f64 / (tag.count as f64 + TAG_CONFIDENCE_HALF),
        count: tag.count,
        last: tag.last,
        stated,
        evidence: tag
            .evidence
            .iter()
            .map(|(_, event_id)| event_id.clone())
            .collect(),
    }
}

/// Returns counts by name, most frequent first, ties by name.
fn ranked<K: Ord + Clone>(usages: &Usages<K>) -> Vec<UsageView<K>> {
    let view = |(name, usage): (&K, Usage)| UsageView {
        name: name.clone(),
        count: usage.count,
        last: usage.last,
    };
    let mut views: Vec<_> = usages.iter().map(view).collect();
    views.sort_by(|a, b| b.count.cmp(&a.count).then_with(|| a.name.cmp(&b.name)));
    views
}

/// Returns the currency of most orders, ties to the first in alphabet.
fn busiest_currency(window: &[(&(i64, Option<Currency>), &Day)]) -> Option<Currency> {
    let mut orders: BTreeMap<Currency, usize> = BTreeMap::new();
    for ((_, currency), day) in window {
        if let Some(currency) = currency {
            *orders.entry(*currency).or_default() += day.orders.len();
        }
    }
    let best = orders
        .into_iter()
        .max_by_key(|(currency, count)| (*count, std::cmp::Reverse(*currency)));
    best.map(|(currency, _)| currency)
}
