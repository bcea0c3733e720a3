//! How soon what somebody does is seen: from the acknowledgement by profile to recommend's timeline.

use std::io;
use std::time::{Duration, Instant};

use prost::{Message as _, Name as _};
use rapport_api::event::v1::{ConsentRegister, ViewItem};
use rapport_api::profile::v1::consent_service_client::ConsentServiceClient;
use rapport_api::profile::v1::event_service_client::EventServiceClient;
use rapport_api::profile::v1::subject_service_client::SubjectServiceClient;
use rapport_api::profile::v1::{
    CollectEventsRequest, EventOutcome, Identifier, IdentifierKind, NewEvent,
    ResolveSubjectRequest, SetConsentRequest,
};
use rapport_api::recommend::v1::GetTimelineRequest;
use rapport_api::recommend::v1::recommend_service_client::RecommendServiceClient;
use rapport_api::r#type::v1::{ConsentState, Purpose};
use rapport_rpc::{Channel, ClientConfig, connect};
use serde_json::json;

use crate::server::{Server, load};

/// Events looked for, one after the other.
const PROBES: usize = 500;
/// The longest wait for one of them.
const WAIT_MAX: Duration = Duration::from_secs(10);
/// Load beside the probes, in calls of 100 events each second.
const BUSY: &str = "100";
/// From the start of the load to the first probe beside it, and again from the last one to its end.
const MARGIN: Duration = Duration::from_secs(2);

pub(crate) async fn run(seconds: u64) -> io::Result<()> {
    let folder = tempfile::tempdir()?;
    let server = Server::embedded(folder.path(), &[]).await?;
    let probe = Probe::new(server.process.url()).await?;
    let idle = probe.waits("idle", None).await?;
    let duration = format!("{seconds}s");
    let arguments = [
        "collect",
        "--rate",
        BUSY,
        "--batch",
        "100",
        "--duration",
        &duration,
        "--warm-up",
        "0s",
    ];
    let end = Instant::now() + Duration::from_secs(seconds).saturating_sub(MARGIN);
    let busy = async {
        tokio::time::sleep(MARGIN).await;
        probe.waits("busy", Some(end)).await
    };
    let (loaded, busy) = tokio::join!(load(server.process.url(), &arguments), busy);
    let loaded = loaded?;
    for (beside, mut waits) in [(json!(0), idle), (loaded["events"].clone(), busy?)] {
        waits.sort_unstable();
        let percentile = |share: f64| waits[(share * (waits.len() - 1) as f64).round() as usize];
        crate::print(&json!({
            "name": "ack to recommend's timeline",
            "events_beside": beside,
            "probes": waits.len(),
            "p50_ms": percentile(0.50).as_secs_f64() * 1e3,
            "p99_ms": percentile(0.99).as_secs_f64() * 1e3,
            "max_ms": percentile(1.0).as_secs_f64() * 1e3,
        }))?;
    }
    server.process.stop().await
}

/// One person, and the clients that ask about it.
struct Probe {
    channel: Channel,
    subject_id: Vec<u8>,
}

impl Probe {
    async fn new(url: &str) -> io::Result<Self> {
        let channel = connect(&ClientConfig::new(url)).map_err(io::Error::other)?;
        let identifier = Identifier {
            kind: IdentifierKind::Login as i32,
            value: "probe".to_owned(),
        };
        let request = ResolveSubjectRequest {
            identifier: Some(identifier),
        };
        let mut subjects = SubjectServiceClient::new(channel.clone());
        let resolved = subjects.resolve_subject(request).await;
        let subject_id = resolved.map_err(io::Error::other)?.into_inner().subject_id;
        let request = SetConsentRequest {
            request_id: "probe".to_owned(),
            subject_id: subject_id.clone(),
            registers: vec![ConsentRegister {
                purpose: Purpose::Personalise as i32,
                state: ConsentState::Granted as i32,
            }],
            evidence: "bench".to_owned(),
            imported: false,
        };
        let mut consents = ConsentServiceClient::new(channel.clone());
        let granted = consents.set_consent(request).await;
        granted.map_err(io::Error::other)?;
        Ok(Self {
            channel,
            subject_id,
        })
    }

    /// Returns the time of each probe from its acknowledgement to the first timeline that shows it; none
    /// begins after `end`.
    async fn waits(&self, round: &str, end: Option<Instant>) -> io::Result<Vec<Duration>> {
        let mut timelines = RecommendServiceClient::new(self.channel.clone());
        let mut waits = Vec::with_capacity(PROBES);
        for number in 0..PROBES {
            if end.is_some_and(|end| Instant::now() >= end) {
                break;
            }
            let item_id = format!("{round}-{number}");
            self.view(&item_id).await?;
            let acknowledged = Instant::now();
            loop {
                let request = GetTimelineRequest {
                    subject_id: self.subject_id.clone(),
                    page_size: 1,
                };
                let answer = timelines.get_timeline(request).await;
                let entries = answer.map_err(io::Error::other)?.into_inner().entries;
                if entries.iter().any(|entry| entry.item_id == item_id) {
                    break;
                }
                if acknowledged.elapsed() > WAIT_MAX {
                    return Err(io::Error::other(format!("{item_id} is never seen")));
                }
                tokio::task::yield_now().await;
            }
            waits.push(acknowledged.elapsed());
        }
        match waits.is_empty() {
            true => Err(io::Error::other("the load is too short for a probe")),
            false => Ok(waits),
        }
    }

    async fn view(&self, item_id: &str) -> io::Result<()> {
        let view = ViewItem {
            item_id: item_id.to_owned(),
            ..Default::default()
        };
        let event = NewEvent {
            event_id: item_id.to_owned(),
            subject_id: self.subject_id.clone(),
            payload: Some(prost_types::Any {
                type_url: ViewItem::type_url(),
                value: view.encode_to_vec(),
            }),
            ..Default::default()
        };
        let request = CollectEventsRequest {
            events: vec![event],
            ..Default::default()
        };
        let mut events = EventServiceClient::new(self.channel.clone());
        let answer = events.collect_events(request).await;
        let results = answer.map_err(io::Error::other)?.into_inner().results;
        let outcome = results[0].outcome();
        match outcome == EventOutcome::Accepted {
            true => Ok(()),
            false => Err(io::Error::other(format!("{item_id} is {outcome:?}"))),
        }
    }
}
