//! Campaigns, line items and placements, and the rules they must meet. Names follow AdCOM.

use crate::creative::Creative;
use crate::frequency::{Cap, WINDOW_HOURS_MAX, Window};
use crate::pacing::Pacing;
use crate::state::DeliveryState;
use crate::targeting::Targeting;
use rapport_types::{Micros, UnixMillis};
use std::collections::BTreeSet;
use std::ops::Deref;

/// Longest identifier, in characters.
pub const ID_CHARS_MAX: usize = 64;
/// Longest name, in characters.
pub const NAME_CHARS_MAX: usize = 128;
/// Most frequency caps of one campaign or line item.
pub const CAPS_MAX: usize = 4;
/// Most creatives of one line item.
pub const CREATIVES_MAX: usize = 10;
/// Highest bid: a hundred thousand units of currency. A larger one is a unit mistake.
pub const BID_MAX: Micros = Micros::from_units(100_000);
/// Lowest bid per thousand impressions: one impression must cost at least a micro.
pub const CPM_BID_MIN: Micros = Micros(1_000);
/// Highest budget: a thousand million units of currency, so that sums of thousands fit an `i64`.
pub const BUDGET_MAX: Micros = Micros::from_units(1_000_000_000);

/// One broken rule: the field by its wire name, and what is wrong with it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    /// The field, with an index for repeated ones: `caps[1].window_hours`.
    pub field: String,
    /// Lower case, no full stop.
    pub reason: String,
}

impl Violation {
    pub(crate) fn new(field: impl Into<String>, reason: impl Into<String>) -> Self {
        Self {
            field: field.into(),
            reason: reason.into(),
        }
    }
}

/// The fields of a campaign before anybody has checked them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CampaignFields {
    /// 1 to 64 characters, unique.
    pub id: String,
    /// What people read.
    pub name: String,
    /// Whether it may be delivered.
    pub state: DeliveryState,
    /// The first instant.
    pub starts_at: UnixMillis,
    /// The end, exclusive; `None` for never.
    pub ends_at: Option<UnixMillis>,
    /// Caps over all its line items together.
    pub caps: Vec<Cap>,
}

/// A campaign that meets every rule; [`Campaign::parse`] is the only way in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Campaign(CampaignFields);

impl Campaign {
    /// Checks every rule.
    ///
    /// # Errors
    /// Every violation at once, in field order.
    pub fn parse(fields: CampaignFields) -> Result<Self, Vec<Violation>> {
        let mut bad = Vec::new();
        check_id(&mut bad, "id", &fields.id);
        check_text(&mut bad, "name", &fields.name, 1, NAME_CHARS_MAX);
        if fields.ends_at.is_some_and(|end| end <= fields.starts_at) {
            bad.push(Violation::new("ends_at", "must be after starts_at"));
        }
        check_caps(&mut bad, &fields.caps);
        if bad.is_empty() {
            Ok(Self(fields))
        } else {
            Err(bad)
        }
    }

    /// Returns whether it is active and `now` is inside its dates.
    #[must_use]
    pub fn runs_at(&self, now: UnixMillis) -> bool {
        self.state == DeliveryState::Active
            && now >= self.starts_at
            && self.ends_at.is_none_or(|end| now < end)
    }
}

impl Deref for Campaign {
    type Target = CampaignFields;
    fn deref(&self) -> &CampaignFields {
        &self.0
    }
}

/// What a bid is paid for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub enum BidType {
    /// A thousand impressions.
    #[default]
    Cpm,
    /// One click.
    Cpc,
    /// One conversion.
    Cpa,
}

/// A bid: an amount and what it is paid for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Bid {
    /// What it is paid for.
    pub bid_type: BidType,
    /// The most that is paid, above 0.
    pub amount: Micros,
}

/// The fields of a line item before anybody has checked them.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct LineItemFields {
    /// 1 to 64 characters, unique; without `:`, which parts the names of its accounts.
    pub id: String,
    /// Its campaign.
    pub campaign_id: String,
    /// Whether it may be delivered.
    pub state: DeliveryState,
    /// The bid.
    pub bid: Bid,
    /// What it may spend, above 0. Never overspent.
    pub budget: Micros,
    /// Who and when.
    pub targeting: Targeting,
    /// Its own caps.
    pub caps: Vec<Cap>,
    /// In order of preference: the first that fits is shown. At least one.
    pub creatives: Vec<Creative>,
    /// How the budget is spread over the campaign's dates.
    pub pacing: Pacing,
}

/// A line item that meets every rule; [`LineItem::parse`] is the only way in.
#[derive(Debug, Clone, PartialEq)]
pub struct LineItem(LineItemFields);

impl LineItem {
    /// Checks every rule.
    ///
    /// # Errors
    /// Every violation at once, in field order.
    pub fn parse(fields: LineItemFields) -> Result<Self, Vec<Violation>> {
        let mut bad = Vec::new();
        check_id(&mut bad, "id", &fields.id);
        check_id(&mut bad, "campaign_id", &fields.campaign_id);
        let bid_min = if fields.bid.bid_type == BidType::Cpm {
            CPM_BID_MIN
        } else {
            Micros(1)
        };
        check_amount(&mut bad, "bid.amount", fields.bid.amount, bid_min, BID_MAX);
        check_amount(&mut bad, "budget", fields.budget, Micros(1), BUDGET_MAX);
        fields.targeting.check(&mut bad);
        check_caps(&mut bad, &fields.caps);
        if !(1..=CREATIVES_MAX).contains(&fields.creatives.len()) {
            bad.push(Violation::new(
                "creatives",
                format!("must have 1 to {CREATIVES_MAX} entries"),
            ));
        }
        let mut ids = BTreeSet::new();
        for (at, creative) in fields.creatives.iter().take(CREATIVES_MAX).enumerate() {
            let field = format!("creatives[{at}]");
            creative.check(&mut bad, &field);
            if !ids.insert(&creative.id) {
                bad.push(Violation::new(format!("{field}.id"), "is used twice"));
            }
        }
        if bad.is_empty() {
            Ok(Self(fields))
        } else {
            Err(bad)
        }
    }
}

impl Deref for LineItem {
    type Target = LineItemFields;
    fn deref(&self) -> &LineItemFields {
        &self.0
    }
}

/// A place on a page that ads may fill.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Placement {
    /// 1 to 64 characters, such as `home`.
    pub id: String,
    /// The least price per thousand impressions, not negative.
    pub floor: Micros,
}

impl Placement {
    /// Checks every rule.
    ///
    /// # Errors
    /// Every violation at once.
    pub fn validate(&self) -> Result<(), Vec<Violation>> {
        let mut bad = Vec::new();
        check_id(&mut bad, "placement", &self.id);
        check_amount(&mut bad, "floor", self.floor, Micros::ZERO, BID_MAX);
        if bad.is_empty() { Ok(()) } else { Err(bad) }
    }
}

/// Returns whether `id` may name a campaign, a line item, a creative, a placement or a replica.
#[must_use]
pub fn is_id(id: &str) -> bool {
    (1..=ID_CHARS_MAX).contains(&id.chars().count())
        && !id
            .chars()
            .any(|char| char.is_control() || char.is_whitespace() || char == ':')
}

pub(crate) fn check_id(bad: &mut Vec<Violation>, field: &str, id: &str) {
    if !is_id(id) {
        let why = format!("must have 1 to {ID_CHARS_MAX} characters, no white space and no `:`");
        bad.push(Violation::new(field, why));
    }
}

pub(crate) fn check_text(
    bad: &mut Vec<Violation>,
    field: &str,
    text: &str,
    min: usize,
    max: usize,
) {
    if !(min..=max).contains(&text.chars().count()) || text.chars().any(char::is_control) {
        let why = format!("must have {min} to {max} characters and no control characters");
        bad.push(Violation::new(field, why));
    }
}

fn check_amount(bad: &mut Vec<Violation>, field: &str, amount: Micros, min: Micros, max: Micros) {
    if !(min..=max).contains(&amount) {
        bad.push(Violation::new(
            field,
            format!("must be between {min} and {max}"),
        ));
    }
}

fn check_caps(bad: &mut Vec<Violation>, caps: &[Cap]) {
    if caps.len() > CAPS_MAX {
        bad.push(Violation::new(
            "caps",
            format!("must have at most {CAPS_MAX} entries"),
        ));
    }
    for (at, cap) in caps.iter().take(CAPS_MAX).enumerate() {
        if cap.impressions_max == 0 {
            bad.push(Violation::new(
                format!("caps[{at}].impressions_max"),
                "must be at least 1",
            ));
        }
        if let Window::Hours(hours) = cap.window
            && !(1..=WINDOW_HOURS_MAX).contains(&hours)
        {
            let why = format!("must be between 1 and {WINDOW_HOURS_MAX}");
            bad.push(Violation::new(format!("caps[{at}].window_hours"), why));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line_item() -> LineItemFields {
        LineItemFields {
            id: "li-1".to_owned(),
            campaign_id: "spring".to_owned(),
            bid: Bid {
                bid_type: BidType::Cpc,
                amount: Micros(200_000),
            },
            budget: Micros::from_units(100),
            creatives: vec![Creative {
                id: "c1".to_owned(),
                headline: "Fresh tea".to_owned(),
                language: "en".to_owned(),
                landing: "item:tea".to_owned(),
            }],
            ..LineItemFields::default()
        }
    }

    #[track_caller]
    fn check(change: impl FnOnce(&mut LineItemFields), expected: &[&str]) {
        let mut fields = line_item();
        change(&mut fields);
        let bad = LineItem::parse(fields).err().unwrap_or_default();
        assert_eq!(
            bad.iter().map(|it| it.field.as_str()).collect::<Vec<_>>(),
            expected
        );
    }

    #[test]
    fn every_rule_of_a_line_item_names_its_field() {
        check(|_| {}, &[]);
        check(|it| it.id = "a:b".to_owned(), &["id"]);
        check(|it| it.campaign_id.clear(), &["campaign_id"]);
        check(|it| it.bid.amount = Micros::ZERO, &["bid.amount"]);
        check(
            |it| {
                it.bid = Bid {
                    bid_type: BidType::Cpm,
                    amount: Micros(999),
                }
            },
            &["bid.amount"],
        );
        check(|it| it.bid.amount = BID_MAX + Micros(1), &["bid.amount"]);
        check(|it| it.budget = Micros(-5), &["budget"]);
        check(|it| it.creatives.clear(), &["creatives"]);
        check(
            |it| it.creatives.push(it.creatives[0].clone()),
            &["creatives[1].id"],
        );
        check(
            |it| it.creatives[0].headline.clear(),
            &["creatives[0].headline"],
        );
        check(
            |it| it.creatives[0].language = "english".to_owned(),
            &["creatives[0].language"],
        );
        let cap = |impressions_max, window| Cap {
            impressions_max,
            window,
        };
        check(
            |it| it.caps = vec![cap(0, Window::DAY)],
            &["caps[0].impressions_max"],
        );
        check(
            |it| it.caps = vec![cap(1, Window::Hours(721))],
            &["caps[0].window_hours"],
        );
        check(|it| it.caps = vec![cap(1, Window::Lifetime); 5], &["caps"]);
        check(
            |it| it.targeting.regions = vec![String::new()],
            &["targeting.regions[0]"],
        );
    }

    #[test]
    fn all_violations_come_at_once() {
        let bad = LineItem::parse(LineItemFields::default()).unwrap_err();
        let fields: Vec<_> = bad.iter().map(|it| it.field.as_str()).collect();
        assert_eq!(
            fields,
            ["id", "campaign_id", "bid.amount", "budget", "creatives"]
        );
        let bad = Campaign::parse(CampaignFields {
            ends_at: Some(UnixMillis(0)),
            ..CampaignFields::default()
        });
        let bad = bad.unwrap_err();
        let fields: Vec<_> = bad.iter().map(|it| it.field.as_str()).collect();
        assert_eq!(fields, ["id", "name", "ends_at"]);
        let placement = Placement {
            id: String::new(),
            floor: Micros(-1),
        };
        assert_eq!(placement.validate().unwrap_err().len(), 2);
    }

    #[test]
    fn a_campaign_runs_from_its_start_until_before_its_end() {
        let campaign = |state| {
            Campaign::parse(CampaignFields {
                id: "spring".to_owned(),
                name: "Spring".to_owned(),
                state,
                starts_at: UnixMillis(10),
                ends_at: Some(UnixMillis(20)),
                caps: Vec::new(),
            })
            .unwrap()
        };
        let runs = |at| campaign(DeliveryState::Active).runs_at(UnixMillis(at));
        assert_eq!([9, 10, 19, 20].map(runs), [false, true, true, false]);
        assert!(!campaign(DeliveryState::Paused).runs_at(UnixMillis(15)));
    }
}
