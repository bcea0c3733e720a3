//! What five processes must do together beyond any one of them: one trace through all of them, and
//! tokens by which they know each other, and a plain sentence from one that cannot start.
#![expect(clippy::unwrap_used, reason = "tests")]

mod collector;
mod refusals;
mod tokens;
mod trace;
mod visit;
