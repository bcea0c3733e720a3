//! Postgres: the pool, what every connection is set to, and what a database must be.

use std::str::FromStr;
use std::time::Duration;

use sqlx::migrate::Migrator;
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use sqlx::{AssertSqlSafe, ConnectOptions, Connection, Executor, PgPool};

use crate::{StoreConfig, StoreError};

/// Longest wait for a row lock; longer ones end as a conflict that the caller may retry.
const LOCK_TIMEOUT: Duration = Duration::from_secs(5);
/// Prepared statements kept per connection. Our SQL is a closed set of constants.
const STATEMENTS_MAX: usize = 512;

pub(crate) async fn open(config: &StoreConfig) -> Result<PgPool, StoreError> {
    let options = PgConnectOptions::from_str(config.url.expose())
        .map_err(|_hides_the_url| {
            StoreError::BadUrl("expected postgres://user:password@host:port/database")
        })?
        .statement_cache_capacity(STATEMENTS_MAX);
    // `set` after connecting, not start-up options: a connection pooler in between drops those.
    let settings = format!(
        "set synchronous_commit = on; set lock_timeout = {}; set statement_timeout = {}; \
         set idle_in_transaction_session_timeout = {}",
        LOCK_TIMEOUT.as_millis(),
        config.statement_timeout.as_millis(),
        // A transaction whose owner vanished must not hold its locks for ever.
        config.statement_timeout.as_millis() * 2,
    );
    let pool = PgPoolOptions::new()
        .max_connections(config.connections_max.get())
        .acquire_timeout(config.acquire_timeout)
        .after_connect(move |connection, _meta| {
            let settings = AssertSqlSafe(settings.clone());
            Box::pin(async move {
                connection
                    .execute(sqlx::raw_sql(settings))
                    .await
                    .map(|_| ())
            })
        })
        .connect_with(options)
        .await?;
    if let Err(refused) = check_database(&pool).await {
        pool.close().await;
        return Err(refused);
    }
    Ok(pool)
}

/// Brings the schema up to date, one process at a time.
pub(crate) async fn migrate(pool: &PgPool, migrator: &Migrator) -> Result<(), StoreError> {
    // A connection of its own: it has no statement or lock timeout, and closing it gives up the
    // advisory lock however the run ends.
    let mut connection = pool.connect_options().connect().await?;
    let outcome = migrator.run_direct(None, &mut connection, false).await;
    connection.close().await?;
    Ok(outcome?)
}

// Through JSON, because the provider's columns are named differently from version to version.
const COLLATION: &str = "
    select pg_encoding_to_char(encoding),
           coalesce(to_jsonb(d) ->> 'datlocprovider', 'c'),
           coalesce(to_jsonb(d) ->> 'datlocale', to_jsonb(d) ->> 'daticulocale', datcollate),
           datcollate
    from pg_database d where datname = current_database()";

/// Refuses a database that does not keep text as UTF-8 in byte order.
async fn check_database(pool: &PgPool) -> Result<(), StoreError> {
    let (encoding, provider, locale, datcollate): (String, String, String, String) =
        sqlx::query_as(COLLATION).fetch_one(pool).await?;
    if encoding != "UTF8" {
        return Err(StoreError::WrongEncoding { found: encoding });
    }
    let (name, collate) = match provider.as_str() {
        "c" => ("libc", datcollate),
        "b" => ("builtin", locale),
        _ => ("icu", locale),
    };
    // ICU's "C" is not byte order, so its names never pass.
    if name != "icu" && is_byte_order(&collate) {
        return Ok(());
    }
    Err(StoreError::WrongCollation {
        found: format!("{name}:{collate}"),
    })
}

/// Returns whether a locale sorts by bytes. `C.UTF-8` sorts by code point, which is the same.
fn is_byte_order(locale: &str) -> bool {
    ["C", "POSIX", "C.UTF-8", "C.UTF8"]
        .iter()
        .any(|known| locale.eq_ignore_ascii_case(known))
}
