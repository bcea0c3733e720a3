//! What this replica may still promise: its leases in memory, with the promises that are open.
//!
//! Money is taken here at decision time, without asking anybody, and billed in the ledger when the
//! event comes. A promise that is not billed within the life of a lease lapses. What is written here
//! about a lease follows a committed transaction; the ledger's own check has the last word.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

use ads_domain::{BidType, Grant, LedgerError, LineItem, ReplicaLease};
use rapport_store::Db;
use rapport_types::{Clock, DecisionId, Micros, UnixMillis};
use tokio::sync::OwnedMutexGuard;

use crate::error::Error;
use crate::store::ledger::{self, Note};

/// The largest lease that a share of a budget gives: what one dead replica can hold back.
const LEASE_MAX: Micros = Micros::from_units(1_000);
/// The part of a budget that one lease sets aside.
const LEASES_PER_BUDGET: i64 = 20;
/// Open promises of one line item; beyond it nothing is promised.
const PROMISES_MAX: usize = 100_000;
/// How long a budget that had nothing to lease is not asked again.
const EXHAUSTED_MS: i64 = 500;

/// How leases are taken.
#[derive(Debug, Clone)]
pub struct Terms {
    /// The name that leases are under.
    pub replica: String,
    /// How long one lasts unless renewed.
    pub ttl_ms: i64,
    /// What one sets aside; `None` for a share of the budget.
    pub size: Option<Micros>,
    /// Whether epochs and ends are respected: always, but for the negative control of a test.
    pub fenced: bool,
}

/// The leases of one replica. Cloning shares them.
#[derive(Debug, Clone)]
pub struct Wallet(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    db: Db,
    clock: Arc<dyn Clock>,
    terms: Terms,
    lines: RwLock<HashMap<String, Arc<Line>>>,
}

#[derive(Debug)]
struct Line {
    id: String,
    /// Held over a transaction on the ledger and the change in memory that follows it.
    gate: Arc<tokio::sync::Mutex<()>>,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    held: Option<Held>,
    /// What the next renewal sets aside beside the promises.
    size: Micros,
    exhausted_until: UnixMillis,
    used: bool,
}

#[derive(Debug)]
struct Held {
    lease: ReplicaLease,
    promises: HashMap<DecisionId, Promise>,
    promised: Micros,
}

#[derive(Debug, Clone, Copy)]
struct Promise {
    amount: Micros,
    lapses_at: UnixMillis,
}

impl Held {
    fn new(grant: Grant) -> Self {
        Self {
            lease: ReplicaLease::new(grant),
            promises: HashMap::new(),
            promised: Micros::ZERO,
        }
    }

    /// Ends promises; `back` says whether their money may be promised again.
    fn end(&mut self, ids: &[DecisionId], back: bool) {
        for id in ids {
            if let Some(promise) = self.promises.remove(id) {
                self.promised -= promise.amount;
                if back {
                    self.lease.put_back(promise.amount);
                }
            }
        }
    }

    fn lapse(&mut self, now: UnixMillis) {
        let over =
            |(id, promise): (&DecisionId, &Promise)| (now >= promise.lapses_at).then_some(*id);
        let over: Vec<DecisionId> = self.promises.iter().filter_map(over).collect();
        self.end(&over, true);
    }
}

impl Line {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Wallet {
    /// Returns an empty wallet.
    #[must_use]
    pub fn new(db: Db, clock: Arc<dyn Clock>, terms: Terms) -> Self {
        Self(Arc::new(Shared {
            db,
            clock,
            terms,
            lines: RwLock::default(),
        }))
    }

    /// Returns the name that leases are under.
    #[must_use]
    pub fn replica(&self) -> &str {
        &self.0.terms.replica
    }

    /// Returns whether epochs and ends are respected.
    #[must_use]
    pub fn is_fenced(&self) -> bool {
        self.0.terms.fenced
    }

    /// Returns how long a lease lasts unless renewed.
    #[must_use]
    pub fn ttl_ms(&self) -> i64 {
        self.0.terms.ttl_ms
    }

    /// Returns what may be promised for a line item, `None` when [`Wallet::acquire`] may find more.
    #[must_use]
    pub fn available(&self, line_item: &str, now: UnixMillis) -> Option<Micros> {
        let line = self.find(line_item)?;
        let state = line.state();
        if state.exhausted_until <= now {
            return None;
        }
        let held = state.held.as_ref();
        Some(held.map_or(Micros::ZERO, |held| {
            held.lease.available(self.believed(now))
        }))
    }

    /// Promises an amount for a decision and returns the epoch to name when it is stored; `None` when
    /// the lease does not hold so much.
    #[must_use]
    pub fn promise(
        &self,
        line_item: &str,
        decision: DecisionId,
        amount: Micros,
        now: UnixMillis,
    ) -> Option<u64> {
        let line = self.find(line_item)?;
        let mut state = line.state();
        let held = state.held.as_mut()?;
        if held.promises.len() >= PROMISES_MAX {
            return None;
        }
        held.lease.take(amount, self.believed(now)).ok()?;
        let lapses_at = now.plus(self.0.terms.ttl_ms);
        held.promises
            .insert(decision, Promise { amount, lapses_at });
        held.promised += amount;
        let epoch = held.lease.epoch();
        state.used = true;
        Some(epoch)
    }

    /// Takes a promise back: its ad is not shown.
    pub fn put_back(&self, line_item: &str, decision: DecisionId) {
        if let Some(line) = self.find(line_item)
            && let Some(held) = &mut line.state().held
        {
            held.end(&[decision], true);
        }
    }

    /// Notes that a promise was billed. The caller holds the line item's [`Wallet::gate`].
    pub fn billed(&self, line_item: &str, decision: DecisionId) {
        if let Some(line) = self.find(line_item)
            && let Some(held) = &mut line.state().held
        {
            held.end(&[decision], false);
        }
    }

    /// Forgets a lease that turned out to be closed or replaced.
    pub fn fenced(&self, line_item: &str, epoch: u64) {
        let Some(line) = self.find(line_item) else {
            return;
        };
        let mut state = line.state();
        if state
            .held
            .as_ref()
            .is_some_and(|held| held.lease.epoch() == epoch)
        {
            tracing::warn!(line_item, epoch, "lease was taken back");
            state.held = None;
        }
    }

    /// Keeps every other change of a line item's money by this replica waiting until it is dropped.
    pub async fn gate(&self, line_item: &str) -> OwnedMutexGuard<()> {
        let gate = Arc::clone(&self.line(line_item).gate);
        gate.lock_owned().await
    }

    /// Leases more for a line item, so that `need` can be promised; returns whether it can.
    ///
    /// # Errors
    /// [`Error::Store`].
    pub async fn acquire(&self, line_item: &LineItem, need: Micros) -> Result<bool, Error> {
        let line = self.line(&line_item.id);
        let gate = Arc::clone(&line.gate);
        let _gate = gate.lock().await;
        let now = self.0.clock.now();
        line.state().size = self.size_of(line_item).max(need);
        let is_enough = |state: &State| {
            let held = state.held.as_ref();
            held.is_some_and(|held| held.lease.available(self.believed(now)) >= need)
        };
        if is_enough(&line.state()) {
            return Ok(true);
        }
        self.renew_or_grant(&line, now).await?;
        let mut state = line.state();
        state.used = true;
        let enough = is_enough(&state);
        if !enough {
            state.exhausted_until = now.plus(EXHAUSTED_MS);
        }
        Ok(enough)
    }

    /// Renews leases that are in use, hands back those that are not, and lets old promises lapse.
    ///
    /// # Errors
    /// The first [`Error`]; the other leases are kept all the same.
    pub async fn keep(&self) -> Result<(), Error> {
        let mut outcome = Ok(());
        for line in self.all() {
            let gate = Arc::clone(&line.gate);
            let _gate = gate.lock().await;
            let now = self.0.clock.now();
            let idle = {
                let mut state = line.state();
                let used = std::mem::take(&mut state.used);
                let Some(held) = &mut state.held else {
                    continue;
                };
                held.lapse(now);
                // Without the fence a replica trusts its memory, for ever.
                self.0.terms.fenced && !used && held.promises.is_empty()
            };
            let kept = match idle {
                true => self.hand_back(&line, now).await,
                false => self.renew(&line, now).await.map(|_renewed| ()),
            };
            outcome = outcome.and(kept);
        }
        outcome
    }

    /// Hands every lease back: after it nothing is promised any more, unless somebody acquires again.
    ///
    /// # Errors
    /// The first [`Error`]; what could not be handed back ends by itself.
    pub async fn hand_back_all(&self) -> Result<(), Error> {
        let mut outcome = Ok(());
        for line in self.all() {
            let gate = Arc::clone(&line.gate);
            let _gate = gate.lock().await;
            outcome = outcome.and(self.hand_back(&line, self.0.clock.now()).await);
        }
        outcome
    }

    /// Closes the leases that an earlier life under the same name left open.
    ///
    /// # Errors
    /// [`Error::Store`].
    pub async fn close_former(&self) -> Result<(), Error> {
        let note = Note::new("restart", self.0.clock.now());
        for (line_item, epoch) in ledger::held(&self.0.db, self.replica()).await? {
            self.close(&line_item, epoch, note).await?;
        }
        Ok(())
    }

    /// Gives the money of ended leases, of whatever replica, back to their budgets.
    ///
    /// # Errors
    /// [`Error::Store`].
    pub async fn reap(&self) -> Result<(), Error> {
        let now = self.0.clock.now();
        for line_item in ledger::ended(&self.0.db, now).await? {
            ledger::run(&self.0.db, &line_item, Note::new("expiry", now), |ledger| {
                Ok(((), ledger.expire(now)))
            })
            .await?;
        }
        Ok(())
    }

    async fn renew_or_grant(&self, line: &Line, now: UnixMillis) -> Result<(), Error> {
        if self.renew(line, now).await? {
            return Ok(());
        }
        let (size, terms) = (line.state().size, &self.0.terms);
        let note = Note::new("grant", now);
        let granted = ledger::run(&self.0.db, &line.id, note, |ledger| {
            // Ended leases first: what they hold may be all that is left.
            let mut moved = ledger.expire(now);
            let (grant, transaction) = ledger.grant(&terms.replica, size, now, terms.ttl_ms)?;
            moved.push(transaction);
            Ok((grant, moved))
        });
        match granted.await {
            Ok(grant) => {
                line.state().held = Some(Held::new(grant));
                Ok(())
            }
            Err(Error::Ledger(LedgerError::BudgetExhausted(_) | LedgerError::TooManyLeases)) => {
                Ok(())
            }
            Err(error) => Err(error),
        }
    }

    /// Renews the lease of a line item; returns whether there is one afterwards.
    async fn renew(&self, line: &Line, now: UnixMillis) -> Result<bool, Error> {
        let (epoch, target) = {
            let mut state = line.state();
            let size = state.size;
            let Some(held) = &mut state.held else {
                return Ok(false);
            };
            // What is about to be handed back must not be promised meanwhile.
            held.lease.keep(size);
            (held.lease.epoch(), held.promised + size)
        };
        let terms = &self.0.terms;
        let note = Note::new("renewal", now);
        let renewed = ledger::run(&self.0.db, &line.id, note, |ledger| {
            let renewed = ledger.renew(&terms.replica, epoch, target, now, terms.ttl_ms);
            let (grant, transaction) = renewed?;
            Ok((grant, vec![transaction]))
        });
        match renewed.await {
            Ok(grant) => {
                if let Some(held) = &mut line.state().held {
                    held.lease.renewed(grant, held.promised);
                }
                Ok(true)
            }
            Err(Error::Ledger(LedgerError::StaleEpoch(_) | LedgerError::Expired(_))) => {
                if terms.fenced {
                    self.fenced(&line.id, epoch);
                }
                Ok(!terms.fenced)
            }
            Err(error) => Err(error),
        }
    }

    async fn hand_back(&self, line: &Line, now: UnixMillis) -> Result<(), Error> {
        // First out of memory: from here on nothing is promised from it.
        let Some(held) = line.state().held.take() else {
            return Ok(());
        };
        let note = Note::new("release", now);
        self.close(&line.id, held.lease.epoch(), note).await
    }

    async fn close(&self, line_item: &str, epoch: u64, note: Note) -> Result<(), Error> {
        let closed = ledger::run(&self.0.db, line_item, note, |ledger| {
            Ok(((), vec![ledger.hand_back(self.replica(), epoch)?]))
        });
        match closed.await {
            // Somebody closed it before.
            Err(Error::Ledger(LedgerError::StaleEpoch(_))) => Ok(()),
            other => other,
        }
    }

    fn size_of(&self, line_item: &LineItem) -> Micros {
        let charge_max = match line_item.bid.bid_type {
            BidType::Cpm => Micros(line_item.bid.amount.0 / 1_000),
            BidType::Cpc | BidType::Cpa => line_item.bid.amount,
        };
        let share = Micros(line_item.budget.0 / LEASES_PER_BUDGET).min(LEASE_MAX);
        self.0.terms.size.unwrap_or(share).max(charge_max)
    }

    /// Without the fence a replica does not even look at the clock.
    fn believed(&self, now: UnixMillis) -> UnixMillis {
        if self.0.terms.fenced {
            now
        } else {
            UnixMillis(i64::MIN)
        }
    }

    fn find(&self, line_item: &str) -> Option<Arc<Line>> {
        let lines = self.0.lines.read().unwrap_or_else(PoisonError::into_inner);
        lines.get(line_item).cloned()
    }

    fn line(&self, line_item: &str) -> Arc<Line> {
        if let Some(line) = self.find(line_item) {
            return line;
        }
        let mut lines = self.0.lines.write().unwrap_or_else(PoisonError::into_inner);
        let line = lines.entry(line_item.to_owned()).or_insert_with(|| {
            Arc::new(Line {
                id: line_item.to_owned(),
                gate: Arc::default(),
                state: Mutex::default(),
            })
        });
        Arc::clone(line)
    }

    fn all(&self) -> Vec<Arc<Line>> {
        let lines = self.0.lines.read().unwrap_or_else(PoisonError::into_inner);
        let mut all: Vec<_> = lines.values().cloned().collect();
        all.sort_unstable_by(|a, b| a.id.cmp(&b.id));
        all
    }
}
