//! Tables and laws of the auction.

use super::*;
use crate::campaign::{CampaignFields, LineItemFields};
use crate::creative::Creative;
use crate::targeting::{AgeBand, Person, Targeting};
use proptest::prelude::*;
use std::collections::HashMap;

fn campaign() -> Campaign {
    Campaign::parse(CampaignFields {
        id: "spring".to_owned(),
        name: "Spring".to_owned(),
        state: DeliveryState::Active,
        ends_at: Some(UnixMillis(1_000)),
        ..CampaignFields::default()
    })
    .unwrap()
}

fn fields(id: &str, bid_type: BidType, amount: i64) -> LineItemFields {
    LineItemFields {
        id: id.to_owned(),
        campaign_id: "spring".to_owned(),
        state: DeliveryState::Active,
        bid: Bid {
            bid_type,
            amount: Micros(amount),
        },
        budget: Micros::from_units(10),
        creatives: vec![Creative {
            id: "c".to_owned(),
            headline: "Tea".to_owned(),
            language: "en".to_owned(),
            landing: "item:tea".to_owned(),
        }],
        ..LineItemFields::default()
    }
}

fn cpm(id: &str, amount: i64) -> LineItemFields {
    fields(id, BidType::Cpm, amount)
}

const READY: Standing = Standing {
    available: Micros(1_000_000_000),
    pacing: Probability::ONE,
    is_capped: false,
    ctr: Probability::ZERO,
    cvr: Probability::ZERO,
};

fn request() -> Request<'static> {
    Request {
        context: Context {
            placement: "home",
            language: "en-GB",
            ..Context::default()
        },
        audience: Audience::NotConsented,
        floor: Micros::ZERO,
        now: UnixMillis(500),
        key: 7,
    }
}

#[derive(Debug)]
struct Market {
    campaign: Campaign,
    line_items: Vec<LineItem>,
    standings: HashMap<String, Standing>,
}

impl Market {
    fn open(rows: Vec<(LineItemFields, Standing)>) -> Self {
        let standings = rows
            .iter()
            .map(|(fields, standing)| (fields.id.clone(), *standing))
            .collect();
        let line_items = rows
            .into_iter()
            .map(|(fields, _)| LineItem::parse(fields).unwrap())
            .collect();
        Self {
            campaign: campaign(),
            line_items,
            standings,
        }
    }

    fn decide(&self, request: &Request<'_>) -> Decision {
        let entries: Vec<_> = self
            .line_items
            .iter()
            .map(|line_item| Entry {
                campaign: &self.campaign,
                line_item,
            })
            .collect();
        decide(request, &entries, |entry| {
            self.standings[&entry.line_item.id]
        })
    }

    /// `(line item, code)` of everything considered, in order.
    fn outcomes(&self, decision: &Decision) -> Vec<(String, &'static str)> {
        let named = |it: &Considered| (self.line_items[it.entry].id.clone(), it.outcome.code());
        decision.considered.iter().map(named).collect()
    }
}

fn named(pairs: &[(&str, &'static str)]) -> Vec<(String, &'static str)> {
    pairs
        .iter()
        .map(|(id, code)| ((*id).to_owned(), *code))
        .collect()
}

#[test]
fn bids_of_every_type_meet_on_one_scale() {
    let rate = |value| Probability::new(value).unwrap();
    let bid = |bid_type, amount| Bid {
        bid_type,
        amount: Micros(amount),
    };
    let value = |bid_type, amount, ctr, cvr| ecpm(bid(bid_type, amount), rate(ctr), rate(cvr)).0;
    assert_eq!(value(BidType::Cpm, 5_000_000, 0.5, 0.5), 5_000_000);
    assert_eq!(value(BidType::Cpc, 200_000, 0.02, 0.0), 4_000_000); // 0.20 * 0.02 * 1,000
    assert_eq!(value(BidType::Cpa, 10_000_000, 0.02, 0.05), 10_000_000); // 10 * 0.001 * 1,000
    assert_eq!(value(BidType::Cpc, 1, 0.000_4, 0.0), 0);
}

#[test]
fn the_winner_pays_one_micro_more_than_the_second() {
    let click = Standing {
        ctr: Probability::saturating(0.02),
        ..READY
    };
    let market = Market::open(vec![
        (cpm("a", 3_000_000), READY),
        (fields("b", BidType::Cpc, 200_000), click), // eCPM 4,000,000
        (cpm("c", 1_000_000), READY),
    ]);
    let decision = market.decide(&request());
    assert_eq!(
        market.outcomes(&decision),
        named(&[("b", "WON"), ("a", "OUTBID"), ("c", "OUTBID")])
    );
    let price = decision.winner.unwrap().price;
    assert_eq!(price.ecpm, Micros(3_000_001));
    // 3,000,001 per thousand impressions are 150,000.05 per each of their twenty clicks.
    assert_eq!(
        (price.charge, price.billed_on),
        (Micros(150_001), BilledOn::Click)
    );
}

#[test]
fn the_floor_is_a_bid_of_the_placement() {
    let market = Market::open(vec![
        (cpm("a", 3_000_000), READY),
        (cpm("b", 900_000), READY),
    ]);
    let at = |floor| {
        market.decide(&Request {
            floor: Micros(floor),
            ..request()
        })
    };
    let price = |decision: &Decision| decision.winner.unwrap().price;
    assert_eq!(price(&at(0)).ecpm, Micros(900_001));
    assert_eq!(price(&at(2_000_000)).ecpm, Micros(2_000_001));
    assert_eq!(price(&at(3_000_000)).ecpm, Micros(3_000_000)); // capped by its own bid
    assert_eq!(price(&at(3_000_000)).charge, Micros(3_000));
    let none = at(3_000_001);
    assert_eq!(none.winner, None);
    assert_eq!(
        market.outcomes(&none),
        named(&[("a", "FLOOR"), ("b", "FLOOR")])
    );
    let alone = Market::open(vec![(cpm("a", 3_000_000), READY)]).decide(&request());
    assert_eq!(
        price(&alone),
        Price {
            ecpm: Micros(1),
            charge: Micros(1),
            billed_on: BilledOn::Impression
        }
    );
}

/// One line item for every outcome.
fn market_of_refusals() -> Market {
    let with = |change: &dyn Fn(&mut LineItemFields), id: &str| {
        let mut item = cpm(id, 5_000_000);
        change(&mut item);
        item
    };
    let personal = |it: &mut LineItemFields| it.targeting.interests = vec!["tea".to_owned()];
    let elsewhere = |it: &mut LineItemFields| it.targeting.placements = vec!["cart".to_owned()];
    Market::open(vec![
        (
            with(&|it| it.state = DeliveryState::Paused, "a-paused"),
            READY,
        ),
        (with(&elsewhere, "b-elsewhere"), READY),
        (with(&personal, "c-personal"), READY),
        (
            with(
                &|it| it.creatives[0].language = "zh".to_owned(),
                "d-chinese",
            ),
            READY,
        ),
        (
            cpm("e-capped", 5_000_000),
            Standing {
                is_capped: true,
                ..READY
            },
        ),
        (
            cpm("f-poor", 5_000_000),
            Standing {
                available: Micros(4_999),
                ..READY
            },
        ),
        (cpm("g-cheap", 1_000), READY),
        (
            cpm("h-held", 9_000_000),
            Standing {
                pacing: Probability::ZERO,
                ..READY
            },
        ),
        (cpm("i-wins", 4_000_000), READY),
        (cpm("j-tie", 4_000_000), READY),
    ])
}

#[test]
fn everyone_who_is_refused_is_told_why() {
    let market = market_of_refusals();
    let decision = market.decide(&Request {
        floor: Micros(2_000),
        ..request()
    });
    let expected = named(&[
        ("h-held", "PACING"),
        ("i-wins", "WON"),
        ("j-tie", "OUTBID"),
        ("g-cheap", "FLOOR"),
        ("f-poor", "BUDGET"),
        ("e-capped", "FREQUENCY"),
        ("d-chinese", "CREATIVE"),
        ("c-personal", "CONSENT"),
        ("b-elsewhere", "TARGETING"),
        ("a-paused", "SCHEDULE"),
    ]);
    assert_eq!(market.outcomes(&decision), expected);
    assert_eq!(decision.considered[8].text(), "not for this placement");
    assert_eq!(
        decision.considered[7].text(),
        "targets people, and advertising is not consented"
    );
    let over = market.decide(&Request {
        now: UnixMillis(1_000),
        ..request()
    });
    assert!(
        over.considered
            .iter()
            .all(|it| it.outcome == Outcome::Schedule)
    );
}

#[test]
fn a_minor_is_refused_as_targeting_with_the_reason() {
    let mut item = cpm("a", 5_000_000);
    item.targeting = Targeting {
        interests: vec!["tea".to_owned()],
        ..Targeting::default()
    };
    let market = Market::open(vec![(item, READY), (cpm("b", 1_000_000), READY)]);
    let interests = ["tea".to_owned()];
    let person = |age_band| Person {
        age_band,
        interests: &interests,
        ..Person::default()
    };
    let shown = |age_band| {
        let decision = market.decide(&Request {
            audience: Audience::Consented(person(age_band)),
            ..request()
        });
        market.line_items[decision.winner.unwrap().entry].id.clone()
    };
    assert_eq!(
        [AgeBand::Adult, AgeBand::Minor, AgeBand::Unknown].map(shown),
        ["a", "b", "b"]
    );
}

#[test]
fn propensities_match_how_often_each_wins() {
    let paced = |value| Standing {
        pacing: Probability::saturating(value),
        ..READY
    };
    let market = Market::open(vec![
        (cpm("a", 3_000_000), paced(0.5)),
        (cpm("b", 2_000_000), paced(0.4)),
        (cpm("c", 1_000_000), READY),
    ]);
    let mut wins = HashMap::new();
    for key in 0..20_000 {
        let decision = market.decide(&Request { key, ..request() });
        *wins
            .entry(market.line_items[decision.winner.unwrap().entry].id.clone())
            .or_insert(0u32) += 1;
        let shares: Vec<_> = decision
            .considered
            .iter()
            .map(|it| it.propensity.get())
            .collect();
        assert_eq!(shares, [0.5, 0.2, 0.3]); // 0.5, 0.5 * 0.4, 0.5 * 0.6
    }
    for (id, expected) in [("a", 10_000u32), ("b", 4_000), ("c", 6_000)] {
        assert!(wins[id].abs_diff(expected) < 355, "{id}: {}", wins[id]); // five standard deviations
    }
}

#[test]
fn the_winner_is_told_however_many_above_it_are_held_back() {
    let held_back = Standing {
        pacing: Probability::ZERO,
        ..READY
    };
    let above = (0..60).map(|n| (cpm(&format!("li-{n:02}"), 9_000_000 - n), held_back));
    let last = (cpm("zz", 1_000_000), READY);
    let market = Market::open(above.chain([last]).collect());
    let decision = market.decide(&request());
    assert_eq!(decision.winner.unwrap().entry, 60);
    let outcomes = market.outcomes(&decision);
    assert_eq!(outcomes.len(), CANDIDATES_MAX);
    assert_eq!(outcomes[0], ("li-00".to_owned(), "PACING"));
    assert_eq!(outcomes[48], ("li-48".to_owned(), "PACING"));
    assert_eq!(outcomes[49], ("zz".to_owned(), "WON"));
    assert_eq!(decision.considered[49].propensity, Probability::ONE);
}

fn market() -> impl Strategy<Value = Market> {
    let row = (
        0usize..3,
        1_000i64..5_000_000,
        0.0f64..0.2,
        0.0f64..1.0,
        prop::bool::ANY,
        0i64..20_000,
    );
    prop::collection::vec(row, 0..70).prop_map(|rows| {
        let row = |(at, (kind, amount, ctr, pacing, is_capped, available))| {
            let bid_type = [BidType::Cpm, BidType::Cpc, BidType::Cpa][kind];
            let standing = Standing {
                available: Micros(available),
                pacing: Probability::saturating(pacing),
                is_capped,
                ctr: Probability::saturating(ctr),
                cvr: Probability::saturating(ctr),
            };
            (fields(&format!("li-{at}"), bid_type, amount), standing)
        };
        Market::open(rows.into_iter().enumerate().map(row).collect())
    })
}

proptest! {
    #[test]
    fn prices_keep_their_bounds(market in market(), floor in 0i64..2_000_000, key: u64) {
        let request = Request { floor: Micros(floor), key, ..request() };
        let decision = market.decide(&request);
        prop_assert_eq!(&decision, &market.decide(&request));
        prop_assert!(decision.considered.len() <= CANDIDATES_MAX);
        let in_order = decision.considered.is_sorted_by(|a, b| by_progress(a, b).is_le());
        prop_assert!(in_order);
        let Some(winner) = decision.winner else { return Ok(()) };
        let won = decision.considered.iter().find(|it| it.outcome == Outcome::Won);
        prop_assert_eq!(won.map(|it| it.entry), Some(winner.entry));
        let line_item = &market.line_items[winner.entry];
        let standing = market.standings[&line_item.id];
        prop_assert!(winner.price.charge >= Micros(1));
        prop_assert!(winner.price.charge <= charge_max(line_item.bid));
        prop_assert!(winner.price.charge <= standing.available);
        let own = ecpm(line_item.bid, standing.ctr, standing.cvr);
        prop_assert!(winner.price.ecpm <= own && winner.price.ecpm >= request.floor.min(own));
        let rivals = decision.considered.iter().filter(|it| it.outcome == Outcome::Outbid);
        prop_assert!(rivals.clone().all(|it| it.ecpm <= own));
        let propensities: f64 = decision.considered.iter().map(|it| it.propensity.get()).sum();
        prop_assert!(propensities <= 1.0 + 1e-9);
    }

    /// Truthfulness: a higher bid for the same line item never changes what a winner pays.
    #[test]
    fn raising_the_winning_bid_does_not_raise_its_price(market in market(), key: u64) {
        let request = Request { key, ..request() };
        let Some(winner) = market.decide(&request).winner else { return Ok(()) };
        let mut fields = (*market.line_items[winner.entry]).clone();
        if fields.bid.bid_type == BidType::Cpm {
            fields.bid.amount += Micros(1_000_000);
            let mut richer = Market { standings: market.standings.clone(), line_items: market.line_items.clone(), campaign: campaign() };
            richer.standings.get_mut(&fields.id).unwrap().available = Micros(1_000_000_000);
            richer.line_items[winner.entry] = LineItem::parse(fields).unwrap();
            let again = richer.decide(&request).winner.unwrap();
            prop_assert_eq!(again.entry, winner.entry);
            prop_assert!(again.price.ecpm <= winner.price.ecpm + Micros(1));
        }
    }
}
