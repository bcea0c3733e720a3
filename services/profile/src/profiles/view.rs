//! From the domain's view of a person to the message that answers.

use std::collections::HashMap;
use std::sync::Arc;

use profile_domain::{
    LifecycleStage, ProfileState, ProfileView, TagView, ValueSegment, ViewOptions,
};
use rapport_api::profile::v1 as pb;
use rapport_api::r#type::v1::Money;
use rapport_flow::PersonView;

use crate::value::{self, Served};

/// Tags of one answer.
const TAGS_MAX: usize = 50;
/// What a trait weighs that is either there or not.
const TRAIT_WEIGHT: f64 = 1.0;

/// What a profile is made of.
pub(super) struct Read<'a> {
    pub(super) person: &'a PersonView,
    pub(super) state: &'a ProfileState,
    /// Events by type that the state counts twice.
    pub(super) counted_twice: &'a HashMap<&'static str, u64>,
    /// Whether the person lets us read its emotion.
    pub(super) may_feel: bool,
    /// The model that foretells.
    pub(super) served: Option<Arc<Served>>,
}

pub(super) fn profile(read: &Read<'_>, options: &ViewOptions) -> pb::Profile {
    let view = read.state.view(options);
    let foretold = value::forecast(read.served.as_deref(), read.state, options.as_of);
    let no_forecast = foretold.as_ref().err().copied().unwrap_or_default();
    pb::Profile {
        anchor: read.person.anchor.to_vec(),
        members: read.person.members.len() as u32,
        as_of_ms: options.as_of.0,
        first_seen_ms: view.first_seen.map_or(0, |at| at.0),
        last_seen_ms: view.last_seen.map_or(0, |at| at.0),
        rfm: rfm(read.state, &view, options),
        lifecycle: stage_name(view.lifecycle.stage).to_owned(),
        tags: tags(&view),
        emotion: emotion(&view).filter(|_| read.may_feel),
        events: counts(&view, read.counted_twice),
        forecast: foretold.ok(),
        no_forecast: no_forecast as i32,
    }
}

/// Returns the lower-case name of a lifecycle stage.
#[must_use]
pub const fn stage_name(stage: LifecycleStage) -> &'static str {
    match stage {
        LifecycleStage::Prospect => "prospect",
        LifecycleStage::New => "new",
        LifecycleStage::Active => "active",
        LifecycleStage::AtRisk => "at_risk",
        LifecycleStage::Dormant => "dormant",
        LifecycleStage::Lost => "lost",
    }
}

const fn segment_name(segment: ValueSegment) -> &'static str {
    match segment {
        ValueSegment::Champion => "champion",
        ValueSegment::Loyal => "loyal",
        ValueSegment::Potential => "potential",
        ValueSegment::AtRisk => "at_risk",
        ValueSegment::Lost => "lost",
        ValueSegment::Occasional => "occasional",
    }
}

fn rfm(state: &ProfileState, view: &ProfileView, options: &ViewOptions) -> Option<pb::Rfm> {
    let (rfm, score) = view.rfm.as_ref().zip(view.score)?;
    let monetary = view.totals.iter().filter_map(|(currency, _)| {
        let currency_only = ViewOptions {
            currency: Some(*currency),
            ..*options
        };
        let micros = state.rfm(&currency_only)?.monetary.0;
        let currency = currency.to_string();
        Some(Money { currency, micros })
    });
    Some(pb::Rfm {
        recency_days: rfm.recency_days,
        frequency: rfm.frequency,
        monetary: monetary.collect(),
        recency_score: u32::from(score.recency),
        frequency_score: u32::from(score.frequency),
        monetary_score: u32::from(score.monetary),
    })
}

/// Returns traits first (they are few), then interests; strongest first, ties by kind and name.
fn tags(view: &ProfileView) -> Vec<pb::Tag> {
    let trait_of = |kind: &str, name: String| pb::Tag {
        kind: kind.to_owned(),
        name,
        weight: TRAIT_WEIGHT,
        evidence: Vec::new(),
    };
    let stated = [("language", &view.language), ("region", &view.region)];
    let stated = stated.into_iter().filter_map(|(name, value)| {
        let value = value.as_ref()?;
        Some(trait_of("basic", format!("{name}:{value}")))
    });
    let segment = view.segment.map(segment_name);
    let segment = segment.map(|name| trait_of("behaviour", format!("value:{name}")));
    let hour = view.best_hour_utc();
    let hour = hour.map(|hour| trait_of("behaviour", format!("hour_utc:{hour:02}")));
    let interests = view.tags.iter().map(interest);
    let mut tags: Vec<pb::Tag> = stated.chain(segment).chain(hour).collect();
    tags.extend(interests.take(TAGS_MAX.saturating_sub(tags.len())));
    tags.sort_by(|left, right| {
        let by_name = || (&left.kind, &left.name).cmp(&(&right.kind, &right.name));
        right.weight.total_cmp(&left.weight).then_with(by_name)
    });
    tags
}

fn interest(tag: &TagView) -> pb::Tag {
    pb::Tag {
        kind: "interest".to_owned(),
        name: format!("{}:{}", tag.kind.name(), tag.name),
        weight: tag.weight,
        evidence: tag.evidence.clone(),
    }
}

fn emotion(view: &ProfileView) -> Option<pb::Emotion> {
    let felt = view.emotion.as_ref()?;
    Some(pb::Emotion {
        label: felt.labels.first()?.name.clone(),
        valence: felt.valence,
        arousal: felt.arousal,
    })
}

fn counts(view: &ProfileView, counted_twice: &HashMap<&'static str, u64>) -> Vec<pb::TypeCount> {
    let count = |event: &profile_domain::UsageView<String>| pb::TypeCount {
        r#type: event.name.clone(),
        count: event.count - counted_twice.get(event.name.as_str()).copied().unwrap_or(0),
    };
    let mut counts: Vec<pb::TypeCount> = view.events.iter().map(count).collect();
    counts.sort_by(|left, right| left.r#type.cmp(&right.r#type));
    counts
}
