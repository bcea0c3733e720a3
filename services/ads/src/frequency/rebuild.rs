//! Counting again what Redis lost: from the decisions, which were stored before anybody saw an ad.
//!
//! While a partition of counters is incomplete nothing is reserved on it, so no decision adds to what
//! is being read; those that were on their way when the counters were lost have [`SETTLE`] to arrive.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use rapport_cache::{CacheError, Counter, Counters, REBUILD_MAX};
use rapport_store::{Db, StoreError};
use rapport_types::{Clock, SubjectId, UnixMillis};
use tokio::time::{MissedTickBehavior, interval, sleep};

use super::{Caps, Frequency};
use crate::active::{Active, ActiveSet};
use crate::error::Error;
use crate::store::counted::{self, Counted, CountedAfter};

/// How often lost counters are looked for. Until they are found nothing capped is shown anyway.
const LOOK_EVERY: Duration = Duration::from_millis(250);
/// Longer than a decision takes from its reservation to its row.
pub const SETTLE: Duration = Duration::from_secs(1);

/// Why counters were not rebuilt. They stay incomplete, and it is tried again.
#[derive(Debug, thiserror::Error)]
enum Interrupted {
    #[error("the counters failed")]
    Cache(#[from] CacheError),
    #[error("the decisions cannot be read")]
    Store(#[from] StoreError),
    #[error("the counters were lost again, or are rebuilt elsewhere")]
    TakenOver,
}

/// A count to write.
struct Count {
    subject: SubjectId,
    name: String,
    window_ms: i64,
    count: u32,
}

/// Keeps the counters complete, for ever: every replica looks, one at a time rebuilds a partition.
/// `counts` is off only in the negative control of a test: what was lost then counts as nothing.
pub async fn keep_complete(
    frequency: Frequency,
    active: Active,
    db: Db,
    clock: Arc<dyn Clock>,
    counts: bool,
) {
    let mut ticks = interval(LOOK_EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        // Redis that is away is noticed by every decision.
        let incomplete = frequency.counters.incomplete().await.unwrap_or_default();
        if incomplete.is_empty() {
            continue;
        }
        tracing::warn!(partitions = incomplete.len(), "frequency counters are lost");
        let rebuilt = match counts {
            true => {
                sleep(SETTLE).await;
                frequency.rebuild(&db, &active, clock.now()).await
            }
            false => frequency.begin_at_nothing().await,
        };
        match rebuilt {
            Ok(rebuilt) => tracing::info!(rebuilt, "frequency counters rebuilt"),
            Err(error) => {
                let error = &error as &dyn std::error::Error;
                tracing::warn!(error, "frequency counters not rebuilt, will try again");
            }
        }
    }
}

impl Frequency {
    /// Counts again what was decided, for every partition that is incomplete and that nobody else
    /// rebuilds. Returns how many counts were written.
    ///
    /// # Errors
    /// [`Error::Store`], [`Error::Internal`] when the counters do not take it: they stay incomplete.
    pub async fn rebuild(&self, db: &Db, active: &Active, now: UnixMillis) -> Result<u64, Error> {
        // What another replica wrote a moment ago has counted decisions too.
        active.refresh().await?;
        let mut rebuild = Rebuild::begin(&*self.counters, active.set(), now).await?;
        rebuild.count_all(db).await?;
        Ok(rebuild.end().await?)
    }

    async fn begin_at_nothing(&self) -> Result<u64, Error> {
        let set = Arc::default();
        let rebuild = Rebuild::begin(&*self.counters, set, UnixMillis(0)).await?;
        Ok(rebuild.end().await?)
    }
}

impl From<Interrupted> for Error {
    fn from(why: Interrupted) -> Self {
        match why {
            Interrupted::Store(error) => Self::Store(error),
            Interrupted::Cache(error) => {
                tracing::warn!(error = &error as &dyn std::error::Error, "counters failed");
                Self::Internal("the frequency counters cannot be rebuilt")
            }
            Interrupted::TakenOver => Self::Internal("the frequency counters were lost again"),
        }
    }
}

/// One pass over the decisions, for the partitions that it has begun.
struct Rebuild<'a> {
    counters: &'a dyn Counters,
    set: Arc<ActiveSet>,
    now: UnixMillis,
    token: String,
    /// What waits to be written, by partition.
    waiting: BTreeMap<u32, Vec<Count>>,
    written: u64,
}

impl<'a> Rebuild<'a> {
    async fn begin(
        counters: &'a dyn Counters,
        set: Arc<ActiveSet>,
        now: UnixMillis,
    ) -> Result<Self, Interrupted> {
        let token = uuid::Uuid::new_v4().simple().to_string();
        let mut waiting = BTreeMap::new();
        for partition in counters.incomplete().await? {
            if counters.begin_rebuild(partition, &token).await? {
                waiting.insert(partition, Vec::new());
            }
        }
        Ok(Self {
            counters,
            set,
            now,
            token,
            waiting,
            written: 0,
        })
    }

    async fn count_all(&mut self, db: &Db) -> Result<(), Interrupted> {
        if self.waiting.is_empty() {
            return Ok(());
        }
        let mut person: Vec<Counted> = Vec::new();
        let mut after = Some(CountedAfter::default());
        while let Some(from) = after {
            let (page, next) = counted::counted(db, &from).await?;
            for one in page {
                if person
                    .first()
                    .is_some_and(|first| first.subject != one.subject)
                {
                    self.count(&std::mem::take(&mut person)).await?;
                }
                person.push(one);
            }
            after = next;
        }
        self.count(&person).await
    }

    /// Writes what is left and says that the partitions are complete. Returns how many counts were
    /// written.
    async fn end(mut self) -> Result<u64, Interrupted> {
        let partitions: Vec<u32> = self.waiting.keys().copied().collect();
        for partition in partitions {
            self.write(partition).await?;
            if !self.counters.end_rebuild(partition, &self.token).await? {
                return Err(Interrupted::TakenOver);
            }
        }
        Ok(self.written)
    }

    /// Counts everything of one subject.
    async fn count(&mut self, seen: &[Counted]) -> Result<(), Interrupted> {
        let Some(subject) = seen.first().map(|one| one.subject) else {
            return Ok(());
        };
        let Some(waiting) = self.waiting.get_mut(&subject.partition()) else {
            return Ok(());
        };
        let mut line_items: Vec<&str> = seen.iter().map(|one| &*one.line_item_id).collect();
        line_items.sort_unstable();
        line_items.dedup();
        for id in line_items {
            let Some(line_item) = self.set.line_item(id) else {
                continue;
            };
            let of_item = Caps::of(&line_item.rules);
            for (window_ms, _most) in &of_item.caps {
                let count = counted_in(*window_ms, id, seen, self.now);
                if count > 0 {
                    waiting.push(Count {
                        subject,
                        name: of_item.name.clone(),
                        window_ms: *window_ms,
                        count,
                    });
                }
            }
        }
        if waiting.len() >= REBUILD_MAX {
            self.write(subject.partition()).await?;
        }
        Ok(())
    }

    async fn write(&mut self, partition: u32) -> Result<(), Interrupted> {
        let counts = self.waiting.get_mut(&partition).map(std::mem::take);
        for counts in counts.unwrap_or_default().chunks(REBUILD_MAX) {
            let pairs: Vec<(Counter<'_>, u32)> = counts.iter().map(to_pair).collect();
            let rebuild = self
                .counters
                .rebuild(partition, &self.token, self.now, &pairs);
            if !rebuild.await? {
                return Err(Interrupted::TakenOver);
            }
            self.written += counts.len() as u64;
        }
        Ok(())
    }
}

fn to_pair(count: &Count) -> (Counter<'_>, u32) {
    let counter = Counter {
        key: count.subject.as_bytes(),
        name: &count.name,
        window_ms: count.window_ms,
    };
    (counter, count.count)
}

/// Counts what falls into the present window.
fn counted_in(window_ms: i64, line_item: &str, seen: &[Counted], now: UnixMillis) -> u32 {
    let window = |at: UnixMillis| at.0.div_euclid(window_ms);
    let of_item = seen.iter().filter(|one| one.line_item_id == line_item);
    let present = of_item.filter(|one| window(one.at) == window(now)).count();
    u32::try_from(present).unwrap_or(u32::MAX)
}
