//! Parsing: every bad field at once, by its wire name.

use ads_domain::{
    Bid, BidType, Campaign, CampaignFields, Cap, Creative, DeliveryState, HourSet, LineItem,
    LineItemFields, Pacing, Placement, Targeting, Violation, Window,
};
use rapport_api::ads::v1 as pb;
use rapport_rpc::{Fields, InvalidRequest};
use rapport_types::{DecisionId, Micros, SubjectId, UnixMillis};

use crate::decide::DecideQuery;
use crate::store::decision::Event;

/// Longest region or language of a request, in characters.
const CONTEXT_CHARS_MAX: usize = 64;
/// Campaigns in a page unless told otherwise.
const PAGE_DEFAULT: u32 = 20;
/// Most campaigns in a page.
const PAGE_MAX: u32 = 100;

/// Takes a rule's violations over, named as on the wire, below `prefix`.
fn take<T>(
    fields: &mut Fields,
    prefix: &str,
    outcome: Result<T, Vec<Violation>>,
    names: &[(&str, &str)],
) -> Option<T> {
    let refuse = |violation: Violation| {
        let field = violation.field.as_str();
        let known = names.iter().find(|(rule, _)| *rule == field);
        let field = known.map_or(field, |(_, wire)| wire);
        fields.refuse(&format!("{prefix}{}", wire_name(field)), violation.reason);
    };
    outcome
        .map_err(|violations| violations.into_iter().for_each(refuse))
        .ok()
}

const CAMPAIGN_NAMES: [(&str, &str); 2] = [("id", "campaign_id"), ("ends_at", "ends_at_ms")];
const LINE_ITEM_NAMES: [(&str, &str); 3] = [
    ("id", "line_item_id"),
    ("bid.amount", "bid_micros"),
    ("budget", "budget_micros"),
];

/// `creatives[0].id` is `creatives[0].creative_id` on the wire.
fn wire_name(field: &str) -> String {
    match field.strip_suffix("].id") {
        Some(creative) => format!("{creative}].creative_id"),
        None => field.to_owned(),
    }
}

/// Parses a campaign's own rules.
///
/// # Errors
/// Every violation, by the domain's names.
pub fn campaign(raw: &pb::Campaign) -> Result<Campaign, Vec<Violation>> {
    Campaign::parse(CampaignFields {
        id: raw.campaign_id.clone(),
        name: raw.name.clone(),
        state: delivery_state(raw.state()),
        starts_at: UnixMillis(raw.starts_at_ms),
        ends_at: (raw.ends_at_ms != 0).then_some(UnixMillis(raw.ends_at_ms)),
        caps: Vec::new(),
    })
}

/// Parses a line item's own rules.
///
/// # Errors
/// Every violation, by the domain's names.
pub fn line_item(raw: &pb::LineItem) -> Result<LineItem, Vec<Violation>> {
    let targeting = raw.targeting.clone().unwrap_or_default();
    let cap = |cap: &pb::FrequencyCap| Cap {
        impressions_max: cap.impressions_max,
        window: Window::Hours(cap.window_hours),
    };
    let creative = |creative: &pb::Creative| Creative {
        id: creative.creative_id.clone(),
        headline: creative.headline.clone(),
        language: creative.language.clone(),
        landing: creative.landing.clone(),
    };
    LineItem::parse(LineItemFields {
        id: raw.line_item_id.clone(),
        campaign_id: raw.campaign_id.clone(),
        state: delivery_state(raw.state()),
        bid: Bid {
            bid_type: match raw.bid_type() {
                pb::BidType::Unspecified | pb::BidType::Cpm => BidType::Cpm,
                pb::BidType::Cpc => BidType::Cpc,
            },
            amount: Micros(raw.bid_micros),
        },
        budget: Micros(raw.budget_micros),
        targeting: Targeting {
            placements: targeting.placements,
            regions: targeting.regions,
            languages: targeting.languages,
            devices: Vec::new(),
            hours_of_day: HourSet::new(targeting.hours_of_day).unwrap_or_default(),
            interests: targeting.interests,
            segments: Vec::new(),
            lifecycles: targeting.lifecycles,
            adults_only: false,
        },
        caps: raw.caps.iter().map(cap).collect(),
        creatives: raw.creatives.iter().map(creative).collect(),
        pacing: Pacing::Even,
    })
}

/// Parses a state; one that is not given is a draft.
#[must_use]
pub fn delivery_state(state: pb::DeliveryState) -> DeliveryState {
    match state {
        pb::DeliveryState::Unspecified | pb::DeliveryState::Draft => DeliveryState::Draft,
        pb::DeliveryState::Active => DeliveryState::Active,
        pb::DeliveryState::Paused => DeliveryState::Paused,
        pb::DeliveryState::Ended => DeliveryState::Ended,
    }
}

/// Parses a write of a campaign.
///
/// # Errors
/// Every violation.
pub fn upsert_campaign(
    raw: &pb::UpsertCampaignRequest,
) -> Result<(pb::Campaign, Campaign), InvalidRequest> {
    let mut fields = Fields::default();
    fields.request_id(&raw.request_id);
    let wire = raw.campaign.clone();
    if wire.is_none() {
        fields.refuse("campaign", "is required");
    }
    let parsed = wire.and_then(|wire| {
        if pb::DeliveryState::try_from(wire.state).is_err() {
            fields.refuse("campaign.state", "is not known");
        }
        let rules = take(&mut fields, "campaign.", campaign(&wire), &CAMPAIGN_NAMES)?;
        Some((wire, rules))
    });
    fields.finish_some(parsed)
}

/// Parses a write of a line item.
///
/// # Errors
/// Every violation.
pub fn upsert_line_item(
    raw: &pb::UpsertLineItemRequest,
) -> Result<(pb::LineItem, LineItem), InvalidRequest> {
    let mut fields = Fields::default();
    fields.request_id(&raw.request_id);
    let wire = raw.line_item.clone();
    if wire.is_none() {
        fields.refuse("line_item", "is required");
    }
    let parsed = wire.and_then(|wire| {
        if pb::DeliveryState::try_from(wire.state).is_err() {
            fields.refuse("line_item.state", "is not known");
        }
        if !matches!(wire.bid_type(), pb::BidType::Cpm | pb::BidType::Cpc) {
            fields.refuse("line_item.bid_type", "is required");
        }
        let hours = wire
            .targeting
            .iter()
            .flat_map(|targeting| targeting.hours_of_day.iter());
        if HourSet::new(hours.copied()).is_none() {
            fields.refuse(
                "line_item.targeting.hours_of_day",
                "must be between 0 and 23",
            );
        }
        let rules = take(
            &mut fields,
            "line_item.",
            line_item(&wire),
            &LINE_ITEM_NAMES,
        )?;
        Some((wire, rules))
    });
    fields.finish_some(parsed)
}

/// Parses a page: how many, and after which campaign.
///
/// # Errors
/// Every violation.
pub fn page(raw: &pb::ListCampaignsRequest) -> Result<(usize, String), InvalidRequest> {
    let mut fields = Fields::default();
    let size = fields.page_size(raw.page_size, PAGE_DEFAULT, PAGE_MAX);
    if !raw.page_token.is_empty() && !ads_domain::is_id(&raw.page_token) {
        fields.refuse("page_token", "is not one that a page gave");
    }
    fields.finish((size as usize, raw.page_token.clone()))
}

/// Parses the name of a line item whose ledger is asked for; empty for all.
///
/// # Errors
/// Every violation.
pub fn ledger(raw: &pb::GetLedgerRequest) -> Result<(), InvalidRequest> {
    let mut fields = Fields::default();
    if !raw.line_item_id.is_empty() && !ads_domain::is_id(&raw.line_item_id) {
        fields.refuse("line_item_id", "is not a line item id");
    }
    fields.finish(())
}

/// Parses a placement to fill.
///
/// # Errors
/// Every violation.
pub fn decide(raw: &pb::DecideRequest) -> Result<DecideQuery, InvalidRequest> {
    let mut fields = Fields::default();
    fields.request_id(&raw.request_id);
    let subject = match raw.subject_id.as_slice() {
        [] => None,
        bytes => SubjectId::parse(bytes)
            .map_err(|why| fields.refuse("subject_id", why))
            .ok(),
    };
    let placement = Placement {
        id: raw.placement.clone(),
        floor: Micros(raw.floor_micros),
    };
    let names = [("floor", "floor_micros")];
    take(&mut fields, "", placement.validate(), &names);
    let context = raw.context.clone().unwrap_or_default();
    fields.optional_text("context.region", &context.region, CONTEXT_CHARS_MAX);
    fields.optional_text("context.language", &context.language, CONTEXT_CHARS_MAX);
    fields.finish(DecideQuery {
        request_id: raw.request_id.clone(),
        subject,
        placement: placement.id,
        floor: placement.floor,
        region: context.region,
        language: context.language,
        explain: raw.explain,
    })
}

/// Parses an ad event.
///
/// # Errors
/// Every violation.
pub fn ad_event(raw: &pb::RecordAdEventRequest) -> Result<(DecisionId, Event), InvalidRequest> {
    let mut fields = Fields::default();
    let id = DecisionId::parse(&raw.decision_id)
        .map_err(|why| fields.refuse("decision_id", why))
        .ok();
    let event = match raw.kind() {
        pb::AdEventKind::Impression => Some(Event::Impression),
        pb::AdEventKind::Click => Some(Event::Click),
        pb::AdEventKind::Unspecified => {
            fields.refuse("kind", "is required");
            None
        }
    };
    fields.finish_some(id.zip(event))
}
