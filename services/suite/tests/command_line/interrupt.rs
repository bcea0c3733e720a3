//! Ctrl-C leaves everything consistent: an import goes on where it stopped, a server drains.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;

use prost::{Message as _, Name as _};
use rapport_api::event::v1::ViewItem;
use rapport_api::profile::v1 as profile;
use rapport_api::profile::v1::event_service_client::EventServiceClient;
use rapport_rpc::Channel;
use tokio::sync::Semaphore;

use crate::support::{Served, events_in, ids_of, interrupt, json, rapport, text};

/// Long enough that an import is still under way when its first events are seen.
const LINES: u32 = 60_000;
/// Events of one request of the load.
const BATCH: u32 = 20;
/// Acknowledged requests after which the server is told to stop.
const ACKNOWLEDGED_FIRST: u32 = 60;
const LANES: u32 = 4;

fn invoices() -> String {
    let mut file =
        "invoice,item,description,quantity,timestamp,unit_price,customer,country\n".to_owned();
    for line in 0..LINES {
        let (invoice, item, customer) = (line / 20, line % 700, 12_000 + line / 20 % 150);
        let (hour, minute) = (line / 60 % 24, line % 60);
        writeln!(
            file,
            "{invoice},I{item},ITEM {item},{},2011-01-05 {hour:02}:{minute:02}:00,2.55,{customer}.0,UK",
            line % 7 + 1
        )
        .unwrap();
    }
    file
}

#[tokio::test(flavor = "multi_thread")]
async fn an_interrupted_import_is_completed_exactly_by_the_next() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("shop.csv");
    std::fs::write(&file, invoices()).unwrap();
    let served = Served::start(folder.path());
    let mut command = rapport();
    command.args(["import", "online-retail", "--server", &served.address]);
    let said = folder.path().join("import.log");
    command
        .arg(&file)
        .stderr(std::fs::File::create(&said).unwrap());
    let mut import = command.spawn().unwrap();
    let channel = served.channel();
    while events_in(&channel).await == 0 {
        assert!(
            import.try_wait().unwrap().is_none(),
            "it ended before its first event"
        );
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    let status = interrupt(&mut import);
    let said = std::fs::read_to_string(&said).unwrap();
    assert_eq!(status.code(), Some(130), "{said}");
    assert!(
        said.contains("interrupted; everything acknowledged so far is kept"),
        "{said}"
    );
    let before = events_in(&channel).await;
    assert!(
        before < u64::from(LINES),
        "the import was whole already: {before}"
    );

    let path = file.to_str().unwrap();
    let again = json(&served.run(&["import", "online-retail", "--json", path]));
    let figure = |name: &str| again[name].as_u64().unwrap();
    assert_eq!(figure("lines"), u64::from(LINES));
    assert_eq!(
        figure("accepted") + figure("duplicate"),
        u64::from(LINES),
        "{again}"
    );
    assert!(
        figure("duplicate") >= before && figure("accepted") > 0,
        "{before}: {again}"
    );
    let ids = ids_of(&channel, "local/import").await;
    assert_eq!(ids.len(), LINES as usize);
    assert!(
        ids.values().all(|times| *times == 1),
        "an event is there twice"
    );
}

fn batch(lane: u32, number: u32) -> Vec<profile::NewEvent> {
    let view = ViewItem {
        item_id: "tea".to_owned(),
        ..ViewItem::default()
    };
    let event = |index| profile::NewEvent {
        event_id: format!("{lane}-{number}-{index}"),
        identifier: Some(profile::Identifier {
            kind: profile::IdentifierKind::Device as i32,
            value: format!("device-{lane}-{}", index % 5),
        }),
        payload: Some(prost_types::Any {
            type_url: ViewItem::type_url(),
            value: view.encode_to_vec(),
        }),
        ..profile::NewEvent::default()
    };
    (0..BATCH).map(event).collect()
}

async fn send(
    client: &mut EventServiceClient<Channel>,
    events: Vec<profile::NewEvent>,
) -> Result<Vec<profile::EventResult>, tonic::Status> {
    let request = profile::CollectEventsRequest {
        events,
        ..profile::CollectEventsRequest::default()
    };
    Ok(client.collect_events(request).await?.into_inner().results)
}

/// Sends until a request fails; returns how many were acknowledged before it.
async fn send_until_refused(channel: Channel, lane: u32, seen: Arc<Semaphore>) -> u32 {
    let mut client = EventServiceClient::new(channel);
    for number in 0.. {
        match send(&mut client, batch(lane, number)).await {
            Ok(results) => {
                let taken =
                    |one: &profile::EventResult| one.outcome() == profile::EventOutcome::Accepted;
                assert!(results.iter().all(taken), "{results:?}");
                seen.add_permits(1);
            }
            Err(_drained) => return number,
        }
    }
    unreachable!("the server stops before numbers end")
}

#[tokio::test(flavor = "multi_thread")]
async fn an_interrupted_server_drains_and_keeps_what_it_acknowledged() {
    let folder = tempfile::tempdir().unwrap();
    let mut served = Served::start(folder.path());
    let seen = Arc::new(Semaphore::new(0));
    let lanes: Vec<_> = (0..LANES)
        .map(|lane| {
            let sending = send_until_refused(served.channel(), lane, Arc::clone(&seen));
            tokio::spawn(sending)
        })
        .collect();
    seen.acquire_many(ACKNOWLEDGED_FIRST)
        .await
        .unwrap()
        .forget();
    let status = interrupt(&mut served.child);
    assert_eq!(status.code(), Some(0), "{}", served.said());
    assert!(served.said().contains("draining"), "{}", served.said());
    let mut acknowledged = Vec::new();
    for lane in lanes {
        acknowledged.push(lane.await.unwrap());
    }
    drop(served);

    let served = Served::start(folder.path());
    let channel = served.channel();
    let ids = ids_of(&channel, "local").await;
    let mut wanted = BTreeSet::new();
    for (lane, requests) in (0..LANES).zip(&acknowledged) {
        let events = (0..*requests).flat_map(|number| batch(lane, number));
        wanted.extend(events.map(|event| event.event_id));
    }
    assert!(wanted.len() >= (ACKNOWLEDGED_FIRST * BATCH) as usize);
    let lost: Vec<_> = wanted.iter().filter(|id| !ids.contains_key(*id)).collect();
    assert!(lost.is_empty(), "acknowledged and lost: {lost:?}");
    // What was not acknowledged may be there or not: sending it again settles it, once.
    let mut client = EventServiceClient::new(channel.clone());
    for (lane, requests) in (0..LANES).zip(&acknowledged) {
        let results = send(&mut client, batch(lane, *requests)).await.unwrap();
        let settled = |one: &profile::EventResult| {
            let outcome = one.outcome();
            outcome == profile::EventOutcome::Accepted
                || outcome == profile::EventOutcome::Duplicate
        };
        assert!(results.iter().all(settled), "{results:?}");
        wanted.extend(
            batch(lane, *requests)
                .into_iter()
                .map(|event| event.event_id),
        );
    }
    let ids = ids_of(&channel, "local").await;
    assert!(
        ids.values().all(|times| *times == 1),
        "an event is there twice"
    );
    assert!(wanted.iter().all(|id| ids.contains_key(id)));
    assert_eq!(ids.len(), wanted.len(), "nothing else is there");
}

/// A tool that is interrupted before it sent anything says so too.
#[test]
fn an_interrupted_load_is_exit_code_130() {
    let folder = tempfile::tempdir().unwrap();
    let served = Served::start(folder.path());
    let mut command = rapport();
    command.args([
        "load",
        "decide",
        "--duration",
        "5m",
        "--subjects",
        "20",
        "--rate",
        "20",
    ]);
    command.args(["--server", &served.address]);
    let said = folder.path().join("load.log");
    command.stderr(std::fs::File::create(&said).unwrap());
    let mut load = command.spawn().unwrap();
    while !std::fs::read_to_string(&said)
        .unwrap()
        .contains("people: 20 of 20")
    {
        assert!(load.try_wait().unwrap().is_none());
        std::thread::sleep(Duration::from_millis(5));
    }
    assert_eq!(interrupt(&mut load).code(), Some(130));
    let said = std::fs::read(&said).unwrap();
    assert!(text(&said).contains("interrupted"), "{}", text(&said));
}
