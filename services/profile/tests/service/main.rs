#![expect(clippy::unwrap_used, reason = "tests")]
//! Profile through a real server and a real client, on SQLite and on Postgres.

mod collect;
mod consent;
mod erase;
mod identity;
mod profiles;
mod support;
mod tail;
