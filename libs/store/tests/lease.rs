//! Leases change hands by epoch, and a zombie's write is refused, on SQLite and on a real Postgres.
#![expect(clippy::unwrap_used, reason = "tests")]

use rapport_store::lease::{self, Lease, LeaseError};
use rapport_store::testing::{Engine, TestDb};
use rapport_store::{Db, StoreError, on_db, on_tx, on_writer};
use rapport_types::UnixMillis;

struct Fixture {
    db: Db,
    _home: TestDb,
}

async fn open(engine: Engine) -> Fixture {
    let home = TestDb::create(engine).await;
    let db = home.open().await;
    for table in [lease::TABLE, "create table effect (note text)"] {
        on_writer!(&db, |pool| sqlx::query(table).execute(pool).await.map(drop)).unwrap();
    }
    Fixture { db, _home: home }
}

const T0: UnixMillis = UnixMillis(1_700_000_000_000);
const TTL: i64 = 10_000;

async fn take(db: &Db, owner: &str, now: UnixMillis) -> Option<Lease> {
    lease::acquire(db, "events/17", owner, now, TTL)
        .await
        .unwrap()
}

/// An effect under a lease: fence, write, commit.
async fn write(db: &Db, lease: &Lease, note: &str) -> Result<(), LeaseError> {
    let mut tx = db.begin().await?;
    lease::fence(&mut tx, lease).await?;
    on_tx!(&mut tx, |conn| sqlx::query(
        "insert into effect (note) values ($1)"
    )
    .bind(note)
    .execute(conn)
    .await
    .map(drop))
    .map_err(StoreError::from)?;
    Ok(tx.commit().await?)
}

async fn notes(db: &Db) -> Vec<String> {
    on_db!(db, |pool| sqlx::query_scalar(
        "select note from effect order by note"
    )
    .fetch_all(pool)
    .await)
    .unwrap()
}

rapport_store::store_contract!(
    open,
    [
        a_lease_has_one_owner_until_it_ends,
        a_zombie_is_fenced,
        work_is_done_by_one_and_ends_with_its_lease,
        a_takeover_waits_for_the_effect_in_flight,
        a_restarted_owner_fences_its_former_life,
        a_release_frees_at_once_and_keeps_the_epoch,
        a_race_has_one_winner,
        names_are_listed_by_prefix,
    ]
);

async fn a_lease_has_one_owner_until_it_ends(fixture: Fixture) {
    let first = take(&fixture.db, "a", T0).await.unwrap();
    assert_eq!((first.epoch, first.expires), (1, T0.plus(TTL)));
    assert_eq!(take(&fixture.db, "b", T0.plus(TTL - 1)).await, None);
    let renewed = lease::renew(&fixture.db, &first, T0.plus(TTL - 1), TTL)
        .await
        .unwrap();
    assert_eq!((renewed.epoch, renewed.expires), (1, T0.plus(2 * TTL - 1)));
    assert_eq!(take(&fixture.db, "b", T0.plus(TTL)).await, None);
    let second = take(&fixture.db, "b", renewed.expires).await.unwrap();
    assert_eq!(second.epoch, 2);
}

async fn a_zombie_is_fenced(fixture: Fixture) {
    let zombie = take(&fixture.db, "a", T0).await.unwrap();
    write(&fixture.db, &zombie, "a").await.unwrap();
    // It stops for longer than its time; b takes over; it wakes up and knows nothing.
    let heir = take(&fixture.db, "b", T0.plus(TTL)).await.unwrap();
    let refused = write(&fixture.db, &zombie, "zombie").await.unwrap_err();
    assert!(
        matches!(refused, LeaseError::Fenced { epoch: 1, .. }),
        "{refused:?}"
    );
    let renewal = lease::renew(&fixture.db, &zombie, T0.plus(TTL), TTL).await;
    assert!(
        matches!(renewal, Err(LeaseError::Fenced { .. })),
        "{renewal:?}"
    );
    assert!(!lease::release(&fixture.db, &zombie).await.unwrap());
    write(&fixture.db, &heir, "b").await.unwrap();
    assert_eq!(notes(&fixture.db).await, ["a", "b"]);
}

async fn a_takeover_waits_for_the_effect_in_flight(fixture: Fixture) {
    let owner = take(&fixture.db, "a", T0).await.unwrap();
    let mut tx = fixture.db.begin().await.unwrap();
    lease::fence(&mut tx, &owner).await.unwrap();
    // The owner's clock is late, b's is fast: b wants the lease in the middle of the effect.
    let db = fixture.db.clone();
    let mut thief = tokio::spawn(async move { take(&db, "b", T0.plus(TTL)).await });
    tokio::select! {
        biased;
        taken = &mut thief => panic!("taken over inside a fenced transaction: {taken:?}"),
        read = async { for _ in 0..50 { fixture.db.ping().await.unwrap(); } } => read,
    }
    on_tx!(&mut tx, |conn| sqlx::query(
        "insert into effect (note) values ('a')"
    )
    .execute(conn)
    .await
    .map(drop))
    .unwrap();
    tx.commit().await.unwrap();
    assert_eq!(thief.await.unwrap().unwrap().epoch, 2);
    assert_eq!(notes(&fixture.db).await, ["a"]);
}

async fn a_restarted_owner_fences_its_former_life(fixture: Fixture) {
    let before = take(&fixture.db, "pod-0", T0).await.unwrap();
    let after = take(&fixture.db, "pod-0", T0.plus(1)).await.unwrap();
    assert_eq!(after.epoch, 2);
    assert!(write(&fixture.db, &before, "before").await.is_err());
    write(&fixture.db, &after, "after").await.unwrap();
}

async fn a_release_frees_at_once_and_keeps_the_epoch(fixture: Fixture) {
    let first = take(&fixture.db, "a", T0).await.unwrap();
    assert!(lease::release(&fixture.db, &first).await.unwrap());
    assert_eq!(take(&fixture.db, "b", T0).await.unwrap().epoch, 2);
}

async fn a_race_has_one_winner(fixture: Fixture) {
    let tasks: Vec<_> = (0..20)
        .map(|number| {
            let db = fixture.db.clone();
            tokio::spawn(async move { take(&db, &format!("replica {number}"), T0).await })
        })
        .collect();
    let mut winners = Vec::new();
    for task in tasks {
        winners.extend(task.await.unwrap());
    }
    assert_eq!(winners.len(), 1);
    assert_eq!(winners[0].epoch, 1);
}

async fn names_are_listed_by_prefix(fixture: Fixture) {
    for name in ["events/9", "events/17", "eventual", "other", "events/é"] {
        lease::acquire(&fixture.db, name, "a", T0, TTL)
            .await
            .unwrap()
            .unwrap();
    }
    let listed = lease::list(&fixture.db, "events/").await.unwrap();
    let names: Vec<_> = listed.iter().map(|lease| lease.name.as_str()).collect();
    assert_eq!(names, ["events/17", "events/9", "events/é"]);
    let refused = lease::acquire(&fixture.db, "", "a", T0, TTL).await;
    assert!(
        matches!(refused, Err(LeaseError::Invalid("name"))),
        "{refused:?}"
    );
}

async fn work_is_done_by_one_and_ends_with_its_lease(fixture: Fixture) {
    let db = &fixture.db;
    let alone = async |owner: &str, steal: bool| {
        let work = |own: Lease| async move {
            write(db, &own, owner).await.unwrap();
            assert_eq!(take(db, "other", T0).await, None, "it is held meanwhile");
            if steal {
                take(db, "thief", T0.plus(TTL)).await.unwrap();
                std::future::pending::<()>().await;
            }
            own.epoch
        };
        // Renewed every millisecond, by a clock that stands.
        lease::alone(db, "events/17", owner, 3, || T0, work).await
    };
    assert_eq!(alone("first", false).await.unwrap(), Some(1));
    // Given up in the end: the next need not wait.
    let lost = alone("second", true).await.unwrap_err();
    assert!(
        matches!(lost, LeaseError::Fenced { epoch: 2, .. }),
        "{lost}"
    );
    assert_eq!(alone("third", false).await.unwrap(), None);
    assert_eq!(notes(db).await, ["first", "second"]);
}
