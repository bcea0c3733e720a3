//! The auction, repeated until its winner has money and room under its caps.
//!
//! Caps and leases are looked up only for what would win: each round either ends or rules one line
//! item out, so most decisions need one round, and none more than [`ROUNDS_MAX`].

use std::collections::{HashMap, HashSet};

use ads_domain::{
    BetaPrior, Context, Decision, Entry, Flight, LineItem, Outcome, Request, Standing, Winner,
    decide,
};
use rapport_api::event::v1::ExperimentArm;
use rapport_api::r#type::v1::Degraded;
use rapport_types::{DecisionId, Micros, Probability, UnixMillis};

use super::viewer::Viewer;
use super::{DecideQuery, Decider, HOLDOUT_EXPERIMENT, HOLDOUT_VARIANT, exposures};
use crate::active::{ActiveSet, Standings};
use crate::frequency::Counted;

/// Most auctions for one placement; after it the placement stays empty.
const ROUNDS_MAX: usize = 16;
const HOUR_MS: i64 = 3_600_000;

/// The winner, paid for.
#[derive(Debug)]
pub(super) struct Won {
    /// The ad and its price.
    pub(super) winner: Winner,
    /// The epoch of the lease that the price was promised from.
    pub(super) epoch: u64,
    /// Whether it was counted on somebody's frequency counters.
    pub(super) is_counted: bool,
}

/// What an auction came to.
#[derive(Debug, Default)]
pub(super) struct Filled {
    /// The last round.
    pub(super) decision: Decision,
    /// `None` for no fill.
    pub(super) won: Option<Won>,
    /// Why less could compete.
    pub(super) degraded: Degraded,
    /// The arms that mattered.
    pub(super) arms: Vec<ExperimentArm>,
    /// Whether an experiment kept the winner from being shown.
    pub(super) is_held_out: bool,
}

/// What a decision has found out so far.
#[derive(Default)]
struct Found {
    /// Whether each line item is at a cap, by position; absent: not looked up.
    capped: HashMap<usize, bool>,
    /// Line items that no lease can be had for, by position.
    broke: HashSet<usize>,
}

/// What one round came to.
enum Round {
    Done(Won),
    Again,
    AgainWithout(Degraded),
}

impl Decider {
    pub(super) async fn fill(
        &self,
        set: &ActiveSet,
        query: &DecideQuery,
        viewer: &Viewer,
        id: DecisionId,
        now: UnixMillis,
    ) -> Filled {
        let (entries, standings) = (set.entries(), self.active.standings());
        let mut found = Found::default();
        let mut filled = Filled::default();
        for _round in 0..ROUNDS_MAX {
            let request = request(query, viewer, id, now);
            filled.decision = decide(&request, &entries, |entry| {
                let at = set
                    .line_items
                    .binary_search_by(|it| it.rules.id.cmp(&entry.line_item.id));
                self.standing(
                    &found,
                    at.unwrap_or(usize::MAX),
                    entry,
                    &standings,
                    query,
                    now,
                )
            });
            let Some(winner) = filled.decision.winner else {
                return filled;
            };
            filled.arms = exposures(viewer.arms.as_ref());
            let arm = viewer
                .arms
                .as_ref()
                .and_then(|arms| arms.variant(HOLDOUT_EXPERIMENT));
            if arm == Some(HOLDOUT_VARIANT) {
                filled.is_held_out = true;
                return filled;
            }
            let round = self.settle(
                &entries,
                viewer,
                winner,
                &filled.decision,
                &mut found,
                (id, now),
            );
            match round.await {
                Round::Done(won) => {
                    filled.won = Some(won);
                    return filled;
                }
                Round::Again => {}
                Round::AgainWithout(degraded) => filled.degraded = degraded,
            }
        }
        filled
    }

    fn standing(
        &self,
        found: &Found,
        at: usize,
        entry: &Entry<'_>,
        standings: &Standings,
        query: &DecideQuery,
        now: UnixMillis,
    ) -> Standing {
        let line_item = entry.line_item;
        let spent = standings
            .spent
            .get(&line_item.id)
            .copied()
            .unwrap_or_default();
        let flight = Flight {
            starts_at: entry.campaign.starts_at,
            ends_at: entry.campaign.ends_at,
            budget: line_item.budget,
        };
        let available = match found.broke.contains(&at) || spent >= line_item.budget {
            true => Micros::ZERO,
            // What is not known to be short may be leased when it wins.
            false => self
                .wallet
                .available(&line_item.id, now)
                .unwrap_or(line_item.budget),
        };
        let prior = BetaPrior::default();
        Standing {
            available,
            pacing: line_item.pacing.share(&flight, spent, now),
            is_capped: found.capped.get(&at).is_some_and(|capped| *capped),
            ctr: standings
                .ctr
                .estimate(&line_item.id, &query.placement, &prior),
            cvr: Probability::ZERO,
        }
    }

    /// Tries to pay for a winner and to count it.
    async fn settle(
        &self,
        entries: &[Entry<'_>],
        viewer: &Viewer,
        winner: Winner,
        decision: &Decision,
        found: &mut Found,
        (id, now): (DecisionId, UnixMillis),
    ) -> Round {
        let line_item = entries[winner.entry].line_item;
        let counted = viewer
            .counted
            .as_ref()
            .filter(|_| !line_item.caps.is_empty());
        if let Some(person) = counted
            && !found.capped.contains_key(&winner.entry)
        {
            return self
                .look_up_caps(entries, person, decision, found, now)
                .await;
        }
        let charge = winner.price.charge;
        let Some(epoch) = self.wallet.promise(&line_item.id, id, charge, now) else {
            return self
                .lease_more(line_item, charge, winner.entry, found)
                .await;
        };
        let Some(person) = counted else {
            return Round::Done(Won {
                winner,
                epoch,
                is_counted: false,
            });
        };
        let degraded = match self.frequency.reserve(person, line_item, now).await {
            Ok(true) => {
                return Round::Done(Won {
                    winner,
                    epoch,
                    is_counted: true,
                });
            }
            Ok(false) => Round::Again,
            Err(_no_answer) => Round::AgainWithout(Degraded::Dependency),
        };
        self.wallet.put_back(&line_item.id, id);
        found.capped.insert(winner.entry, true);
        degraded
    }

    /// Looks up the caps of everything that competed, at once. What cannot be looked up is at its cap.
    async fn look_up_caps(
        &self,
        entries: &[Entry<'_>],
        person: &Counted,
        decision: &Decision,
        found: &mut Found,
        now: UnixMillis,
    ) -> Round {
        let competed = decision
            .considered
            .iter()
            .filter(|it| it.outcome <= Outcome::Pacing);
        let unknown = competed
            .map(|it| it.entry)
            .filter(|at| !entries[*at].line_item.caps.is_empty() && !found.capped.contains_key(at));
        let unknown: Vec<usize> = unknown.collect();
        let line_items: Vec<&LineItem> = unknown.iter().map(|at| entries[*at].line_item).collect();
        match self.frequency.reached(person, &line_items, now).await {
            Ok(reached) => {
                found.capped.extend(unknown.into_iter().zip(reached));
                Round::Again
            }
            Err(_no_answer) => {
                found
                    .capped
                    .extend(unknown.into_iter().map(|at| (at, true)));
                Round::AgainWithout(Degraded::Dependency)
            }
        }
    }

    async fn lease_more(
        &self,
        line_item: &LineItem,
        charge: Micros,
        at: usize,
        found: &mut Found,
    ) -> Round {
        match self.wallet.acquire(line_item, charge).await {
            Ok(true) => Round::Again,
            Ok(false) => {
                found.broke.insert(at);
                Round::Again
            }
            Err(error) => {
                tracing::warn!(error = &error as &dyn std::error::Error, "no lease");
                found.broke.insert(at);
                Round::AgainWithout(Degraded::Dependency)
            }
        }
    }
}

fn request<'a>(
    query: &'a DecideQuery,
    viewer: &'a Viewer,
    id: DecisionId,
    now: UnixMillis,
) -> Request<'a> {
    let facts = viewer.facts.as_ref();
    let known = |given: &'a str, learnt: Option<&'a String>| match given {
        "" => learnt.map_or("", String::as_str),
        given => given,
    };
    // The random half of a UUIDv7.
    let mut key = [0; 8];
    key.copy_from_slice(&id.as_bytes()[8..]);
    Request {
        context: Context {
            placement: &query.placement,
            region: known(&query.region, facts.map(|facts| &facts.region)),
            language: known(&query.language, facts.map(|facts| &facts.language)),
            device: None,
            hour_of_day: now.0.div_euclid(HOUR_MS).rem_euclid(24) as u32,
        },
        audience: viewer.audience(),
        floor: query.floor,
        now,
        key: u64::from_be_bytes(key),
    }
}
