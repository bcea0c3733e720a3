//! Where truth is kept: SQL on Postgres or SQLite behind one text, and files in an object store.
//!
//! [`Db`] and [`Tx`] are enums over the two engines; [`on_db!`], [`on_writer!`] and [`on_tx!`] run
//! one SQL text on either. [`idempotency`] and [`lease`] are the two records whose invariants live
//! in the caller's transaction.
//!
//! No business table lives here: a service's SQL is in its own `store/<noun>.rs`.

mod config;
mod db;
mod error;
pub mod idempotency;
pub mod lease;
pub mod objects;
mod postgres;
mod sqlite;
pub mod sweep;
#[cfg(feature = "testing")]
pub mod testing;

pub use config::StoreConfig;
pub use db::{Db, Tx};
pub use error::{ConstraintKind, StoreError};
pub use sqlite::SqliteDb;
pub use sweep::sweep_all;
