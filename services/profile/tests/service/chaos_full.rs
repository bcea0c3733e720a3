//! A disk that fills up (fact 13): what does not fit is refused, what was acknowledged is there, and with
//! room again the log goes on. With answers before the commit, the same check finds what is lost.

use std::collections::{BTreeSet, HashMap};
use std::net::SocketAddr;
use std::time::Duration;

use rapport_api::profile::v1 as pb;
use rapport_store::testing::Engine;
use tonic::{Code, Status};
use tonic_types::StatusExt as _;

use crate::chaos::{Server, Violation, Writer, client, read_all, violations};
use crate::support::{Home, refusal};

/// Room for the schema and some thousand events.
const FILE_KIB_MAX: u32 = 2_048;
const PER_BATCH: usize = 500;
/// More than fits several times over.
const BATCHES_MAX: usize = 80;

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_refuses_and_loses_nothing() {
    let (mut server, writer) = start(&[]).await;
    let (mut acked, refused) = fill(&writer, server.address).await;
    let (batch, status) = refused.expect("the disk fills up");
    assert_eq!(status.code(), Code::Unavailable, "{status:?}");
    assert_eq!(refusal(&status).0, "STORE_UNAVAILABLE");
    assert!(
        acked.len() > PER_BATCH,
        "{} before it was full",
        acked.len()
    );
    let stored = read_all(server.address).await;
    let found = violations(&acked, &stored);
    assert_eq!(found, BTreeSet::new(), "it goes on reading");
    server.make_room();
    let again = sent(server.address, &batch).await.unwrap();
    keep(&mut acked, batch, again);
    let stored = read_all(server.address).await;
    assert_eq!(violations(&acked, &stored), BTreeSet::new());
    assert_eq!(stored.len(), acked.len());
}

#[tokio::test(flavor = "multi_thread")]
async fn early_answers_are_found_out_by_a_full_disk() {
    let (mut server, writer) = start(&["--without", "ack-after-commit"]).await;
    let (acked, _) = fill(&writer, server.address).await;
    server.make_room();
    let stored = read_all(server.address).await;
    let found = violations(&acked, &stored);
    assert!(found.contains(&Violation::Lost), "{found:?}");
}

async fn start(flags: &[&str]) -> (Server, Writer) {
    let home = Home::new(Engine::Sqlite).await;
    let flags = flags.iter().map(|flag| (*flag).to_owned()).collect();
    let server = Server::with_files_of(home, flags, Some(FILE_KIB_MAX));
    let writer = Writer::new(0, server.address);
    (server, writer)
}

type Acked = HashMap<String, pb::EventResult>;
type Refused = Option<(Vec<pb::NewEvent>, Status)>;

/// Sends batch after batch until one is refused. Returns what was acknowledged, and what was refused.
async fn fill(writer: &Writer, address: SocketAddr) -> (Acked, Refused) {
    let mut acked = Acked::new();
    for first in (0..BATCHES_MAX).map(|batch| batch * PER_BATCH) {
        let batch: Vec<_> = (first..first + PER_BATCH)
            .map(|n| writer.event(n))
            .collect();
        match sent(address, &batch).await {
            Ok(results) => keep(&mut acked, batch, results),
            Err(status) => return (acked, Some((batch, status))),
        }
    }
    (acked, None)
}

fn keep(acked: &mut Acked, batch: Vec<pb::NewEvent>, results: Vec<pb::EventResult>) {
    for (event, result) in batch.into_iter().zip(results) {
        assert_ne!(result.outcome(), pb::EventOutcome::Rejected, "{result:?}");
        acked.insert(event.event_id, result);
    }
}

/// Sends a batch to a server that may still be starting. Returns what the server itself answered.
async fn sent(address: SocketAddr, batch: &[pb::NewEvent]) -> Result<Vec<pb::EventResult>, Status> {
    let mut client = client(address);
    loop {
        let request = pb::CollectEventsRequest {
            events: batch.to_vec(),
            ..Default::default()
        };
        match client.collect_events(request).await {
            Ok(answer) => return Ok(answer.into_inner().results),
            // Nobody of ours answers without details: not there yet.
            Err(status) if status.get_details_error_info().is_none() => {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
            Err(status) => return Err(status),
        }
    }
}
