//! One error for the store: a variant per thing that a caller can act on.

use sqlx::error::{DatabaseError, ErrorKind};
use sqlx::migrate::MigrateError;

/// What went wrong in the store. `Display` never includes the source: no SQL, no secret leaks.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// The database cannot be reached, is full or is too slow. The same call may succeed later.
    #[error("the database is unavailable")]
    Unavailable(#[source] sqlx::Error),
    /// Another transaction won. Nothing was written; the whole transaction may be tried again.
    #[error("another transaction changed the same rows")]
    Conflict(#[source] sqlx::Error),
    /// A constraint refused the write.
    #[error("constraint {name} refused the write")]
    Constraint {
        /// Which kind of constraint.
        kind: ConstraintKind,
        /// Its name on Postgres, its columns (`table.column, table.column`) on SQLite.
        name: String,
        /// What the driver said.
        #[source]
        source: sqlx::Error,
    },
    /// The statement is wrong or a row could not be decoded: a defect here, not the caller's doing.
    #[error("a query failed")]
    Query(#[source] sqlx::Error),
    /// The schema could not be brought up to date. Start-up must stop.
    #[error("a migration failed")]
    Migration(#[source] MigrateError),
    /// The database sorts text by a language. Pages and ranges rely on byte order.
    #[error(
        "the database collates text as {found}; Rapport needs byte order: create it with \
         `create database ... template template0 lc_collate 'C' lc_ctype 'C.UTF-8'`"
    )]
    WrongCollation {
        /// What the database uses, as `provider:locale`.
        found: String,
    },
    /// The database does not store text as UTF-8.
    #[error("the database encodes text as {found}; Rapport needs UTF8")]
    WrongEncoding {
        /// The encoding's Postgres name.
        found: String,
    },
    /// The database URL cannot be used. The URL itself is a secret and is not repeated.
    #[error("the database URL is not usable: {0}")]
    BadUrl(&'static str),
}

/// Which kind of constraint refused a write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ConstraintKind {
    /// A primary key or a unique index: the row exists.
    Unique,
    /// A foreign key: the row pointed to does not exist, or is still pointed to.
    ForeignKey,
    /// A column that must have a value.
    NotNull,
    /// A check on a value.
    Check,
}

impl StoreError {
    /// Returns whether the same transaction, run again as it is, may succeed.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        matches!(self, Self::Unavailable(_) | Self::Conflict(_))
    }

    /// Returns whether a unique constraint refused the write: the row already exists.
    #[must_use]
    pub fn is_unique_violation(&self) -> bool {
        matches!(
            self,
            Self::Constraint {
                kind: ConstraintKind::Unique,
                ..
            }
        )
    }
}

#[expect(
    clippy::wildcard_enum_match_arm,
    reason = "sqlx::Error is non_exhaustive; what is not known to pass is a defect"
)]
impl From<sqlx::Error> for StoreError {
    fn from(error: sqlx::Error) -> Self {
        match &error {
            sqlx::Error::PoolTimedOut
            | sqlx::Error::PoolClosed
            | sqlx::Error::WorkerCrashed
            | sqlx::Error::BeginFailed
            | sqlx::Error::Io(_)
            | sqlx::Error::Tls(_) => Self::Unavailable(error),
            sqlx::Error::Database(found) => match classify(found.as_ref()) {
                Class::Unavailable => Self::Unavailable(error),
                Class::Conflict => Self::Conflict(error),
                Class::Constraint(kind) => {
                    let name = constraint_name(found.as_ref());
                    Self::Constraint {
                        kind,
                        name,
                        source: error,
                    }
                }
                Class::Query => Self::Query(error),
            },
            _ => Self::Query(error),
        }
    }
}

impl From<MigrateError> for StoreError {
    fn from(error: MigrateError) -> Self {
        Self::Migration(error)
    }
}

enum Class {
    Unavailable,
    Conflict,
    Constraint(ConstraintKind),
    Query,
}

#[expect(
    clippy::wildcard_enum_match_arm,
    reason = "ErrorKind is non_exhaustive"
)]
fn classify(error: &dyn DatabaseError) -> Class {
    match error.kind() {
        ErrorKind::UniqueViolation => return Class::Constraint(ConstraintKind::Unique),
        ErrorKind::ForeignKeyViolation => return Class::Constraint(ConstraintKind::ForeignKey),
        ErrorKind::NotNullViolation => return Class::Constraint(ConstraintKind::NotNull),
        ErrorKind::CheckViolation => return Class::Constraint(ConstraintKind::Check),
        _ => {}
    }
    let code = error.code().unwrap_or_default();
    // SQLite's codes are decimal numbers below 8,192; a SQLSTATE always has five characters.
    match code.parse::<i32>() {
        Ok(number) if code.len() < 5 => classify_sqlite(number),
        _ => classify_postgres(&code),
    }
}

/// Classifies a SQLSTATE (Postgres manual, appendix A).
fn classify_postgres(state: &str) -> Class {
    match state {
        // Serialisation failure, deadlock, lock not available.
        "40001" | "40P01" | "55P03" => Class::Conflict,
        // Cancelled by the statement timeout; writing on a server that became a standby.
        "57014" | "25006" => Class::Unavailable,
        // Connection exceptions, insufficient resources (disk, connections), operator
        // intervention (shut-down, start-up), system errors.
        _ if ["08", "53", "57", "58"]
            .iter()
            .any(|class| state.starts_with(class)) =>
        {
            Class::Unavailable
        }
        _ => Class::Query,
    }
}

/// Classifies an extended SQLite code (<https://sqlite.org/rescode.html>): the low byte decides.
fn classify_sqlite(code: i32) -> Class {
    match code & 0xff {
        // BUSY, LOCKED.
        5 | 6 => Class::Conflict,
        // IOERR, FULL, CANTOPEN.
        10 | 13 | 14 => Class::Unavailable,
        _ => Class::Query,
    }
}

fn constraint_name(error: &dyn DatabaseError) -> String {
    match error.constraint() {
        Some(name) => name.to_owned(),
        // SQLite says "UNIQUE constraint failed: item.name, item.kind" and names nothing.
        None => match error.message().split_once("failed: ") {
            Some((_, columns)) => columns.to_owned(),
            None => "unnamed".to_owned(),
        },
    }
}
