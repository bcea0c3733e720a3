//! A town that lives without services: bulk events in order of time, for imports, load and tests.

use std::collections::BTreeMap;

use rapport_math::{Rng, stable_hash64};
use rapport_types::{Purpose, UnixMillis};

use crate::event::TownEvent;
use crate::session::{Arm, Served, SessionStart};
use crate::shopper::AgeBand;
use crate::town::{Moment, Town, TownConfig, TownError};
use crate::truth::Truth;

/// Items that a visit is shown when no service chooses.
const SHOWN: usize = 6;

/// The events of a town that shows items and ads at random and splits shoppers in half.
#[derive(Debug, Clone)]
pub struct History {
    town: Town,
    rng: Rng,
    /// Events of visits under way, by time and event id.
    waiting: BTreeMap<(UnixMillis, String), TownEvent>,
    upcoming: Option<Moment>,
}

/// Returns everything that happens in a town, in order of time, ties by event id.
///
/// Only adults who granted it see ads, and only those who granted `measure` are in the experiment.
///
/// # Errors
/// [`TownError`] for a number out of range.
pub fn history(config: TownConfig) -> Result<History, TownError> {
    let mut town = Town::new(config)?;
    let upcoming = town.next_moment();
    Ok(History {
        town,
        rng: Rng::seeded(config.seed).fork(u64::MAX),
        waiting: BTreeMap::new(),
        upcoming,
    })
}

impl History {
    /// Returns the town, to look up shoppers and the catalogue.
    #[must_use]
    pub fn town(&self) -> &Town {
        &self.town
    }

    /// Returns the truth so far; complete once the iterator has ended.
    #[must_use]
    pub fn truth(&self) -> Truth {
        self.town.truth()
    }

    /// Lives through the next moment: its events wait for their time.
    fn live(&mut self, moment: Moment) {
        match moment {
            Moment::Event(event) => self.wait(event),
            Moment::Session(start) => {
                let served = self.serve(&start);
                let events = self.town.respond(&start, &served);
                start
                    .opening
                    .into_iter()
                    .chain(events)
                    .for_each(|event| self.wait(event));
            }
        }
    }

    fn wait(&mut self, event: TownEvent) {
        self.waiting
            .insert((event.at, event.event_id.clone()), event);
    }

    fn serve(&self, start: &SessionStart) -> Served {
        let shopper = &self.town.shoppers()[start.shopper as usize];
        let mut rng = self
            .rng
            .fork(u64::from(start.shopper))
            .fork(u64::from(start.number));
        let mut items: Vec<&str> = self
            .town
            .catalogue()
            .items()
            .iter()
            .map(|item| item.id.as_str())
            .collect();
        rng.shuffle(&mut items);
        let ads = self.town.line_items();
        let targeted =
            shopper.age_band == AgeBand::Adult && shopper.grants.contains(Purpose::Advertise);
        let ad = ads[rng.below(ads.len() as u64) as usize];
        let half = stable_hash64(&[b"town", self.town.login(start.shopper).as_bytes()]) % 2;
        let arm = if half == 0 {
            Arm::Control
        } else {
            Arm::Treatment
        };
        Served {
            recommended: items
                .iter()
                .take(SHOWN)
                .map(|id| (*id).to_owned())
                .collect(),
            line_item_id: targeted.then(|| ad.id.to_owned()),
            arm: shopper.grants.contains(Purpose::Measure).then_some(arm),
        }
    }
}

impl Iterator for History {
    type Item = TownEvent;

    fn next(&mut self) -> Option<TownEvent> {
        // An event may go out once nothing still to come can be earlier: visits only look forward.
        while let Some(moment) = self.upcoming.take() {
            let earliest = self.waiting.keys().next().map(|(at, _)| *at);
            if earliest.is_some_and(|at| at < moment.at()) {
                self.upcoming = Some(moment);
                break;
            }
            self.live(moment);
            self.upcoming = self.town.next_moment();
        }
        self.waiting.pop_first().map(|(_, event)| event)
    }
}
