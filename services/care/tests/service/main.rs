//! Care as its callers see it: a real server, real clients, both engines, and profile played by the
//! test, because a service never links another's crate.
#![expect(clippy::unwrap_used, reason = "tests")]

mod agents;
mod cases;
mod chaos;
mod outbox;
mod people;
mod store;
mod support;
