//! What five processes must do together beyond any one of them: one trace through all of them, and
//! tokens by which they know each other.
#![expect(clippy::unwrap_used, reason = "tests")]

mod collector;
mod tokens;
mod trace;
mod visit;
