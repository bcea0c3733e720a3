//! Running `rapport` and a served house, and reading its log.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::time::{Duration, Instant};

use rapport_api::profile::v1 as profile;
use rapport_api::profile::v1::event_service_client::EventServiceClient;
use rapport_rpc::{Channel, ClientConfig, connect};

/// Longest wait for a process to say or do what it should.
const PATIENCE: Duration = Duration::from_secs(60);
const LOOK_AGAIN: Duration = Duration::from_millis(10);

/// Returns the command, without arguments yet.
pub(crate) fn rapport() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_rapport"));
    command.stdin(Stdio::null());
    command
}

/// Runs the command to its end.
pub(crate) fn run(arguments: &[&str]) -> Output {
    rapport().args(arguments).output().unwrap()
}

pub(crate) fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Returns the one JSON object that a command printed.
pub(crate) fn json(output: &Output) -> serde_json::Value {
    assert!(output.status.success(), "{}", text(&output.stderr));
    let said = text(&output.stdout);
    assert_eq!(said.lines().count(), 1, "one object per line: {said}");
    serde_json::from_str(said.trim()).unwrap()
}

/// Sends SIGINT, as Ctrl-C does, and waits for the end.
pub(crate) fn interrupt(child: &mut Child) -> ExitStatus {
    let pid = child.id().to_string();
    let sent = Command::new("kill").args(["-INT", &pid]).status().unwrap();
    assert!(sent.success());
    let began = Instant::now();
    loop {
        if let Some(status) = child.try_wait().unwrap() {
            return status;
        }
        assert!(began.elapsed() < PATIENCE, "it does not end");
        std::thread::sleep(LOOK_AGAIN);
    }
}

/// `rapport serve` on a port of its own. Dropping it kills it.
pub(crate) struct Served {
    pub(crate) child: Child,
    pub(crate) address: String,
    log: PathBuf,
}

impl Served {
    /// Serves what lies in `folder`, and waits until it says where.
    pub(crate) fn start(folder: &Path) -> Self {
        let log = folder.join("serve.log");
        let file = std::fs::File::create(&log).unwrap();
        let mut command = rapport();
        command.arg("serve").arg("--data").arg(folder.join("data"));
        command.args(["--listen", "127.0.0.1:0", "--drain-wait", "0ms"]);
        let mut served = Self {
            child: command.stderr(file).spawn().unwrap(),
            address: String::new(),
            log,
        };
        let began = Instant::now();
        while served.address.is_empty() {
            assert!(
                served.child.try_wait().unwrap().is_none(),
                "{}",
                served.said()
            );
            assert!(began.elapsed() < PATIENCE, "{}", served.said());
            std::thread::sleep(LOOK_AGAIN);
            let said = served.said();
            let line = said
                .lines()
                .find_map(|line| line.strip_prefix("serving on "));
            if let Some((address, _)) = line.and_then(|line| line.split_once(',')) {
                served.address = address.to_owned();
            }
        }
        served
    }

    /// Returns what it wrote to stderr so far.
    pub(crate) fn said(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap()
    }

    pub(crate) fn channel(&self) -> Channel {
        connect(&ClientConfig::new(format!("http://{}", self.address))).unwrap()
    }

    /// Runs a command against it, to its end.
    pub(crate) fn run(&self, arguments: &[&str]) -> Output {
        let mut command = rapport();
        command.args(arguments).args(["--server", &self.address]);
        command.output().unwrap()
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        // Gone already is fine.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Returns how many events the log holds, those of control apart.
pub(crate) async fn events_in(channel: &Channel) -> u64 {
    let mut client = EventServiceClient::new(channel.clone());
    let request = profile::GetLogPositionsRequest {};
    let ends = client
        .get_log_positions(request)
        .await
        .unwrap()
        .into_inner()
        .ends;
    let own = ends.iter().filter(|end| end.partition < 64);
    own.map(|end| end.after_sequence).sum()
}

/// Returns how often each event of `source` is in the log, by id.
pub(crate) async fn ids_of(channel: &Channel, source: &str) -> BTreeMap<String, u32> {
    let cursor = |partition| profile::PartitionCursor {
        partition,
        after_sequence: 0,
    };
    let request = profile::TailEventsRequest {
        cursors: (0..64).map(cursor).collect(),
        types: Vec::new(),
        follow: false,
    };
    let mut client = EventServiceClient::new(channel.clone());
    let mut tail = client.tail_events(request).await.unwrap().into_inner();
    let mut ids = BTreeMap::new();
    while let Some(frame) = tail.message().await.unwrap() {
        let events = frame.batch.into_iter().flat_map(|batch| batch.events);
        for event in events.filter(|event| event.source == source) {
            *ids.entry(event.event_id).or_default() += 1;
        }
    }
    ids
}
