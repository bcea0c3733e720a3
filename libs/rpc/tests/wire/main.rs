//! Real servers on free ports, real clients, real sockets: what the layers, limits and channels do on
//! the wire. `support` holds the small service that all of them use.

#![expect(clippy::unwrap_used, reason = "tests")]

mod admission;
mod auth;
mod deadline;
mod drain;
mod in_process;
mod keepalive;
mod limits;
mod malformed;
mod observe;
mod reasons;
mod restart;
mod retry;
mod support;
