//! The RPC house rules, once: layers, limits, deadlines, authentication, drain, and the client channel.
//! Knows the policy table, never a service.
//!
//! A service's `lib.rs` uses it so:
//!
//! ```no_run
//! use rapport_rpc::{ServeConfig, Server, connect, shutdown_signal};
//! use tonic::service::Routes;
//!
//! async fn run(config: ServeConfig, profile_url: &str) -> Result<(), Box<dyn std::error::Error>> {
//!     // Clients first: they connect when they are first used, and carry this service's token.
//!     let neighbours = config.neighbours()?;
//!     let profile = connect(&neighbours.at(profile_url))?; // ProfileServiceClient::new(profile)
//!     // Then the routes: Routes::new(AdsServiceServer::new(ads)).add_service(..)
//!     let (routes, services) = (Routes::default(), ["rapport.ads.v1.AdsService"]);
//!     Server::new(config, routes, &services)
//!         .before_exit("flush the outbox", async { /* outbox.flush().await */ })
//!         .serve(shutdown_signal())
//!         .await?;
//!     Ok(())
//! }
//! ```
//!
//! Tests bind to a free port: `let bound = Server::new(ServeConfig::local_test(), routes, &[]).bind()?`,
//! take `bound.address()`, and spawn `bound.run(shutdown)`. Several services in one process share one
//! server and call each other through [`in_process`].
//!
//! Inside a handler: [`Caller::of`] says who calls, [`expires`] how long there is, and client channels
//! take the remaining time and the trace by themselves; work that a handler spawns keeps both through
//! [`within`]. [`Fields`] names every bad field of a request at once, [`write`] does what may be repeated
//! once, failures are built by [`status`] and [`store`], whose reasons stand in `docs/errors.md`.

mod args;
mod call;
mod client;
mod config;
mod fields;
mod health;
mod in_process;
mod jitter;
mod layers;
mod reflection;
mod server;
mod signal;
mod span;
pub mod status;
mod stopped;
pub mod store;
pub mod token;
pub mod write;

pub use args::Protections;
pub use call::{Expires, PolicyLookup, expires, with_deadline, within};
pub use client::{
    ATTEMPTS_MAX, BUDGET_RESERVE, Channel, ClientConfig, ConnectError, Neighbours, ResponseFuture,
    StaticToken, TokenFile, TokenFileError, TokenSource, connect, connect_in_process,
};
pub use config::{
    ACCEPT_BACKLOG, AuthConfig, AuthMode, ConfigError, DEFAULT_LISTEN, HEADER_LIST_BYTES_MAX,
    REQUEST_BYTES_MAX, STREAMS_PER_CONNECTION_MAX, ServeConfig, parse_duration,
};
pub use fields::{Fields, InvalidRequest, REQUEST_ID_CHARS_MAX};
pub use health::{Health, healthcheck};
pub use in_process::{InProcessConnector, Incoming, in_process};
pub use server::{Bound, ServeError, Server, serve};
pub use signal::shutdown_signal;
pub use status::{
    FieldViolation, RpcError, code_name, invalid_request, reason_of, retry_after_of, rpc_error,
};
pub use stopped::stopped;
pub use token::Caller;
