//! What both databases promise: books that balance, fences, one effect per key.

use std::collections::HashSet;
use std::sync::Arc;

use ads_domain::{BilledOn, LedgerError, LineItem};
use rapport_ads::committer::{Committed, Committer};
use rapport_ads::error::Error;
use rapport_ads::grpc::parse;
use rapport_ads::store::counted::{self, Counted, CountedAfter};
use rapport_ads::store::decision::{self, Event, NewDecision, Shown};
use rapport_ads::store::erased::{self, Named};
use rapport_ads::store::ledger::{self, Note};
use rapport_ads::store::{campaign, ctr};
use rapport_ads::wallet::{Terms, Wallet};
use rapport_store::testing::{Engine, TestDb};
use rapport_store::{Db, StoreError, on_tx, store_contract};
use rapport_types::{Clock, DecisionId, ManualClock, Micros, SubjectId};

use crate::support::{NOW, line_item};

const TTL_MS: i64 = 10_000;

struct Fixture {
    db: Db,
    _test: TestDb,
}

async fn open(engine: Engine) -> Fixture {
    let test = TestDb::create(engine).await;
    let postgres = sqlx::migrate!("migrations/postgres");
    let sqlite = sqlx::migrate!("migrations/sqlite");
    let db = test.open_migrated(&postgres, &sqlite).await;
    let mut tx = db.begin().await.unwrap();
    campaign::put_campaign(&mut tx, "c", b"").await.unwrap();
    campaign::put_line_item(&mut tx, "li", "c", b"")
        .await
        .unwrap();
    ledger::open(&mut tx, "li").await.unwrap();
    tx.commit().await.unwrap();
    fund(&db, 1_000).await;
    Fixture { db, _test: test }
}

async fn fund(db: &Db, amount: i64) {
    let fund = ledger::run(db, "li", Note::new("budget", NOW), |ledger| {
        Ok(((), vec![ledger.fund(Micros(amount))?]))
    });
    fund.await.unwrap();
}

/// A line item whose events cost up to 10 micros.
fn rules() -> LineItem {
    parse::line_item(&line_item("li", 10_000, 1_000)).unwrap()
}

fn wallet(db: &Db, replica: &str, clock: &Arc<ManualClock>) -> Wallet {
    let terms = Terms {
        replica: replica.to_owned(),
        ttl_ms: TTL_MS,
        size: Some(Micros(100)),
        fenced: true,
    };
    Wallet::new(db.clone(), Arc::clone(clock) as Arc<dyn Clock>, terms)
}

fn shown(replica: &str, epoch: u64) -> Shown {
    Shown {
        line_item_id: "li".to_owned(),
        campaign_id: "c".to_owned(),
        billed_on: BilledOn::Impression,
        charge: Micros(10),
        replica: replica.to_owned(),
        epoch,
        counted_on: Some(SubjectId::new([5; 16])),
    }
}

fn decision_of(n: u8, request_id: &str, shown: Option<Shown>) -> NewDecision {
    NewDecision {
        id: DecisionId::new([n; 16]),
        caller: "shop".to_owned(),
        request_id: request_id.to_owned(),
        body_hash: vec![1],
        response: vec![n],
        decided_at: NOW,
        placement: "home".to_owned(),
        subject: Some(SubjectId::new([5; 16])),
        shown,
    }
}

/// Free, leased, spent.
async fn books(db: &Db) -> (i64, i64, i64) {
    assert_eq!(ledger::sum(db).await.unwrap(), 0);
    let accounts = ledger::accounts(db, "li").await.unwrap();
    let sum = |kind: &str| {
        let of_kind = accounts.iter().filter(|(name, _)| name.starts_with(kind));
        of_kind.map(|(_, balance)| balance).sum()
    };
    (sum("budget:"), sum("lease:"), sum("spent:"))
}

async fn money_moves_and_the_entries_say_the_same_as_the_balances(fixture: Fixture) {
    let db = &fixture.db;
    let note = Note::new("test", NOW);
    let grant = ledger::run(db, "li", note, |ledger| {
        let (grant, moved) = ledger.grant("a", Micros(300), NOW, TTL_MS)?;
        Ok((grant, vec![moved]))
    });
    let grant = grant.await.unwrap();
    assert_eq!(books(db).await, (700, 300, 0));
    let spend = ledger::run(db, "li", note, |ledger| {
        Ok(((), vec![ledger.spend("a", grant.epoch, Micros(120), NOW)?]))
    });
    spend.await.unwrap();
    assert_eq!(books(db).await, (700, 180, 120));
    let refused = ledger::run(db, "li", note, |ledger| {
        Ok((
            (),
            vec![ledger.spend("a", grant.epoch + 1, Micros(1), NOW)?],
        ))
    });
    assert!(matches!(
        refused.await,
        Err(Error::Ledger(LedgerError::StaleEpoch(_)))
    ));
    let end = NOW.plus(TTL_MS);
    assert_eq!(ledger::ended(db, NOW).await.unwrap(), Vec::<String>::new());
    assert_eq!(ledger::ended(db, end).await.unwrap(), ["li"]);
    let expire = ledger::run(db, "li", note, |ledger| Ok(((), ledger.expire(end))));
    expire.await.unwrap();
    assert_eq!(books(db).await, (880, 0, 120));
    let names: Vec<_> = ledger::accounts(db, "li")
        .await
        .unwrap()
        .into_iter()
        .map(|it| it.0)
        .collect();
    assert_eq!(
        names,
        ["budget:li", "spent:li"],
        "a closed lease leaves no account"
    );
    let mut tx = db.begin().await.unwrap();
    let entries: Vec<(String, i64)> = on_tx!(&mut tx, |conn| sqlx::query_as(
        "select account, cast(sum(amount_micros) as bigint) from entry group by account order by account"
    )
    .fetch_all(conn)
    .await)
    .unwrap();
    tx.rollback().await.unwrap();
    let expected = [
        ("budget:li", 880),
        ("funding", -1_000),
        ("lease:li:a", 0),
        ("spent:li", 120),
    ];
    assert_eq!(entries, expected.map(|(name, sum)| (name.to_owned(), sum)));
    let missing = ledger::run(db, "nobody", note, |_| Ok(((), Vec::new()))).await;
    assert!(matches!(missing, Err(Error::LineItemNotFound(_))));
}

async fn no_account_but_funding_can_fall_below_zero(fixture: Fixture) {
    let mut tx = fixture.db.begin().await.unwrap();
    let taken: Result<_, StoreError> = on_tx!(&mut tx, |conn| sqlx::query(
        "update account set balance_micros = -1 where account = 'budget:li'"
    )
    .execute(conn)
    .await
    .map(|_| ()))
    .map_err(StoreError::from);
    assert!(
        matches!(taken, Err(StoreError::Constraint { .. })),
        "{taken:?}"
    );
}

async fn replicas_together_never_lease_more_than_the_budget(fixture: Fixture) {
    let clock = Arc::new(ManualClock::at(NOW));
    let wallets: Vec<_> = (0..8)
        .map(|n| wallet(&fixture.db, &format!("r{n}"), &clock))
        .collect();
    let promise = async |wallet: &Wallet, from: u8| {
        let mut promised = 0;
        for n in 0..40 {
            let id = DecisionId::new([from * 40 + n; 16]);
            if wallet.promise("li", id, Micros(10), NOW).is_some() {
                promised += 10;
            } else if !wallet.acquire(&rules(), Micros(10)).await.unwrap() {
                break;
            }
        }
        promised
    };
    let racing = wallets
        .iter()
        .zip(0..6)
        .map(|(wallet, from)| promise(wallet, from));
    let promised: i64 = futures::future::join_all(racing).await.into_iter().sum();
    let (free, leased, spent) = books(&fixture.db).await;
    assert!(promised <= leased, "{promised} is promised of {leased}");
    assert_eq!((free + leased, spent), (1_000, 0));
    assert!(promised >= 900, "only {promised} could be promised");
    for wallet in &wallets {
        wallet.hand_back_all().await.unwrap();
    }
    assert_eq!(books(&fixture.db).await, (1_000, 0, 0));
}

async fn a_zombie_whose_clock_stands_still_is_refused_by_the_fence(fixture: Fixture) {
    let db = &fixture.db;
    let (late, now) = (
        Arc::new(ManualClock::at(NOW)),
        Arc::new(ManualClock::at(NOW)),
    );
    let (zombie, other) = (wallet(db, "zombie", &late), wallet(db, "other", &now));
    assert!(zombie.acquire(&rules(), Micros(10)).await.unwrap());
    let id = DecisionId::new([1; 16]);
    let epoch = zombie.promise("li", id, Micros(10), NOW).unwrap();
    let committer = Committer::start(db.clone(), late.clone(), true);
    let mut decision = decision_of(1, "r1", Some(shown("zombie", epoch)));
    assert_eq!(
        committer.commit(decision.clone()).await.unwrap(),
        Committed::Stored
    );

    now.advance(TTL_MS);
    other.reap().await.unwrap();
    assert_eq!(books(db).await, (1_000, 0, 0));
    // It still believes in its lease: the promise is made, and not stored.
    (decision.id, decision.request_id) = (DecisionId::new([2; 16]), "r2".to_owned());
    assert!(zombie.promise("li", decision.id, Micros(10), NOW).is_some());
    assert_eq!(
        committer.commit(decision.clone()).await.unwrap(),
        Committed::Fenced
    );
    assert_eq!(decision::find(db, decision.id).await.unwrap(), None);
    zombie.keep().await.unwrap();
    assert_eq!(
        zombie.promise("li", decision.id, Micros(10), NOW),
        None,
        "it knows now"
    );

    // The negative control: without the fence the promise is stored, though nobody holds its money.
    let unfenced = Committer::start(db.clone(), late, false);
    assert_eq!(unfenced.commit(decision).await.unwrap(), Committed::Stored);
}

async fn promises_lapse_and_idle_leases_go_back(fixture: Fixture) {
    let clock = Arc::new(ManualClock::at(NOW));
    let wallet = wallet(&fixture.db, "a", &clock);
    assert!(wallet.acquire(&rules(), Micros(10)).await.unwrap());
    let id = DecisionId::new([1; 16]);
    wallet.promise("li", id, Micros(10), NOW).unwrap();
    wallet.keep().await.unwrap();
    assert_eq!(
        books(&fixture.db).await,
        (890, 110, 0),
        "the promise and a whole lease beside it"
    );
    clock.advance(TTL_MS - 1);
    wallet.keep().await.unwrap(); // renewed just before its end, with an open promise
    assert_eq!(books(&fixture.db).await, (890, 110, 0));
    clock.advance(1);
    wallet.keep().await.unwrap(); // the promise lapsed, nothing was promised since
    assert_eq!(books(&fixture.db).await, (1_000, 0, 0));
}

async fn a_restart_under_the_same_name_closes_what_it_left(fixture: Fixture) {
    let clock = Arc::new(ManualClock::at(NOW));
    let before = wallet(&fixture.db, "a", &clock);
    assert!(before.acquire(&rules(), Micros(10)).await.unwrap());
    let after = wallet(&fixture.db, "a", &clock);
    after.close_former().await.unwrap();
    assert_eq!(books(&fixture.db).await, (1_000, 0, 0));
    assert!(after.acquire(&rules(), Micros(10)).await.unwrap());
    before.hand_back_all().await.unwrap();
    assert_eq!(
        books(&fixture.db).await,
        (900, 100, 0),
        "the former life cannot close the new lease"
    );
}

async fn one_decision_per_request_id_however_many_ask(fixture: Fixture) {
    let clock: Arc<dyn Clock> = Arc::new(ManualClock::at(NOW));
    let committers = [0, 1].map(|_| Committer::start(fixture.db.clone(), Arc::clone(&clock), true));
    let commits = (0..40u8).map(|n| {
        let decision = decision_of(n, if n % 4 < 2 { "r1" } else { "r2" }, None);
        committers[usize::from(n % 2)].commit(decision)
    });
    let committed: Vec<_> = futures::future::join_all(commits).await;
    let committed: Vec<_> = committed.into_iter().map(Result::unwrap).collect();
    let stored = committed
        .iter()
        .filter(|it| **it == Committed::Stored)
        .count();
    let answers: HashSet<_> = committed
        .iter()
        .filter(|it| **it != Committed::Stored)
        .cloned()
        .collect();
    assert_eq!((stored, answers.len()), (2, 2));
    let mut other = decision_of(99, "r1", None);
    other.body_hash = vec![2];
    assert_eq!(
        committers[0].commit(other).await.unwrap(),
        Committed::Reused
    );
}

async fn one_decision_that_cannot_be_stored_fails_alone(fixture: Fixture) {
    let clock: Arc<dyn Clock> = Arc::new(ManualClock::at(NOW));
    let committer = Committer::start(fixture.db.clone(), clock, true);
    let first = decision_of(1, "r1", None);
    assert_eq!(committer.commit(first).await.unwrap(), Committed::Stored);
    // All of them are queued before the first group is taken. The second has the id of another.
    let group = [
        decision_of(2, "r2", None),
        decision_of(1, "r3", None),
        decision_of(4, "r4", None),
    ];
    let committed = group.map(|decision| committer.commit(decision));
    let committed = futures::future::join_all(committed).await;
    assert!(
        matches!(
            &committed[..],
            [
                Ok(Committed::Stored),
                Err(Error::Store(StoreError::Query(_))),
                Ok(Committed::Stored)
            ]
        ),
        "{committed:?}"
    );
}

async fn an_event_happens_once_however_often_it_is_told(fixture: Fixture) {
    let db = &fixture.db;
    let new = decision_of(1, "r1", Some(shown("a", 1)));
    let mut tx = db.begin().await.unwrap();
    assert!(decision::insert(&mut tx, &new).await.unwrap());
    assert!(
        decision::insert(&mut tx, &decision_of(2, "r2", None))
            .await
            .unwrap()
    );
    tx.commit().await.unwrap();
    let tell = async |n: i64| {
        let mut tx = db.begin().await.unwrap();
        let at = NOW.plus(n);
        let happened = decision::happened(&mut tx, new.id, Event::Click, at)
            .await
            .unwrap();
        if happened {
            decision::set_cost(&mut tx, new.id, Micros(7))
                .await
                .unwrap();
            ctr::add(&mut tx, "li", "home", 0, 1).await.unwrap();
        }
        tx.commit().await.unwrap();
        happened
    };
    let told = futures::future::join_all((0..20).map(tell)).await;
    assert_eq!(told.into_iter().filter(|happened| *happened).count(), 1);
    let stored = decision::find(db, new.id).await.unwrap().unwrap();
    assert!(stored.happened_at(Event::Click).is_some() && stored.seen_at.is_none());
    assert_eq!((stored.cost, stored.shown.epoch), (Micros(7), 1));
    assert_eq!(
        ctr::all(db).await.unwrap(),
        [("li".to_owned(), "home".to_owned(), 0, 1)]
    );
    let mut tx = db.begin().await.unwrap();
    let unfilled = DecisionId::new([2; 16]);
    assert!(
        !decision::happened(&mut tx, unfilled, Event::Click, NOW)
            .await
            .unwrap()
    );
    tx.rollback().await.unwrap();
    assert_eq!(decision::find(db, unfilled).await.unwrap(), None);
}

async fn counted_ads_are_read_back_and_old_ones_swept(fixture: Fixture) {
    let db = &fixture.db;
    let mut tx = db.begin().await.unwrap();
    let mut new = decision_of(1, "r1", Some(shown("a", 1)));
    new.decided_at = NOW.plus(-decision::KEEP_MS - 1);
    assert!(decision::insert(&mut tx, &new).await.unwrap());
    let newer = decision_of(2, "r2", Some(shown("a", 1)));
    assert!(decision::insert(&mut tx, &newer).await.unwrap());
    assert!(
        decision::insert(&mut tx, &decision_of(3, "r3", None))
            .await
            .unwrap()
    );
    tx.commit().await.unwrap();
    let all = CountedAfter::default();
    assert_eq!(counted::counted(db, &all).await.unwrap().0.len(), 2);
    assert_eq!(decision::sweep(db, NOW).await.unwrap(), 1);
    let expected = Counted {
        subject: SubjectId::new([5; 16]),
        line_item_id: "li".to_owned(),
        at: NOW,
    };
    assert_eq!(
        counted::counted(db, &all).await.unwrap(),
        (vec![expected], None)
    );
}

async fn a_subject_is_taken_out_of_its_decisions_and_nobody_else(fixture: Fixture) {
    let db = &fixture.db;
    let (gone, other) = (SubjectId::new([7; 16]), SubjectId::new([5; 16]));
    let mut tx = db.begin().await.unwrap();
    // Of `other` alone, of `gone` alone, of both while they were one person, of nobody.
    let rows = [
        (Some(other), other),
        (Some(gone), gone),
        (Some(other), gone),
        (None, other),
    ];
    for (n, (subject, counted_on)) in (1u8..).zip(rows) {
        let mut shown = shown("a", 1);
        shown.counted_on = subject.map(|_| counted_on);
        let mut new = decision_of(n, &format!("r{n}"), Some(shown));
        new.subject = subject;
        assert!(decision::insert(&mut tx, &new).await.unwrap());
    }
    tx.commit().await.unwrap();
    let named = async |after| {
        let shown_to = erased::named(db, Named::ShownTo, after).await.unwrap();
        let counted_on = erased::named(db, Named::CountedOn, after).await.unwrap();
        (shown_to, counted_on)
    };
    assert_eq!(named(None).await, (vec![other, gone], vec![other, gone]));
    assert_eq!(named(Some(other)).await, (vec![gone], vec![gone]));
    assert_eq!(erased::forget(db, gone).await.unwrap(), 2);
    assert_eq!(named(None).await, (vec![other], vec![other]));
    assert_eq!(erased::forget(db, gone).await.unwrap(), 0);
    let once_both = decision::find(db, DecisionId::new([3; 16])).await.unwrap();
    assert_eq!(once_both.unwrap().subject, Some(other));
    let all = counted::counted(db, &CountedAfter::default())
        .await
        .unwrap();
    assert_eq!(all.0.len(), 1, "nothing is counted on it again");
}

store_contract!(
    open,
    [
        money_moves_and_the_entries_say_the_same_as_the_balances,
        no_account_but_funding_can_fall_below_zero,
        replicas_together_never_lease_more_than_the_budget,
        a_zombie_whose_clock_stands_still_is_refused_by_the_fence,
        promises_lapse_and_idle_leases_go_back,
        a_restart_under_the_same_name_closes_what_it_left,
        one_decision_per_request_id_however_many_ask,
        one_decision_that_cannot_be_stored_fails_alone,
        an_event_happens_once_however_often_it_is_told,
        counted_ads_are_read_back_and_old_ones_swept,
        a_subject_is_taken_out_of_its_decisions_and_nobody_else,
    ]
);
