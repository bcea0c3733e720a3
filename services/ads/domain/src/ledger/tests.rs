//! Tables of the ledger, and a model of replicas that crash, sleep and wake up late.

use super::*;
use proptest::prelude::*;

const NOW: UnixMillis = UnixMillis(0);
const TTL: i64 = 100;

fn funded(amount: i64) -> LineLedger {
    let mut ledger = LineLedger::new("li-1");
    ledger.fund(Micros(amount)).unwrap();
    ledger
}

#[track_caller]
fn check(ledger: &LineLedger, free: i64, leased: i64, spent: i64) {
    assert_eq!(
        (ledger.free().0, ledger.leased().0, ledger.spent().0),
        (free, leased, spent)
    );
}

#[test]
fn money_moves_as_in_the_table() {
    let mut ledger = funded(1_000);
    let (grant, _) = ledger.grant("a", Micros(300), NOW, TTL).unwrap();
    check(&ledger, 700, 300, 0);
    ledger.spend("a", grant.epoch, Micros(120), NOW).unwrap();
    check(&ledger, 700, 180, 120);
    let (again, _) = ledger.grant("a", Micros(300), NOW, TTL).unwrap();
    check(&ledger, 580, 300, 120); // the rest of the first lease came back first
    assert_eq!(
        ledger.spend("a", grant.epoch, Micros(1), NOW),
        Err(LedgerError::StaleEpoch(grant.epoch))
    );
    let (last, _) = ledger.grant("b", Micros(9_000), NOW, TTL).unwrap();
    assert_eq!(last.amount, Micros(580)); // what was free
    assert_eq!(
        ledger.grant("c", Micros(1), NOW, TTL).unwrap_err(),
        LedgerError::BudgetExhausted(Micros(0))
    );
    ledger.hand_back("b", last.epoch).unwrap();
    check(&ledger, 580, 300, 120);
    assert_eq!(
        ledger.hand_back("b", last.epoch),
        Err(LedgerError::StaleEpoch(last.epoch))
    );
    let end = NOW.plus(TTL);
    assert_eq!(
        ledger.spend("a", again.epoch, Micros(1), end),
        Err(LedgerError::Expired(end))
    );
    assert_eq!(ledger.expire(end).len(), 1);
    check(&ledger, 880, 0, 120);
    ledger.spend_free(Micros(80)).unwrap();
    ledger.withdraw(Micros(700)).unwrap();
    check(&ledger, 100, 0, 200);
    assert_eq!(ledger.funded(), Micros(300));
    assert_eq!(
        ledger.withdraw(Micros(101)),
        Err(LedgerError::BudgetExhausted(Micros(100)))
    );
}

#[test]
fn a_renewal_keeps_the_epoch_and_moves_the_balance_both_ways() {
    let mut ledger = funded(1_000);
    let (grant, _) = ledger.grant("a", Micros(300), UnixMillis(0), 100).unwrap();
    let mut renew =
        |target, now| ledger.renew("a", grant.epoch, Micros(target), UnixMillis(now), 100);
    let (more, moved) = renew(500, 50).unwrap();
    assert_eq!(
        (more.epoch, more.amount.0, more.expires_at.0),
        (grant.epoch, 500, 150)
    );
    assert_eq!(moved.postings()[1].amount, Micros(200));
    let (less, _) = renew(100, 60).unwrap();
    assert_eq!((less.amount.0, less.expires_at.0), (100, 160));
    let (all, _) = renew(5_000, 70).unwrap(); // all that is free, no more
    assert_eq!(all.amount.0, 1_000);
    assert_eq!(renew(1, 170), Err(LedgerError::Expired(UnixMillis(170))));
    assert_eq!(
        ledger.renew("a", grant.epoch + 1, Micros(1), UnixMillis(80), 100),
        Err(LedgerError::StaleEpoch(grant.epoch + 1))
    );
    check(&ledger, 0, 1_000, 0);
}

#[test]
fn a_renewed_lease_holds_back_what_is_promised() {
    let grant = |amount, expires| Grant {
        epoch: 1,
        amount: Micros(amount),
        expires_at: UnixMillis(expires),
    };
    let mut lease = ReplicaLease::new(grant(300, 100));
    lease.take(Micros(120), UnixMillis(0)).unwrap();
    lease.renewed(grant(500, 200), Micros(120));
    assert_eq!(lease.available(UnixMillis(150)), Micros(380));
    lease.keep(Micros(50));
    assert_eq!(lease.available(UnixMillis(150)), Micros(50));
    lease.renewed(grant(100, 300), Micros(120)); // promises beyond the balance leave nothing
    assert_eq!(lease.available(UnixMillis(250)), Micros::ZERO);
}

#[test]
fn amounts_that_are_none_are_refused() {
    let mut ledger = funded(1_000);
    for amount in [0, -5] {
        let amount = Micros(amount);
        assert_eq!(ledger.fund(amount), Err(LedgerError::Amount));
        assert_eq!(
            ledger.grant("a", amount, NOW, TTL).unwrap_err(),
            LedgerError::Amount
        );
        assert_eq!(ledger.spend_free(amount), Err(LedgerError::Amount));
        assert_eq!(ledger.spend("a", 1, amount, NOW), Err(LedgerError::Amount));
    }
    assert_eq!(ledger.fund(Micros(i64::MAX)), Err(LedgerError::Amount));
    check(&ledger, 1_000, 0, 0);
}

#[test]
fn leases_have_a_maximum() {
    let mut ledger = funded(1_000);
    for replica in 0..LEASES_MAX {
        ledger
            .grant(&format!("r{replica}"), Micros(1), NOW, TTL)
            .unwrap();
    }
    assert_eq!(
        ledger.grant("one-more", Micros(1), NOW, TTL).unwrap_err(),
        LedgerError::TooManyLeases
    );
    assert!(ledger.grant("r0", Micros(1), NOW, TTL).is_ok());
}

#[test]
fn unbalanced_postings_are_no_transaction() {
    let posting = |amount| Posting {
        account: Account::Funding,
        amount: Micros(amount),
    };
    assert!(Transaction::new(vec![posting(5), posting(-5)]).is_ok());
    assert_eq!(
        Transaction::new(vec![posting(5)]),
        Err(LedgerError::Unbalanced(5))
    );
    let wrapping = vec![posting(i64::MAX), posting(i64::MAX), posting(2)];
    assert!(Transaction::new(wrapping).is_err(), "wraps to 0 in 64 bits");
}

#[test]
fn account_names_round_trip() {
    for name in [
        "funding",
        "budget:li-1",
        "lease:li-1:replica-a",
        "spent:li-1",
    ] {
        assert_eq!(
            Account::parse(name)
                .map(|account| account.to_string())
                .as_deref(),
            Some(name)
        );
    }
    for name in ["", "budget", "budget:", "lease:li-1", "spent:a:b", "cash"] {
        assert_eq!(Account::parse(name), None, "{name}");
    }
}

#[test]
fn a_stored_ledger_is_checked() {
    let lease = |epoch, balance| Lease {
        epoch,
        balance: Micros(balance),
        expires_at: NOW,
    };
    let restore = |free, lease: Lease| {
        LineLedger::restore(
            "li-1",
            Micros(free),
            Micros(5),
            BTreeMap::from([("a".to_owned(), lease)]),
            3,
        )
    };
    let restored = restore(10, lease(3, 7)).unwrap();
    check(&restored, 10, 7, 5);
    assert_eq!((restored.funded(), restored.last_epoch()), (Micros(22), 3));
    assert_eq!(restore(-1, lease(3, 7)), Err(LedgerError::Amount));
    assert_eq!(restore(1, lease(4, 7)), Err(LedgerError::StaleEpoch(4)));
}

/// What happens to one of the replicas, or to the world.
#[derive(Debug, Clone)]
enum Step {
    /// Money is added to the budget.
    Fund(i64),
    /// A replica asks for a lease.
    Lease(usize, i64),
    /// A replica promises money from its lease.
    Promise(usize, i64),
    /// A replica confirms its oldest promise.
    Confirm(usize),
    /// A replica hands its lease back, promises included: it drains.
    Drain(usize),
    /// A replica dies and restarts empty. What it had promised may be confirmed never.
    Crash(usize),
    /// A replica is stopped: it acts again, with what it remembers, only after `Wake`.
    Sleep(usize),
    /// A stopped replica goes on as if nothing had happened; its clock stands where it slept.
    Wake(usize),
    /// Time passes, and leases past their end are taken back.
    Pass(i64),
}

fn step() -> impl Strategy<Value = Step> {
    let replica = 0usize..4;
    prop_oneof![
        1 => (1i64..500).prop_map(Step::Fund),
        4 => (replica.clone(), 1i64..300).prop_map(|(replica, amount)| Step::Lease(replica, amount)),
        8 => (replica.clone(), 1i64..60).prop_map(|(replica, amount)| Step::Promise(replica, amount)),
        8 => replica.clone().prop_map(Step::Confirm),
        1 => replica.clone().prop_map(Step::Drain),
        1 => replica.clone().prop_map(Step::Crash),
        2 => replica.clone().prop_map(Step::Sleep),
        2 => replica.prop_map(Step::Wake),
        4 => (1i64..TTL).prop_map(Step::Pass),
    ]
}

#[derive(Debug, Default)]
struct Replica {
    lease: Option<ReplicaLease>,
    promised: Vec<(u64, Micros)>,
    /// The instant that a stopped replica still believes in.
    asleep_since: Option<UnixMillis>,
    is_zombie: bool,
}

/// The world: one line item, four replicas. With the fence off, a confirmed promise is booked as the
/// replica reports it: the money was set aside once, so why look again.
struct World {
    ledger: LineLedger,
    balances: Balances,
    replicas: Vec<Replica>,
    now: UnixMillis,
    is_fenced: bool,
    refused: u32,
}

impl World {
    fn new(is_fenced: bool) -> Self {
        let replicas = (0..4).map(|_| Replica::default()).collect();
        let (ledger, balances) = (LineLedger::new("li-1"), Balances::default());
        let mut world = Self {
            ledger,
            balances,
            replicas,
            now: NOW,
            is_fenced,
            refused: 0,
        };
        let start = world.ledger.fund(Micros(1_000)).unwrap();
        world.balances.apply(&start);
        world
    }

    /// What the replica's clock shows: a woken one acts before it looks again.
    fn clock(&self, replica: usize) -> UnixMillis {
        self.replicas[replica].asleep_since.unwrap_or(self.now)
    }

    fn is_stopped(&self, replica: usize) -> bool {
        self.replicas[replica].asleep_since.is_some() && !self.replicas[replica].is_zombie
    }

    fn run(&mut self, step: &Step) {
        match step {
            Step::Fund(amount) => {
                let transaction = self.ledger.fund(Micros(*amount)).unwrap();
                self.balances.apply(&transaction);
            }
            Step::Pass(millis) => {
                self.now = self.now.plus(*millis);
                let closed = self.ledger.expire(self.now);
                closed
                    .iter()
                    .for_each(|transaction| self.balances.apply(transaction));
            }
            Step::Crash(at) => self.replicas[*at] = Replica::default(),
            Step::Sleep(at) if !self.is_stopped(*at) => {
                self.replicas[*at].asleep_since = Some(self.now)
            }
            Step::Wake(at) => {
                self.replicas[*at].is_zombie = self.replicas[*at].asleep_since.is_some()
            }
            Step::Lease(at, amount) if !self.is_stopped(*at) => self.lease(*at, *amount),
            Step::Promise(at, amount) if !self.is_stopped(*at) => {
                let now = self.clock(*at);
                let replica = &mut self.replicas[*at];
                if let Some(lease) = &mut replica.lease
                    && lease.take(Micros(*amount), now).is_ok()
                {
                    replica.promised.push((lease.epoch(), Micros(*amount)));
                }
            }
            Step::Confirm(at) if !self.is_stopped(*at) => self.confirm(*at),
            Step::Drain(at) if !self.is_stopped(*at) => {
                if let Some(lease) = self.replicas[*at].lease.take()
                    && let Ok(transaction) = self.ledger.hand_back(&format!("r{at}"), lease.epoch())
                {
                    self.balances.apply(&transaction);
                }
            }
            Step::Sleep(_)
            | Step::Lease(..)
            | Step::Promise(..)
            | Step::Confirm(_)
            | Step::Drain(_) => {}
        }
    }

    fn lease(&mut self, at: usize, amount: i64) {
        // Asking the database shows the replica the true time: it is awake again.
        self.replicas[at].asleep_since = None;
        self.replicas[at].is_zombie = false;
        let granted = self
            .ledger
            .grant(&format!("r{at}"), Micros(amount), self.now, TTL);
        if let Ok((grant, transaction)) = granted {
            self.balances.apply(&transaction);
            self.replicas[at].lease = Some(ReplicaLease::new(grant));
        }
    }

    fn confirm(&mut self, at: usize) {
        if self.replicas[at].promised.is_empty() {
            return;
        }
        let (epoch, amount) = self.replicas[at].promised.remove(0);
        let name = format!("r{at}");
        if !self.is_fenced {
            let lease = self.ledger.lease_account(&name);
            let believed = Transaction::transfer(lease, self.ledger.spent_account(), amount);
            return self.balances.apply(&believed);
        }
        match self.ledger.spend(&name, epoch, amount, self.now) {
            Ok(transaction) => self.balances.apply(&transaction),
            Err(_) => {
                // One refusal is enough: the replica throws its lease and its promises away.
                self.refused += 1;
                self.replicas[at] = Replica::default();
            }
        }
    }

    /// The invariants that hold with the fence: the first one broken, in words.
    fn broken(&self) -> Option<&'static str> {
        let account = |name: &str| self.balances.of(&Account::parse(name).unwrap());
        let spent = account("spent:li-1");
        let leased: Micros = (0..4).map(|at| account(&format!("lease:li-1:r{at}"))).sum();
        let funded = -account("funding");
        let is_negative = |(account, balance): (&Account, Micros)| {
            *account != Account::Funding && balance < Micros::ZERO
        };
        if self.balances.sum() != Micros::ZERO {
            Some("the ledger does not sum to zero")
        } else if spent > funded {
            Some("more is spent than was funded")
        } else if self.balances.iter().any(is_negative) {
            Some("an account is overdrawn")
        } else if leased + spent + account("budget:li-1") != funded {
            Some("leased + spent + free is not the budget")
        } else if self.is_fenced && (spent, leased) != (self.ledger.spent(), self.ledger.leased()) {
            Some("state and postings disagree")
        } else {
            None
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn no_interleaving_of_crashes_and_zombies_overspends(steps in prop::collection::vec(step(), 1..200)) {
        let mut world = World::new(true);
        for step in &steps {
            world.run(step);
            prop_assert_eq!(world.broken(), None, "after {:?}", step);
        }
        // After quiet: every lease ends, and what was not spent is free again.
        world.run(&Step::Pass(TTL));
        prop_assert_eq!(world.ledger.leased(), Micros::ZERO);
        prop_assert_eq!(world.ledger.free() + world.ledger.spent(), world.ledger.funded());
    }
}

/// A replica promises, sleeps past the end of its lease, and wakes up when another has the money.
const LATE: [Step; 8] = [
    Step::Lease(0, 1_000),
    Step::Promise(0, 600),
    Step::Sleep(0),
    Step::Pass(TTL),
    Step::Lease(1, 1_000),
    Step::Promise(1, 900),
    Step::Confirm(1),
    Step::Wake(0),
];

#[test]
fn a_zombie_stops_within_one_request() {
    let mut world = World::new(true);
    LATE.iter().for_each(|step| world.run(step));
    world.run(&Step::Promise(0, 100)); // its own clock still believes in the lease
    world.run(&Step::Confirm(0));
    assert_eq!((world.broken(), world.refused), (None, 1));
    world.run(&Step::Confirm(0));
    assert_eq!((world.ledger.spent(), world.refused), (Micros(900), 1));
}

/// The negative control: the same story with the fence off breaks the ledger, so the test above and
/// the model test can fail.
#[test]
fn without_the_fence_the_zombie_overspends() {
    let mut world = World::new(false);
    LATE.iter().for_each(|step| world.run(step));
    world.run(&Step::Confirm(0));
    assert_eq!(world.broken(), Some("more is spent than was funded"));
}
