//! The command line as people and scripts use it: the real binary, its exit codes, what it writes, and
//! what Ctrl-C leaves behind.
#![expect(clippy::unwrap_used, reason = "tests")]

mod demo;
mod exits;
mod import;
mod interrupt;
mod load;
mod support;
mod train;
