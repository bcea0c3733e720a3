//! The calling side: one concrete, clonable channel type that every generated client accepts. It
//! carries the trace, the deadline and the token, retries what may be retried, and calls only servers
//! that say SERVING.

mod attempt;
mod channel;
mod config;
mod discover;
mod retry;

pub use channel::{Channel, ResponseFuture};
pub use config::{
    ClientConfig, ConnectError, StaticToken, TokenSource, connect, connect_in_process,
};
pub use retry::{ATTEMPTS_MAX, BUDGET_RESERVE};
