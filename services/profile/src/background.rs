//! What runs beside the requests: the bell, the view of people, the relay, the sweep.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use prost::Message as _;
use rapport_api::event::v1::{
    ConsentChanged, EventRecord, SubjectsErased, SubjectsLinked, SubjectsUnlinked,
};
use rapport_flow::{ControlError, People};
use rapport_store::{Db, StoreError, idempotency};
use rapport_types::{CONTROL_PARTITION, Clock, SubjectId, UnixMillis};

use crate::collector::Collector;
use crate::error::Error;
use crate::log::{Cursor, DEDUP_HORIZON_DAYS, Disk, Erasures, Hub, Keeper, Kept, Tail, TailFilter};
use crate::store::bell::{self, Listener};
use crate::store::{log, subject};
use crate::subjects::Subjects;

/// How often the database is asked what other replicas committed, when nobody rang.
const POLL: Duration = Duration::from_millis(100);
/// Pause after a failure before trying again.
const PAUSE: Duration = Duration::from_millis(200);
/// How often a slice of old dedup entries and some idempotency records are deleted. Each slice comes
/// round once in 68 minutes; the records go in any order.
const SWEEP: Duration = Duration::from_secs(1);
const DAY_MS: i64 = 24 * 60 * 60 * 1_000;

/// Rings the bell after commits, in this process and, on Postgres, in the other replicas.
pub async fn ring(hub: Arc<Hub>, db: Db) {
    hub.ring(|| async {
        if let Err(error) = bell::ring(&db).await {
            // The other replicas poll: they only learn a little later.
            tracing::debug!(error = &error as &dyn std::error::Error, "bell not rung");
        }
    })
    .await;
}

/// Learns what was committed and not told here: by other replicas, or by a commit of this one whose
/// outcome nobody learned.
pub async fn observe(hub: Arc<Hub>, db: Db) {
    let mut listener = Listener::new(&db);
    loop {
        listener.heard(POLL).await;
        match log::ends(&db).await {
            Ok(ends) => ends
                .iter()
                .for_each(|end| hub.observe(end.partition, end.last_sequence)),
            Err(error) => {
                tracing::warn!(error = &error as &dyn std::error::Error, "log ends unknown");
            }
        }
    }
}

/// Keeps this replica's view of people at the end of the control partition, for ever.
pub async fn follow_people(people: People, hub: Arc<Hub>, disk: Disk, subjects: Subjects) {
    loop {
        match feed(&people, &hub, &disk, &subjects).await {
            Ok(()) => tracing::debug!("control tail ended"),
            Err(error) => tracing::warn!(
                error = &error as &dyn std::error::Error,
                "control tail failed"
            ),
        }
        tokio::time::sleep(PAUSE).await;
    }
}

async fn feed(
    people: &People,
    hub: &Arc<Hub>,
    disk: &Disk,
    subjects: &Subjects,
) -> Result<(), Error> {
    let cursor = Cursor {
        partition: CONTROL_PARTITION,
        after_sequence: people.control_sequence(),
    };
    let mut tail = Tail::new(
        disk.clone(),
        Arc::clone(hub),
        &[cursor],
        TailFilter::default(),
        true,
    );
    while let Some(item) = tail.next().await? {
        for event in item.batch.iter().flat_map(|batch| &batch.events) {
            if let Err(error) = people.apply_control(event) {
                tracing::error!(
                    error = &error as &dyn std::error::Error,
                    "control record refused"
                );
                if matches!(error, ControlError::Gap { .. }) {
                    return Ok(());
                }
            }
            if event.r#type == "subjects_erased" {
                subjects.forget(&subjects_of(event));
            }
        }
        if item.caught_up {
            people.heartbeat();
        }
    }
    Ok(())
}

/// Copies control records into their subjects' partitions, so that projections see them in order
/// with the subject's own events. Every replica may run it: copies are idempotent.
pub async fn relay(collector: Collector, hub: Arc<Hub>, disk: Disk) {
    loop {
        if let Err(error) = relay_on(&collector, &hub, &disk).await {
            tracing::warn!(error = &error as &dyn std::error::Error, "relay failed");
        }
        tokio::time::sleep(PAUSE).await;
    }
}

async fn relay_on(collector: &Collector, hub: &Arc<Hub>, disk: &Disk) -> Result<(), Error> {
    let db = disk.db();
    let after_sequence = log::relayed(db).await?;
    let cursor = Cursor {
        partition: CONTROL_PARTITION,
        after_sequence,
    };
    let mut tail = Tail::new(
        disk.clone(),
        Arc::clone(hub),
        &[cursor],
        TailFilter::default(),
        true,
    );
    while let Some(item) = tail.next().await? {
        let Some(batch) = item.batch else { continue };
        let records: Vec<_> = batch
            .events
            .iter()
            .map(|event| (event, subjects_of(event)))
            .collect();
        if !records.is_empty() {
            collector.relay(&records).await?;
            log::set_relayed(db, batch.last_sequence).await?;
        }
    }
    Ok(())
}

/// The subjects that were erased, for the keeper of the log.
#[derive(Debug)]
pub struct Erased(pub Db);

#[tonic::async_trait]
impl Erasures for Erased {
    async fn between(&self, after_ms: i64, to_ms: i64) -> Result<HashSet<SubjectId>, StoreError> {
        subject::erased_between(&self.0, after_ms, to_ms).await
    }
}

/// Keeps the old part of the log in order, for ever.
pub async fn keep(mut keeper: Keeper, every: Duration) {
    loop {
        match keeper.round().await {
            Ok(kept) if kept == Kept::default() => {}
            Ok(kept) => tracing::debug!(?kept, "the log was kept"),
            Err(error) => {
                let error = &error as &dyn std::error::Error;
                tracing::warn!(error, "the log could not be kept");
            }
        }
        tokio::time::sleep(every).await;
    }
}

/// Deletes what need not be remembered any longer, a little each second.
pub async fn sweep(db: Db, clock: Arc<dyn Clock>) {
    let mut slice = 0;
    loop {
        tokio::time::sleep(SWEEP).await;
        if let Err(error) = sweep_slice(&db, slice, clock.now()).await {
            tracing::warn!(error = &error as &dyn std::error::Error, "sweep failed");
        }
        slice = (slice + 1) % log::SLICES;
    }
}

async fn sweep_slice(db: &Db, slice: u16, now: UnixMillis) -> Result<(), StoreError> {
    log::forget_before(db, slice, now.0 / DAY_MS - DEDUP_HORIZON_DAYS - 1).await?;
    idempotency::sweep(db, now, idempotency::KEEP_MIN_MS).await?;
    Ok(())
}

/// Returns the subjects that a control record is about; none for a record that does not decode.
fn subjects_of(event: &EventRecord) -> Vec<SubjectId> {
    let payload = event.payload.as_ref();
    let ids: Vec<Vec<u8>> = match event.r#type.as_str() {
        "consent_changed" => ConsentChanged::decode(payload)
            .map(|record| record.subject_ids)
            .unwrap_or_default(),
        "subjects_linked" => SubjectsLinked::decode(payload)
            .ok()
            .and_then(|record| record.person)
            .map(|person| person.members)
            .unwrap_or_default(),
        "subjects_unlinked" => SubjectsUnlinked::decode(payload)
            .map(|record| {
                record
                    .persons
                    .into_iter()
                    .flat_map(|person| person.members)
                    .collect()
            })
            .unwrap_or_default(),
        "subjects_erased" => SubjectsErased::decode(payload)
            .map(|record| record.subject_ids)
            .unwrap_or_default(),
        _ => Vec::new(),
    };
    ids.iter()
        .filter_map(|id| SubjectId::parse(id).ok())
        .collect()
}
