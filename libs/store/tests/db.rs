//! The engine contract: what `Db`, `Tx` and the macros promise, on SQLite and on a real Postgres.
#![expect(clippy::unwrap_used, reason = "tests")]

use std::borrow::Cow;
use std::error::Error as _;
use std::num::NonZeroU32;

use rapport_store::testing::{Engine, TestDb};
use rapport_store::{ConstraintKind, Db, StoreConfig, StoreError, Tx, on_db, on_tx, on_writer};
use sqlx::migrate::{Migration, MigrationType, Migrator};
use sqlx::{AssertSqlSafe, SqlSafeStr};

struct Fixture {
    db: Db,
    home: TestDb,
}

const TABLE: &str = "create table item (id text not null primary key, hits bigint not null,
    constraint hits_positive check (hits > 0))";

async fn open(engine: Engine) -> Fixture {
    let home = TestDb::create(engine).await;
    let migrator = migrator(&[TABLE]);
    let db = home.open_migrated(&migrator, &migrator).await;
    Fixture { db, home }
}

/// A migrator whose migrations are numbered from 1.
fn migrator(texts: &[&'static str]) -> Migrator {
    let migrations = texts.iter().zip(1..).map(|(text, version)| {
        let name = Cow::Borrowed("step");
        let sql = AssertSqlSafe(*text).into_sql_str();
        Migration::new(version, name, MigrationType::Simple, sql, false)
    });
    Migrator::with_migrations(migrations.collect())
}

const PUT: &str = "insert into item (id, hits) values ($1, $2)
    on conflict (id) do update set hits = item.hits + excluded.hits returning hits";
const INSERT: &str = "insert into item (id, hits) values ($1, $2)";
const GET: &str = "select hits from item where id = $1";

async fn put(tx: &mut Tx, id: &str, hits: i64) -> Result<i64, StoreError> {
    Ok(on_tx!(tx, |conn| sqlx::query_scalar(PUT)
        .bind(id)
        .bind(hits)
        .fetch_one(conn)
        .await)?)
}

async fn insert(db: &Db, id: &str, hits: i64) -> Result<(), StoreError> {
    on_writer!(db, |pool| sqlx::query(INSERT)
        .bind(id)
        .bind(hits)
        .execute(pool)
        .await
        .map(drop))?;
    Ok(())
}

async fn get(db: &Db, id: &str) -> Option<i64> {
    on_db!(db, |pool| sqlx::query_scalar(GET)
        .bind(id)
        .fetch_optional(pool)
        .await)
    .unwrap()
}

rapport_store::store_contract!(
    open,
    [
        one_text_serves_both_engines,
        a_dropped_transaction_leaves_nothing,
        a_cancelled_transaction_frees_the_writer,
        concurrent_increments_are_all_counted,
        constraints_are_told_apart,
        a_wrong_statement_is_a_defect_and_prints_no_sql,
        text_sorts_by_bytes,
        committed_rows_survive_reopening,
        replicas_migrate_once,
        a_failed_migration_leaves_nothing,
        an_edited_migration_is_refused,
        an_older_binary_starts_on_a_newer_schema,
        a_closed_database_is_unavailable,
    ]
);

async fn one_text_serves_both_engines(fixture: Fixture) {
    let mut tx = fixture.db.begin().await.unwrap();
    assert_eq!(put(&mut tx, "a", 2).await.unwrap(), 2);
    assert_eq!(put(&mut tx, "a", 3).await.unwrap(), 5);
    tx.commit().await.unwrap();
    assert_eq!(get(&fixture.db, "a").await, Some(5));
    fixture.db.ping().await.unwrap();
}

async fn a_dropped_transaction_leaves_nothing(fixture: Fixture) {
    let mut tx = fixture.db.begin().await.unwrap();
    put(&mut tx, "dropped", 1).await.unwrap();
    drop(tx);
    let mut tx = fixture.db.begin().await.unwrap();
    put(&mut tx, "rolled back", 1).await.unwrap();
    tx.rollback().await.unwrap();
    assert_eq!(get(&fixture.db, "dropped").await, None);
    assert_eq!(get(&fixture.db, "rolled back").await, None);
}

async fn a_cancelled_transaction_frees_the_writer(fixture: Fixture) {
    let db = fixture.db.clone();
    let (told, begun) = tokio::sync::oneshot::channel();
    let task = tokio::spawn(async move {
        let mut tx = db.begin().await.unwrap();
        put(&mut tx, "cancelled", 1).await.unwrap();
        told.send(()).unwrap();
        std::future::pending::<()>().await;
        tx.commit().await.unwrap();
    });
    begun.await.unwrap();
    task.abort();
    assert!(task.await.unwrap_err().is_cancelled());
    // On SQLite this waits for the writer's only connection.
    let mut tx = fixture.db.begin().await.unwrap();
    assert_eq!(put(&mut tx, "cancelled", 7).await.unwrap(), 7);
    tx.commit().await.unwrap();
}

async fn concurrent_increments_are_all_counted(fixture: Fixture) {
    let tasks: Vec<_> = (0..100)
        .map(|_| {
            let db = fixture.db.clone();
            tokio::spawn(async move {
                let mut tx = db.begin().await?;
                put(&mut tx, "hot", 1).await?;
                tx.commit().await
            })
        })
        .collect();
    for task in tasks {
        task.await.unwrap().unwrap();
    }
    assert_eq!(get(&fixture.db, "hot").await, Some(100));
}

async fn constraints_are_told_apart(fixture: Fixture) {
    insert(&fixture.db, "a", 1).await.unwrap();
    let twice = insert(&fixture.db, "a", 1).await.unwrap_err();
    assert!(twice.is_unique_violation(), "{twice:?}");
    assert!(!twice.is_retryable());
    let negative = insert(&fixture.db, "b", -1).await.unwrap_err();
    let StoreError::Constraint { kind, name, .. } = negative else {
        panic!("{negative:?}")
    };
    assert_eq!(
        (kind, name.as_str()),
        (ConstraintKind::Check, "hits_positive")
    );
}

async fn a_wrong_statement_is_a_defect_and_prints_no_sql(fixture: Fixture) {
    let wrong = on_db!(&fixture.db, |pool| sqlx::query(
        "select secret_column from item"
    )
    .execute(pool)
    .await
    .map(drop));
    let wrong = StoreError::from(wrong.unwrap_err());
    assert!(matches!(wrong, StoreError::Query(_)), "{wrong:?}");
    assert_eq!(wrong.to_string(), "a query failed");
    // The cause is still there for the log.
    assert!(
        wrong
            .source()
            .unwrap()
            .to_string()
            .contains("secret_column")
    );
}

async fn text_sorts_by_bytes(fixture: Fixture) {
    for id in ["a", "B", "é", "z", "a b", "a-b", "ab", "中"] {
        insert(&fixture.db, id, 1).await.unwrap();
    }
    let ids: Vec<String> = on_db!(&fixture.db, |pool| sqlx::query_scalar(
        "select id from item order by id"
    )
    .fetch_all(pool)
    .await)
    .unwrap();
    assert_eq!(ids, ["B", "a", "a b", "a-b", "ab", "z", "é", "中"]);
}

async fn committed_rows_survive_reopening(fixture: Fixture) {
    insert(&fixture.db, "kept", 1).await.unwrap();
    fixture.db.close().await;
    let again = fixture.home.open().await;
    assert_eq!(get(&again, "kept").await, Some(1));
}

async fn replicas_migrate_once(fixture: Fixture) {
    // The second text would fail if it ran twice.
    let tasks: Vec<_> = (0..4)
        .map(|_| {
            let config = fixture.home.config();
            tokio::spawn(async move {
                let two = migrator(&[TABLE, "create table once (id text)"]);
                let db = Db::open(&config).await?;
                db.migrate(&two, &two).await
            })
        })
        .collect();
    for task in tasks {
        task.await.unwrap().unwrap();
    }
}

async fn a_failed_migration_leaves_nothing(fixture: Fixture) {
    let bad = migrator(&[
        TABLE,
        "create table half (id text); insert into nowhere values (1)",
    ]);
    let refused = fixture.db.migrate(&bad, &bad).await.unwrap_err();
    assert!(matches!(refused, StoreError::Migration(_)), "{refused:?}");
    // `half` was rolled back, so the mended migration can make it.
    let mended = migrator(&[TABLE, "create table half (id text)"]);
    fixture.db.migrate(&mended, &mended).await.unwrap();
}

async fn an_edited_migration_is_refused(fixture: Fixture) {
    let edited = migrator(&["create table item (id text)"]);
    let refused = fixture.db.migrate(&edited, &edited).await.unwrap_err();
    assert!(matches!(refused, StoreError::Migration(_)), "{refused:?}");
}

async fn an_older_binary_starts_on_a_newer_schema(fixture: Fixture) {
    let newer = migrator(&[TABLE, "create table later (id text)"]);
    fixture.db.migrate(&newer, &newer).await.unwrap();
    let older = migrator(&[TABLE]);
    fixture.db.migrate(&older, &older).await.unwrap();
}

async fn a_closed_database_is_unavailable(fixture: Fixture) {
    fixture.db.close().await;
    let closed = fixture.db.begin().await.unwrap_err();
    assert!(matches!(closed, StoreError::Unavailable(_)), "{closed:?}");
    assert!(closed.is_retryable());
}

#[tokio::test]
async fn a_postgres_that_sorts_by_language_is_refused() {
    let home = TestDb::create_postgres("locale_provider icu icu_locale 'en-US'").await;
    let refused = Db::open(&home.config()).await.unwrap_err();
    let StoreError::WrongCollation { found } = &refused else {
        panic!("{refused:?}")
    };
    assert_eq!(found, "icu:en-US");
    assert!(
        refused
            .to_string()
            .starts_with("the database collates text as icu:en-US; ")
    );
}

#[tokio::test]
async fn a_postgres_without_a_free_connection_is_unavailable() {
    let home = TestDb::create(Engine::Postgres).await;
    let config = StoreConfig {
        connections_max: NonZeroU32::MIN,
        acquire_timeout: std::time::Duration::from_millis(50),
        ..home.config()
    };
    let db = Db::open(&config).await.unwrap();
    let held = db.begin().await.unwrap();
    let refused = db.begin().await.unwrap_err();
    assert!(matches!(refused, StoreError::Unavailable(_)), "{refused:?}");
    drop(held);
    db.begin().await.unwrap();
}

#[tokio::test]
async fn a_postgres_that_says_good_bye_is_unavailable() {
    let home = TestDb::create(Engine::Postgres).await;
    let db = home.open().await;
    let Db::Postgres(pool) = &db else {
        panic!("asked for Postgres")
    };
    let mut victim = db.begin().await.unwrap();
    let pid: i32 = on_tx!(&mut victim, |conn| sqlx::query_scalar(
        "select pg_backend_pid()"
    )
    .persistent(false)
    .fetch_one(conn)
    .await)
    .unwrap_or_else(|_sqlite| panic!("asked for Postgres"));
    sqlx::query("select pg_terminate_backend($1)")
        .bind(pid)
        .execute(pool)
        .await
        .unwrap();
    let lost = on_tx!(&mut victim, |conn| sqlx::query("select 1")
        .execute(conn)
        .await
        .map(drop));
    let lost = StoreError::from(lost.unwrap_err());
    assert!(matches!(lost, StoreError::Unavailable(_)), "{lost:?}");
}

#[tokio::test]
async fn a_sqlite_reader_cannot_write() {
    let Fixture { db, home: _home } = open(Engine::Sqlite).await;
    let refused = on_db!(&db, |pool| sqlx::query("delete from item")
        .execute(pool)
        .await
        .map(drop));
    assert!(matches!(
        StoreError::from(refused.unwrap_err()),
        StoreError::Query(_)
    ));
}

#[tokio::test]
async fn every_sqlite_connection_is_set_for_safety() {
    let home = TestDb::create(Engine::Sqlite).await;
    let Db::Sqlite(files) = home.open().await else {
        panic!("asked for SQLite")
    };
    for (pragma, expected) in [
        // WAL, and 2 is FULL (sqlite.org/pragma.html).
        ("pragma synchronous", 2_i64),
        ("pragma foreign_keys", 1),
        ("pragma secure_delete", 1),
        ("pragma busy_timeout", 5_000),
    ] {
        let found: i64 = sqlx::query_scalar(pragma)
            .fetch_one(files.writer())
            .await
            .unwrap();
        assert_eq!(found, expected, "{pragma}");
    }
    let journal: String = sqlx::query_scalar("pragma journal_mode")
        .fetch_one(files.writer())
        .await
        .unwrap();
    assert_eq!(journal, "wal");
}

#[tokio::test]
async fn unusable_urls_are_refused_without_being_repeated() {
    for url in [
        "mysql://u:hunter2@h/d",
        "sqlite::memory:",
        "postgres://u:hunter2@h:port/d",
        "",
    ] {
        let refused = Db::open(&StoreConfig::new(url)).await.unwrap_err();
        assert!(matches!(refused, StoreError::BadUrl(_)), "{refused:?}");
        assert!(!format!("{refused} {refused:?}").contains("hunter2"));
    }
}
