#![expect(clippy::unwrap_used, reason = "tests")]
//! `rapport lab` from outside: rows and their keys, any threads, odd files, refusals, exit codes.

mod churn;
mod cli;
mod models;
mod next_item;
mod support;
