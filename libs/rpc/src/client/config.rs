//! Where a client finds its servers and how it holds its connections.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use http::{HeaderValue, Uri};
use rapport_types::Secret;
use tonic::transport::Endpoint;

use crate::call::PolicyLookup;
use crate::client::channel::{Channel, Shared};
use crate::client::discover;
use crate::client::retry::Budget;
use crate::client::welcome::Welcome;
use crate::config::HEADER_LIST_BYTES_MAX;
use crate::in_process::InProcessConnector;

/// The most endpoints that one configuration may list.
pub(crate) const URLS_MAX: usize = 64;

/// Gives the bearer token of the next call, so that a token can be renewed while the channel lives.
pub trait TokenSource: fmt::Debug + Send + Sync + 'static {
    /// Returns the present token, `None` to call without one. Must not block.
    fn token(&self) -> Option<Secret>;
}

/// One token for ever: for tools and tests.
#[derive(Debug, Clone)]
pub struct StaticToken(pub Secret);

impl TokenSource for StaticToken {
    fn token(&self) -> Option<Secret> {
        Some(self.0.clone())
    }
}

/// How to reach a service.
#[derive(Debug, Clone)]
pub struct ClientConfig {
    /// `http://host:port`, or several, separated by commas. A host name stands for every address that it
    /// resolves to, looked up again every [`ClientConfig::resolve_every`].
    pub url: String,
    /// Longest time to open a connection.
    pub connect_timeout: Duration,
    /// Silence after which a connection is pinged, idle or not: without it a cut network goes unnoticed.
    pub keepalive_interval: Duration,
    /// Time for the answer to a ping; then the connection is opened anew.
    pub keepalive_timeout: Duration,
    /// How often host names are looked up.
    pub resolve_every: Duration,
    /// What a call leaves of its own deadline for its own work after the answer came.
    pub deadline_margin: Duration,
    /// Where bearer tokens come from.
    pub token: Option<Arc<dyn TokenSource>>,
    /// Finds a method's policy; the contracts' own unless a test brings another.
    pub policies: PolicyLookup,
}

impl ClientConfig {
    /// Returns the settings that every service uses, for the servers at `url`.
    #[must_use]
    pub fn new(url: impl Into<String>) -> Self {
        Self {
            url: url.into(),
            connect_timeout: Duration::from_secs(2),
            keepalive_interval: Duration::from_secs(10),
            keepalive_timeout: Duration::from_secs(5),
            resolve_every: Duration::from_secs(5),
            deadline_margin: Duration::from_millis(5),
            token: None,
            policies: rapport_api::policy::method,
        }
    }

    /// Adds a bearer token to every call.
    #[must_use]
    pub fn with_token(mut self, token: impl TokenSource) -> Self {
        self.token = Some(Arc::new(token));
        self
    }

    /// Adds the token of `source` to every call, if there is one.
    #[must_use]
    pub fn with_token_source(mut self, source: Option<Arc<dyn TokenSource>>) -> Self {
        self.token = source;
        self
    }

    pub(crate) fn endpoint(&self, url: Uri) -> Endpoint {
        Endpoint::from(url)
            .connect_timeout(self.connect_timeout)
            .http2_keep_alive_interval(self.keepalive_interval)
            .keep_alive_timeout(self.keepalive_timeout)
            .keep_alive_while_idle(true)
            .http2_max_header_list_size(HEADER_LIST_BYTES_MAX)
            .tcp_nodelay(true)
    }

    fn shared(&self, url: &Uri, endpoints: Option<discover::Endpoints>) -> Arc<Shared> {
        Arc::new(Shared {
            policies: self.policies,
            margin: self.deadline_margin,
            budget: Budget::default(),
            token: self.token.clone(),
            endpoints,
            welcome: Welcome::default(),
            host: url.host().unwrap_or_default().into(),
            port: url.port_u16(),
        })
    }
}

/// How this process calls the other services: with its own token, where it has one. Made by
/// [`crate::ServeConfig::neighbours`].
#[derive(Debug, Clone, Default)]
pub struct Neighbours {
    pub(crate) token: Option<Arc<dyn TokenSource>>,
}

impl Neighbours {
    /// Returns how to reach the service at `url`.
    #[must_use]
    pub fn at(&self, url: &str) -> ClientConfig {
        ClientConfig::new(url).with_token_source(self.token.clone())
    }
}

/// Why a channel cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// The text is not a URL that can be called.
    #[error("{0:?} is not a server URL such as http://127.0.0.1:7700")]
    Url(String),
    /// The list is empty or too long.
    #[error("a client needs 1 to {URLS_MAX} server URLs, found {0}")]
    Count(usize),
}

/// Returns a channel to the servers of `config`. Connects when first used; needs a tokio runtime.
///
/// One address is called directly. Several addresses, or a host name, are watched by their own health
/// service and called while they say SERVING; the watching ends with the last clone of the channel.
pub fn connect(config: &ClientConfig) -> Result<Channel, ConnectError> {
    let urls = parse(&config.url)?;
    // `parse` returns at least one.
    let first = urls.first().cloned().unwrap_or_default();
    if urls.len() == 1 && discover::is_address(&first) {
        let transport = config.endpoint(first.clone()).connect_lazy();
        return Ok(Channel::new(transport, config.shared(&first, None)));
    }
    let (transport, endpoints) = discover::balanced(config, urls);
    let shared = config.shared(&first, Some(endpoints));
    Ok(Channel::new(transport, shared))
}

/// Returns a channel to this process's own server. The URL of `config` is not used.
#[must_use]
pub fn connect_in_process(connector: &InProcessConnector, config: &ClientConfig) -> Channel {
    let url = Uri::from_static("http://in-process");
    let endpoint = config.endpoint(url.clone());
    let transport = endpoint.connect_with_connector_lazy(connector.clone());
    Channel::new(transport, config.shared(&url, None))
}

fn parse(text: &str) -> Result<Vec<Uri>, ConnectError> {
    let parts: Vec<_> = text
        .split(',')
        .map(str::trim)
        .filter(|part| !part.is_empty())
        .collect();
    if parts.is_empty() || parts.len() > URLS_MAX {
        return Err(ConnectError::Count(parts.len()));
    }
    let url = |part: &str| {
        let uri: Option<Uri> = part.parse().ok();
        uri.filter(|uri| uri.scheme_str() == Some("http") && uri.port_u16().is_some())
            .ok_or_else(|| ConnectError::Url(part.to_owned()))
    };
    parts.into_iter().map(url).collect()
}

/// Returns the `authorization` value of a token, `None` for one that no header can hold.
pub(crate) fn authorization(token: &Secret) -> Option<HeaderValue> {
    let mut value = HeaderValue::try_from(format!("Bearer {}", token.expose())).ok()?;
    value.set_sensitive(true);
    Some(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_listed_with_commas_and_bad_ones_are_named() {
        assert_eq!(parse("http://a:1, http://b:2,").unwrap().len(), 2);
        assert!(matches!(parse(" , "), Err(ConnectError::Count(0))));
        for bad in ["a:1", "ftp://a:1", "http://a", "http://a:1,nonsense"] {
            assert!(matches!(parse(bad), Err(ConnectError::Url(_))), "{bad}");
        }
    }
}
