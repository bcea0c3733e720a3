#![expect(clippy::unwrap_used, reason = "tests")]
//! Profile through a real server and a real client, on SQLite and on Postgres.

mod chaos;
mod collect;
mod consent;
mod erase;
mod identity;
mod log;
mod privacy;
mod profiles;
mod start;
mod support;
mod tail;
