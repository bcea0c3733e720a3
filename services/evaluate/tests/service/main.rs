#![expect(clippy::unwrap_used, reason = "tests")]
//! Evaluate through a real server and a real client, over a small log in memory.

mod experiments;
mod reports;
mod restart;
mod support;
