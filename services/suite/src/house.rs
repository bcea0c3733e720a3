//! All five services in one process: the embedded default.
//!
//! Profile is served twice: on a server of its own, reached through memory only, that the other four
//! call while they start; and beside them on the one that listens. Both are the same profile.

use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use clap::Parser;
use rapport_ads::Ads;
use rapport_care::Care;
use rapport_evaluate::Evaluate;
use rapport_profile::Profile;
use rapport_profile::keyring::Keyring;
use rapport_recommend::Recommend;
use rapport_rpc::{
    Bound, Channel, ClientConfig, InProcessConnector, Incoming, ServeConfig, Server,
    connect_in_process, in_process,
};
use rapport_types::Clock;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tonic::service::{Routes, RoutesBuilder};

use crate::failure::Failure;
use crate::peers::Peers;

/// The services, by the name that `--only` takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum ServiceName {
    /// The event log, identity, consent, profiles. Always runs: the others need it.
    Profile,
    /// Recommendations.
    Recommend,
    /// Ads.
    Ads,
    /// Customer service.
    Care,
    /// Measurement.
    Evaluate,
}

/// The five services, running.
#[derive(Debug)]
pub struct House {
    peers: Peers,
    address: SocketAddr,
    stop: CancellationToken,
    inner_stop: CancellationToken,
    outer: JoinHandle<()>,
    inner: JoinHandle<()>,
}

impl House {
    /// Opens everything below `data` and serves `only` those services, or all five if it is empty.
    ///
    /// # Errors
    /// [`Failure::Failed`] in one sentence: a folder that cannot be written, a database that another
    /// process holds, a taken address.
    pub async fn open(
        data: &Path,
        serve: ServeConfig,
        only: &[ServiceName],
        clock: Arc<dyn Clock>,
    ) -> Result<Self, Failure> {
        let (inside, incoming_inside) = in_process();
        let to_profile = channel(&inside);
        let profile = open_profile(data, &to_profile, &clock).await?;
        let (inner, inner_stop) = serve_inside(&profile, incoming_inside)?;

        let (connector, incoming) = in_process();
        let to_all = channel(&connector);
        let wants = |name| only.is_empty() || only.contains(&name);
        let opening = Opening {
            data,
            clock,
            profile: to_profile,
            evaluate: wants(ServiceName::Evaluate).then(|| to_all.clone()),
        };
        let mut mounted = Mounted::new(&profile);
        if wants(ServiceName::Recommend) {
            opening.recommend(&mut mounted).await?;
        }
        if wants(ServiceName::Ads) {
            opening.ads(&mut mounted).await?;
        }
        if wants(ServiceName::Care) {
            opening.care(&mut mounted).await?;
        }
        if wants(ServiceName::Evaluate) {
            opening.evaluate(&mut mounted).await?;
        }
        let bound = mounted.bind(serve, incoming)?;
        let (address, stop) = (bound.address(), CancellationToken::new());
        let outer = tokio::spawn(bound.run(stop.clone().cancelled_owned()));
        Ok(Self {
            peers: Peers::all(to_all),
            address,
            stop,
            inner_stop,
            outer,
            inner,
        })
    }

    /// Returns channels to the services.
    #[must_use]
    pub fn peers(&self) -> &Peers {
        &self.peers
    }

    /// Returns the address that others may call.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Drains the services in the order in which they need each other, then returns.
    pub async fn close(self) {
        self.stop.cancel();
        // A panicked server has nothing left to drain.
        let _ = self.outer.await;
        self.inner_stop.cancel();
        let _ = self.inner.await;
    }
}

/// Opens the log and everything that the other four ask for.
async fn open_profile(
    data: &Path,
    own: &Channel,
    clock: &Arc<dyn Clock>,
) -> Result<Arc<Profile>, Failure> {
    let keyring = data.join("keyring");
    let flags = vec![flag("--keyring", &keyring)];
    let config = config(&folder(data, "profile")?, "profile", flags)?;
    Keyring::open_or_create(&keyring).map_err(|error| Failure::Failed(error.to_string()))?;
    let profile = Profile::start(&config, Arc::clone(clock), own.clone()).await;
    Ok(Arc::new(profile.map_err(cannot_start("profile"))?))
}

/// What the services beside profile are opened with, each by its own method.
struct Opening<'a> {
    data: &'a Path,
    clock: Arc<dyn Clock>,
    profile: Channel,
    /// `None` where evaluate does not run.
    evaluate: Option<Channel>,
}

impl Opening<'_> {
    fn config<C: Parser>(&self, name: &str) -> Result<C, Failure> {
        config(&folder(self.data, name)?, name, Vec::new())
    }

    async fn recommend(&self, mounted: &mut Mounted) -> Result<(), Failure> {
        let peers = rapport_recommend::Peers {
            profile: self.profile.clone(),
            evaluate: self.evaluate.clone(),
        };
        let config = self.config("recommend")?;
        let service = Recommend::start(&config, peers, Arc::clone(&self.clock)).await;
        let service = service.map_err(cannot_start("recommend"))?;
        service.mount(&mut mounted.routes);
        mounted.limits.extend(Recommend::request_limits());
        mounted.add(&Recommend::SERVICES, async move { service.drain().await });
        Ok(())
    }

    async fn ads(&self, mounted: &mut Mounted) -> Result<(), Failure> {
        let peers = rapport_ads::Peers {
            profile: self.profile.clone(),
            evaluate: self.evaluate.clone(),
        };
        let config = self.config("ads")?;
        let service = Ads::start(&config, peers, Arc::clone(&self.clock)).await;
        let service = service.map_err(cannot_start("ads"))?;
        service.mount(&mut mounted.routes);
        mounted.add(&Ads::SERVICES, async move { service.drain().await });
        Ok(())
    }

    async fn care(&self, mounted: &mut Mounted) -> Result<(), Failure> {
        let peers = rapport_care::Peers {
            profile: self.profile.clone(),
        };
        let config = self.config("care")?;
        let service = Care::start(&config, peers, Arc::clone(&self.clock)).await;
        let service = service.map_err(cannot_start("care"))?;
        service.mount(&mut mounted.routes);
        mounted.add(&Care::SERVICES, async move { service.drain().await });
        Ok(())
    }

    async fn evaluate(&self, mounted: &mut Mounted) -> Result<(), Failure> {
        let config = self.config("evaluate")?;
        let profile = self.profile.clone();
        let service = Evaluate::start(&config, profile, Arc::clone(&self.clock)).await;
        let service = service.map_err(cannot_start("evaluate"))?;
        service.mount(&mut mounted.routes);
        mounted.add(&Evaluate::SERVICES, async move { service.drain().await });
        Ok(())
    }
}

type Drain = std::pin::Pin<Box<dyn Future<Output = ()> + Send>>;

/// What the listening server serves, and what to do when it stops.
struct Mounted {
    routes: RoutesBuilder,
    names: Vec<&'static str>,
    limits: Vec<(&'static str, usize)>,
    drains: Vec<(&'static str, Drain)>,
}

impl Mounted {
    fn new(profile: &Profile) -> Self {
        let mut routes = Routes::builder();
        profile.mount(&mut routes);
        Self {
            routes,
            names: Profile::SERVICES.to_vec(),
            limits: Profile::request_limits().to_vec(),
            drains: Vec::new(),
        }
    }

    fn add(&mut self, names: &[&'static str], drain: impl Future<Output = ()> + Send + 'static) {
        self.names.extend(names);
        self.drains.push((names[0], Box::pin(drain)));
    }

    fn bind(self, serve: ServeConfig, incoming: Incoming) -> Result<Bound, Failure> {
        let mut server = Server::new(serve, self.routes.routes(), &self.names).in_process(incoming);
        for (path, bytes) in self.limits {
            server = server.request_bytes_max(path, bytes);
        }
        for (name, drain) in self.drains {
            server = server.before_exit(name, drain);
        }
        server
            .bind()
            .map_err(|error| Failure::Failed(with_source(&error)))
    }
}

fn channel(connector: &InProcessConnector) -> Channel {
    connect_in_process(connector, &ClientConfig::new("http://in-process"))
}

/// Serves profile through memory only, until the others have sent it their last decisions.
fn serve_inside(
    profile: &Arc<Profile>,
    incoming: Incoming,
) -> Result<(JoinHandle<()>, CancellationToken), Failure> {
    let mut routes = Routes::builder();
    profile.mount(&mut routes);
    let config = ServeConfig {
        drain_wait: Duration::ZERO,
        ..ServeConfig::default()
    };
    let mut server =
        Server::new(config, routes.routes(), &Profile::SERVICES).only_in_process(incoming);
    for (path, bytes) in Profile::request_limits() {
        server = server.request_bytes_max(path, bytes);
    }
    let draining = Arc::clone(profile);
    let server = server.before_exit("profile", async move { draining.drain().await });
    let bound = server
        .bind()
        .map_err(|error| Failure::Failed(with_source(&error)))?;
    let stop = CancellationToken::new();
    Ok((
        tokio::spawn(bound.run(stop.clone().cancelled_owned())),
        stop,
    ))
}

/// Returns a service's own configuration for the embedded default: SQLite below `folder`, no Redis.
fn config<C: Parser>(folder: &Path, name: &str, more: Vec<OsString>) -> Result<C, Failure> {
    let database = format!(
        "sqlite://{}",
        folder.join(format!("{name}.sqlite")).display()
    );
    let mut flags = vec![
        OsString::from(name),
        flag("--database-url", Path::new(&database)),
    ];
    flags.push(flag("--data", folder));
    flags.extend(more);
    C::try_parse_from(flags).map_err(|error| Failure::Failed(error.to_string()))
}

fn flag(name: &str, value: &Path) -> OsString {
    let mut flag = OsString::from(name);
    flag.push("=");
    flag.push(value);
    flag
}

fn folder(data: &Path, name: &str) -> Result<PathBuf, Failure> {
    let folder = data.join(name);
    std::fs::create_dir_all(&folder).map_err(|error| {
        Failure::Failed(format!(
            "{} cannot be made: {error}; choose another with --data",
            folder.display()
        ))
    })?;
    Ok(folder)
}

fn cannot_start<E: std::error::Error>(name: &'static str) -> impl Fn(E) -> Failure {
    move |error| Failure::Failed(format!("{name} cannot start: {}", with_source(&error)))
}

fn with_source(error: &dyn std::error::Error) -> String {
    match error.source() {
        Some(source) => format!("{error}: {source}"),
        None => error.to_string(),
    }
}
