//! Reading the projections for a report: who may be counted, folded by person, within limits.
//!
//! A report runs on a blocking thread: folding a million journeys must not hold up other calls.

use std::collections::BTreeMap;
use std::sync::Arc;

use evaluate_domain::fold::Merge as _;
use rapport_flow::{Consent, People, Progress, States};
use rapport_types::{Currency, PARTITIONS, Purpose, SubjectId};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use crate::error::Error;
use crate::projection::{DayMoney, Journey, Journeys, Key, Numbers, Shop, Shown, Totals};
use crate::report::{Collect, Days};

/// Reports that run at once: each takes a core. Others wait for their turn, within their deadline.
const REPORTS_MAX: usize = 2;
/// People of several subjects that one report holds until it has seen all their subjects.
const LINKED_MAX: usize = 500_000;
/// Keys of totals that one report holds.
const KEYS_MAX: usize = 200_000;
/// How often a report starts again because people were linked meanwhile.
const ATTEMPTS_MAX: usize = 3;

/// Gives reports their turn. Cloning shares it.
#[derive(Debug, Clone)]
pub struct Reader {
    journeys: States<Journeys>,
    totals: States<Shop>,
    progress: [Progress; 2],
    people: People,
    broken: CancellationToken,
    turns: Arc<Semaphore>,
}

/// What one report reads.
#[derive(Debug, Clone)]
pub struct View {
    reader: Reader,
    given_up: CancellationToken,
}

/// The shop's totals over some days.
#[derive(Debug, Clone, Default)]
pub struct ShopTotals {
    /// Money by day and currency.
    pub money: BTreeMap<i32, BTreeMap<Currency, DayMoney>>,
    /// Ads by campaign.
    pub campaigns: BTreeMap<String, Shown>,
    /// Decisions that never reached the log, of all time.
    pub decisions_missing: u64,
}

impl ShopTotals {
    /// Returns the money of every currency over all days.
    #[must_use]
    pub fn by_currency(&self) -> BTreeMap<Currency, DayMoney> {
        let mut sums: BTreeMap<Currency, DayMoney> = BTreeMap::new();
        for (currency, money) in self.money.values().flatten() {
            sums.entry(*currency).or_default().merge(money);
        }
        sums
    }

    /// Returns the currency with the largest purchases, of equal ones the first by its code; `None`
    /// when no money moved.
    #[must_use]
    pub fn main_currency(&self) -> Option<Currency> {
        let sums = self.by_currency().into_iter();
        let largest = sums.min_by_key(|(code, money)| (-money.purchases, *code));
        largest.map(|(code, _)| code)
    }
}

impl Reader {
    /// Returns a reader of running projections. `broken` says that one of them ended.
    #[must_use]
    pub fn new(
        journeys: States<Journeys>,
        totals: States<Shop>,
        progress: [Progress; 2],
        people: People,
        broken: CancellationToken,
    ) -> Self {
        Self {
            journeys,
            totals,
            progress,
            people,
            broken,
            turns: Arc::new(Semaphore::new(REPORTS_MAX)),
        }
    }

    /// Returns how far journeys and totals are.
    #[must_use]
    pub fn progress(&self) -> &[Progress; 2] {
        &self.progress
    }

    /// Returns the committed events that are not counted yet, as far as is known.
    #[must_use]
    pub fn events_behind(&self) -> u64 {
        // Both read the same log, so the later one tells.
        let lags = self.progress.iter().map(Progress::lag_events);
        lags.max().unwrap_or(0)
    }

    /// Runs a report on a blocking thread when it is its turn. Dropping the future ends it soon.
    ///
    /// # Errors
    /// What `work` fails with; [`Error::ProjectionStopped`].
    pub async fn run<T, F, R>(&self, work: F) -> Result<T, Error>
    where
        T: Send + 'static,
        F: FnOnce(View) -> R + Send + 'static,
        R: Future<Output = Result<T, Error>>,
    {
        if self.broken.is_cancelled() {
            return Err(Error::ProjectionStopped);
        }
        let turn = Arc::clone(&self.turns).acquire_owned().await;
        let turn = turn.map_err(|_| Error::Internal("the turns of reports were closed"))?;
        let given_up = CancellationToken::new();
        let _gives_up = given_up.clone().drop_guard();
        let view = View {
            reader: self.clone(),
            given_up,
        };
        let runtime = tokio::runtime::Handle::current();
        let done = tokio::task::spawn_blocking(move || {
            let _turn = turn;
            runtime.block_on(work(view))
        });
        done.await
            .map_err(|_| Error::Internal("a report panicked"))?
    }
}

impl View {
    /// Returns the totals of some days.
    ///
    /// # Errors
    /// [`Error::States`], [`Error::ReportTooLarge`], [`Error::GivenUp`].
    pub async fn totals(&self, days: Days) -> Result<ShopTotals, Error> {
        let mut found = ShopTotals::default();
        let mut numbers: BTreeMap<Key, Numbers> = BTreeMap::new();
        let mut keys = 0;
        for partition in 0..PARTITIONS {
            self.go_on()?;
            let visit = |key: &[u8], state: &Totals| {
                add(&mut found, &mut numbers, days, key, state);
            };
            self.reader.totals.for_each(partition, visit).await?;
            keys = found.money.len() + found.campaigns.len() + numbers.len();
            if keys > KEYS_MAX {
                break;
            }
        }
        if keys > KEYS_MAX {
            return Err(Error::ReportTooLarge("days, campaigns and replicas"));
        }
        found.decisions_missing = numbers.values().map(Numbers::missing).sum();
        Ok(found)
    }

    /// Gives a collector every person who permits `measure`, and returns it with the version of the
    /// graph by which subjects were folded. When people are linked meanwhile it starts again, up to
    /// three times; the last count is then right but for those who were linked during it.
    ///
    /// # Errors
    /// [`Error::ConsentViewStale`], [`Error::States`], [`Error::ReportTooLarge`], [`Error::GivenUp`].
    pub async fn people<C: Collect>(&self, make: impl Fn() -> C) -> Result<(C, u64), Error> {
        let mut attempts = 1;
        loop {
            let version = self.reader.people.graph_version();
            let collected = self.fold(make()).await?;
            if self.reader.people.graph_version() == version || attempts == ATTEMPTS_MAX {
                return Ok((collected, version));
            }
            attempts += 1;
        }
    }

    /// Single subjects are people at once and are not held; those of several wait until the end.
    async fn fold<C: Collect>(&self, mut collect: C) -> Result<C, Error> {
        let people = &self.reader.people;
        let mut linked: BTreeMap<SubjectId, Journey> = BTreeMap::new();
        for partition in 0..PARTITIONS {
            self.go_on()?;
            let mut failed = Ok(());
            let visit = |key: &[u8], journey: &Journey| {
                if failed.is_ok() {
                    failed = person_of(people, key).and_then(|person| match person {
                        Person::Nobody => Ok(()),
                        Person::Single => collect.take(journey),
                        Person::Linked(anchor) => {
                            linked.entry(anchor).or_default().merge(journey);
                            Ok(())
                        }
                    });
                }
            };
            self.reader.journeys.for_each(partition, visit).await?;
            failed?;
            if linked.len() > LINKED_MAX {
                return Err(Error::ReportTooLarge("people of several subjects"));
            }
        }
        for person in linked.values() {
            collect.take(person)?;
        }
        Ok(collect)
    }

    fn go_on(&self) -> Result<(), Error> {
        match self.given_up.is_cancelled() {
            true => Err(Error::GivenUp),
            false => Ok(()),
        }
    }
}

enum Person {
    /// Erased, or may not be measured.
    Nobody,
    Single,
    Linked(SubjectId),
}

fn person_of(people: &People, key: &[u8]) -> Result<Person, Error> {
    let Ok(subject) = SubjectId::parse(key) else {
        return Ok(Person::Nobody);
    };
    match people.consent(subject, Purpose::Measure) {
        Consent::Stale => Err(Error::ConsentViewStale),
        // The state of an erased subject goes within a second; its consent is gone at once.
        Consent::Refused => Ok(Person::Nobody),
        Consent::Granted => {
            let person = people.person_view(subject);
            Ok(match person.members.len() {
                1 => Person::Single,
                _ => Person::Linked(person.anchor),
            })
        }
    }
}

fn add(
    found: &mut ShopTotals,
    numbers: &mut BTreeMap<Key, Numbers>,
    days: Days,
    key: &[u8],
    state: &Totals,
) {
    match Key::parse(key) {
        Some(Key::Money(day, currency)) if days.has(day) => {
            let by_currency = found.money.entry(day).or_default();
            by_currency.entry(currency).or_default().merge(&state.money);
        }
        Some(Key::Campaign(_, campaign)) => {
            let asked = state.shown.iter().filter(|(day, _)| days.has(**day));
            for (_, shown) in asked {
                let sum = found.campaigns.entry(campaign.clone()).or_default();
                sum.merge(shown);
            }
        }
        Some(key @ Key::Decisions(..)) => numbers.entry(key).or_default().merge(&state.numbers),
        Some(Key::Money(..)) | None => {}
    }
}
