//! Which ad fills a placement: eligibility with a reason for each that is not, then a second price.

use crate::campaign::{Bid, BidType, Campaign, LineItem};
use crate::draw;
use crate::state::DeliveryState;
use crate::targeting::{Audience, Context, Miss, MissSet};
use rapport_types::{Micros, Probability, UnixMillis};
use std::cmp::Ordering;

/// Most line items in one auction.
pub const LINE_ITEMS_MAX: usize = 10_000;
/// Most line items logged or explained with one decision.
pub const CANDIDATES_MAX: usize = 50;

/// A line item with its campaign.
#[derive(Debug, Clone, Copy)]
pub struct Entry<'a> {
    /// The campaign.
    pub campaign: &'a Campaign,
    /// The line item.
    pub line_item: &'a LineItem,
}

/// One placement to fill.
#[derive(Debug, Clone, Copy)]
pub struct Request<'a> {
    /// What the request says.
    pub context: Context<'a>,
    /// What is known of the person.
    pub audience: Audience<'a>,
    /// The least price per thousand impressions.
    pub floor: Micros,
    /// When it is asked.
    pub now: UnixMillis,
    /// What chance is drawn from: the same key gives the same answer. Taken from the decision id.
    pub key: u64,
}

/// How a line item stands at this moment: what the service looks up for those that come so far.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Standing {
    /// What this replica's lease still holds.
    pub available: Micros,
    /// The share of chances that pacing takes.
    pub pacing: Probability,
    /// Whether a frequency cap or the attention budget is reached.
    pub is_capped: bool,
    /// The predicted clicks per impression.
    pub ctr: Probability,
    /// The predicted conversions per click.
    pub cvr: Probability,
}

/// What became of a line item. The first reason in the order of the variants counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Outcome {
    /// It is shown.
    Won,
    /// Another one's eCPM is higher.
    Outbid,
    /// Held back so that the budget lasts.
    Pacing,
    /// Its eCPM is below the placement's floor.
    Floor,
    /// This replica's lease cannot pay for it.
    Budget,
    /// The person has seen enough of it, of its campaign, or of ads.
    Frequency,
    /// No creative fits.
    Creative,
    /// It targets people, and this one did not grant it.
    Consent,
    /// It is not for this request.
    Targeting,
    /// It or its campaign is not active, or outside its dates.
    Schedule,
}

impl Outcome {
    /// Returns the machine code.
    #[must_use]
    pub const fn code(self) -> &'static str {
        match self {
            Self::Won => "WON",
            Self::Outbid => "OUTBID",
            Self::Pacing => "PACING",
            Self::Floor => "FLOOR",
            Self::Budget => "BUDGET",
            Self::Frequency => "FREQUENCY",
            Self::Creative => "CREATIVE",
            Self::Consent => "CONSENT",
            Self::Targeting => "TARGETING",
            Self::Schedule => "SCHEDULE",
        }
    }
}

/// One line item that was considered.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Considered {
    /// The position in the entries of [`decide`].
    pub entry: usize,
    /// What became of it.
    pub outcome: Outcome,
    /// Why it is not for the request; empty for every outcome but `Consent` and `Targeting`.
    pub misses: MissSet,
    /// The expected revenue per thousand impressions; 0 if it was refused before that.
    pub ecpm: Micros,
    /// The probability that this auction, over the draw of the key, shows it.
    pub propensity: Probability,
}

impl Considered {
    /// Returns one sentence for people.
    #[must_use]
    pub fn text(&self) -> String {
        let fixed = match self.outcome {
            Outcome::Won => "has the highest eCPM",
            Outcome::Outbid => "another line item has a higher eCPM",
            Outcome::Pacing => "held back so that the budget lasts over its dates",
            Outcome::Floor => "its eCPM is below the floor of the placement",
            Outcome::Budget => "its budget is spent or leased elsewhere",
            Outcome::Frequency => "the person has seen enough of it",
            Outcome::Creative => "no creative fits the language",
            Outcome::Schedule => "it or its campaign is not active at this time",
            Outcome::Consent | Outcome::Targeting => {
                return self
                    .misses
                    .iter()
                    .map(Miss::text)
                    .collect::<Vec<_>>()
                    .join("; ");
            }
        };
        fixed.to_owned()
    }
}

/// What makes a price due.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum BilledOn {
    /// The impression.
    Impression,
    /// The click.
    Click,
    /// The conversion.
    Conversion,
}

/// What the winner pays.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Price {
    /// The second price: per thousand impressions.
    pub ecpm: Micros,
    /// What one billed event costs; never above the bid, never below a micro.
    pub charge: Micros,
    /// Which event.
    pub billed_on: BilledOn,
}

/// The ad that is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Winner {
    /// The position in the entries of [`decide`].
    pub entry: usize,
    /// The position in the line item's creatives.
    pub creative: usize,
    /// What it pays.
    pub price: Price,
}

/// An auction's result.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Decision {
    /// `None` for no fill.
    pub winner: Option<Winner>,
    /// At most [`CANDIDATES_MAX`], the winner always among them: who competed, highest eCPM first,
    /// then the others, those that came furthest first; equal ones by line item id.
    pub considered: Vec<Considered>,
}

/// Computes the expected revenue of a bid per thousand impressions, rounded to a micro, `>= 0`.
///
/// `cvr` is conversions per click, and counts for CPA bids only.
#[must_use]
pub fn ecpm(bid: Bid, ctr: Probability, cvr: Probability) -> Micros {
    let per_impression = match bid.bid_type {
        BidType::Cpm => return bid.amount,
        BidType::Cpc => ctr.get(),
        BidType::Cpa => ctr.get() * cvr.get(),
    };
    // Bids are below 2^37 micros and a float is exact to 2^53: rounding is the only error.
    Micros((bid.amount.0 as f64 * per_impression * 1_000.0).round() as i64)
}

/// What a line item could be charged for one event at most: the bid itself.
fn charge_max(bid: Bid) -> Micros {
    match bid.bid_type {
        BidType::Cpm => Micros(bid.amount.0 / 1_000),
        BidType::Cpc | BidType::Cpa => bid.amount,
    }
}

/// Turns a clearing eCPM into the charge of one event: the smallest that yields it, within the bid.
fn price(bid: Bid, standing: &Standing, clearing: Micros) -> Price {
    let (billed_on, events_per_thousand) = match bid.bid_type {
        BidType::Cpm => (BilledOn::Impression, 1_000.0),
        BidType::Cpc => (BilledOn::Click, 1_000.0 * standing.ctr.get()),
        BidType::Cpa => (
            BilledOn::Conversion,
            1_000.0 * standing.ctr.get() * standing.cvr.get(),
        ),
    };
    // A positive eCPM means that events are expected, so this divides by more than nothing.
    let charge = (clearing.0 as f64 / events_per_thousand).ceil() as i64;
    Price {
        ecpm: clearing,
        charge: Micros(charge.max(1)).min(charge_max(bid)),
        billed_on,
    }
}

struct Contender {
    entry: usize,
    creative: usize,
    ecpm: Micros,
    standing: Standing,
    is_held_back: bool,
}

/// Runs the auction. `standing` is asked only for line items that fit the request, once each.
///
/// The winner has the highest eCPM, equal ones in order of line item id, and pays one micro more than
/// the second, at least the floor and never more than its bid. Entries beyond [`LINE_ITEMS_MAX`] are
/// not considered. Same input gives the same answer. Cost: `O(n)` evaluations and one sort.
pub fn decide(
    request: &Request<'_>,
    entries: &[Entry<'_>],
    standing: impl Fn(&Entry<'_>) -> Standing,
) -> Decision {
    let mut contenders = Vec::new();
    let mut considered = Vec::new();
    for (at, entry) in entries.iter().enumerate().take(LINE_ITEMS_MAX) {
        match admit(request, at, entry, &standing) {
            Ok(contender) => contenders.push(contender),
            Err(refused) => considered.push(refused),
        }
    }
    let id = |at: usize| entries[at].line_item.id.as_str();
    contenders.sort_unstable_by(|a, b| {
        b.ecpm
            .cmp(&a.ecpm)
            .then_with(|| id(a.entry).cmp(id(b.entry)))
    });
    let winner = clear(request, entries, &contenders);
    considered.extend(outcomes(&contenders, winner.map(|winner| winner.entry)));
    considered
        .sort_unstable_by(|a, b| by_progress(a, b).then_with(|| id(a.entry).cmp(id(b.entry))));
    // Pacing may hold back everyone above the winner: it takes the last place then, and the order is
    // kept, because all before it competed with a higher eCPM.
    let won = considered.iter().position(|it| it.outcome == Outcome::Won);
    if let Some(won) = won.filter(|at| *at >= CANDIDATES_MAX) {
        considered.swap(CANDIDATES_MAX - 1, won);
    }
    considered.truncate(CANDIDATES_MAX);
    Decision { winner, considered }
}

/// Competitors by eCPM whatever became of them, then refused ones by how far they came.
fn by_progress(a: &Considered, b: &Considered) -> Ordering {
    let stage = |it: &Considered| {
        if it.outcome <= Outcome::Pacing {
            Outcome::Won
        } else {
            it.outcome
        }
    };
    stage(a).cmp(&stage(b)).then_with(|| b.ecpm.cmp(&a.ecpm))
}

fn admit(
    request: &Request<'_>,
    at: usize,
    entry: &Entry<'_>,
    standing: &impl Fn(&Entry<'_>) -> Standing,
) -> Result<Contender, Considered> {
    let line_item = entry.line_item;
    let refuse = |outcome, misses, ecpm| {
        Err(Considered {
            entry: at,
            outcome,
            misses,
            ecpm,
            propensity: Probability::ZERO,
        })
    };
    if line_item.state != DeliveryState::Active || !entry.campaign.runs_at(request.now) {
        return refuse(Outcome::Schedule, MissSet::default(), Micros::ZERO);
    }
    let misses = line_item
        .targeting
        .evaluate(&request.context, &request.audience);
    if misses.contains(Miss::Consent) {
        return refuse(Outcome::Consent, misses, Micros::ZERO);
    }
    if !misses.is_match() {
        return refuse(Outcome::Targeting, misses, Micros::ZERO);
    }
    let fits = line_item
        .creatives
        .iter()
        .position(|it| it.fits(request.context.language));
    let Some(creative) = fits else {
        return refuse(Outcome::Creative, misses, Micros::ZERO);
    };
    let standing = standing(entry);
    let ecpm = ecpm(line_item.bid, standing.ctr, standing.cvr);
    if standing.is_capped {
        return refuse(Outcome::Frequency, misses, ecpm);
    }
    // The charge is not known before the auction: the lease must hold the most that it can be.
    if standing.available < charge_max(line_item.bid) {
        return refuse(Outcome::Budget, misses, ecpm);
    }
    if ecpm < request.floor || ecpm <= Micros::ZERO {
        return refuse(Outcome::Floor, misses, ecpm);
    }
    let is_held_back = draw::unit(request.key, &line_item.id) >= standing.pacing.get();
    Ok(Contender {
        entry: at,
        creative,
        ecpm,
        standing,
        is_held_back,
    })
}

/// Returns the winner among contenders sorted best first, at its second price.
fn clear(request: &Request<'_>, entries: &[Entry<'_>], contenders: &[Contender]) -> Option<Winner> {
    let mut running = contenders.iter().filter(|it| !it.is_held_back);
    let best = running.next()?;
    let second = running.next().map_or(Micros::ZERO, |it| it.ecpm);
    let clearing = (second.max(request.floor) + Micros(1)).min(best.ecpm);
    let bid = entries[best.entry].line_item.bid;
    Some(Winner {
        entry: best.entry,
        creative: best.creative,
        price: price(bid, &best.standing, clearing),
    })
}

/// A contender wins if pacing lets it run and holds back everyone above it: the draws are
/// independent, so the propensities are exact.
fn outcomes(contenders: &[Contender], winner: Option<usize>) -> Vec<Considered> {
    let mut all_above_held_back = 1.0;
    contenders
        .iter()
        .map(|it| {
            let propensity =
                Probability::saturating(all_above_held_back * it.standing.pacing.get());
            all_above_held_back *= it.standing.pacing.complement().get();
            let outcome = match (it.is_held_back, winner == Some(it.entry)) {
                (true, _) => Outcome::Pacing,
                (false, true) => Outcome::Won,
                (false, false) => Outcome::Outbid,
            };
            Considered {
                entry: it.entry,
                outcome,
                misses: MissSet::default(),
                ecpm: it.ecpm,
                propensity,
            }
        })
        .collect()
}

#[cfg(test)]
mod tests;
