//! One Redis, single or cluster, as a handle that reconnects by itself and never waits for ever.

use std::fmt;
use std::time::Duration;

use rapport_types::Secret;
use redis::aio::{ConnectionLike, ConnectionManager, ConnectionManagerConfig};
use redis::cluster::{ClusterClient, ClusterConfig};
use redis::cluster_async::ClusterConnection;
use redis::{Cmd, FromRedisValue, Pipeline, RedisFuture, ScriptInvocation, Value};

use crate::CacheError;

/// Reconnections inside one call; the call's own time limit bounds them as well.
const RETRIES_MAX: u32 = 2;
/// Longest namespace, in bytes.
const NAMESPACE_BYTES_MAX: usize = 64;
/// Most nodes that a cluster URL may name. Any one that answers is enough.
const NODES_MAX: usize = 32;

/// How to reach one service's Redis.
#[derive(Debug, Clone)]
pub struct RedisConfig {
    /// `redis://[user:password@]host:port[/db]`, `unix:///path`, or for Redis Cluster
    /// `redis-cluster://[user:password@]host:port[,host:port]`. Holds a password.
    pub url: Secret,
    /// Starts every key, so that services and tests can share a server: `a-z 0-9 - _ .`.
    pub namespace: String,
    /// Longest time for one call, connecting included.
    pub timeout: Duration,
}

impl RedisConfig {
    /// Time for one call unless told otherwise.
    pub const TIMEOUT: Duration = Duration::from_millis(500);

    /// Returns the defaults for `url` and `namespace`.
    #[must_use]
    pub fn new(url: impl Into<String>, namespace: impl Into<String>) -> Self {
        Self {
            url: Secret::new(url),
            namespace: namespace.into(),
            timeout: Self::TIMEOUT,
        }
    }
}

/// A handle on one Redis. Cloning shares the connections.
#[derive(Clone)]
pub struct Redis {
    link: Link,
    namespace: String,
    timeout: Duration,
}

#[derive(Clone)]
enum Link {
    Single(ConnectionManager),
    Cluster(ClusterConnection),
}

impl fmt::Debug for Redis {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = match &self.link {
            Link::Single(_) => "single",
            Link::Cluster(_) => "cluster",
        };
        out.debug_struct("Redis")
            .field("kind", &kind)
            .field("namespace", &self.namespace)
            .finish_non_exhaustive()
    }
}

impl Redis {
    /// Prepares a handle. It connects at the first call: a service starts without its Redis and
    /// answers degraded until there is one. Needs a tokio runtime.
    ///
    /// # Errors
    ///
    /// [`CacheError::Invalid`] for a URL or a namespace that cannot be used.
    pub fn open(config: &RedisConfig) -> Result<Self, CacheError> {
        let allowed =
            |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"-_.".contains(&byte);
        let namespace = &config.namespace;
        if namespace.is_empty()
            || namespace.len() > NAMESPACE_BYTES_MAX
            || !namespace.bytes().all(allowed)
        {
            return Err(CacheError::Invalid("namespace"));
        }
        let url = config.url.expose();
        let link = match url.strip_prefix("redis-cluster://") {
            Some(nodes) => Link::Cluster(open_cluster(nodes, config.timeout)?),
            None => Link::Single(open_single(url, config.timeout)?),
        };
        Ok(Self {
            link,
            namespace: namespace.clone(),
            timeout: config.timeout,
        })
    }

    /// Returns once Redis has answered a PING: for readiness.
    ///
    /// # Errors
    ///
    /// [`CacheError::Unavailable`] when it did not.
    pub async fn ping(&self) -> Result<(), CacheError> {
        let _pong: Value = self.query(&redis::cmd("PING")).await?;
        Ok(())
    }

    /// Returns the namespace that starts every key.
    pub(crate) fn namespace(&self) -> &str {
        &self.namespace
    }

    pub(crate) async fn query<T: FromRedisValue>(&self, command: &Cmd) -> Result<T, CacheError> {
        let mut link = self.link.clone();
        self.limited(command.query_async(&mut link)).await
    }

    pub(crate) async fn invoke<T: FromRedisValue>(
        &self,
        script: &ScriptInvocation<'_>,
    ) -> Result<T, CacheError> {
        let mut link = self.link.clone();
        self.limited(script.invoke_async(&mut link)).await
    }

    async fn limited<T>(
        &self,
        call: impl Future<Output = redis::RedisResult<T>>,
    ) -> Result<T, CacheError> {
        match tokio::time::timeout(self.timeout, call).await {
            Ok(answer) => Ok(answer?),
            Err(elapsed) => Err(CacheError::Unavailable(elapsed.into())),
        }
    }
}

fn open_single(url: &str, timeout: Duration) -> Result<ConnectionManager, CacheError> {
    let client = redis::Client::open(url).map_err(|_hides_the_url| CacheError::Invalid("url"))?;
    let config = ConnectionManagerConfig::new()
        .set_number_of_retries(RETRIES_MAX as usize)
        .set_connection_timeout(Some(timeout))
        .set_response_timeout(Some(timeout));
    Ok(ConnectionManager::new_lazy_with_config(client, config)?)
}

fn open_cluster(nodes: &str, timeout: Duration) -> Result<ClusterConnection, CacheError> {
    let (user, hosts) = match nodes.rsplit_once('@') {
        Some((user, hosts)) => (format!("{user}@"), hosts),
        None => (String::new(), nodes),
    };
    let urls: Vec<String> = hosts
        .split(',')
        .take(NODES_MAX)
        .map(|host| format!("redis://{user}{host}"))
        .collect();
    let client = ClusterClient::builder(urls)
        .retries(RETRIES_MAX)
        .build()
        .map_err(|_hides_the_url| CacheError::Invalid("url"))?;
    let config = ClusterConfig::new()
        .set_connection_timeout(timeout)
        .set_response_timeout(timeout);
    Ok(client.get_pending_async_connection_with_config(config))
}

impl ConnectionLike for Link {
    fn req_packed_command<'a>(&'a mut self, command: &'a Cmd) -> RedisFuture<'a, Value> {
        match self {
            Self::Single(link) => link.req_packed_command(command),
            Self::Cluster(link) => link.req_packed_command(command),
        }
    }

    fn req_packed_commands<'a>(
        &'a mut self,
        pipeline: &'a Pipeline,
        offset: usize,
        count: usize,
    ) -> RedisFuture<'a, Vec<Value>> {
        match self {
            Self::Single(link) => link.req_packed_commands(pipeline, offset, count),
            Self::Cluster(link) => link.req_packed_commands(pipeline, offset, count),
        }
    }

    fn get_db(&self) -> i64 {
        match self {
            Self::Single(link) => link.get_db(),
            Self::Cluster(link) => link.get_db(),
        }
    }
}
