#![expect(clippy::unwrap_used, reason = "tests")]
//! Profile through a real server and a real client, on SQLite and on Postgres.

mod backfill;
mod chaos;
mod chaos_full;
mod chaos_seal;
mod collect;
mod consent;
mod erase;
mod forget;
mod identity;
mod log;
mod privacy;
mod profiles;
mod readers;
mod segments;
mod start;
mod support;
mod tail;
mod upgrade;
mod value;
mod vault;
