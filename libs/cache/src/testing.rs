//! A throw-away Redis for tests: the servers of `TEST_REDIS_URL` and `TEST_REDIS_CLUSTER_URL`
//! (`scripts/testenv up` starts them), or one started here, once per test process, and gone with it.
//!
//! Nothing is ever skipped: a server that cannot start is a failure. Tests share servers, so each
//! takes a namespace of its own.

use std::net::TcpStream;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::time::Duration;

use rapport_types::testing::free_port;

use crate::{Counters, Redis, RedisConfig};

/// How often a starting server is asked whether it is there, and how long in between.
const PROBES_MAX: u32 = 1_000;
const PROBE_EVERY: Duration = Duration::from_millis(10);
/// Somebody else may take the port between choosing and binding it.
const STARTS_MAX: u32 = 3;
/// Long, because a busy test machine is no reason to fail.
const TIMEOUT: Duration = Duration::from_secs(10);

/// Returns the URL of a Redis that this test run may write to.
///
/// # Panics
///
/// When none can be started.
#[must_use]
pub fn redis_url() -> String {
    static SERVER: OnceLock<Server> = OnceLock::new();
    #[expect(
        clippy::disallowed_methods,
        reason = "the test run's own setting, not a service's"
    )]
    match std::env::var("TEST_REDIS_URL") {
        Ok(url) => url,
        Err(_) => {
            let server = SERVER.get_or_init(|| Server::start(&[]));
            format!("redis://127.0.0.1:{}", server.port)
        }
    }
}

/// Returns the URL of a Redis Cluster: of `TEST_REDIS_CLUSTER_URL`, or of one node started here. One
/// is enough to refuse what a cluster refuses: a command or a script over keys of different slots.
///
/// # Panics
///
/// When it cannot be started.
#[must_use]
pub fn redis_cluster_url() -> String {
    static SERVER: OnceLock<Server> = OnceLock::new();
    #[expect(
        clippy::disallowed_methods,
        reason = "the test run's own setting, not a service's"
    )]
    if let Ok(url) = std::env::var("TEST_REDIS_CLUSTER_URL") {
        return url;
    }
    let server = SERVER.get_or_init(|| {
        let server = Server::start(&["--cluster-enabled", "yes"]);
        server.form_cluster();
        server
    });
    format!("redis-cluster://127.0.0.1:{}", server.port)
}

/// Returns a handle on `url` with a namespace that nobody else has.
///
/// # Panics
///
/// When the URL cannot be used.
#[must_use]
pub fn open(url: &str) -> Redis {
    let namespace = format!("test-{:016x}", rand::random::<u64>());
    let config = RedisConfig {
        timeout: TIMEOUT,
        ..RedisConfig::new(url, namespace)
    };
    Redis::open(&config).expect("the test's Redis URL")
}

/// Marks every partition of new counters as complete: nothing was ever counted before.
///
/// # Panics
///
/// When the cache fails.
pub async fn complete(counters: &dyn Counters) {
    for partition in counters.incomplete().await.expect("the counters answer") {
        let begun = counters.begin_rebuild(partition, "new").await;
        if begun.expect("the counters answer") {
            let ended = counters.end_rebuild(partition, "new").await;
            assert!(ended.expect("the counters answer"), "nobody else is at it");
        }
    }
}

/// A Redis for one test alone, which may empty it.
#[derive(Debug)]
pub struct OwnRedis(Server);

impl OwnRedis {
    /// Starts one.
    ///
    /// # Panics
    ///
    /// When none can be started.
    #[must_use]
    pub fn start() -> Self {
        Self(Server::start(&[]))
    }

    /// Returns its URL.
    #[must_use]
    pub fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.0.port)
    }

    /// Deletes everything in it, as an operator's mistake does.
    ///
    /// # Panics
    ///
    /// When it does not answer.
    pub fn flush_all(&self) {
        let mut connection = redis::Client::open(self.url())
            .and_then(|client| client.get_connection())
            .expect("the server answers");
        redis::cmd("FLUSHALL")
            .exec(&mut connection)
            .expect("the server obeys");
    }
}

#[derive(Debug)]
struct Server {
    port: u16,
    /// The shell around the server. It waits on a pipe that the kernel closes when this process
    /// ends, however it ends, then stops the server and deletes its folder.
    _guard: Child,
}

impl Server {
    fn start(options: &[&str]) -> Self {
        (1..=STARTS_MAX)
            .find_map(|_attempt| Self::start_on_a_free_port(options))
            .expect("redis-server is installed and starts")
    }

    fn start_on_a_free_port(options: &[&str]) -> Option<Self> {
        let port = free_port();
        let folder = tempfile::Builder::new().prefix("rapport-redis-").tempdir();
        let folder = folder.expect("a temporary folder").keep();
        let mut guard = Command::new("sh")
            .arg("-c")
            .arg(
                "cd \"$0\" && { redis-server \"$@\" </dev/null & }; server=$!; read -r _; \
                 kill $server; wait $server; rm -rf \"$0\"",
            )
            .arg(&folder)
            .args([
                "--port",
                &port.to_string(),
                "--bind",
                "127.0.0.1",
                "--save",
                "",
            ])
            .args(["--appendonly", "no"])
            .args(options)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            // A group of its own, so that a signal to the test's group leaves it to do its work.
            .process_group(0)
            .spawn()
            .expect("a shell starts");
        for _ in 0..PROBES_MAX {
            if TcpStream::connect(("127.0.0.1", port)).is_ok() {
                return Some(Self {
                    port,
                    _guard: guard,
                });
            }
            std::thread::sleep(PROBE_EVERY);
        }
        drop(guard.stdin.take());
        drop(guard.wait());
        None
    }

    /// Gives the node every slot and waits until it says that the cluster is up.
    fn form_cluster(&self) {
        let client = redis::Client::open(format!("redis://127.0.0.1:{}", self.port));
        let mut connection = client
            .and_then(|client| client.get_connection())
            .expect("the node answers");
        redis::cmd("CLUSTER")
            .arg(&["ADDSLOTSRANGE", "0", "16383"])
            .exec(&mut connection)
            .expect("the node takes all slots");
        for _ in 0..PROBES_MAX {
            let info: String = redis::cmd("CLUSTER")
                .arg("INFO")
                .query(&mut connection)
                .expect("the node answers");
            if info.contains("cluster_state:ok") {
                return;
            }
            std::thread::sleep(PROBE_EVERY);
        }
        panic!("the cluster of one node did not form");
    }
}
