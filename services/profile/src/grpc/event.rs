//! `EventService`: collect, stream, tail, positions.

use std::pin::Pin;
use std::sync::Arc;

use futures::Stream;
use profile_domain::Identifier;
use rapport_api::event::v1::Lane;
use rapport_api::profile::v1 as pb;
use rapport_api::profile::v1::event_service_server::EventService;
use rapport_rpc::{Caller, Fields, InvalidRequest};
use rapport_telemetry::context::ORIGIN_BYTES;
use rapport_types::{CONTROL_PARTITION, PARTITIONS, SubjectId};
use tokio_stream::StreamExt as _;
use tonic::{Request, Response, Status, Streaming};
use tracing::Instrument as _;

use super::parse::identifier;
use super::texts::{TEXT_CHARS_MAX, too_long};
use crate::collector::{Collector, is_reserved, type_name};
use crate::error::Error;
use crate::log::{Cursor, Disk, Hub, Tail, TailFilter};
use crate::store::segment;

/// Events of one request.
pub const EVENTS_MAX: usize = 2_000;
/// Bytes of one request.
pub const REQUEST_BYTES_MAX: usize = 4 * 1024 * 1024;
/// Characters of an event id.
const EVENT_ID_CHARS_MAX: usize = 64;
/// Bytes of one payload.
const PAYLOAD_BYTES_MAX: usize = 64 * 1024;
/// Bytes of one personal part.
const PERSONAL_BYTES_MAX: usize = 16 * 1024;
/// Characters of a foreign type's name.
const TYPE_CHARS_MAX: usize = 128;
/// Types of one filter.
const TYPES_MAX: usize = 64;
/// Bytes of the hash that a backfill names its file by.
const IMPORT_HASH_BYTES: usize = 32;

/// Whom an event is about.
#[derive(Debug, Clone)]
pub enum Subject {
    /// The caller knows the subject.
    Known(SubjectId),
    /// The caller knows an identifier.
    Identified(Identifier),
    /// Nobody.
    Nobody,
}

/// One event, checked.
#[derive(Debug, Clone)]
pub struct NewEvent {
    /// The caller's id.
    pub event_id: String,
    /// Whom it is about.
    pub subject: Subject,
    /// The claimed time, 0 for now.
    pub occurred_at_ms: i64,
    /// The payload's type URL.
    pub type_url: String,
    /// The payload's bytes.
    pub payload: Vec<u8>,
    /// The personal part's bytes, empty if there is none.
    pub personal: Vec<u8>,
    /// The payload's schema version.
    pub schema_version: u32,
    /// The span that caused it, empty if the caller names none.
    pub trace_context: Vec<u8>,
}

/// The service.
#[derive(Debug, Clone)]
pub struct EventApi {
    /// The way into the log.
    pub collector: Collector,
    /// The log's memory.
    pub hub: Arc<Hub>,
    /// The log's disk.
    pub disk: Disk,
}

type Answers<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

#[tonic::async_trait]
impl EventService for EventApi {
    type StreamEventsStream = Answers<pb::StreamEventsResponse>;
    type TailEventsStream = Answers<pb::TailEventsResponse>;

    async fn collect_events(
        &self,
        request: Request<pb::CollectEventsRequest>,
    ) -> Result<Response<pb::CollectEventsResponse>, Status> {
        let caller = Caller::of(&request);
        let results = self.collect(&caller.name, request.into_inner()).await?;
        Ok(Response::new(pb::CollectEventsResponse { results }))
    }

    async fn stream_events(
        &self,
        request: Request<Streaming<pb::StreamEventsRequest>>,
    ) -> Result<Response<Self::StreamEventsStream>, Status> {
        let source = Caller::of(&request).name.to_string();
        let api = self.clone();
        let answers = request.into_inner().then(move |batch| {
            let (api, source) = (api.clone(), source.clone());
            async move {
                let batch = batch?.batch.unwrap_or_default();
                let results = api.collect(&source, batch).await?;
                Ok(pb::StreamEventsResponse { results })
            }
        });
        Ok(Response::new(Box::pin(answers)))
    }

    async fn tail_events(
        &self,
        request: Request<pb::TailEventsRequest>,
    ) -> Result<Response<Self::TailEventsStream>, Status> {
        let tail = self.tail(request.into_inner())?;
        let items = futures::stream::try_unfold(tail, |mut tail| async move {
            let item = tail.next().await.map_err(Error::from)?;
            Ok(item.map(|item| {
                let frame = pb::TailEventsResponse {
                    batch: item.batch,
                    caught_up: item.caught_up,
                };
                (frame, tail)
            }))
        });
        Ok(Response::new(Box::pin(items)))
    }

    async fn get_log_positions(
        &self,
        _: Request<pb::GetLogPositionsRequest>,
    ) -> Result<Response<pb::GetLogPositionsResponse>, Status> {
        Ok(Response::new(self.positions().await?))
    }
}

impl EventApi {
    /// Returns the tail that a request asks for.
    pub(super) fn tail(&self, request: pb::TailEventsRequest) -> Result<Tail, Error> {
        let query = parse_tail(request)?;
        let (disk, hub) = (self.disk.clone(), Arc::clone(&self.hub));
        Ok(Tail::new(
            disk,
            hub,
            &query.cursors,
            query.filter,
            query.follow,
        ))
    }

    async fn positions(&self) -> Result<pb::GetLogPositionsResponse, Error> {
        let ends = (0..=CONTROL_PARTITION).map(|partition| pb::PartitionCursor {
            partition,
            after_sequence: self.hub.end(partition),
        });
        let sealed = segment::sealed(self.disk.db()).await?;
        let positions = sealed.into_iter().map(|one| {
            // The database may be ahead of what this process was told of the end.
            let end = self.hub.end(one.partition).max(one.sealed);
            pb::PartitionPosition {
                partition: one.partition,
                first_sequence: if end > one.low_water {
                    one.low_water + 1
                } else {
                    0
                },
                low_water: one.low_water,
                sealed: one.sealed,
                end,
            }
        });
        Ok(pb::GetLogPositionsResponse {
            ends: ends.collect(),
            positions: positions.collect(),
        })
    }

    async fn collect(
        &self,
        source: &str,
        raw: pb::CollectEventsRequest,
    ) -> Result<Vec<pb::EventResult>, Error> {
        let (lane, events) = parse_collect(raw)?;
        // Sources of imports are apart, so that an import's ids cannot collide with live ones.
        let source = if lane == Lane::Backfill {
            format!("{source}/import")
        } else {
            source.to_owned()
        };
        // Once begun, an append is finished: a caller that gives up must not stop it half way.
        let collector = self.collector.clone();
        let work = async move { collector.collect(&source, lane, events).await };
        tokio::spawn(work.in_current_span())
            .await
            .map_err(|_panicked| Error::Internal("an append panicked"))?
    }
}

fn parse_collect(raw: pb::CollectEventsRequest) -> Result<(Lane, Vec<NewEvent>), InvalidRequest> {
    let mut fields = Fields::default();
    let lane = match raw.lane() {
        Lane::Unspecified | Lane::Live => Lane::Live,
        Lane::Backfill => Lane::Backfill,
    };
    let hash = raw.import_hash.len();
    if lane == Lane::Backfill && hash != IMPORT_HASH_BYTES {
        fields.refuse(
            "import_hash",
            format!("must have {IMPORT_HASH_BYTES} bytes, has {hash}"),
        );
    }
    match raw.events.len() {
        0 => fields.refuse("events", "is required"),
        count if count > EVENTS_MAX => {
            fields.refuse(
                "events",
                format!("must have at most {EVENTS_MAX} entries, has {count}"),
            );
            return fields.finish((lane, Vec::new()));
        }
        _ => {}
    }
    let events = raw.events.into_iter().enumerate();
    let events = events
        .map(|(index, event)| parse_event(index, event, &mut fields))
        .collect();
    fields.finish((lane, events))
}

fn parse_event(index: usize, raw: pb::NewEvent, fields: &mut Fields) -> NewEvent {
    // Names are built only when something is wrong: this runs fifty thousand times a second.
    let at = |field: &str| format!("events[{index}].{field}");
    let id = raw.event_id.len();
    if id == 0 || id > EVENT_ID_CHARS_MAX {
        fields.text(&at("event_id"), &raw.event_id, EVENT_ID_CHARS_MAX);
    }
    if raw.occurred_at_ms < 0 {
        fields.refuse(&at("occurred_at_ms"), "must not be negative");
    }
    let trace = raw.trace_context.len();
    if trace != 0 && trace != ORIGIN_BYTES {
        fields.refuse(
            &at("trace_context"),
            format!("must have {ORIGIN_BYTES} bytes or none, has {trace}"),
        );
    }
    let subject = parse_subject(index, &raw, fields);
    let payload = raw.payload.unwrap_or_default();
    if is_reserved(&payload.type_url) || payload.type_url.len() > TYPE_CHARS_MAX {
        fields.refuse(
            &at("payload"),
            "must be an event type such as `rapport.event.v1.ViewItem`",
        );
    }
    let personal = raw.personal.unwrap_or_default();
    for (field, bytes, max) in [
        ("payload", payload.value.len(), PAYLOAD_BYTES_MAX),
        ("personal", personal.value.len(), PERSONAL_BYTES_MAX),
    ] {
        if bytes > max {
            fields.refuse(
                &at(field),
                format!("must have at most {max} bytes, has {bytes}"),
            );
        }
    }
    let texts = type_name(&payload.type_url).1.map(|policy| policy.texts);
    for text in texts.map_or_else(Vec::new, |texts| too_long(texts, &payload.value)) {
        fields.refuse(
            &at(&format!("payload.{text}")),
            format!("must have at most {TEXT_CHARS_MAX} characters"),
        );
    }
    if !personal.value.is_empty() {
        if personal.type_url.rsplit('/').next()
            != payload
                .type_url
                .rsplit('/')
                .next()
                .map(personal_of)
                .as_deref()
        {
            fields.refuse(
                &at("personal"),
                "must be the payload type's own `Personal` message",
            );
        }
        if matches!(subject, Subject::Nobody) {
            fields.refuse(&at("personal"), "needs a subject");
        }
    }
    NewEvent {
        event_id: raw.event_id,
        subject,
        occurred_at_ms: raw.occurred_at_ms,
        type_url: payload.type_url,
        payload: payload.value,
        personal: personal.value,
        schema_version: raw.schema_version.max(1),
        trace_context: raw.trace_context,
    }
}

/// Parses whom an event is about: nobody is allowed, two are not.
fn parse_subject(index: usize, raw: &pb::NewEvent, fields: &mut Fields) -> Subject {
    let at = |field: &str| format!("events[{index}].{field}");
    match (raw.subject_id.is_empty(), &raw.identifier) {
        (true, None) => Subject::Nobody,
        (true, raw) => identifier(fields, &at("identifier"), raw.as_ref())
            .map_or(Subject::Nobody, Subject::Identified),
        (false, None) => Subject::Known(SubjectId::parse(&raw.subject_id).unwrap_or_else(|why| {
            fields.refuse(&at("subject_id"), why);
            SubjectId::new([0; 16])
        })),
        (false, Some(_)) => {
            fields.refuse(
                &at("identifier"),
                "must be absent when `subject_id` is given",
            );
            Subject::Nobody
        }
    }
}

fn personal_of(message: &str) -> String {
    format!("{message}Personal")
}

struct TailQuery {
    cursors: Vec<Cursor>,
    filter: TailFilter,
    follow: bool,
}

fn parse_tail(raw: pb::TailEventsRequest) -> Result<TailQuery, InvalidRequest> {
    let mut fields = Fields::default();
    if raw.types.len() > TYPES_MAX {
        fields.refuse("types", format!("must have at most {TYPES_MAX} entries"));
    }
    let cursors_max = CONTROL_PARTITION as usize + 1;
    if raw.cursors.len() > cursors_max {
        fields.refuse(
            "cursors",
            format!("must have at most {cursors_max} entries"),
        );
    }
    let mut cursors: Vec<Cursor> = Vec::new();
    for (index, cursor) in raw.cursors.iter().enumerate().take(cursors_max) {
        if cursor.partition > CONTROL_PARTITION {
            fields.refuse(&format!("cursors[{index}].partition"), "must be 0 to 64");
        } else if cursors
            .iter()
            .any(|other| other.partition == cursor.partition)
        {
            fields.refuse(
                &format!("cursors[{index}].partition"),
                "must not come twice",
            );
        }
        cursors.push(Cursor {
            partition: cursor.partition,
            after_sequence: cursor.after_sequence,
        });
    }
    if cursors.is_empty() {
        cursors.extend((0..PARTITIONS).map(|partition| Cursor {
            partition,
            after_sequence: 0,
        }));
    }
    fields.finish(TailQuery {
        cursors,
        filter: TailFilter::new(raw.types),
        follow: raw.follow,
    })
}
