//! One effect per request id (PROMISES D3), on SQLite and on a real Postgres.
#![expect(clippy::unwrap_used, reason = "tests")]

use rapport_store::idempotency::{self, Begun, Call, IdempotencyError};
use rapport_store::testing::{Engine, TestDb};
use rapport_store::{Db, StoreError, Tx, on_db, on_tx, on_writer};
use rapport_types::UnixMillis;

struct Fixture {
    db: Db,
    _home: TestDb,
}

async fn open(engine: Engine) -> Fixture {
    let home = TestDb::create(engine).await;
    let db = home.open().await;
    match &db {
        Db::Postgres(pool) => sqlx::raw_sql(idempotency::TABLE_POSTGRES)
            .execute(pool)
            .await
            .map(drop),
        Db::Sqlite(files) => sqlx::raw_sql(idempotency::TABLE_SQLITE)
            .execute(files.writer())
            .await
            .map(drop),
    }
    .unwrap();
    on_writer!(&db, |pool| sqlx::query("create table effect (note text)")
        .execute(pool)
        .await
        .map(drop))
    .unwrap();
    Fixture { db, _home: home }
}

const NOW: UnixMillis = UnixMillis(1_700_000_000_000);
const CALL: Call<'static> = Call {
    caller: "shop",
    method: "/ads/Redeem",
    request_id: "r-1",
    body_hash: b"hash",
};

#[derive(Debug, thiserror::Error)]
enum Error {
    #[error("the effect failed")]
    Refused,
    #[error(transparent)]
    Idempotency(#[from] IdempotencyError),
    #[error(transparent)]
    Store(#[from] StoreError),
}

async fn note(tx: &mut Tx, text: &str) -> Result<(), Error> {
    on_tx!(tx, |conn| sqlx::query(
        "insert into effect (note) values ($1)"
    )
    .bind(text)
    .execute(conn)
    .await
    .map(drop))
    .map_err(StoreError::from)?;
    Ok(())
}

async fn notes(db: &Db) -> Vec<String> {
    on_db!(db, |pool| sqlx::query_scalar(
        "select note from effect order by note"
    )
    .fetch_all(pool)
    .await)
    .unwrap()
}

/// What a call came to, with its response.
#[derive(Debug, PartialEq)]
enum Outcome {
    /// The effect happened now.
    Executed(Vec<u8>),
    /// The effect had happened before.
    Replayed(Vec<u8>),
}

impl Outcome {
    fn into_response(self) -> Vec<u8> {
        match self {
            Self::Executed(response) | Self::Replayed(response) => response,
        }
    }
}

/// Runs an effect as a service does: in the transaction that was begun, committed with its response.
async fn run<F>(db: &Db, call: &Call<'_>, now: UnixMillis, effect: F) -> Result<Outcome, Error>
where
    F: AsyncFnOnce(&mut Tx) -> Result<Vec<u8>, Error>,
{
    match idempotency::begin(db, call, now).await? {
        Begun::Done(response) => Ok(Outcome::Replayed(response)),
        Begun::New(mut tx, slot) => {
            let response = effect(&mut tx).await?;
            slot.commit(tx, &response).await?;
            Ok(Outcome::Executed(response))
        }
    }
}

async fn redeem(db: &Db, call: &Call<'_>, text: &str) -> Result<Outcome, Error> {
    run(db, call, NOW, async |tx| {
        note(tx, text).await?;
        Ok(text.as_bytes().to_vec())
    })
    .await
}

rapport_store::store_contract!(
    open,
    [
        a_hundred_concurrent_calls_have_one_effect,
        another_body_is_refused,
        callers_methods_and_ids_are_independent,
        a_failed_effect_leaves_no_record,
        a_lost_reply_is_replayed,
        a_forgotten_response_is_an_error,
        parts_have_maxima,
        the_sweep_keeps_a_day,
        a_sweep_leaves_nothing_old_however_much_there_is,
    ]
);

async fn a_hundred_concurrent_calls_have_one_effect(fixture: Fixture) {
    let tasks: Vec<_> = (0..100)
        .map(|number| {
            let db = fixture.db.clone();
            tokio::spawn(async move { redeem(&db, &CALL, &format!("by {number}")).await })
        })
        .collect();
    let (mut executed, mut replies) = (0, Vec::new());
    for task in tasks {
        match task.await.unwrap() {
            Ok(outcome) => {
                executed += i32::from(matches!(outcome, Outcome::Executed(_)));
                replies.push(outcome.into_response());
            }
            // Allowed by the promise: the caller tries again and gets the same reply.
            Err(Error::Idempotency(IdempotencyError::Store(why))) => assert!(why.is_retryable()),
            Err(why) => panic!("{why:?}"),
        }
    }
    assert_eq!(executed, 1);
    let effects = notes(&fixture.db).await;
    assert_eq!(effects.len(), 1);
    assert!(replies.iter().all(|reply| reply == effects[0].as_bytes()));
    assert_eq!(
        redeem(&fixture.db, &CALL, "late")
            .await
            .unwrap()
            .into_response(),
        replies[0]
    );
}

async fn another_body_is_refused(fixture: Fixture) {
    redeem(&fixture.db, &CALL, "first").await.unwrap();
    let other = Call {
        body_hash: b"other",
        ..CALL
    };
    let refused = redeem(&fixture.db, &other, "second").await.unwrap_err();
    assert!(
        matches!(refused, Error::Idempotency(IdempotencyError::Reused)),
        "{refused:?}"
    );
    assert_eq!(notes(&fixture.db).await, ["first"]);
}

async fn callers_methods_and_ids_are_independent(fixture: Fixture) {
    let calls = [
        CALL,
        Call {
            caller: "other shop",
            ..CALL
        },
        Call {
            method: "/ads/Book",
            ..CALL
        },
        Call {
            request_id: "r-2",
            ..CALL
        },
    ];
    for call in calls {
        let outcome = redeem(&fixture.db, &call, "x").await.unwrap();
        assert_eq!(outcome, Outcome::Executed(b"x".to_vec()));
    }
    assert_eq!(notes(&fixture.db).await.len(), 4);
}

async fn a_failed_effect_leaves_no_record(fixture: Fixture) {
    let failed = run(&fixture.db, &CALL, NOW, async |tx| {
        note(tx, "half").await?;
        Err(Error::Refused)
    })
    .await;
    assert!(matches!(failed, Err(Error::Refused)), "{failed:?}");
    let again = redeem(&fixture.db, &CALL, "whole").await.unwrap();
    assert_eq!(again, Outcome::Executed(b"whole".to_vec()));
    assert_eq!(notes(&fixture.db).await, ["whole"]);
}

async fn a_lost_reply_is_replayed(fixture: Fixture) {
    redeem(&fixture.db, &CALL, "kept").await.unwrap();
    // Even an effect that would fail now: it is not run.
    let replayed = run(&fixture.db, &CALL, NOW.plus(5), async |_tx| {
        Err(Error::Refused)
    })
    .await;
    assert_eq!(replayed.unwrap(), Outcome::Replayed(b"kept".to_vec()));
}

async fn a_forgotten_response_is_an_error(fixture: Fixture) {
    let begun = idempotency::begin(&fixture.db, &CALL, NOW).await.unwrap();
    let Begun::New(tx, _slot) = begun else {
        panic!("{begun:?}")
    };
    tx.commit().await.unwrap();
    let found = redeem(&fixture.db, &CALL, "x").await.unwrap_err();
    assert!(
        matches!(found, Error::Idempotency(IdempotencyError::Unrecorded)),
        "{found:?}"
    );
}

async fn parts_have_maxima(fixture: Fixture) {
    let long = "x".repeat(idempotency::NAME_BYTES_MAX + 1);
    for (call, part) in [
        (
            Call {
                request_id: "",
                ..CALL
            },
            "request_id",
        ),
        (
            Call {
                request_id: &long,
                ..CALL
            },
            "request_id",
        ),
        (
            Call {
                caller: &long,
                ..CALL
            },
            "caller",
        ),
        (Call { method: "", ..CALL }, "method"),
        (
            Call {
                body_hash: &[],
                ..CALL
            },
            "body_hash",
        ),
    ] {
        let refused = redeem(&fixture.db, &call, "x").await.unwrap_err();
        let Error::Idempotency(IdempotencyError::Invalid(named)) = refused else {
            panic!("{refused:?}")
        };
        assert_eq!(named, part);
    }
    let large = run(&fixture.db, &CALL, NOW, async |_tx| {
        Ok(vec![0; idempotency::RESPONSE_BYTES_MAX + 1])
    })
    .await;
    assert!(matches!(
        large,
        Err(Error::Idempotency(IdempotencyError::Invalid("response")))
    ));
}

async fn the_sweep_keeps_a_day(fixture: Fixture) {
    redeem(&fixture.db, &CALL, "old").await.unwrap();
    let day = NOW.plus(idempotency::KEEP_MIN_MS);
    // Asked for less than a day, it still keeps a day, to the millisecond.
    assert_eq!(idempotency::sweep(&fixture.db, day, 0).await.unwrap(), 0);
    assert_eq!(
        idempotency::sweep(&fixture.db, day.plus(1), 0)
            .await
            .unwrap(),
        1
    );
    let again = redeem(&fixture.db, &CALL, "new").await.unwrap();
    assert_eq!(again, Outcome::Executed(b"new".to_vec()));
}

// More than one slice.
const MANY: &str = "insert into idempotency (caller, method, request_id, body_hash, created_at_ms)
    with recursive numbers (n) as (select 1 union all select n + 1 from numbers where n < 10001)
    select 'shop', 'Redeem', cast(n as text), $1, $2 from numbers";

async fn a_sweep_leaves_nothing_old_however_much_there_is(fixture: Fixture) {
    on_writer!(&fixture.db, |pool| sqlx::query(MANY)
        .bind(CALL.body_hash)
        .bind(NOW.0)
        .execute(pool)
        .await
        .map(drop))
    .unwrap();
    let later = NOW.plus(idempotency::KEEP_MIN_MS + 1);
    redeem(&fixture.db, &CALL, "young").await.unwrap();
    let young = on_writer!(&fixture.db, |pool| sqlx::query(
        "update idempotency set created_at_ms = $1 where request_id = 'r-1'"
    )
    .bind(later.0)
    .execute(pool)
    .await
    .map(|done| done.rows_affected()));
    assert_eq!(young.unwrap(), 1);
    let swept = idempotency::sweep_all(&fixture.db, later, 0).await;
    assert_eq!(swept.unwrap(), u64::from(idempotency::SWEEP_ROWS_MAX) + 1);
    let again = redeem(&fixture.db, &CALL, "again").await.unwrap();
    assert_eq!(again, Outcome::Replayed(b"young".to_vec()));
}
