//! One server: bind, serve, drain. The same layers stand in front of TCP and in-process connections.

use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use rapport_types::SystemClock;
use tokio::net::{TcpListener, TcpSocket};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tonic::service::Routes;

use crate::call::PolicyLookup;
use crate::config::{ACCEPT_BACKLOG, ConfigError, ServeConfig};
use crate::health::Health;
use crate::in_process::Incoming;
use crate::layers::admission::Gate;
use crate::layers::auth::Authority;
use crate::layers::statuses::RequestLimits;
use crate::layers::{Shared, stack};
use crate::token::Verifier;

mod accept;
mod admin;
mod connection;

/// The longest that one hook may take.
const HOOK_MAX: Duration = Duration::from_secs(10);

/// How often pending observations are folded into their buckets.
const UPKEEP_EVERY: Duration = Duration::from_secs(5);

/// Why a server could not start.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The configuration is refused.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The address is taken or not ours.
    #[error("cannot listen on {0}")]
    Listen(SocketAddr, #[source] std::io::Error),
    /// The contracts cannot be described.
    #[error("reflection cannot be built")]
    Reflection(#[from] tonic_reflection::server::Error),
}

type Hook = (&'static str, Pin<Box<dyn Future<Output = ()> + Send>>);

/// A server in the making.
pub struct Server {
    config: ServeConfig,
    routes: Routes,
    services: Vec<&'static str>,
    policies: PolicyLookup,
    limits: BTreeMap<&'static str, usize>,
    incoming: Option<Incoming>,
    listens: bool,
    hooks: Vec<Hook>,
}

impl fmt::Debug for Server {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Server")
            .field("services", &self.services)
            .finish_non_exhaustive()
    }
}

impl Server {
    /// Starts to describe a server of `routes`. `services` are their full names (`XServer::NAME`), for
    /// health; health and reflection themselves are added here.
    #[must_use]
    pub fn new(config: ServeConfig, routes: Routes, services: &[&'static str]) -> Self {
        Self {
            config,
            routes,
            services: services.to_vec(),
            policies: rapport_api::policy::method,
            limits: BTreeMap::new(),
            incoming: None,
            listens: true,
            hooks: Vec::new(),
        }
    }

    /// Lets one method, by its path, take messages of up to `bytes` instead of the configured limit.
    /// Beyond 4 MiB the generated server needs `max_decoding_message_size` too.
    #[must_use]
    pub fn request_bytes_max(mut self, path: &'static str, bytes: usize) -> Self {
        self.limits.insert(path, bytes);
        self
    }

    /// Serves the connections of [`crate::in_process`] beside TCP.
    #[must_use]
    pub fn in_process(mut self, incoming: Incoming) -> Self {
        self.incoming = Some(incoming);
        self
    }

    /// Serves the connections of [`crate::in_process`] only: no port is opened.
    #[must_use]
    pub fn only_in_process(mut self, incoming: Incoming) -> Self {
        self.incoming = Some(incoming);
        self.listens = false;
        self
    }

    /// Adds work for the end, after the last call: flush an outbox, give leases back. Hooks run in the
    /// order they were added, each for ten seconds at most.
    #[must_use]
    pub fn before_exit(
        mut self,
        name: &'static str,
        work: impl Future<Output = ()> + Send + 'static,
    ) -> Self {
        self.hooks.push((name, Box::pin(work)));
        self
    }

    /// Replaces the contracts' policy table: for tests with methods of their own.
    #[must_use]
    pub fn policies(mut self, policies: PolicyLookup) -> Self {
        self.policies = policies;
        self
    }

    /// Binds the listeners. Nothing is served before [`Bound::run`], yet connections already queue, so
    /// whoever knows the address may connect.
    ///
    /// Errors: an unsafe or incomplete configuration, a taken address. Needs a tokio runtime.
    pub fn bind(self) -> Result<Bound, ServeError> {
        let key = self.config.key()?;
        let authority = match key {
            None => Authority::Off,
            Some(key) => {
                let auth = &self.config.auth;
                let clock = Arc::new(SystemClock);
                let verifier = Verifier::new(&key, &auth.auth_issuer, &auth.auth_audience, clock);
                Authority::Tokens(Box::new(verifier.map_err(ConfigError::Key)?))
            }
        };
        rapport_telemetry::prometheus::install();
        let listener = self
            .listens
            .then(|| listen(self.config.listen))
            .transpose()?;
        let admin = self.config.metrics_listen.map(listen).transpose()?;
        let (health, health_server) = Health::new(&self.services);
        let mut routes = self.routes.add_service(health_server);
        if self.config.reflection {
            routes = crate::reflection::add(routes, &self.services)?;
        }
        let drain = CancellationToken::new();
        let (calls_max, streams_max) = (self.config.calls_max, self.config.streams_max);
        let limits = RequestLimits {
            bytes_max: self.config.request_bytes_max,
            by_path: self.limits,
        };
        let shared = Shared {
            policies: self.policies,
            limits: Arc::new(limits),
            gate: Arc::new(Gate::new(calls_max, streams_max, drain.clone())),
            authority: Arc::new(authority),
        };
        let stack = stack(routes, &shared);
        let acceptor = accept::Acceptor::new(&self.config, stack, drain, TaskTracker::new());
        let (incoming, hooks) = (self.incoming, self.hooks);
        Ok(Bound {
            config: self.config,
            listener,
            admin,
            health,
            acceptor,
            incoming,
            hooks,
        })
    }

    /// Binds and serves until `shutdown` resolves, then drains. See [`Bound::run`].
    pub async fn serve(self, shutdown: impl Future<Output = ()>) -> Result<(), ServeError> {
        self.bind()?.run(shutdown).await;
        Ok(())
    }
}

/// Serves `routes` as `config` says until `shutdown` resolves, then drains: the short form of
/// [`Server`], for services without hooks or limits of their own.
pub async fn serve(
    config: ServeConfig,
    routes: Routes,
    services: &[&'static str],
    shutdown: impl Future<Output = ()>,
) -> Result<(), ServeError> {
    Server::new(config, routes, services).serve(shutdown).await
}

fn listen(address: SocketAddr) -> Result<TcpListener, ServeError> {
    let open = || {
        let socket = if address.is_ipv4() {
            TcpSocket::new_v4()?
        } else {
            TcpSocket::new_v6()?
        };
        // A restarted server takes its address back although old connections linger.
        socket.set_reuseaddr(true)?;
        socket.bind(address)?;
        socket.listen(ACCEPT_BACKLOG)
    };
    open().map_err(|error| ServeError::Listen(address, error))
}

/// A server with its listeners open.
pub struct Bound {
    config: ServeConfig,
    listener: Option<TcpListener>,
    admin: Option<TcpListener>,
    health: Health,
    acceptor: accept::Acceptor,
    incoming: Option<Incoming>,
    hooks: Vec<Hook>,
}

impl fmt::Debug for Bound {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Bound")
            .field("listener", &self.listener)
            .finish_non_exhaustive()
    }
}

impl Bound {
    /// Returns the address of the gRPC listener, with the port that it really has.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        let own = self
            .listener
            .as_ref()
            .and_then(|listener| listener.local_addr().ok());
        own.unwrap_or(self.config.listen)
    }

    /// Returns the address of `/metrics`, `None` when it is not served.
    #[must_use]
    pub fn metrics_address(&self) -> Option<SocketAddr> {
        self.admin
            .as_ref()
            .and_then(|listener| listener.local_addr().ok())
    }

    /// Returns the switch for readiness. Every service says NOT_SERVING until [`Bound::run`] begins.
    #[must_use]
    pub fn health(&self) -> Health {
        self.health.clone()
    }

    /// Serves until `shutdown` resolves, then drains: says NOT_SERVING, waits for clients to look
    /// elsewhere, stops accepting, sends GOAWAY and ends streams, lets calls finish within `drain_max`,
    /// runs the hooks, returns.
    pub async fn run(self, shutdown: impl Future<Output = ()>) {
        let Self {
            config,
            listener,
            admin,
            health,
            acceptor,
            incoming,
            hooks,
        } = self;
        let background = CancellationToken::new();
        let jobs = TaskTracker::new();
        jobs.spawn(background.clone().run_until_cancelled_owned(upkeep()));
        if let Some(listener) = admin {
            jobs.spawn(
                background
                    .clone()
                    .run_until_cancelled_owned(admin::serve(listener)),
            );
        }
        let accepting = CancellationToken::new();
        let tcp = listener.map(|listener| {
            let accept = acceptor.clone().tcp(listener);
            tokio::spawn(accepting.clone().run_until_cancelled_owned(accept))
        });
        if let Some(incoming) = incoming {
            let connections = acceptor.clone().in_process(incoming);
            jobs.spawn(accepting.clone().run_until_cancelled_owned(connections));
        }
        health.set_all(true).await;
        shutdown.await;
        tracing::info!("draining: saying NOT_SERVING");
        health.set_all(false).await;
        tokio::time::sleep(config.drain_wait).await;
        accepting.cancel();
        // The listener is closed when its task is over: then nobody can connect any more.
        if let Some(tcp) = tcp {
            let _ = tcp.await;
        }
        if !acceptor.drain(config.drain_max).await {
            tracing::warn!("calls were still running when the time to drain was over");
        }
        for (name, work) in hooks {
            if tokio::time::timeout(HOOK_MAX, work).await.is_err() {
                tracing::error!(hook = name, "a hook did not finish in time");
            }
        }
        background.cancel();
        jobs.close();
        jobs.wait().await;
    }
}

async fn upkeep() {
    let mut every = tokio::time::interval(UPKEEP_EVERY);
    loop {
        every.tick().await;
        rapport_telemetry::prometheus::upkeep();
    }
}
