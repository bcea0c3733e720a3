//! Fact 6: after a network was cut in silence, calls recover by themselves, because every channel pings.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use rapport_rpc::{Channel, ClientConfig, connect, with_deadline};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};

use crate::support::{READ, call, client_config, echo, spawn};

/// Forwards TCP until cut; connections of before the cut stay open and pass nothing, newer ones work.
struct Cut {
    address: SocketAddr,
    cuts: Arc<AtomicUsize>,
}

impl Cut {
    async fn before(server: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let cuts = Arc::new(AtomicUsize::new(0));
        let counter = Arc::clone(&cuts);
        tokio::spawn(async move {
            loop {
                let (near, _) = listener.accept().await.unwrap();
                let far = TcpStream::connect(server).await.unwrap();
                let born = counter.load(Ordering::SeqCst);
                let ((near_in, near_out), (far_in, far_out)) =
                    (near.into_split(), far.into_split());
                tokio::spawn(pump(near_in, far_out, Arc::clone(&counter), born));
                tokio::spawn(pump(far_in, near_out, Arc::clone(&counter), born));
            }
        });
        Self { address, cuts }
    }
}

async fn pump(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    cuts: Arc<AtomicUsize>,
    born: usize,
) {
    let mut buffer = [0; 4_096];
    while let Ok(length @ 1..) = from.read(&mut buffer).await {
        if cuts.load(Ordering::SeqCst) != born {
            // Holds both halves for ever: neither end learns that the other is gone.
            return std::future::pending().await;
        }
        if to.write_all(&buffer[..length]).await.is_err() {
            return;
        }
    }
}

/// Cuts the network and returns whether a call comes through within some attempts of half a second.
async fn recovers(channel: impl Fn() -> Channel, cut: &Cut) -> bool {
    let one = || with_deadline(Duration::from_millis(500), call(channel(), READ, "x"));
    one().await.unwrap();
    cut.cuts.fetch_add(1, Ordering::SeqCst);
    for _ in 0..6 {
        if one().await.is_ok() {
            return true;
        }
    }
    false
}

fn pinging(address: SocketAddr, interval: Duration) -> ClientConfig {
    ClientConfig {
        keepalive_interval: interval,
        keepalive_timeout: Duration::from_millis(200),
        ..client_config(&format!("http://{address}"))
    }
}

#[tokio::test]
async fn a_channel_recovers_from_a_silent_cut_and_only_because_it_pings() {
    let server = spawn(echo());
    let cut = Cut::before(server.address).await;
    let channel = connect(&pinging(cut.address, Duration::from_millis(200))).unwrap();
    assert!(
        recovers(|| channel.clone(), &cut).await,
        "with pings every 200 ms"
    );
    // The control: pings so rare that there are none.
    let channel = connect(&pinging(cut.address, Duration::from_secs(3_600))).unwrap();
    assert!(!recovers(|| channel.clone(), &cut).await, "without pings");
}
