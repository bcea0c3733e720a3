//! Caps and money through a Redis that loses everything in the middle of a run.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use rapport_api::ads::v1::{AdEventKind, FrequencyCap, LineItem};
use rapport_api::r#type::v1::Degraded;
use rapport_cache::testing::OwnRedis;
use rapport_store::testing::{Engine, TestDb};
use rapport_types::{Purpose, SubjectId};

use crate::support::{Clients, Replica, World, home, line_item, outcome, subject, winner};

const CAP: usize = 3;
const PEOPLE: u8 = 6;
/// Of each line item.
const BUDGET: i64 = 900_000_000;
/// Decisions before Redis is emptied, and after.
const STRETCH: usize = 60;

fn capped() -> LineItem {
    LineItem {
        caps: vec![
            FrequencyCap {
                impressions_max: CAP as u32,
                window_hours: 24,
            },
            FrequencyCap {
                impressions_max: 2 * CAP as u32,
                window_hours: 720,
            },
        ],
        ..line_item("capped", 9_000_000, BUDGET)
    }
}

async fn shop(engine: Engine) -> World {
    World {
        db: TestDb::create(engine).await,
        ..World::new().await
    }
}

async fn start(world: &World, name: &str, redis: &OwnRedis, more: &[&str]) -> Replica {
    let url = redis.url();
    let mut flags = vec!["--replica", name, "--redis-url", &url];
    flags.extend(more);
    let clock = world.clock.clone();
    world.start_with(&flags, clock).await.unwrap()
}

async fn stock(world: &World, replica: &Replica) {
    replica.clients.put_campaign("c").await;
    replica.clients.put(capped()).await.unwrap();
    let plain = line_item("plain", 1_000_000, BUDGET);
    replica.clients.put(plain).await.unwrap();
    for n in 0..=PEOPLE {
        world
            .grant(replica, subject(n + 1), &[Purpose::Advertise])
            .await;
    }
}

/// Asks until the capped ad is shown to somebody who may still see it.
async fn served(clients: &Clients, who: SubjectId) {
    while winner(&clients.home(Some(who)).await) != "capped" {
        tokio::task::yield_now().await;
    }
}

/// Who saw the capped ad how often, since the last look. What a slow machine may do to an answer, a
/// counter store that does not answer in time, is said in it and asks only for another try.
struct Viewings<'a> {
    clients: &'a Clients,
    shown: HashMap<SubjectId, usize>,
}

impl Viewings<'_> {
    /// Asks once. Returns whether the counters could be read: if not, nothing capped may be shown.
    async fn ask(&mut self, who: SubjectId) -> bool {
        let decision = self.clients.home(Some(who)).await;
        if winner(&decision) == "capped" {
            *self.shown.entry(who).or_default() += 1;
        }
        match decision.degraded() {
            Degraded::Unspecified => true,
            Degraded::Dependency => {
                assert_eq!(
                    (winner(&decision), outcome(&decision, "capped")),
                    ("plain", "FREQUENCY")
                );
                false
            }
            Degraded::Consent | Degraded::StaleConsent | Degraded::NoModel => {
                panic!("{decision:?}")
            }
        }
    }

    /// Asks until the person has had enough. Returns how often the ad was shown since the last look.
    async fn until_capped(&mut self, who: SubjectId) -> usize {
        loop {
            let before = self.shown(who);
            if self.ask(who).await && self.shown(who) == before {
                return self.shown.remove(&who).unwrap_or(0);
            }
            assert!(self.shown(who) <= CAP, "the cap is passed");
        }
    }

    fn shown(&self, who: SubjectId) -> usize {
        self.shown.get(&who).copied().unwrap_or(0)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_capped_is_withheld_while_counters_are_rebuilt_and_served_again_after() {
    let redis = OwnRedis::start();
    let world = shop(Engine::Sqlite).await;
    let replica = start(&world, "a", &redis, &[]).await;
    stock(&world, &replica).await;
    let (clients, one, other) = (&replica.clients, subject(1), subject(2));
    let mut viewings = Viewings {
        clients,
        shown: HashMap::new(),
    };
    while viewings.shown(one) < CAP - 1 {
        viewings.ask(one).await;
    }
    // Lost, and known to be: nobody sees what is capped, with room or without. A machine so slow that
    // the rebuild is over before the second question loses the counters once more.
    loop {
        redis.flush_all();
        if !viewings.ask(one).await && !viewings.ask(other).await {
            break;
        }
    }
    // Rebuilt: one more for who has seen all but one, and no more.
    for who in [one, other] {
        assert_eq!(viewings.until_capped(who).await, CAP);
    }
    // The next day the daily cap is new and the monthly one is not.
    world.clock.advance(24 * 3_600_000);
    redis.flush_all();
    for who in [one, other] {
        assert_eq!(viewings.until_capped(who).await, CAP, "a new day");
    }
    world.clock.advance(24 * 3_600_000);
    assert_eq!(viewings.until_capped(one).await, 0, "this month");
}

/// Fact 9: checks that the ledger balances and that what is spent is what recording said it cost, to the
/// micro: money is in the database, so nothing that Redis loses is money.
async fn check_money(clients: &Clients, cost: i64) {
    let mut spent = 0;
    for line_item in ["capped", "plain"] {
        let books = clients.ledger(line_item).await.unwrap();
        assert_eq!(books.sum, 0, "{books:?}");
        assert_eq!(books.free + books.leased + books.spent, BUDGET, "{books:?}");
        spent += books.spent;
    }
    assert!(cost > 0);
    assert_eq!(spent, cost, "what was recorded was spent, once");
}

/// Two replicas decide for the same people, and record what was shown, while Redis is emptied. Returns how
/// often each person saw the capped ad.
async fn shown_through_a_flush(more: &[&str]) -> HashMap<SubjectId, usize> {
    let redis = OwnRedis::start();
    let world = shop(Engine::Postgres).await;
    let replicas = [
        start(&world, "a", &redis, more).await,
        start(&world, "b", &redis, more).await,
    ];
    stock(&world, &replicas[0]).await;
    served(&replicas[0].clients, subject(PEOPLE + 1)).await;
    let shown = Arc::new(Mutex::new(HashMap::new()));
    let (decided, over) = (
        Arc::new(AtomicUsize::new(0)),
        Arc::new(AtomicBool::new(false)),
    );
    let cost = Arc::new(AtomicI64::new(0));
    let tasks: Vec<_> = (0..4)
        .map(|worker| {
            let clients = replicas[worker % 2].clients.clone();
            let (shown, decided, over) = (shown.clone(), decided.clone(), over.clone());
            let cost = cost.clone();
            tokio::spawn(async move {
                let mut number = worker;
                while !over.load(Ordering::SeqCst) {
                    let who = subject(number as u8 % PEOPLE + 1);
                    let decision = clients.decide(home(Some(who))).await.unwrap();
                    if winner(&decision) == "capped" {
                        *shown.lock().unwrap().entry(who).or_default() += 1;
                    }
                    if decision.winner.is_some() {
                        let impression = AdEventKind::Impression;
                        let recorded = clients.record(&decision.decision_id, impression).await;
                        cost.fetch_add(recorded.unwrap().cost_micros, Ordering::SeqCst);
                    }
                    decided.fetch_add(1, Ordering::SeqCst);
                    number += 1;
                }
            })
        })
        .collect();
    let reach = async |target: usize| {
        while decided.load(Ordering::SeqCst) < target {
            tokio::task::yield_now().await;
        }
    };
    for _ in 0..2 {
        reach(decided.load(Ordering::SeqCst) + STRETCH).await;
        redis.flush_all();
    }
    // Until somebody with room is served again, and a while more.
    served(&replicas[1].clients, subject(PEOPLE + 1)).await;
    reach(decided.load(Ordering::SeqCst) + STRETCH).await;
    over.store(true, Ordering::SeqCst);
    for task in tasks {
        task.await.unwrap();
    }
    check_money(&replicas[0].clients, cost.load(Ordering::SeqCst)).await;
    shown.lock().unwrap().clone()
}

#[tokio::test(flavor = "multi_thread")]
async fn no_cap_is_passed_when_redis_loses_everything() {
    let shown = shown_through_a_flush(&[]).await;
    assert_eq!(shown.len(), usize::from(PEOPLE));
    assert!(shown.values().all(|shown| *shown == CAP), "{shown:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn without_the_rebuild_caps_are_passed() {
    let shown = shown_through_a_flush(&["--without", "frequency-rebuild"]).await;
    assert!(shown.values().any(|shown| *shown > CAP), "{shown:?}");
}
