//! kill -9 at fifty points of twenty thousand events: nothing acknowledged is lost, nothing is there
//! twice, order holds. With a protection off the same check finds what the protection prevents.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use rapport_api::event::v1::{self as events, EventRecord};
use rapport_api::profile::v1 as pb;
use rapport_api::profile::v1::event_service_client::EventServiceClient;
use rapport_store::testing::{Engine, free_port};
use tokio::sync::watch;
use tonic::transport::{Channel, Endpoint};

use crate::support::{Home, event, login_of};

const EVENTS: usize = 20_000;
const KILLS: usize = 50;
pub(crate) const WRITERS: usize = 4;
const PER_BATCH: usize = 20;
/// Of each writer: it alone sends their events, so their order is its own.
const SUBJECTS: usize = 10;
/// One call in so many is given up half way and sent again, as over a bad network.
const GIVEN_UP: u32 = 40;
const SEED: u64 = 20_251_122;
/// A server that acknowledges nothing for so long is not there.
const SILENCE_MAX: Duration = Duration::from_secs(60);

/// What must never be seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Violation {
    /// Acknowledged and not there.
    Lost,
    /// There more than once.
    Twice,
    /// A sequence is missing.
    Gap,
    /// A subject's events are not in the order in which they were sent.
    Order,
    /// There, but nobody sent it, or not where it was acknowledged.
    Elsewhere,
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_lost_on_sqlite() {
    assert_eq!(found(Engine::Sqlite, "").await, BTreeSet::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_lost_on_postgres() {
    assert_eq!(found(Engine::Postgres, "").await, BTreeSet::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn early_answers_are_found_out_on_sqlite() {
    let found = found(Engine::Sqlite, "ack-after-commit").await;
    assert!(found.contains(&Violation::Lost), "{found:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn early_answers_are_found_out_on_postgres() {
    let found = found(Engine::Postgres, "ack-after-commit").await;
    assert!(found.contains(&Violation::Lost), "{found:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn missing_dedup_is_found_out_on_sqlite() {
    let found = found(Engine::Sqlite, "dedup").await;
    assert!(found.contains(&Violation::Twice), "{found:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn missing_dedup_is_found_out_on_postgres() {
    let found = found(Engine::Postgres, "dedup").await;
    assert!(found.contains(&Violation::Twice), "{found:?}");
}

/// Streams, kills, and returns every kind of violation that was found.
async fn found(engine: Engine, without: &'static str) -> BTreeSet<Violation> {
    let home = Home::new(engine).await;
    let flags = match without {
        "" => Vec::new(),
        without => vec!["--without".to_owned(), without.to_owned()],
    };
    let mut server = Server::new(home, flags);
    let progress = watch::Sender::new(0);
    let writers: Vec<_> = (0..WRITERS)
        .map(|number| tokio::spawn(Writer::new(number, server.address).run(progress.clone())))
        .collect();
    let mut dice = StdRng::seed_from_u64(SEED);
    let mut points: Vec<usize> = (0..KILLS).map(|_| dice.random_range(0..EVENTS)).collect();
    points.sort_unstable();
    let mut acknowledged = progress.subscribe();
    for point in points {
        let reached = acknowledged.wait_for(|count| *count >= point);
        let reached = tokio::time::timeout(SILENCE_MAX, reached).await;
        reached
            .expect("the server acknowledges, or said above why not")
            .unwrap();
        // Anywhere within a commit, not always just after one.
        tokio::time::sleep(Duration::from_micros(dice.random_range(0..8_000))).await;
        server.kill_and_start();
    }
    let mut acked = HashMap::new();
    for writer in writers {
        acked.extend(writer.await.unwrap());
    }
    assert_eq!(
        acked.len(),
        EVENTS,
        "every event was acknowledged in the end"
    );
    let stored = read_all(server.address).await;
    violations(&acked, &stored)
}

pub(crate) fn violations(
    acked: &HashMap<String, pb::EventResult>,
    stored: &[EventRecord],
) -> BTreeSet<Violation> {
    let mut found = BTreeSet::new();
    let mut places: HashMap<&str, (u32, u64)> = HashMap::new();
    let mut ends: BTreeMap<u32, u64> = BTreeMap::new();
    let mut last: HashMap<&[u8], usize> = HashMap::new();
    for event in stored {
        let end = ends.entry(event.partition).or_default();
        if event.sequence != *end + 1 {
            found.insert(Violation::Gap);
        }
        *end = event.sequence;
        let place = (event.partition, event.sequence);
        if places.insert(&event.event_id, place).is_some() {
            found.insert(Violation::Twice);
        }
        let number: usize = event.event_id.rsplit('-').next().unwrap().parse().unwrap();
        if last
            .insert(&event.subject_id, number)
            .is_some_and(|before| before >= number)
        {
            found.insert(Violation::Order);
        }
        if !acked.contains_key(&event.event_id) {
            found.insert(Violation::Elsewhere);
        }
    }
    for (event_id, result) in acked {
        match places.get(event_id.as_str()) {
            None => _ = found.insert(Violation::Lost),
            Some(place) if *place != (result.partition, result.sequence) => {
                found.insert(Violation::Elsewhere);
            }
            Some(_) => {}
        }
    }
    found
}

/// The real binary, killed and started again on the same address and data.
pub(crate) struct Server {
    home: Home,
    pub(crate) address: SocketAddr,
    flags: Vec<String>,
    /// KiB beyond which no file of the process grows, as on a full disk.
    file_kib_max: Option<u32>,
    process: Child,
}

impl Server {
    pub(crate) fn new(home: Home, flags: Vec<String>) -> Self {
        Self::with_files_of(home, flags, None)
    }

    pub(crate) fn with_files_of(home: Home, flags: Vec<String>, file_kib_max: Option<u32>) -> Self {
        let address = SocketAddr::from(([127, 0, 0, 1], free_port()));
        let process = start(&home, address, &flags, file_kib_max);
        Self {
            home,
            address,
            flags,
            file_kib_max,
            process,
        }
    }

    pub(crate) fn kill_and_start(&mut self) {
        self.kill();
        self.process = start(&self.home, self.address, &self.flags, self.file_kib_max);
    }

    /// Kills the process and starts it on a disk that has room.
    pub(crate) fn make_room(&mut self) {
        self.file_kib_max = None;
        self.kill_and_start();
    }

    /// SIGKILL: no handler runs, nothing is flushed.
    fn kill(&mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.kill();
    }
}

fn start(home: &Home, address: SocketAddr, flags: &[String], file_kib_max: Option<u32>) -> Child {
    let binary = env!("CARGO_BIN_EXE_rapport-profile");
    let mut command = match file_kib_max {
        None => Command::new(binary),
        // The signal ignored, a write beyond the limit fails as it does on a full disk. No root needed.
        Some(kib) => {
            let mut shell = Command::new("bash");
            let limited = format!("trap '' XFSZ; ulimit -f {kib}; exec \"$0\" \"$@\"");
            shell.args(["-c", &limited, binary]);
            shell
        }
    };
    command
        .args(["--database-url", home.db.url()])
        .arg("--keyring")
        .arg(home.folder.path().join("keyring"))
        .arg("--data")
        .arg(home.folder.path().join("data"))
        .args(["--listen", &address.to_string(), "--log", "off"])
        // A replica should be small: many tests share one server.
        .args(["--database-connections-max", "8"])
        .stdin(Stdio::null())
        .args(flags)
        .stderr(Stdio::inherit());
    command.spawn().unwrap()
}

pub(crate) fn client(address: SocketAddr) -> EventServiceClient<Channel> {
    let endpoint = Endpoint::from_shared(format!("http://{address}")).unwrap();
    EventServiceClient::new(
        endpoint
            .connect_timeout(Duration::from_millis(500))
            .connect_lazy(),
    )
}

/// Sends its share of the events batch by batch, each until it is acknowledged.
pub(crate) struct Writer {
    number: usize,
    client: EventServiceClient<Channel>,
    dice: StdRng,
}

impl Writer {
    pub(crate) fn new(number: usize, address: SocketAddr) -> Self {
        Self {
            number,
            client: client(address),
            dice: StdRng::seed_from_u64(SEED + 1 + number as u64),
        }
    }

    pub(crate) async fn run(
        mut self,
        progress: watch::Sender<usize>,
    ) -> HashMap<String, pb::EventResult> {
        let mut acked = HashMap::new();
        let share = EVENTS / WRITERS;
        for first in (0..share).step_by(PER_BATCH) {
            let batch: Vec<_> = (first..first + PER_BATCH).map(|n| self.event(n)).collect();
            let results = self.send(&batch).await;
            for (event, result) in batch.into_iter().zip(results) {
                assert_ne!(result.outcome(), pb::EventOutcome::Rejected, "{result:?}");
                acked.insert(event.event_id, result);
            }
            progress.send_modify(|count| *count += PER_BATCH);
        }
        acked
    }

    pub(crate) fn event(&self, n: usize) -> pb::NewEvent {
        let subject = format!("w{}-s{}", self.number, n % SUBJECTS);
        let message = events::ViewItem {
            item_id: format!("i-{n}"),
            ..Default::default()
        };
        pb::NewEvent {
            identifier: Some(login_of(&subject)),
            occurred_at_ms: 0,
            ..event(&format!("e-{}-{n}", self.number), "ViewItem", &message)
        }
    }

    async fn send(&mut self, batch: &[pb::NewEvent]) -> Vec<pb::EventResult> {
        loop {
            let request = pb::CollectEventsRequest {
                events: batch.to_vec(),
                ..Default::default()
            };
            let call = self.client.collect_events(request);
            let patience = match self.dice.random_range(0..GIVEN_UP) {
                0 => Duration::from_micros(self.dice.random_range(500..8_000)),
                _ => Duration::from_secs(10),
            };
            match tokio::time::timeout(patience, call).await {
                Ok(Ok(answer)) => return answer.into_inner().results,
                // Killed, starting, or given up: the same events again.
                Ok(Err(_)) => tokio::time::sleep(Duration::from_millis(10)).await,
                Err(_elapsed) => {}
            }
        }
    }
}

pub(crate) async fn read_all(address: SocketAddr) -> Vec<EventRecord> {
    let mut client = client(address);
    let mut tail = loop {
        match client.tail_events(pb::TailEventsRequest::default()).await {
            Ok(tail) => break tail.into_inner(),
            // The last kill may have been a moment ago.
            Err(_starting) => tokio::time::sleep(Duration::from_millis(10)).await,
        }
    };
    let mut stored = Vec::new();
    while let Some(frame) = tail.message().await.unwrap() {
        stored.extend(frame.batch.into_iter().flat_map(|batch| batch.events));
    }
    stored
}
