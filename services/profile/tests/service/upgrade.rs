//! A data folder of the version before segments, opened by this one: its log is read, its duplicates are
//! known, its projection goes on where it stood.
//!
//! Binary fixtures do not belong here, so this file keeps how that version wrote: its migrations are the
//! first three files, its statements and encodings are spelled out below and must never be changed.

use std::borrow::Cow;

use prost::Message as _;
use rapport_api::event::v1::{EventBatch, EventRecord, ViewItem};
use rapport_api::profile::v1 as pb;
use rapport_flow::Projection as _;
use rapport_profile::keyring::Keyring;
use rapport_profile::projection::{Profiles, SubjectState};
use rapport_profile::{POSTGRES, PROJECTION_SQLITE, SQLITE};
use rapport_store::testing::Engine;
use rapport_store::{Db, StoreConfig, on_writer, store_contract};
use rapport_types::{Purpose, SubjectId};
use ring::hmac;
use sqlx::migrate::Migrator;

use crate::support::{Home, START, assert_gapless, view};

store_contract!(
    earlier,
    [
        the_log_of_an_earlier_version_is_read_and_goes_on,
        its_projection_continues_where_it_stood,
    ]
);

/// Events of the fixture, all Alice's views of tea; the projection stood after the third.
const EVENTS: u64 = 5;
const PROJECTED: u64 = 3;
const SOURCE: &str = "local";
/// Her state after three events, as that version encoded it.
const STATE: &str = "0a7d01018080e682b966018080e682b9660109766965775f6974656d038080e682b9660000000000\
    0000000000030000000000000000000000000000000000000000000100010374656101a605beb1a1\
    04038080e682b966038080e682b96603652d338080e682b96603652d328080e682b96603652d3100\
    00000000000000";
/// The SHA-384 of the files that made that version's schema, shortened: who edits one breaks every upgrade.
const FILES: [(i64, &str, &str); 3] = [
    (1, "0e31ef736d9ab854", "9315195b842b406a"),
    (2, "2a1d1a24587b3b48", "974a619bc2da10db"),
    (3, "5c819e1233069680", "0ce3591e6cd4c44b"),
];

const SUBJECT: &str =
    "insert into subject (subject_id, created_at_ms, wrapped_key) values ($1, $2, $3)";
const IDENTIFIER: &str = "insert into identifier (blind_index, subject_id) values ($1, $2)";
const CONSENT: &str = "insert into consent (subject_id, purpose, state, evidence, changed_at_ms)
    values ($1, $2, 1, 'form-1', $3)";
const BATCH: &str = "insert into log_batch (partition, first_sequence, last_sequence, events) values ($1, $2, $3, $4)";
const END: &str =
    "update log_partition set last_sequence = $2, last_received_at_ms = $3 where partition = $1";
const DEDUP: &str = "insert into log_dedup (dedup_key, entry, received_day) values ($1, $2, $3)";
const PROJECTION_STATE: &str =
    "insert into projection_state (projection, version, partition, key, state)
    values ('profiles', 1, $1, $2, $3)";
const PROJECTION_OFFSET: &str =
    "insert into projection_offset (projection, version, partition, epoch, sequence)
    values ('profiles', 1, $1, 1, $2)";

/// A home as that version left it, and whom it knows.
struct Earlier {
    home: Home,
    alice: SubjectId,
}

async fn earlier(engine: Engine) -> Earlier {
    let home = Home::new(engine).await;
    let db = home.db.open().await;
    let (postgres, sqlite) = (first(&POSTGRES, 3), first(&SQLITE, 3));
    db.migrate(&postgres, &sqlite).await.unwrap();
    let keyring = Keyring::open(&home.folder.path().join("keyring")).unwrap();
    let alice = SubjectId::new([0xa1; 16]);
    let (data_key, wrapped) = keyring.new_data_key(&alice);
    write_alice(&db, &keyring, alice, &wrapped).await;
    write_log(&db, alice, data_key.as_ref()).await;
    let data = home.folder.path().join("data");
    std::fs::create_dir_all(&data).unwrap();
    let projected = match engine {
        Engine::Postgres => db,
        Engine::Sqlite => {
            db.close().await;
            let file = format!("sqlite://{}", data.join("projection.db").display());
            let own = Db::open(&StoreConfig::new(file)).await.unwrap();
            own.migrate(&postgres, &first(&PROJECTION_SQLITE, 1))
                .await
                .unwrap();
            own
        }
    };
    write_projection(&projected, alice).await;
    projected.close().await;
    Earlier { home, alice }
}

/// The migrations that existed then.
fn first(all: &Migrator, count: i64) -> Migrator {
    let then = all.iter().filter(|migration| migration.version <= count);
    Migrator {
        migrations: Cow::Owned(then.cloned().collect()),
        ..Migrator::DEFAULT
    }
}

async fn write_alice(db: &Db, keyring: &Keyring, alice: SubjectId, wrapped: &[u8]) {
    let index = keyring.blind_index("login", "alice");
    on_writer!(db, |pool| {
        let subject = sqlx::query(SUBJECT).bind(alice.as_bytes().as_slice());
        let subject = subject.bind(START.0).bind(wrapped);
        subject.execute(pool).await.unwrap();
        let identifier = sqlx::query(IDENTIFIER).bind(index.as_slice());
        let identifier = identifier.bind(alice.as_bytes().as_slice());
        identifier.execute(pool).await.unwrap();
        let consent = sqlx::query(CONSENT).bind(alice.as_bytes().as_slice());
        let consent = consent
            .bind(i32::from(Purpose::Personalise as u8))
            .bind(START.0);
        consent.execute(pool).await.unwrap();
    });
}

fn payload() -> Vec<u8> {
    let message = ViewItem {
        item_id: "i-1".to_owned(),
        category: "tea".to_owned(),
        ..ViewItem::default()
    };
    message.encode_to_vec()
}

fn record(alice: SubjectId, sequence: u64, fingerprint: [u8; 16]) -> EventRecord {
    EventRecord {
        partition: alice.partition(),
        sequence,
        event_id: format!("e-{sequence}"),
        source: SOURCE.to_owned(),
        r#type: "view_item".to_owned(),
        schema_version: 1,
        subject_id: alice.to_vec().into(),
        lane: 1,
        occurred_at_ms: START.0,
        received_at_ms: START.0,
        // `service` and `personalise`.
        admitted: 0b11,
        fingerprint: fingerprint.to_vec().into(),
        payload: payload().into(),
        ..EventRecord::default()
    }
}

/// The log as two commits left it: three events, then two.
async fn write_log(db: &Db, alice: SubjectId, data_key: &[u8]) {
    let partition = alice.partition() as i32;
    let print = fingerprint(data_key);
    for (first, last) in [(1, PROJECTED), (PROJECTED + 1, EVENTS)] {
        let batch = EventBatch {
            events: (first..=last)
                .map(|sequence| record(alice, sequence, print))
                .collect(),
            ..EventBatch::default()
        };
        on_writer!(db, |pool| {
            let insert = sqlx::query(BATCH).bind(partition).bind(first as i64);
            let insert = insert.bind(last as i64).bind(batch.encode_to_vec());
            insert.execute(pool).await.unwrap();
            let end = sqlx::query(END)
                .bind(partition)
                .bind(last as i64)
                .bind(START.0);
            end.execute(pool).await.unwrap();
        });
    }
    for sequence in 1..=EVENTS {
        let (key, entry) = dedup(partition as u16, sequence, print);
        on_writer!(db, |pool| {
            let insert = sqlx::query(DEDUP)
                .bind(key.as_slice())
                .bind(entry.as_slice());
            let insert = insert.bind(START.0 / 86_400_000);
            insert.execute(pool).await.unwrap();
        });
    }
}

/// HMAC-SHA256 under a key derived from the subject's, over type, time, payload and personal bytes.
fn fingerprint(data_key: &[u8]) -> [u8; 16] {
    let root = hmac::Key::new(hmac::HMAC_SHA256, data_key);
    let derived = hmac::sign(&root, b"fingerprint");
    let mut context = hmac::Context::with_key(&hmac::Key::new(hmac::HMAC_SHA256, derived.as_ref()));
    let (name, payload) = ("view_item", payload());
    context.update(&(name.len() as u64).to_be_bytes());
    context.update(name.as_bytes());
    context.update(&START.0.to_be_bytes());
    context.update(&(payload.len() as u64).to_be_bytes());
    context.update(&payload);
    context.sign().as_ref()[..16].try_into().unwrap()
}

/// Sixteen bytes of SHA-256 over source and id; fingerprint, partition, sequence.
fn dedup(partition: u16, sequence: u64, print: [u8; 16]) -> (Vec<u8>, Vec<u8>) {
    let mut context = ring::digest::Context::new(&ring::digest::SHA256);
    context.update(&(SOURCE.len() as u64).to_be_bytes());
    context.update(SOURCE.as_bytes());
    context.update(format!("e-{sequence}").as_bytes());
    let key = context.finish().as_ref()[..16].to_vec();
    let place = [&partition.to_be_bytes()[..], &sequence.to_be_bytes()[..]].concat();
    (key, [&print[..], &place].concat())
}

async fn write_projection(db: &Db, alice: SubjectId) {
    let partition = i64::from(alice.partition());
    on_writer!(db, |pool| {
        let state = sqlx::query(PROJECTION_STATE).bind(partition);
        let state = state.bind(alice.as_bytes().as_slice()).bind(unhex(STATE));
        state.execute(pool).await.unwrap();
        let offset = sqlx::query(PROJECTION_OFFSET)
            .bind(partition)
            .bind(PROJECTED as i64);
        offset.execute(pool).await.unwrap();
    });
}

fn unhex(text: &str) -> Vec<u8> {
    let byte = |at| u8::from_str_radix(&text[at..at + 2], 16).unwrap();
    (0..text.len()).step_by(2).map(byte).collect()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[test]
fn migrations_that_were_released_are_never_edited() {
    let digests = |all: &Migrator| -> Vec<(i64, String)> {
        let digest = |bytes: &[u8]| hex(&bytes[..8]);
        all.iter()
            .map(|one| (one.version, digest(&one.checksum)))
            .take(3)
            .collect()
    };
    let of = |pick: fn(&(i64, &str, &str)) -> (i64, String)| -> Vec<(i64, String)> {
        FILES.iter().map(pick).collect()
    };
    assert_eq!(digests(&SQLITE), of(|file| (file.0, file.1.to_owned())));
    assert_eq!(digests(&POSTGRES), of(|file| (file.0, file.2.to_owned())));
}

/// Otherwise the projection's version must be raised, so that it is built anew.
#[test]
fn states_are_encoded_as_the_earlier_version_did() {
    let alice = SubjectId::new([0xa1; 16]);
    let mut state = SubjectState::default();
    for sequence in 1..=PROJECTED {
        Profiles.apply(
            alice.as_bytes(),
            &mut state,
            &record(alice, sequence, [0; 16]),
        );
    }
    assert_eq!(hex(&Profiles::encode(&state)), STATE);
}

async fn the_log_of_an_earlier_version_is_read_and_goes_on(Earlier { home, alice }: Earlier) {
    let segments = home.folder.path().join("segments").display().to_string();
    let seal = [
        "--segments",
        &segments,
        "--seal-every",
        "5ms",
        "--segment-age",
        "0s",
    ];
    let service = home.serve(&seal).await;
    assert_eq!(
        service.subject("alice").await,
        alice,
        "the identifier leads to her"
    );
    let sent: Vec<_> = (1..=EVENTS + 1)
        .map(|number| view(&format!("e-{number}"), alice, "tea"))
        .collect();
    let results = service.collect(sent).await;
    let (known, new) = results.split_at(EVENTS as usize);
    for (result, sequence) in known.iter().zip(1..) {
        assert_eq!(result.outcome(), pb::EventOutcome::Duplicate, "{result:?}");
        assert_eq!(result.sequence, sequence);
    }
    assert_eq!(
        (new[0].outcome(), new[0].sequence),
        (pb::EventOutcome::Accepted, EVENTS + 1)
    );
    let mut service = service;
    for read in ["while it is sealed", "after a restart"] {
        let all = service.all().await;
        assert_gapless(&all);
        let ids: Vec<_> = all.iter().map(|event| event.event_id.as_str()).collect();
        assert_eq!(ids, ["e-1", "e-2", "e-3", "e-4", "e-5", "e-6"], "{read}");
        service = service.stop().await.serve(&seal).await;
    }
}

async fn its_projection_continues_where_it_stood(Earlier { home, alice }: Earlier) {
    let service = home.serve(&[]).await;
    service.live(vec![view("e-6", alice, "tea")]).await;
    let profile = service.profile_of(alice).await.unwrap();
    let events: Vec<_> = profile
        .events
        .iter()
        .map(|one| (one.r#type.as_str(), one.count))
        .collect();
    assert_eq!(
        events,
        [("view_item", EVENTS + 1)],
        "three before, three since, none twice"
    );
}
