#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a tool to measure by"
)]
//! How fast the log takes events, through the real server and real clients:
//! `cargo run --release -p rapport-profile --example append_rate -- [callers] [events per call] [seconds]`.
//! On SQLite in a temporary folder, or on the Postgres database of `APPEND_RATE_URL`.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use clap::Parser as _;
use prost::Message as _;
use rapport_api::event::v1::ViewItem;
use rapport_api::profile::v1 as pb;
use rapport_api::profile::v1::event_service_client::EventServiceClient;
use rapport_profile::Profile;
use rapport_profile::config::Config;
use rapport_profile::keyring::Keyring;
use rapport_rpc::{ClientConfig, ServeConfig, Server, connect, connect_in_process, in_process};
use rapport_types::SystemClock;
use tonic::service::Routes;

/// Subjects that the events are spread over.
const SUBJECTS: u64 = 20_000;

#[derive(Debug, clap::Parser)]
struct Options {
    /// Calls at a time.
    #[arg(default_value_t = 8)]
    callers: u64,
    /// Events of one call.
    #[arg(default_value_t = 500)]
    batch: u64,
    /// How long.
    #[arg(default_value_t = 10)]
    seconds: u64,
    /// Another database than a file.
    #[arg(long, env = "APPEND_RATE_URL")]
    url: Option<String>,
}

#[tokio::main]
async fn main() {
    let options = Options::parse();
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).display().to_string();
    let (keyring, data) = (path("keyring"), path("data"));
    Keyring::create(keyring.as_ref()).unwrap();
    let url = options
        .url
        .clone()
        .unwrap_or_else(|| format!("sqlite://{}", path("log.db")));
    let config = Config::parse_from([
        "append_rate",
        "--database-url",
        &url,
        "--keyring",
        &keyring,
        "--data",
        &data,
    ]);
    let (connector, incoming) = in_process();
    let own = connect_in_process(&connector, &ClientConfig::new("http://in-process"));
    let profile = Profile::start(&config, Arc::new(SystemClock), own)
        .await
        .unwrap();
    let mut routes = Routes::builder();
    profile.mount(&mut routes);
    let mut server = Server::new(
        ServeConfig::local_test(),
        routes.routes(),
        &Profile::SERVICES,
    );
    for (path, bytes) in Profile::request_limits() {
        server = server.request_bytes_max(path, bytes);
    }
    let bound = server.in_process(incoming).bind().unwrap();
    let address = bound.address();
    tokio::spawn(bound.run(std::future::pending()));
    let (sent, acks) = (
        Arc::new(AtomicU64::new(0)),
        Arc::new(std::sync::Mutex::new(Vec::new())),
    );
    let started = Instant::now();
    let callers: Vec<_> = (0..options.callers)
        .map(|caller| {
            let channel = connect(&ClientConfig::new(format!("http://{address}"))).unwrap();
            let (sent, acks) = (Arc::clone(&sent), Arc::clone(&acks));
            let (batch, seconds) = (options.batch, options.seconds);
            tokio::spawn(async move {
                let mut client = EventServiceClient::new(channel);
                for call in 0_u64.. {
                    if started.elapsed() > Duration::from_secs(seconds) {
                        break;
                    }
                    let first = (caller << 40) + call * batch;
                    let events = (first..first + batch).map(event).collect();
                    let request = pb::CollectEventsRequest {
                        events,
                        ..Default::default()
                    };
                    let asked = Instant::now();
                    client.collect_events(request).await.unwrap();
                    acks.lock().unwrap().push(asked.elapsed());
                    sent.fetch_add(batch, Ordering::Relaxed);
                }
            })
        })
        .collect();
    for caller in callers {
        caller.await.unwrap();
    }
    let seconds = started.elapsed().as_secs_f64();
    let lag = profile.reader().progress.lag_events();
    let mut acks = std::mem::take(&mut *acks.lock().unwrap());
    acks.sort_unstable();
    let at = |share: usize| acks[(acks.len() - 1) * share / 100];
    println!(
        "{:.0} events/s, ack p50 {:?} p99 {:?}, projection {lag} events behind",
        sent.load(Ordering::Relaxed) as f64 / seconds,
        at(50),
        at(99),
    );
    println!("fresh after {:?}", freshness(&profile, address).await);
    profile.drain().await;
}

/// Returns the median time from an acknowledgement to its effect on the profile, idle otherwise.
async fn freshness(profile: &Profile, address: SocketAddr) -> Duration {
    let channel = connect(&ClientConfig::new(format!("http://{address}"))).unwrap();
    let mut client = EventServiceClient::new(channel);
    let mut waits = Vec::new();
    for number in 0..21 {
        let request = pb::CollectEventsRequest {
            events: vec![event(u64::MAX - number)],
            ..Default::default()
        };
        let results = client
            .collect_events(request)
            .await
            .unwrap()
            .into_inner()
            .results;
        let acked = Instant::now();
        let progress = &profile.reader().progress;
        progress
            .wait_for(results[0].partition, results[0].sequence)
            .await;
        waits.push(acked.elapsed());
    }
    waits.sort_unstable();
    waits[waits.len() / 2]
}

fn event(number: u64) -> pb::NewEvent {
    let message = ViewItem {
        item_id: format!("item-{}", number % 4_000),
        category: format!("category-{}", number % 40),
        ..Default::default()
    };
    pb::NewEvent {
        event_id: format!("e-{number}"),
        identifier: Some(pb::Identifier {
            kind: pb::IdentifierKind::Login as i32,
            value: format!("customer-{}", number.wrapping_mul(0x9e37_79b9) % SUBJECTS),
        }),
        payload: Some(prost_types::Any {
            type_url: "type.googleapis.com/rapport.event.v1.ViewItem".to_owned(),
            value: message.encode_to_vec(),
        }),
        ..Default::default()
    }
}
