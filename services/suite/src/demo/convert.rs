//! From the town's events to the log's.

use rapport_api::event::v1 as events;
use rapport_api::profile::v1::{Identifier, IdentifierKind, NewEvent};
use rapport_api::r#type::v1::Channel;
use rapport_town::{AgeBand, Body, Cause, Language, Line, TownEvent};

use crate::import::values::any;

/// The decisions of a visit, to attach to what they led to.
#[derive(Debug, Clone, Default)]
pub struct Decisions {
    /// Of the recommendation.
    pub recommendation: Vec<u8>,
    /// Of the ad.
    pub ad: Vec<u8>,
}

/// Prices in the town are yuan.
pub const CURRENCY: &str = "CNY";

/// Returns the log's event, `None` for what goes by another RPC: consent, messages, ad events.
#[must_use]
pub fn to_new_event(event: &TownEvent, decisions: &Decisions) -> Option<NewEvent> {
    let decision_id = match event.cause {
        Some(Cause::Recommendation) => decisions.recommendation.clone(),
        Some(Cause::Ad) => decisions.ad.clone(),
        None => Vec::new(),
    };
    let (payload, personal) = payload(event, decision_id)?;
    Some(NewEvent {
        event_id: event.event_id.clone(),
        identifier: Some(device(&event.device)),
        occurred_at_ms: event.at.0,
        payload: Some(payload),
        personal,
        ..NewEvent::default()
    })
}

/// Returns the identifier of a device.
#[must_use]
pub fn device(device: &str) -> Identifier {
    Identifier {
        kind: IdentifierKind::Device as i32,
        value: device.to_owned(),
    }
}

type Parts = (prost_types::Any, Option<prost_types::Any>);

fn payload(event: &TownEvent, decision_id: Vec<u8>) -> Option<Parts> {
    let channel = channel(event.channel) as i32;
    let plain = |payload| Some((payload, None));
    match &event.body {
        Body::Consent { .. }
        | Body::Message { .. }
        | Body::AdImpression { .. }
        | Body::AdClick { .. } => None,
        Body::SignUp {
            name,
            phone,
            email,
            language,
            region,
            age_band,
            ..
        } => {
            let payload = events::SignUp {
                channel,
                language: language_code(*language).to_owned(),
                region: (*region).to_owned(),
                age_band: age(*age_band) as i32,
            };
            let personal = events::SignUpPersonal {
                name: name.clone(),
                phone: phone.clone(),
                email: email.clone(),
            };
            Some((any(&payload), Some(any(&personal))))
        }
        Body::SignIn { .. } => plain(any(&events::SignIn { channel })),
        Body::ViewItemList { list, item_ids } => plain(any(&events::ViewItemList {
            list_id: (*list).to_owned(),
            item_ids: item_ids.clone(),
            decision_id,
        })),
        Body::SelectItem {
            item_id,
            category,
            list,
            position,
        } => plain(any(&events::SelectItem {
            item_id: item_id.clone(),
            list_id: (*list).to_owned(),
            position: *position,
            decision_id,
            category: (*category).to_owned(),
        })),
        Body::ViewItem {
            item_id,
            category,
            dwell_ms,
        } => plain(any(&events::ViewItem {
            item_id: item_id.clone(),
            category: (*category).to_owned(),
            dwell_ms: *dwell_ms,
            decision_id,
            channel,
        })),
        Body::Search { query, results } => Some((
            any(&events::Search { results: *results }),
            Some(any(&events::SearchPersonal {
                query: query.clone(),
            })),
        )),
        Body::AddToCart(added) => plain(any(&events::AddToCart {
            line: Some(line(added)),
            currency: CURRENCY.to_owned(),
            decision_id,
        })),
        Body::AddToWishlist { item_id, category } => plain(any(&events::AddToWishlist {
            item_id: item_id.clone(),
            category: (*category).to_owned(),
        })),
        Body::Share { item_id, to } => plain(any(&events::Share {
            item_id: item_id.clone(),
            channel: self::channel(*to) as i32,
        })),
        Body::Purchase { order_id, lines } => plain(any(&events::Purchase {
            order_id: order_id.clone(),
            lines: lines.iter().map(line).collect(),
            currency: CURRENCY.to_owned(),
            decision_id,
            channel,
        })),
        Body::Refund { order_id, lines } => plain(any(&events::Refund {
            order_id: order_id.clone(),
            lines: lines.iter().map(line).collect(),
            currency: CURRENCY.to_owned(),
        })),
        Body::Review {
            item_id,
            rating,
            text,
        } => Some((
            any(&events::Review {
                item_id: item_id.clone(),
                rating: *rating,
            }),
            Some(any(&events::ReviewPersonal { text: text.clone() })),
        )),
    }
}

fn line(line: &Line) -> events::OrderLine {
    events::OrderLine {
        item_id: line.item_id.clone(),
        quantity: line.quantity,
        unit_price_micros: line.unit_price.0,
        category: line.category.to_owned(),
    }
}

/// Returns the BCP 47 code of a language.
#[must_use]
pub fn language_code(language: Language) -> &'static str {
    match language {
        Language::Chinese => "zh",
        Language::English => "en",
    }
}

fn age(band: AgeBand) -> events::AgeBand {
    match band {
        AgeBand::Adult => events::AgeBand::Adult,
        AgeBand::Minor => events::AgeBand::Minor,
        AgeBand::Unknown => events::AgeBand::Unspecified,
    }
}

/// Returns the contract's channel.
#[must_use]
pub fn channel(channel: rapport_town::Channel) -> Channel {
    match channel {
        rapport_town::Channel::Web => Channel::Web,
        rapport_town::Channel::App => Channel::App,
        rapport_town::Channel::Wechat => Channel::Wechat,
        rapport_town::Channel::Weibo => Channel::Weibo,
        rapport_town::Channel::Douyin => Channel::Douyin,
        rapport_town::Channel::Xiaohongshu => Channel::Xiaohongshu,
        rapport_town::Channel::Email => Channel::Email,
        rapport_town::Channel::Search => Channel::Search,
    }
}
