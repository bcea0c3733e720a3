//! A log in memory on a free port, with the rest of profile that services lean on: control records,
//! data keys, and the faults that tests ask for. Played, because a service never links another's crate.

mod server;

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use prost::Message;
use rapport_api::event::v1::{
    ConsentChanged, ConsentRegister, EventBatch, EventRecord, Person, SubjectsErased,
    SubjectsLinked,
};
use rapport_api::profile::v1::consent_service_server::ConsentServiceServer;
use rapport_api::profile::v1::event_service_server::EventServiceServer;
use rapport_api::profile::v1::key_service_server::KeyServiceServer;
use rapport_api::profile::v1::reader_service_server::ReaderServiceServer;
use rapport_api::profile::v1::{GetControlSnapshotResponse, NewEvent};
use rapport_store::{Db, on_writer};
use rapport_types::{
    CONTROL_PARTITION, ConsentState, PARTITIONS, Purpose, SubjectId, partition_of,
};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::transport::Server;

use crate::Channel;

/// Takes away everything that projections have saved in a database, as if its tables were lost.
///
/// # Panics
/// When that cannot be done, or when nothing was there.
pub async fn lose_states(db: &Db) {
    for emptied in [
        "delete from projection_state",
        "delete from projection_offset",
    ] {
        let done = on_writer!(db, |pool| sqlx::query(emptied)
            .execute(pool)
            .await
            .map(|done| done.rows_affected()));
        assert!(done.expect("the tables are there") > 0, "{emptied}");
    }
}

/// Events in one batch: few, so that a tail of some events is many messages.
const BATCH_MAX: usize = 7;
/// Every purpose, as records carry it.
const ALL_PURPOSES: u32 = 0x7f;

/// The log. Cloning shares it.
#[derive(Debug, Clone)]
pub struct FakeLog(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    partitions: Mutex<Vec<Vec<EventRecord>>>,
    /// Up to where each partition's sequences have expired.
    low_water: Mutex<Vec<u64>>,
    /// What was collected, by event id, and where it went.
    collected: Mutex<HashMap<String, Collected>>,
    conflicts: Mutex<Vec<String>>,
    grown: watch::Sender<u64>,
    /// Streams of an older generation end.
    generation: watch::Sender<u64>,
    /// How many requests to collect fail before they write, and how many after.
    fail_before: AtomicUsize,
    fail_after: AtomicUsize,
    /// The next batch loses its first event.
    gap: AtomicBool,
    /// Event ids that the log calls malformed.
    malformed: Mutex<HashSet<String>>,
    /// `None` holds it back.
    snapshot: Mutex<Option<VecDeque<GetControlSnapshotResponse>>>,
    snapshots: AtomicUsize,
    collects: AtomicUsize,
    /// Subjects without a key: erased or never seen.
    keyless: Mutex<HashSet<SubjectId>>,
    keys_away: AtomicBool,
    /// What registered readers verified last, by name and partition.
    readers: Mutex<BTreeMap<String, BTreeMap<u32, u64>>>,
}

#[derive(Debug, Clone)]
struct Collected {
    event: NewEvent,
    partition: u32,
    sequence: u64,
}

impl Default for FakeLog {
    fn default() -> Self {
        let empty = GetControlSnapshotResponse {
            last: true,
            ..GetControlSnapshotResponse::default()
        };
        let partitions = PARTITIONS as usize + 1;
        Self(Arc::new(Shared {
            partitions: Mutex::new(vec![Vec::new(); partitions]),
            low_water: Mutex::new(vec![0; partitions]),
            collected: Mutex::default(),
            conflicts: Mutex::default(),
            grown: watch::Sender::new(0),
            generation: watch::Sender::new(0),
            fail_before: AtomicUsize::new(0),
            fail_after: AtomicUsize::new(0),
            gap: AtomicBool::new(false),
            malformed: Mutex::default(),
            snapshot: Mutex::new(Some(VecDeque::from([empty]))),
            snapshots: AtomicUsize::new(0),
            collects: AtomicUsize::new(0),
            keyless: Mutex::default(),
            keys_away: AtomicBool::new(false),
            readers: Mutex::default(),
        }))
    }
}

impl FakeLog {
    /// Returns an empty log, to be mounted on a server of the test's own.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Starts a server on a free port and returns the log with its URL.
    ///
    /// # Panics
    /// When no port is free.
    pub async fn serve() -> (Self, String) {
        let log = Self::new();
        let listener = TcpListener::bind("127.0.0.1:0").await;
        let listener = listener.expect("a port is free");
        let address = listener.local_addr().expect("it was bound");
        let server = Server::builder()
            .add_service(EventServiceServer::new(log.clone()))
            .add_service(ConsentServiceServer::new(log.clone()))
            .add_service(KeyServiceServer::new(log.clone()))
            .add_service(ReaderServiceServer::new(log.clone()))
            .serve_with_incoming(TcpListenerStream::new(listener));
        tokio::spawn(server);
        (log, format!("http://{address}"))
    }

    /// Appends a record as it is and returns its partition and sequence, as an acknowledgement does.
    pub fn append(&self, mut event: EventRecord) -> (u32, u64) {
        let place = {
            let mut partitions = lock(&self.0.partitions);
            let partition = &mut partitions[event.partition as usize];
            event.sequence = partition.len() as u64 + 1;
            let place = (event.partition, event.sequence);
            partition.push(event);
            place
        };
        self.0.grown.send_modify(|grown| *grown += 1);
        place
    }

    /// Appends what a subject did, admitted for every purpose.
    pub fn did(
        &self,
        subject: SubjectId,
        kind: &str,
        occurred_at_ms: i64,
        payload: &impl Message,
    ) -> (u32, u64) {
        self.append(EventRecord {
            occurred_at_ms,
            payload: payload.encode_to_vec().into(),
            ..of_subject(subject, kind)
        })
    }

    /// Appends an event of a subject that says nothing but its type.
    pub fn touch(&self, subject: SubjectId, kind: &str) -> (u32, u64) {
        self.append(of_subject(subject, kind))
    }

    /// Appends a control record and returns its sequence.
    pub fn control(&self, kind: &str, message: &impl Message) -> u64 {
        let record = EventRecord {
            partition: CONTROL_PARTITION,
            r#type: kind.to_owned(),
            payload: message.encode_to_vec().into(),
            ..EventRecord::default()
        };
        self.append(record).1
    }

    /// Writes registers of subjects and returns the control sequence.
    pub fn set_consent(
        &self,
        subjects: &[SubjectId],
        purposes: &[Purpose],
        state: ConsentState,
    ) -> u64 {
        let register = |purpose: &Purpose| ConsentRegister {
            purpose: i32::from(*purpose as u8),
            state: i32::from(state as u8),
        };
        let changed = ConsentChanged {
            subject_ids: subjects.iter().map(|subject| subject.to_vec()).collect(),
            registers: purposes.iter().map(register).collect(),
            ..ConsentChanged::default()
        };
        self.control("consent_changed", &changed)
    }

    /// Makes subjects one person, the first its anchor, and returns the control sequence.
    ///
    /// # Panics
    /// When there is none.
    pub fn link(&self, members: &[SubjectId]) -> u64 {
        let person = Person {
            anchor: members[0].to_vec(),
            members: members.iter().map(|member| member.to_vec()).collect(),
        };
        let linked = SubjectsLinked {
            link_id: vec![7; 16],
            person: Some(person),
            graph_version: 1,
            evidence: "test".to_owned(),
        };
        self.control("subjects_linked", &linked)
    }

    /// Erases a subject, key and all, and returns the control sequence. No copy goes to its partition.
    pub fn erase(&self, subject: SubjectId) -> u64 {
        self.forget_key(subject);
        self.control("subjects_erased", &erasure_of(&[subject]))
    }

    /// Returns every record, by partition.
    #[must_use]
    pub fn all(&self) -> Vec<EventRecord> {
        lock(&self.0.partitions).concat()
    }

    /// Returns the last sequence of every partition, the control partition last.
    #[must_use]
    pub fn ends(&self) -> Vec<u64> {
        let partitions = lock(&self.0.partitions);
        partitions
            .iter()
            .map(|events| events.len() as u64)
            .collect()
    }

    /// Returns the records of a type, by its message's name, such as `AdDecided`.
    #[must_use]
    pub fn records(&self, message: &str) -> Vec<EventRecord> {
        let mut all = self.all();
        all.retain(|event| event.r#type.ends_with(message));
        all
    }

    /// Returns the events of a type that were collected, each once, by event id.
    #[must_use]
    pub fn collected(&self, message: &str) -> Vec<NewEvent> {
        let is_wanted = |event: &NewEvent| {
            let payload = event.payload.as_ref();
            payload.is_some_and(|payload| payload.type_url.ends_with(message))
        };
        let collected = lock(&self.0.collected);
        let events = collected.values().map(|collected| collected.event.clone());
        let mut events: Vec<NewEvent> = events.filter(is_wanted).collect();
        events.sort_by(|a, b| a.event_id.cmp(&b.event_id));
        events
    }

    /// Returns the ids of events that came again with another content.
    #[must_use]
    pub fn conflicts(&self) -> Vec<String> {
        lock(&self.0.conflicts).clone()
    }

    /// Ends every open tail.
    pub fn cut(&self) {
        self.0.generation.send_modify(|generation| *generation += 1);
    }

    /// Lets the next requests to collect fail: some before they write anything, then some after.
    pub fn fail_collects(&self, before: usize, after: usize) {
        self.0.fail_before.store(before, Ordering::SeqCst);
        self.0.fail_after.store(after, Ordering::SeqCst);
    }

    /// Leaves the first event out of the next batch.
    pub fn skip_one(&self) {
        self.0.gap.store(true, Ordering::SeqCst);
    }

    /// Lets every partition's sequences up to this one expire, whether it has them or not.
    pub fn expire(&self, sequence: u64) {
        lock(&self.0.low_water).fill(sequence);
        self.cut();
    }

    /// Lets everything expire that is in the log now, but for control records: nobody forgets those.
    pub fn expire_all(&self) {
        let mut ends = self.ends();
        ends[CONTROL_PARTITION as usize] = 0;
        *lock(&self.0.low_water) = ends;
        self.cut();
    }

    /// Refuses requests to collect that hold this event.
    pub fn call_malformed(&self, event_id: &str) {
        lock(&self.0.malformed).insert(event_id.to_owned());
    }

    /// Answers with these parts when the control snapshot is asked for.
    pub fn set_snapshot(&self, parts: Vec<GetControlSnapshotResponse>) {
        *lock(&self.0.snapshot) = Some(parts.into());
    }

    /// Refuses the control snapshot from now on: nobody knows who permits what.
    pub fn hold_snapshot(&self) {
        *lock(&self.0.snapshot) = None;
    }

    /// Returns how often the control snapshot was asked for.
    #[must_use]
    pub fn snapshots(&self) -> usize {
        self.0.snapshots.load(Ordering::SeqCst)
    }

    /// Returns how many requests to collect there were.
    #[must_use]
    pub fn collects(&self) -> usize {
        self.0.collects.load(Ordering::SeqCst)
    }

    /// Returns what registered readers verified last, by name and partition.
    #[must_use]
    pub fn readers(&self) -> BTreeMap<String, BTreeMap<u32, u64>> {
        lock(&self.0.readers).clone()
    }

    /// Answers from now on that the subject does not exist.
    pub fn forget_key(&self, subject: SubjectId) {
        lock(&self.0.keyless).insert(subject);
    }

    /// Refuses data keys, or gives them out again.
    pub fn hold_keys_back(&self, away: bool) {
        self.0.keys_away.store(away, Ordering::SeqCst);
    }

    /// Returns the next batch of a partition, if there is one.
    fn batch(&self, partition: u32, after: u64, types: &[String]) -> Option<EventBatch> {
        let partitions = lock(&self.0.partitions);
        let events = &partitions[partition as usize];
        let left = &events[(after as usize).min(events.len())..];
        let read = &left[..left.len().min(BATCH_MAX)];
        let last_sequence = read.last()?.sequence;
        let wanted = |event: &&EventRecord| types.is_empty() || types.contains(&event.r#type);
        let high_water = events.len() as u64;
        let mut events: Vec<_> = read.iter().filter(wanted).cloned().collect();
        if !events.is_empty() && self.0.gap.swap(false, Ordering::SeqCst) {
            events.remove(0);
        }
        Some(EventBatch {
            partition,
            last_sequence,
            events,
            high_water,
        })
    }

    fn has_expired(&self, partition: u32, after: u64) -> bool {
        after < lock(&self.0.low_water)[partition as usize]
    }

    fn append_new(&self, event: NewEvent) -> (u32, u64) {
        let payload = event.payload.unwrap_or_default();
        let partition = match SubjectId::parse(&event.subject_id) {
            Ok(subject) => subject.partition(),
            Err(_) => partition_of(event.event_id.as_bytes()),
        };
        self.append(EventRecord {
            partition,
            event_id: event.event_id,
            r#type: payload.type_url,
            subject_id: event.subject_id.into(),
            occurred_at_ms: event.occurred_at_ms,
            payload: payload.value.into(),
            ..EventRecord::default()
        })
    }
}

/// Returns a channel to a URL, with the defaults.
///
/// # Panics
/// When it is none.
#[must_use]
pub fn connect(url: &str) -> Channel {
    let config = rapport_rpc::ClientConfig::new(url);
    rapport_rpc::connect(&config).expect("the test's URL")
}

/// Returns what says that subjects are erased, for control and for the copies in their partitions.
#[must_use]
pub fn erasure_of(subjects: &[SubjectId]) -> SubjectsErased {
    SubjectsErased {
        subject_ids: subjects.iter().map(|subject| subject.to_vec()).collect(),
        ..SubjectsErased::default()
    }
}

fn of_subject(subject: SubjectId, kind: &str) -> EventRecord {
    EventRecord {
        partition: subject.partition(),
        r#type: kind.to_owned(),
        subject_id: subject.to_vec().into(),
        admitted: ALL_PURPOSES,
        ..EventRecord::default()
    }
}

fn lock<T>(held: &Mutex<T>) -> MutexGuard<'_, T> {
    held.lock().unwrap_or_else(PoisonError::into_inner)
}
