//! The low-water mark as callers see it: positions, expired tails, readers that hold it.

use std::path::{Path, PathBuf};

use rapport_api::profile::v1 as pb;
use rapport_api::profile::v1::reader_service_client::ReaderServiceClient;
use rapport_profile::{Profile, error};
use rapport_rpc::{ClientConfig, connect_in_process, in_process};
use rapport_store::testing::Engine;
use rapport_store::{Db, store_contract};
use rapport_types::{Purpose, SubjectId};
use tonic::Code;
use tonic_types::StatusExt as _;

use crate::support::{DAY_MS, Home, Service, refusal, view};

store_contract!(
    forgetful,
    [
        the_mark_never_passes_what_a_reader_verified,
        a_reader_below_the_mark_is_refused,
        lost_profiles_are_made_up_from_snapshots,
        readers_are_bounded_and_their_names_checked,
        damage_is_named_to_the_caller_and_a_wrong_directory_at_the_start,
    ]
);

/// A service that seals each commit at once, and forgets after a day.
async fn forgetful(engine: Engine) -> Service {
    forgetful_again(Home::new(engine).await).await
}

async fn forgetful_again(home: Home) -> Service {
    let segments = home.folder.path().join("segments");
    let flags = [
        "--segments",
        segments.to_str().unwrap(),
        "--seal-every",
        "5ms",
        "--segment-bytes",
        "1024",
        "--log-retention",
        "24h",
        "--snapshot-every",
        "1s",
    ];
    home.serve(&flags).await
}

/// What profile's own projection is called as a reader.
const OWN: &str = "profile/profiles/v1";

/// Returns a reader's listing, once it is there.
async fn listed(service: &Service, name: &str) -> pb::Reader {
    loop {
        let request = pb::ListReadersRequest {};
        let answer = readers(service).list_readers(request).await.unwrap();
        let mut all = answer.into_inner().readers.into_iter();
        if let Some(found) = all.find(|one| one.reader.ends_with(&format!(":{name}"))) {
            return found;
        }
    }
}

/// Waits until profile's own projection has a verified snapshot of a partition up to a sequence.
async fn snapshotted(service: &Service, partition: u32, sequence: u64) {
    let is_there =
        |one: &pb::PartitionCursor| one.partition == partition && one.after_sequence >= sequence;
    while !listed(service, OWN).await.verified.iter().any(is_there) {}
}

fn readers(service: &Service) -> ReaderServiceClient<rapport_rpc::Channel> {
    ReaderServiceClient::new(service.channel.clone())
}

async fn position(service: &Service, partition: u32) -> pb::PartitionPosition {
    let request = pb::GetLogPositionsRequest {};
    let answer = service.events().get_log_positions(request).await.unwrap();
    answer.into_inner().positions[partition as usize]
}

/// Waits until a partition's position is as wanted.
async fn until(
    service: &Service,
    partition: u32,
    wanted: impl Fn(&pb::PartitionPosition) -> bool,
) -> pb::PartitionPosition {
    loop {
        let position = position(service, partition).await;
        if wanted(&position) {
            return position;
        }
    }
}

/// Appends ten commits of twenty events, more than a segment each, and waits until they are sealed.
async fn fill(service: &Service, subject: SubjectId, name: &str) -> u64 {
    let mut end = 0;
    for commit in 0..10 {
        let sent = (0..20).map(|n| view(&format!("{name}-{commit}-{n}"), subject, "tea"));
        end = service
            .collect(sent.collect())
            .await
            .last()
            .unwrap()
            .sequence;
    }
    until(service, subject.partition(), |one| one.sealed == end).await;
    end
}

fn registration(reader: &str, partition: u32, sequence: u64) -> pb::RegisterReaderRequest {
    pb::RegisterReaderRequest {
        reader: reader.to_owned(),
        verified: vec![pb::PartitionCursor {
            partition,
            after_sequence: sequence,
        }],
    }
}

async fn the_mark_never_passes_what_a_reader_verified(service: Service) {
    let alice = service.subject("alice").await;
    let partition = alice.partition();
    let end = fill(&service, alice, "a").await;
    // Profile's own projection would hold the mark as well.
    snapshotted(&service, partition, end).await;
    let half = end / 2;
    let mut client = readers(&service);
    let request = registration("ads/frequency/v1", partition, half);
    let answer = client.register_reader(request.clone()).await.unwrap();
    assert_eq!(answer.into_inner().low_water, []);
    client.register_reader(request).await.unwrap();
    service.home.clock.advance(2 * DAY_MS);
    let held = until(&service, partition, |one| one.low_water > 0).await;
    // A reader of something else arrives, and holds its partition too: nothing moves in this round or any.
    assert!(
        held.low_water <= half && held.low_water + 20 > half,
        "{held:?}"
    );
    assert_eq!(held.first_sequence, held.low_water + 1);
    assert_eq!((held.sealed, held.end), (end, end));
    let ads = listed(&service, "ads/frequency/v1").await;
    assert_eq!(ads.verified[0].after_sequence, half);
    let removal = pb::RemoveReaderRequest {
        reader: "ads/frequency/v1".to_owned(),
    };
    for removed in [true, false] {
        let answer = client.remove_reader(removal.clone()).await.unwrap();
        assert_eq!(answer.into_inner().removed, removed);
    }
    let free = until(&service, partition, |one| one.low_water == end).await;
    assert_eq!(free.first_sequence, 0, "nothing is left to read");
    // What comes next goes on after the mark.
    let next = fill(&service, alice, "b").await;
    let read = service.read(&[(partition, end)], &[]).await;
    let events: Vec<_> = read.iter().flat_map(|batch| &batch.events).collect();
    assert_eq!(
        (events[0].sequence, events.len() as u64),
        (end + 1, next - end)
    );
}

async fn a_reader_below_the_mark_is_refused(service: Service) {
    let alice = service.subject("alice").await;
    let partition = alice.partition();
    let end = fill(&service, alice, "a").await;
    service.home.clock.advance(2 * DAY_MS);
    until(&service, partition, |one| one.low_water == end).await;
    let home = service.stop().await;
    let segments = home.folder.path().join("segments");
    let service = home
        .serve(&["--segments", segments.to_str().unwrap()])
        .await;
    let request = pb::TailEventsRequest {
        cursors: vec![pb::PartitionCursor {
            partition,
            after_sequence: end - 1,
        }],
        ..Default::default()
    };
    let tail = service.events().tail_events(request).await.unwrap();
    let expired = tail.into_inner().message().await.unwrap_err();
    let request = registration("late", partition, end - 1);
    let late = readers(&service)
        .register_reader(request)
        .await
        .unwrap_err();
    for status in [expired, late] {
        let info = status.get_details_error_info().unwrap();
        assert_eq!(
            (status.code(), info.reason.as_str()),
            (Code::OutOfRange, error::SEQUENCE_EXPIRED)
        );
        assert_eq!(info.metadata["low_water"], end.to_string());
        assert_eq!(info.metadata["partition"], partition.to_string());
    }
    let request = registration("late", partition, end);
    let answer = readers(&service).register_reader(request).await.unwrap();
    let marks = answer.into_inner().low_water;
    assert_eq!(marks.len(), 1);
    assert_eq!(
        (marks[0].partition, marks[0].after_sequence),
        (partition, end)
    );
}

/// The log forgets what profile has in a snapshot: without it nobody could count again.
async fn lost_profiles_are_made_up_from_snapshots(service: Service) {
    let alice = service.subject("alice").await;
    service.grant(alice, Purpose::Personalise).await;
    let partition = alice.partition();
    let end = fill(&service, alice, "a").await;
    snapshotted(&service, partition, end).await;
    service.home.clock.advance(2 * DAY_MS);
    until(&service, partition, |one| one.low_water == end).await;
    let before = service.profile_of(alice).await.unwrap();
    assert_eq!((before.events[0].count, before.events.len()), (200, 1));
    let home = service.stop().await;
    lose_states(&home).await;
    let service = forgetful_again(home).await;
    service.live(vec![view("b", alice, "tea")]).await;
    let after = service.profile_of(alice).await.unwrap();
    assert_eq!((after.events[0].count, after.events.len()), (201, 1));
}

/// Takes away what the projection has saved: its file, or its rows.
async fn lose_states(home: &Home) {
    let file = home.folder.path().join("data").join("projection.db");
    match home.db.open().await {
        Db::Sqlite(_) => std::fs::remove_file(file).unwrap(),
        rows @ Db::Postgres(_) => rapport_flow::testing::lose_states(&rows).await,
    }
}

async fn readers_are_bounded_and_their_names_checked(service: Service) {
    let mut client = readers(&service);
    let request = pb::RegisterReaderRequest {
        reader: "No Name".to_owned(),
        verified: [64, 3, 3]
            .map(|partition| pb::PartitionCursor {
                partition,
                after_sequence: 0,
            })
            .to_vec(),
    };
    let status = client.register_reader(request).await.unwrap_err();
    let bad = ["reader", "verified[0].partition", "verified[2].partition"];
    assert_eq!(refusal(&status).1, bad.map(str::to_owned));
    // Profile's own projection is one of the 128.
    listed(&service, OWN).await;
    for number in 0..127 {
        let request = registration(&format!("r-{number}"), 0, 0);
        client.register_reader(request).await.unwrap();
    }
    let many = client.register_reader(registration("one-more", 0, 0)).await;
    let status = many.unwrap_err();
    assert_eq!(refusal(&status).0, error::TOO_MANY_READERS);
    client
        .register_reader(registration("r-7", 0, 0))
        .await
        .unwrap();
}

async fn damage_is_named_to_the_caller_and_a_wrong_directory_at_the_start(service: Service) {
    let alice = service.subject("alice").await;
    let partition = alice.partition();
    fill(&service, alice, "a").await;
    let home = service.stop().await;
    let folder = home.folder.path().join("segments");
    let elsewhere = folder.with_file_name("elsewhere");
    let (connector, _incoming) = in_process();
    let own = connect_in_process(&connector, &ClientConfig::new("http://in-process"));
    let config = home.config(&["--segments", elsewhere.to_str().unwrap()]);
    let refused = Profile::start(&config, home.clock.clone(), own).await;
    let refused = refused.unwrap_err();
    assert!(refused.is_usage() && refused.to_string().contains("PROFILE_SEGMENTS"));
    let file = first_file(&folder);
    let mut bytes = std::fs::read(&file).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    std::fs::write(&file, bytes).unwrap();
    let service = home.serve(&["--segments", folder.to_str().unwrap()]).await;
    let request = pb::TailEventsRequest {
        cursors: vec![pb::PartitionCursor {
            partition,
            after_sequence: 0,
        }],
        ..Default::default()
    };
    let tail = service.events().tail_events(request).await.unwrap();
    let status = tail.into_inner().message().await.unwrap_err();
    let name = file.file_name().unwrap().to_str().unwrap();
    assert_eq!(status.code(), Code::DataLoss);
    assert!(status.message().contains(name), "{status}");
    let resource = status.get_details_resource_info().unwrap();
    assert!(resource.resource_name.ends_with(name), "{resource:?}");
}

/// The file with the lowest sequences below a folder.
fn first_file(folder: &Path) -> PathBuf {
    let entries = std::fs::read_dir(folder).unwrap();
    let first = entries.map(|entry| entry.unwrap().path()).min().unwrap();
    match first.is_dir() {
        true => first_file(&first),
        false => first,
    }
}
