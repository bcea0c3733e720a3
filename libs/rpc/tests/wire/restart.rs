//! Facts 3 and 4: a rolling restart loses no call when clients watch health and servers drain, and loses
//! calls when they do not.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use rapport_rpc::{Channel, ServeConfig, connect};
use tokio::sync::Notify;
use tonic::transport::Endpoint;

use crate::support::{ONCE, Running, call, client_config, run, server, tiny};

const CALLERS: usize = 16;

/// How long clients have to look elsewhere: many times what the watcher needs.
const DRAIN_WAIT: Duration = Duration::from_millis(300);

/// Starts a server that answers what it is asked; the second value resolves at its first call.
fn start(listen: SocketAddr, drain_wait: Duration) -> (Running, Arc<Notify>) {
    let used = Arc::new(Notify::new());
    let notify = Arc::clone(&used);
    let routes = tiny(move |_, request| {
        notify.notify_one();
        async move { Ok(request.into_inner()) }
    });
    let config = ServeConfig {
        listen,
        drain_wait,
        ..ServeConfig::local_test()
    };
    (run(server(config, routes)), used)
}

fn any_port() -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], 0))
}

#[derive(Default)]
struct Count {
    done: AtomicBool,
    good: AtomicUsize,
    bad: AtomicUsize,
}

impl Count {
    /// Waits until `more` further calls have ended, so that every phase of the restart sees traffic.
    async fn more(&self, more: usize) {
        let ended = || self.good.load(Ordering::SeqCst) + self.bad.load(Ordering::SeqCst);
        let target = ended() + more;
        while ended() < target {
            tokio::task::yield_now().await;
        }
    }
}

/// Restarts both servers, one after the other, under the load of `CALLERS`; returns (good, bad).
async fn roll<C>(servers: [Running; 2], channel: C, drain_wait: Duration) -> (usize, usize)
where
    C: Fn(usize) -> Box<dyn Fn() -> std::pin::Pin<Box<dyn Future<Output = bool> + Send>> + Send>,
{
    let count = Arc::new(Count::default());
    let callers: Vec<_> = (0..CALLERS)
        .map(|caller| {
            let (count, once) = (Arc::clone(&count), channel(caller));
            tokio::spawn(async move {
                while !count.done.load(Ordering::SeqCst) {
                    let kind = if once().await {
                        &count.good
                    } else {
                        &count.bad
                    };
                    kind.fetch_add(1, Ordering::SeqCst);
                }
            })
        })
        .collect();
    count.more(100).await;
    let mut running = Vec::new();
    for old in servers {
        let address = old.address;
        old.stop().await;
        count.more(100).await;
        let (new, used) = start(address, drain_wait);
        running.push(new);
        // The new server must be in use before the other one goes.
        used.notified().await;
        count.more(100).await;
    }
    count.done.store(true, Ordering::SeqCst);
    for caller in callers {
        caller.await.unwrap();
    }
    (
        count.good.load(Ordering::SeqCst),
        count.bad.load(Ordering::SeqCst),
    )
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rolling_restart_loses_no_call() {
    let servers = [
        start(any_port(), DRAIN_WAIT).0,
        start(any_port(), DRAIN_WAIT).0,
    ];
    let urls = servers
        .iter()
        .map(Running::url)
        .collect::<Vec<_>>()
        .join(",");
    let channel: Channel = connect(&client_config(&urls)).unwrap();
    // `ONCE` is never repeated after it was sent: what this loses would be lost.
    let (good, bad) = roll(
        servers,
        |_| {
            let channel = channel.clone();
            Box::new(move || {
                let channel = channel.clone();
                Box::pin(async move { call(channel, ONCE, "x").await.is_ok() })
            })
        },
        DRAIN_WAIT,
    )
    .await;
    assert_eq!(bad, 0, "of {good}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_the_watcher_and_the_wait_the_same_restart_loses_calls() {
    let servers = [
        start(any_port(), Duration::ZERO).0,
        start(any_port(), Duration::ZERO).0,
    ];
    let endpoints: Vec<_> = servers
        .iter()
        .map(|server| Endpoint::from_shared(server.url()).unwrap())
        .collect();
    let channel = tonic::transport::Channel::balance_list(endpoints.into_iter());
    let (good, bad) = roll(
        servers,
        |_| {
            let channel = channel.clone();
            Box::new(move || {
                let channel = channel.clone();
                Box::pin(async move { call(channel, ONCE, "x").await.is_ok() })
            })
        },
        Duration::ZERO,
    )
    .await;
    assert!(bad > 0, "the control must fail, {good} calls were good");
}
