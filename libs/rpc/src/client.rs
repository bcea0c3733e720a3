//! The calling side: one concrete, clonable channel type that every generated client accepts. It
//! carries the trace, the deadline and the token, retries what may be retried, and calls only servers
//! that say SERVING.

mod attempt;
mod channel;
mod config;
mod discover;
mod retry;
mod token_file;
mod welcome;

pub use channel::{Channel, ResponseFuture};
pub use config::{
    ClientConfig, ConnectError, Neighbours, StaticToken, TokenSource, connect, connect_in_process,
};
pub use retry::{ATTEMPTS_MAX, BUDGET_RESERVE};
pub use token_file::{TokenFile, TokenFileError};
