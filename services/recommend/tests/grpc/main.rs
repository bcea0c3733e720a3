//! The service as its callers see it: real servers on free ports, real clients, a log in memory.
#![expect(clippy::unwrap_used, reason = "tests")]

mod catalog;
mod log;
mod model;
mod recommend;
mod stores;
mod support;
