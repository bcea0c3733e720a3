//! The log below the service: sequences, clocks, keys, and two replicas that race.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use rapport_api::event::v1::EventRecord;
use rapport_profile::background;
use rapport_profile::log::{
    Appended, Committer, CommitterOptions, Cursor, Entry, Hub, Prepared, Protection, StoredBatch,
    Tail, TailFilter, dedup_key,
};
use rapport_profile::store::log as store;
use rapport_profile::{POSTGRES, SQLITE};
use rapport_store::testing::{Engine, TestDb};
use rapport_store::{Db, store_contract};
use rapport_types::{Clock, ManualClock, PARTITIONS, UnixMillis};

use crate::support::{START, assert_gapless};

/// One replica of the log.
struct Log {
    database: TestDb,
    db: Db,
    hub: Arc<Hub>,
    clock: Arc<ManualClock>,
    committer: Committer,
}

async fn open(engine: Engine) -> Log {
    let database = TestDb::create(engine).await;
    let db = database.open_migrated(&POSTGRES, &SQLITE).await;
    replica(database, db)
}

fn replica(database: TestDb, db: Db) -> Log {
    let hub = Arc::new(Hub::default());
    let clock = Arc::new(ManualClock::at(START));
    let committer = committer(&db, &hub, &clock);
    Log {
        database,
        db,
        hub,
        clock,
        committer,
    }
}

fn committer(db: &Db, hub: &Arc<Hub>, clock: &Arc<ManualClock>) -> Committer {
    let clock: Arc<dyn Clock> = Arc::clone(clock) as Arc<dyn Clock>;
    let options = CommitterOptions {
        writers: 4,
        protection: Protection::default(),
    };
    Committer::start(db, hub, &clock, options)
}

fn prepared(id: &str, partition: u32) -> Prepared {
    let record = EventRecord {
        partition,
        event_id: id.to_owned(),
        fingerprint: vec![1; 16].into(),
        ..EventRecord::default()
    };
    Prepared::new(&record, dedup_key("test", id))
}

async fn all(db: &Db, hub: &Arc<Hub>) -> Vec<EventRecord> {
    let cursor = |partition| Cursor {
        partition,
        after_sequence: 0,
    };
    let cursors: Vec<_> = (0..PARTITIONS).map(cursor).collect();
    let mut tail = Tail::new(
        db.clone(),
        Arc::clone(hub),
        &cursors,
        TailFilter::default(),
        false,
    );
    let mut events = Vec::new();
    while let Some(item) = tail.next().await.unwrap() {
        events.extend(item.batch.into_iter().flat_map(|batch| batch.events));
    }
    events
}

store_contract!(
    open,
    [
        racing_appends_leave_no_gap_and_keep_each_event_once,
        receipt_times_never_fall_although_the_clock_does,
        thousands_of_keys_are_remembered_and_forgotten,
        a_request_is_answered_in_its_own_order,
        more_than_fits_is_refused,
    ]
);

async fn racing_appends_leave_no_gap_and_keep_each_event_once(log: Log) {
    // Eight callers, each sends what its neighbour sends too.
    let calls = (0..8_usize).map(|caller| {
        let committer = log.committer.clone();
        tokio::spawn(async move {
            let mut accepted = 0;
            for round in 0..20 {
                let ids = (0..20).map(|n| (caller / 2, round, n));
                let events = ids.map(|(pair, round, n)| {
                    prepared(&format!("{pair}-{round}-{n}"), (n % 5) as u32)
                });
                let appended = committer.append(events.collect()).await.unwrap();
                let new = appended
                    .iter()
                    .filter(|one| matches!(one, Appended::Accepted(_)));
                accepted += new.count();
            }
            accepted
        })
    });
    let calls: Vec<_> = calls.collect();
    let mut accepted = 0;
    for call in calls {
        accepted += call.await.unwrap();
    }
    let stored = all(&log.db, &log.hub).await;
    assert_gapless(&stored);
    let ids: HashSet<_> = stored.iter().map(|event| &event.event_id).collect();
    assert_eq!((accepted, stored.len(), ids.len()), (1_600, 1_600, 1_600));
}

async fn receipt_times_never_fall_although_the_clock_does(log: Log) {
    for (n, now) in [10, 5, 20, 15].into_iter().enumerate() {
        log.clock.set(UnixMillis(START.0 + now));
        log.committer
            .append(vec![prepared(&format!("e-{n}"), 3)])
            .await
            .unwrap();
    }
    let received: Vec<_> = all(&log.db, &log.hub)
        .await
        .iter()
        .map(|event| event.received_at_ms - START.0)
        .collect();
    assert_eq!(received, [10, 10, 20, 20]);
}

async fn thousands_of_keys_are_remembered_and_forgotten(log: Log) {
    const COUNT: u64 = 5_000;
    let key = |n: u64| dedup_key("many", &n.to_string());
    let entry = |n: u64| Entry {
        fingerprint: [n as u8; 16],
        partition: (n % 64) as u32,
        sequence: n,
    };
    let keys: Vec<u8> = (0..COUNT).flat_map(key).collect();
    let mut entries = Vec::new();
    (0..COUNT).for_each(|n| entry(n).write(&mut entries));
    let half = COUNT as usize / 2;
    let mut tx = log.db.begin().await.unwrap();
    let (old, new) = (keys.split_at(half * 16), entries.split_at(half * 26));
    store::remember(&mut tx, old.0, new.0, Some(100))
        .await
        .unwrap();
    store::remember(&mut tx, old.1, new.1, None).await.unwrap();
    tx.commit().await.unwrap();
    let look_up = async || {
        let mut tx = log.db.begin().await.unwrap();
        let asked = [keys.as_slice(), &key(COUNT)].concat();
        let found = store::look_up(&mut tx, &asked).await.unwrap();
        tx.rollback().await.unwrap();
        found
    };
    let found = look_up().await;
    assert!((0..COUNT).all(|n| found[n as usize] == Some(entry(n))));
    assert_eq!(found[COUNT as usize], None);
    let mut forgotten = 0;
    for slice in 0..store::SLICES {
        forgotten += store::forget_before(&log.db, slice, 100).await.unwrap();
    }
    assert_eq!(forgotten, 0, "day 100 itself is kept");
    for slice in 0..store::SLICES {
        forgotten += store::forget_before(&log.db, slice, 101).await.unwrap();
    }
    assert_eq!(forgotten, COUNT / 2, "backfill is kept for ever");
    let found = look_up().await;
    assert_eq!(found.iter().flatten().count(), half);
}

async fn a_request_is_answered_in_its_own_order(log: Log) {
    let events = [(5, "a"), (63, "b"), (0, "c"), (5, "d"), (5, "a")];
    let events = events.map(|(partition, id)| prepared(id, partition));
    let answers = log.committer.append(events.to_vec()).await.unwrap();
    let accepted = Appended::Accepted;
    assert_eq!(
        answers,
        [
            accepted(1),
            accepted(1),
            accepted(1),
            accepted(2),
            Appended::Duplicate(5, 1)
        ]
    );
    assert!(log.committer.append(Vec::new()).await.unwrap().is_empty());
}

async fn more_than_fits_is_refused(log: Log) {
    let large = EventRecord {
        payload: vec![0; 33 * 1024 * 1024].into(),
        ..EventRecord::default()
    };
    let large = |id: &str| Prepared::new(&large, dedup_key("test", id));
    // Polled once, the first holds its room; the second finds too little.
    let first = log.committer.append(vec![large("a")]);
    tokio::pin!(first);
    assert!(futures::poll!(&mut first).is_pending());
    let second = log.committer.append(vec![large("b")]).await;
    assert_eq!(second.unwrap_err().to_string(), "the log is behind");
    first.await.unwrap();
    assert!(
        log.committer.append(vec![large("b")]).await.is_ok(),
        "room again"
    );
}

fn stored(sequence: u64) -> StoredBatch {
    StoredBatch {
        partition: 7,
        first_sequence: sequence,
        last_sequence: sequence,
        encoded: vec![0].into(),
    }
}

/// Reads on from `after`, as every tail does; returns the sequences.
async fn read_on(db: &Db, after: u64) -> Vec<u64> {
    let batches = store::read_after(db, 7, after).await.unwrap();
    batches.iter().map(|batch| batch.last_sequence).collect()
}

/// Waits until some transaction of this database waits for a lock.
async fn somebody_waits(db: &Db) {
    const WAITING: &str = "select count(*) from pg_stat_activity
        where datname = current_database() and wait_event_type = 'Lock'";
    let Db::Postgres(pool) = db else {
        panic!("Postgres only")
    };
    while sqlx::query_scalar::<_, i64>(WAITING)
        .fetch_one(pool)
        .await
        .unwrap()
        == 0
    {
        tokio::task::yield_now().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_earlier_transaction_is_never_skipped() {
    let Log {
        db,
        database: _database,
        ..
    } = open(Engine::Postgres).await;
    let mut slow = db.begin().await.unwrap();
    let end = store::lock(&mut slow, &[7]).await.unwrap()[0].last_sequence;
    store::insert(&mut slow, &[stored(end + 1)], 1)
        .await
        .unwrap();
    let quick = tokio::spawn({
        let db = db.clone();
        async move {
            let mut quick = db.begin().await.unwrap();
            let end = store::lock(&mut quick, &[7]).await.unwrap()[0].last_sequence;
            store::insert(&mut quick, &[stored(end + 1)], 2)
                .await
                .unwrap();
            quick.commit().await.unwrap();
            end + 1
        }
    });
    somebody_waits(&db).await;
    let mut seen = read_on(&db, 0).await;
    assert!(seen.is_empty(), "the later one waits for the earlier");
    slow.commit().await.unwrap();
    assert_eq!(quick.await.unwrap(), 2);
    seen.extend(read_on(&db, 0).await);
    assert_eq!(seen, [1, 2]);
}

/// The negative control: the same race, sequences taken without the row lock.
#[tokio::test(flavor = "multi_thread")]
async fn without_the_row_lock_the_slow_one_is_skipped_for_ever() {
    const INSERT: &str = "insert into log_batch values (7, $1, $1, '')";
    let Log {
        db,
        database: _database,
        ..
    } = open(Engine::Postgres).await;
    let Db::Postgres(pool) = &db else {
        panic!("Postgres only")
    };
    let mut slow = pool.begin().await.unwrap();
    sqlx::query(INSERT)
        .bind(1_i64)
        .execute(&mut *slow)
        .await
        .unwrap();
    sqlx::query(INSERT).bind(2_i64).execute(pool).await.unwrap();
    let mut seen = read_on(&db, 0).await;
    slow.commit().await.unwrap();
    let after = *seen.last().unwrap();
    seen.extend(read_on(&db, after).await);
    assert_eq!(
        seen,
        [2],
        "sequence 1 is there and the reader never sees it"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn two_replicas_share_partitions_and_keys() {
    let first = open(Engine::Postgres).await;
    let second = first.database.open().await;
    let hub = Arc::new(Hub::default());
    let other = committer(&second, &hub, &first.clock);
    let both = [first.committer.clone(), other];
    let calls = both.into_iter().map(|committer| {
        tokio::spawn(async move {
            let mut accepted = 0;
            for round in 0..40 {
                let ids = (0..10).map(|n| prepared(&format!("{round}-{n}"), n % 3));
                let appended = committer.append(ids.collect()).await.unwrap();
                let new = appended
                    .iter()
                    .filter(|one| matches!(one, Appended::Accepted(_)));
                accepted += new.count();
            }
            accepted
        })
    });
    let calls: Vec<_> = calls.collect();
    let mut accepted = 0;
    for call in calls {
        accepted += call.await.unwrap();
    }
    assert_eq!(accepted, 400, "each event once, whichever replica took it");
    for end in store::ends(&first.db).await.unwrap() {
        first.hub.observe(end.partition, end.last_sequence);
    }
    let stored = all(&first.db, &first.hub).await;
    assert_gapless(&stored);
    assert_eq!(stored.len(), 400);
}

#[tokio::test]
async fn a_reader_hears_how_far_it_is_while_nothing_passes_its_filter() {
    let log = open(Engine::Sqlite).await;
    let events = vec![prepared("e-1", 1), prepared("e-2", 2)];
    log.committer.append(events).await.unwrap();
    let cursors = [1, 2].map(|partition| Cursor {
        partition,
        after_sequence: 0,
    });
    let filter = TailFilter::new(vec!["wanted".to_owned()]);
    let mut tail = Tail::new(log.db, log.hub, &cursors, filter, true);
    // Reading took longer than a reader may go without a word.
    tokio::time::pause();
    tokio::time::advance(Duration::from_secs(2)).await;
    tokio::time::resume();
    let first = tail.next().await.unwrap().unwrap();
    let batch = first.batch.unwrap();
    assert_eq!((batch.partition, batch.last_sequence), (1, 1));
    assert!(batch.events.is_empty() && !first.caught_up);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_follower_on_another_replica_is_woken() {
    let first = open(Engine::Postgres).await;
    let second = first.database.open().await;
    let hub = Arc::new(Hub::default());
    let background = [
        tokio::spawn(background::ring(Arc::clone(&first.hub), first.db.clone())),
        tokio::spawn(background::ring(Arc::clone(&hub), second.clone())),
        tokio::spawn(background::observe(Arc::clone(&hub), second.clone())),
    ];
    let cursor = Cursor {
        partition: 9,
        after_sequence: 0,
    };
    let mut tail = Tail::new(second, hub, &[cursor], TailFilter::default(), true);
    first
        .committer
        .append(vec![prepared("e-1", 9)])
        .await
        .unwrap();
    let batch = loop {
        if let Some(batch) = tail.next().await.unwrap().unwrap().batch {
            break batch;
        }
    };
    assert_eq!(batch.events[0].event_id, "e-1");
    background.iter().for_each(tokio::task::JoinHandle::abort);
}
