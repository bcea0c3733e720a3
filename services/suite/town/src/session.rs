//! One visit: what a shopper does with what it was shown. All chance comes from the visit's own
//! generator, split by phase, so that a change in one phase leaves the draws of the others alone.

mod aftermath;

use rapport_math::Rng;
use rapport_types::{Micros, UnixMillis};

use crate::advert::LineItem;
use crate::catalogue::{Catalogue, Item};
use crate::event::{Body, Cause, Channel, Line, TownEvent};
use crate::shopper::Shopper;

pub(crate) use aftermath::follow_ups;

/// What a click on a recommendation multiplies the chance of an order by.
pub(crate) const RECOMMENDATION_FACTOR: f64 = 1.25;
/// The list that recommendations are shown in.
const LIST: &str = "home";

/// The phases of a visit: each draws from its own fork. The numbers decide the draws: append only.
#[derive(Clone, Copy)]
enum Phase {
    Ad = 1,
    Recommendations = 2,
    Browse = 3,
    Decide = 4,
    Buy = 5,
    Aside = 6,
}

/// Which side of the town's experiment a visit was served.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Arm {
    /// As always.
    Control,
    /// The treatment: orders are more likely by the town's `conversion_factor`.
    Treatment,
}

/// What the services showed in a visit.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Served {
    /// Item ids in order; the first 20 are looked at, unknown ones are passed over.
    pub recommended: Vec<String>,
    /// The line item whose ad was shown; an unknown one is no ad.
    pub line_item_id: Option<String>,
    /// The arm; `None` is nobody in the experiment, who behaves as control and is not counted.
    pub arm: Option<Arm>,
}

/// A visit that begins: send `opening`, ask the services, then call [`crate::Town::respond`] once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SessionStart {
    /// Who: a place in [`crate::Town::shoppers`]. Truth: no service may see it.
    pub shopper: u32,
    /// The shopper's how-manieth visit, from 0.
    pub number: u32,
    /// When.
    pub at: UnixMillis,
    /// The device: the identifier that the shop knows.
    pub device: String,
    /// The class of the device.
    pub device_class: &'static str,
    /// The log-in, if signed in on this device (by the end of `opening`).
    pub login: Option<String>,
    /// How the shopper came.
    pub channel: Channel,
    /// What happens before anything is shown: consent, sign-up, sign-in.
    pub opening: Vec<TownEvent>,
}

/// What came of a visit, for the tally.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(crate) struct Outcome {
    pub(crate) clicked_ad: bool,
    pub(crate) recommended: u64,
    pub(crate) recommended_clicks: u64,
    /// The chance of an order, all factors in.
    pub(crate) order_probability: f64,
    pub(crate) ordered: bool,
}

/// A visit under way.
pub(crate) struct Visit<'a> {
    catalogue: &'a Catalogue,
    shopper: &'a Shopper,
    start: &'a SessionStart,
    rng: Rng,
    seed: u64,
    at: UnixMillis,
    events: Vec<TownEvent>,
    /// Items looked at, with what led there.
    viewed: Vec<(usize, Option<Cause>)>,
    outcome: Outcome,
}

impl<'a> Visit<'a> {
    pub(crate) fn new(
        catalogue: &'a Catalogue,
        shopper: &'a Shopper,
        start: &'a SessionStart,
        rng: Rng,
        seed: u64,
    ) -> Self {
        let (events, viewed, outcome) = (Vec::new(), Vec::new(), Outcome::default());
        Self {
            catalogue,
            shopper,
            start,
            rng,
            seed,
            at: start.at,
            events,
            viewed,
            outcome,
        }
    }

    /// Lives through the visit; returns its events in order of time and what came of it.
    pub(crate) fn live(
        mut self,
        recommended: &[usize],
        ad: Option<&LineItem>,
        treatment_factor: f64,
    ) -> (Vec<TownEvent>, Outcome) {
        if let Some(line_item) = ad {
            self.see_ad(line_item);
        }
        self.see_recommendations(recommended);
        self.browse();
        let recommendation_factor = if self.outcome.recommended_clicks > 0 {
            RECOMMENDATION_FACTOR
        } else {
            1.0
        };
        self.outcome.order_probability = self.shopper.purchase_rate
            * self.start.channel.conversion_factor()
            * ad.map_or(1.0, |line_item| line_item.conversion_factor)
            * recommendation_factor
            * treatment_factor;
        self.outcome.ordered = self
            .fork(Phase::Decide)
            .chance(self.outcome.order_probability);
        if self.outcome.ordered {
            self.buy();
        }
        self.write_aside();
        (self.events, self.outcome)
    }

    fn see_ad(&mut self, line_item: &LineItem) {
        let mut rng = self.fork(Phase::Ad);
        let line_item_id = || line_item.id.to_owned();
        self.emit(
            &mut rng,
            Some(Cause::Ad),
            Body::AdImpression {
                line_item_id: line_item_id(),
            },
        );
        self.outcome.clicked_ad = rng.chance(line_item.click_probability(self.shopper));
        if self.outcome.clicked_ad {
            self.emit(
                &mut rng,
                Some(Cause::Ad),
                Body::AdClick {
                    line_item_id: line_item_id(),
                },
            );
            let item = self.pick_of_category(&mut rng, line_item.category);
            self.view(&mut rng, item, Some(Cause::Ad));
        }
    }

    fn see_recommendations(&mut self, recommended: &[usize]) {
        if recommended.is_empty() {
            return;
        }
        let mut rng = self.fork(Phase::Recommendations);
        let item_ids = recommended
            .iter()
            .map(|item| self.item(*item).id.clone())
            .collect();
        self.emit(
            &mut rng,
            Some(Cause::Recommendation),
            Body::ViewItemList {
                list: LIST,
                item_ids,
            },
        );
        self.outcome.recommended = recommended.len() as u64;
        for (position, &item) in (1u32..).zip(recommended) {
            // Drawn for every place, so that a better list does not shift the luck of later places.
            let luck = rng.uniform();
            if luck < self.shopper.click_probability(self.item(item), position) {
                self.outcome.recommended_clicks += 1;
                let (item_id, category) = self.named(item);
                let select = Body::SelectItem {
                    item_id,
                    category,
                    list: LIST,
                    position,
                };
                self.emit(&mut rng, Some(Cause::Recommendation), select);
                self.view(&mut rng, item, Some(Cause::Recommendation));
            }
        }
    }

    /// Looks around by its own interest, sometimes by searching.
    fn browse(&mut self) {
        let mut rng = self.fork(Phase::Browse);
        let looks = rng.poisson(1.8).min(8);
        for _ in 0..looks {
            let category = rng.weighted(&self.shopper.interests);
            let item = self.pick_of_category(&mut rng, category);
            if rng.chance(0.25) {
                let query = if rng.chance(0.5) {
                    self.item(item).title(self.shopper.language).to_owned()
                } else {
                    self.catalogue.categories()[category]
                        .name(self.shopper.language)
                        .to_owned()
                };
                let results = 1 + rng.below(crate::ITEMS_PER_CATEGORY as u64) as u32;
                self.emit(&mut rng, None, Body::Search { query, results });
            }
            self.view(&mut rng, item, None);
            self.dally(&mut rng, item);
        }
    }

    /// What people do with an item that they may not buy.
    fn dally(&mut self, rng: &mut Rng, item: usize) {
        let (item_id, category) = self.named(item);
        if rng.chance(0.08) {
            self.emit(
                rng,
                None,
                Body::AddToWishlist {
                    item_id: item_id.clone(),
                    category,
                },
            );
        }
        if rng.chance(0.04) {
            let to = [Channel::Wechat, Channel::Weibo, Channel::Xiaohongshu][rng.below(3) as usize];
            self.emit(rng, None, Body::Share { item_id, to });
        }
        if rng.chance(0.10) {
            let line = self.line(item, 1);
            self.emit(rng, None, Body::AddToCart(line));
        }
    }

    fn buy(&mut self) {
        let mut rng = self.fork(Phase::Buy);
        if self.viewed.is_empty() {
            let category = rng.weighted(&self.shopper.interests);
            let item = self.pick_of_category(&mut rng, category);
            self.view(&mut rng, item, None);
        }
        let weights: Vec<f64> = self
            .viewed
            .iter()
            .map(|(item, _)| self.shopper.affinity(self.item(*item)))
            .collect();
        let first = self.viewed[rng.weighted(&weights)];
        let mut chosen = vec![first];
        if rng.chance(0.25) {
            chosen.extend(
                self.viewed
                    .iter()
                    .copied()
                    .find(|(item, _)| *item != first.0),
            );
        }
        let mut lines = Vec::with_capacity(chosen.len());
        for (item, cause) in chosen {
            let line = self.line(item, if rng.chance(0.1) { 2 } else { 1 });
            self.emit(&mut rng, cause, Body::AddToCart(line.clone()));
            lines.push(line);
        }
        let order_id = self.order_id();
        self.emit(&mut rng, first.1, Body::Purchase { order_id, lines });
    }

    /// A few visits end with a question to customer service.
    fn write_aside(&mut self) {
        let mut rng = self.fork(Phase::Aside);
        if !rng.chance(0.03) {
            return;
        }
        let item = match self.viewed.last() {
            Some((item, _)) => *item,
            None => rng.below(self.catalogue.items().len() as u64) as usize,
        };
        let body = aftermath::message(
            &mut rng,
            self.shopper,
            self.item(item),
            &self.order_id(),
            None,
        );
        self.emit(&mut rng, None, body);
    }

    fn view(&mut self, rng: &mut Rng, item: usize, cause: Option<Cause>) {
        let (item_id, category) = self.named(item);
        let dwell_ms = (2_000.0 + 8_000.0 * rng.exponential(1.0)).min(300_000.0) as i64;
        self.emit(
            rng,
            cause,
            Body::ViewItem {
                item_id,
                category,
                dwell_ms,
            },
        );
        self.viewed.push((item, cause));
    }

    /// Adds an event 2 to 32 seconds after the last one.
    fn emit(&mut self, rng: &mut Rng, cause: Option<Cause>, body: Body) {
        self.at = self.at.plus(2_000 + rng.below(30_000) as i64);
        let place = format!("{}", self.events.len());
        let event = TownEvent {
            cause,
            ..self.start.event(self.seed, &place, self.at, body)
        };
        self.events.push(event);
    }

    fn fork(&self, phase: Phase) -> Rng {
        self.rng.fork(phase as u64)
    }

    fn pick_of_category(&self, rng: &mut Rng, category: usize) -> usize {
        let liked: Vec<(usize, f64)> = self
            .catalogue
            .of_category(category)
            .map(|(at, item)| (at, self.shopper.affinity(item)))
            .collect();
        let weights: Vec<f64> = liked.iter().map(|(_, weight)| *weight).collect();
        liked[rng.weighted(&weights)].0
    }

    fn item(&self, place: usize) -> &'a Item {
        &self.catalogue.items()[place]
    }

    fn named(&self, place: usize) -> (String, &'static str) {
        let item = self.item(place);
        (
            item.id.clone(),
            self.catalogue.categories()[item.category].id,
        )
    }

    fn line(&self, place: usize, quantity: i64) -> Line {
        let (item_id, category) = self.named(place);
        let unit_price: Micros = self.item(place).price;
        Line {
            item_id,
            category,
            quantity,
            unit_price,
        }
    }

    fn order_id(&self) -> String {
        format!(
            "O{:x}-{:x}-{:x}",
            self.seed, self.start.shopper, self.start.number
        )
    }
}

impl SessionStart {
    /// Returns an event of this visit. `place` tells it from the visit's other events.
    pub(crate) fn event(&self, seed: u64, place: &str, at: UnixMillis, body: Body) -> TownEvent {
        TownEvent {
            event_id: format!("{seed:x}-{:x}-{:x}-{place}", self.shopper, self.number),
            at,
            shopper: self.shopper,
            device: self.device.clone(),
            device_class: self.device_class,
            login: self.login.clone(),
            channel: self.channel,
            cause: None,
            body,
        }
    }
}
