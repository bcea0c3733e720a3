//! Ads as its callers see it: real sockets, both databases, and replicas that die or fall asleep.
#![expect(clippy::unwrap_used, reason = "tests")]

mod campaigns;
mod chaos;
mod decisions;
mod people;
mod redis;
mod store;
mod support;
