//! Parsing: every bad field at once, by its wire name.

use ads_domain::{
    Bid, BidType, Campaign, CampaignFields, Cap, Creative, DeliveryState, HourSet, LineItem,
    LineItemFields, Pacing, Placement, Targeting, Violation, Window,
};
use rapport_api::ads::v1 as pb;
use rapport_rpc::status::FieldViolation;
use rapport_types::{DecisionId, Micros, SubjectId, UnixMillis};

use crate::decide::DecideQuery;
use crate::error::Error;
use crate::store::decision::Event;

/// Longest request id, in characters.
pub const REQUEST_ID_CHARS_MAX: usize = 64;
/// Longest region or language of a request, in characters.
const CONTEXT_CHARS_MAX: usize = 64;
/// Campaigns in a page unless told otherwise.
const PAGE_DEFAULT: usize = 20;
/// Most campaigns in a page.
const PAGE_MAX: usize = 100;

/// Collects the violations of one request.
#[derive(Debug, Default)]
pub struct Fields {
    bad: Vec<FieldViolation>,
}

impl Fields {
    /// Notes that `field` is wrong.
    pub fn refuse(&mut self, field: &str, why: impl ToString) {
        self.bad.push(FieldViolation::new(field, why.to_string()));
    }

    /// Checks an idempotency key.
    pub fn request_id(&mut self, request_id: &str) {
        let count = request_id.chars().count();
        if !(1..=REQUEST_ID_CHARS_MAX).contains(&count) {
            let why = format!("must have 1 to {REQUEST_ID_CHARS_MAX} characters, has {count}");
            self.refuse("request_id", why);
        }
    }

    fn short(&mut self, field: &str, text: &str) {
        if text.chars().count() > CONTEXT_CHARS_MAX {
            self.refuse(
                field,
                format!("must have at most {CONTEXT_CHARS_MAX} characters"),
            );
        }
    }

    /// Takes a rule's violations over, named as on the wire, below `prefix`.
    pub fn rules<T>(
        &mut self,
        prefix: &str,
        outcome: Result<T, Vec<Violation>>,
        names: &[(&str, &str)],
    ) -> Option<T> {
        match outcome {
            Ok(value) => Some(value),
            Err(violations) => {
                for violation in violations {
                    let field = violation.field.as_str();
                    let known = names.iter().find(|(rule, _)| *rule == field);
                    let field = known.map_or(field, |(_, wire)| wire);
                    self.refuse(&format!("{prefix}{}", wire_name(field)), violation.reason);
                }
                None
            }
        }
    }

    /// Returns `value` if nothing was wrong.
    ///
    /// # Errors
    /// [`Error::InvalidRequest`] with every violation.
    pub fn finish<T>(self, value: Option<T>) -> Result<T, Error> {
        match value {
            Some(value) if self.bad.is_empty() => Ok(value),
            Some(_) | None => Err(Error::InvalidRequest(self.bad)),
        }
    }
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
/// [`Error::InvalidRequest`] with every violation.
pub fn upsert_campaign(raw: &pb::UpsertCampaignRequest) -> Result<(pb::Campaign, Campaign), Error> {
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
        let rules = fields.rules("campaign.", campaign(&wire), &CAMPAIGN_NAMES)?;
        Some((wire, rules))
    });
    fields.finish(parsed)
}

/// Parses a write of a line item.
///
/// # Errors
/// [`Error::InvalidRequest`] with every violation.
pub fn upsert_line_item(
    raw: &pb::UpsertLineItemRequest,
) -> Result<(pb::LineItem, LineItem), Error> {
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
        let rules = fields.rules("line_item.", line_item(&wire), &LINE_ITEM_NAMES)?;
        Some((wire, rules))
    });
    fields.finish(parsed)
}

/// Parses a page: how many, and after which campaign.
///
/// # Errors
/// [`Error::InvalidRequest`] with every violation.
pub fn page(raw: &pb::ListCampaignsRequest) -> Result<(usize, String), Error> {
    let mut fields = Fields::default();
    let size = match usize::try_from(raw.page_size) {
        Ok(0) => PAGE_DEFAULT,
        Ok(size) => size.min(PAGE_MAX),
        Err(_) => {
            fields.refuse("page_size", "must not be negative");
            0
        }
    };
    if !raw.page_token.is_empty() && !ads_domain::is_id(&raw.page_token) {
        fields.refuse("page_token", "is not one that a page gave");
    }
    fields.finish(Some((size, raw.page_token.clone())))
}

/// Parses the name of a line item whose ledger is asked for; empty for all.
///
/// # Errors
/// [`Error::InvalidRequest`].
pub fn ledger(raw: &pb::GetLedgerRequest) -> Result<(), Error> {
    let mut fields = Fields::default();
    if !raw.line_item_id.is_empty() && !ads_domain::is_id(&raw.line_item_id) {
        fields.refuse("line_item_id", "is not a line item id");
    }
    fields.finish(Some(()))
}

/// Parses a placement to fill.
///
/// # Errors
/// [`Error::InvalidRequest`] with every violation.
pub fn decide(raw: &pb::DecideRequest) -> Result<DecideQuery, Error> {
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
    fields.rules("", placement.validate(), &[("floor", "floor_micros")]);
    let context = raw.context.clone().unwrap_or_default();
    fields.short("context.region", &context.region);
    fields.short("context.language", &context.language);
    fields.finish(Some(DecideQuery {
        request_id: raw.request_id.clone(),
        subject,
        placement: placement.id,
        floor: placement.floor,
        region: context.region,
        language: context.language,
        explain: raw.explain,
    }))
}

/// Parses an ad event.
///
/// # Errors
/// [`Error::InvalidRequest`] with every violation.
pub fn ad_event(raw: &pb::RecordAdEventRequest) -> Result<(DecisionId, Event), Error> {
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
    fields.finish(id.zip(event))
}
