//! Sending a checked file: consent first, then the catalogue, then the events.

use std::hash::{Hash as _, Hasher as _};

use rapport_api::event::v1::{ConsentRegister, Lane};
use rapport_api::profile::v1 as profile;
use rapport_api::profile::v1::consent_service_client::ConsentServiceClient;
use rapport_api::profile::v1::event_service_client::EventServiceClient;
use rapport_api::recommend::v1 as recommend;
use rapport_api::recommend::v1::catalog_service_client::CatalogServiceClient;
use rapport_api::r#type::v1::{ConsentState, Money};
use tokio::sync::mpsc;

use super::source::{self, Imported, Line, Mapper};
use super::{ImportArgs, Summary};
use crate::failure::Failure;
use crate::peers::Peers;
use crate::progress::Progress;

/// Events of one request.
const EVENTS_PER_REQUEST: usize = 1_000;
/// Requests in flight. A person's lines always take the same way, so their order is kept.
const LANES: usize = 2;
/// Requests read ahead per lane.
const REQUESTS_AHEAD: usize = 4;
/// How often one request is sent again because the log was busy: a minute at its usual quarter of a second.
const WAITS_MAX: u32 = 240;
/// Identifiers of one consent request.
const IDENTIFIERS_PER_REQUEST: usize = 200;
/// Items of one catalogue request.
const ITEMS_PER_REQUEST: usize = 500;

/// Sends one checked file.
pub(super) struct Sender<'a> {
    peers: &'a Peers,
    server: &'a str,
    file: &'a Imported,
    /// First eight bytes of the file's hash: what its ids begin with.
    prefix: String,
}

impl<'a> Sender<'a> {
    pub(super) fn new(peers: &'a Peers, server: &'a str, file: &'a Imported) -> Self {
        let prefix = file.hash[..8]
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect();
        Self {
            peers,
            server,
            file,
            prefix,
        }
    }

    pub(super) async fn run(
        &self,
        args: &ImportArgs,
        mapper: Box<dyn Mapper>,
        evidence: &str,
    ) -> Result<Summary, Failure> {
        let mut summary = Summary {
            lines: self.file.lines,
            subjects: self.file.identifiers.len() as u64,
            last_event_ms: self.file.last_event_ms,
            ..Summary::default()
        };
        if !args.grant.is_empty() {
            summary.consents = self.grant(args, evidence).await?;
        }
        summary.items = self.catalogue().await?;
        self.events(args, mapper, &mut summary).await?;
        Ok(summary)
    }

    /// Writes consent before any event, so that each event is stored with what was granted.
    async fn grant(&self, args: &ImportArgs, evidence: &str) -> Result<u64, Failure> {
        let granted = ConsentState::Granted as i32;
        let registers: Vec<ConsentRegister> = args
            .grant
            .iter()
            .map(|purpose| ConsentRegister {
                purpose: i32::from(*purpose as u8),
                state: granted,
            })
            .collect();
        let purposes: String = args
            .grant
            .iter()
            .map(|purpose| purpose.name()[..2].to_owned())
            .collect();
        let mut client = ConsentServiceClient::new(self.peers.profile.clone());
        let mut progress = Progress::new("consent", self.file.identifiers.len() as u64);
        for (number, page) in self
            .file
            .identifiers
            .chunks(IDENTIFIERS_PER_REQUEST)
            .enumerate()
        {
            let identifiers = page.iter().map(|(kind, value)| profile::Identifier {
                kind: *kind,
                value: value.clone(),
            });
            let request = profile::ImportConsentRequest {
                request_id: format!("import-{}-{purposes}-{number}", self.prefix),
                identifiers: identifiers.collect(),
                registers: registers.clone(),
                evidence: evidence.to_owned(),
            };
            let sent = client.import_consent(request).await;
            sent.map_err(|status| {
                Failure::of_call(self.server, "consent was not written", &status)
            })?;
            progress.advance(page.len() as u64);
        }
        progress.finish();
        Ok(self.file.identifiers.len() as u64)
    }

    async fn catalogue(&self) -> Result<u64, Failure> {
        let items: Vec<recommend::Item> = self
            .file
            .items
            .values()
            .map(|item| recommend::Item {
                item_id: item.item_id.clone(),
                title: item.title.clone(),
                price: Some(Money {
                    currency: item.currency.clone(),
                    micros: item.price_micros,
                }),
                available: true,
                ..recommend::Item::default()
            })
            .collect();
        let mut client = CatalogServiceClient::new(self.peers.recommend.clone());
        for (number, page) in items.chunks(ITEMS_PER_REQUEST).enumerate() {
            let request = recommend::UpsertItemsRequest {
                request_id: format!("import-{}-{number}", self.prefix),
                items: page.to_vec(),
            };
            let sent = client.upsert_items(request).await;
            sent.map_err(|status| {
                Failure::of_call(self.server, "the catalogue was not written", &status)
            })?;
        }
        Ok(items.len() as u64)
    }

    async fn events(
        &self,
        args: &ImportArgs,
        mapper: Box<dyn Mapper>,
        summary: &mut Summary,
    ) -> Result<(), Failure> {
        let (results, mut done) = mpsc::channel(LANES * REQUESTS_AHEAD);
        let mut lanes = Vec::with_capacity(LANES);
        for _ in 0..LANES {
            let (lane, batches) = mpsc::channel(REQUESTS_AHEAD);
            tokio::spawn(send_lane(
                self.peers.clone(),
                self.file.hash,
                batches,
                results.clone(),
            ));
            lanes.push(lane);
        }
        drop(results);
        let (path, prefix) = (args.file.clone(), self.prefix.clone());
        let reader =
            tokio::task::spawn_blocking(move || read_into(&path, mapper.as_ref(), &prefix, &lanes));
        let mut progress = Progress::new("events", self.file.lines);
        while let Some(batch) = done.recv().await {
            let batch = batch.map_err(|status| {
                // What was refused is refused again.
                let what = if status.code() == tonic::Code::InvalidArgument {
                    "the import stopped"
                } else {
                    "the import stopped; run it again"
                };
                Failure::of_call(self.server, what, &status)
            })?;
            progress.advance(batch.len() as u64);
            batch.iter().for_each(|result| count(result, summary));
        }
        progress.finish();
        reader
            .await
            .map_err(|panicked| Failure::Failed(panicked.to_string()))?
    }
}

/// Reads the file again and deals its events to the lanes, a person's always to the same one.
fn read_into(
    path: &std::path::Path,
    mapper: &dyn Mapper,
    prefix: &str,
    lanes: &[mpsc::Sender<Vec<profile::NewEvent>>],
) -> Result<(), Failure> {
    let mut batches: Vec<Vec<profile::NewEvent>> = vec![Vec::new(); lanes.len()];
    for (index, line) in source::read(path, mapper)?.enumerate() {
        let line = line?;
        let lane = lane_of(&line, index, lanes.len());
        batches[lane].push(to_event(line, prefix, index + 1));
        if batches[lane].len() == EVENTS_PER_REQUEST {
            let batch = std::mem::take(&mut batches[lane]);
            if lanes[lane].blocking_send(batch).is_err() {
                // The lane failed; its error is on the way to the person.
                return Ok(());
            }
        }
    }
    for (lane, batch) in lanes.iter().zip(batches) {
        if !batch.is_empty() && lane.blocking_send(batch).is_err() {
            return Ok(());
        }
    }
    Ok(())
}

async fn send_lane(
    peers: Peers,
    hash: [u8; 32],
    mut batches: mpsc::Receiver<Vec<profile::NewEvent>>,
    results: mpsc::Sender<Result<Vec<profile::EventResult>, tonic::Status>>,
) {
    let client = EventServiceClient::new(peers.profile);
    while let Some(events) = batches.recv().await {
        let request = profile::CollectEventsRequest {
            events,
            lane: Lane::Backfill as i32,
            import_hash: hash.to_vec(),
        };
        let sent = patiently(|| {
            let (mut client, request) = (client.clone(), request.clone());
            async move { client.collect_events(request).await }
        });
        let sent = sent.await.map(|answer| answer.into_inner().results);
        let failed = sent.is_err();
        if results.send(sent).await.is_err() || failed {
            return;
        }
    }
}

/// Makes a call, again for as long as the server has no room and says when to come back. Sending the same
/// events twice is safe.
async fn patiently<T, F>(mut call: impl FnMut() -> F) -> Result<T, tonic::Status>
where
    F: Future<Output = Result<T, tonic::Status>>,
{
    for _ in 0..WAITS_MAX {
        let answer = call().await;
        let wait = match &answer {
            Err(status) if status.code() == tonic::Code::ResourceExhausted => {
                rapport_rpc::retry_after_of(status)
            }
            Ok(_) | Err(_) => None,
        };
        match wait {
            Some(wait) => tokio::time::sleep(wait).await,
            None => return answer,
        }
    }
    call().await
}

fn lane_of(line: &Line, index: usize, lanes: usize) -> usize {
    match &line.identifier {
        Some(identifier) => {
            let mut hasher = std::hash::DefaultHasher::new();
            (identifier.kind, &identifier.value).hash(&mut hasher);
            hasher.finish() as usize % lanes
        }
        None => index % lanes,
    }
}

fn to_event(line: Line, prefix: &str, number: usize) -> profile::NewEvent {
    profile::NewEvent {
        event_id: format!("{prefix}-{number}"),
        identifier: line.identifier,
        occurred_at_ms: line.occurred_at_ms,
        payload: Some(line.payload),
        ..profile::NewEvent::default()
    }
}

fn count(result: &profile::EventResult, summary: &mut Summary) {
    match result.outcome() {
        profile::EventOutcome::Accepted => summary.accepted += 1,
        profile::EventOutcome::Duplicate => summary.duplicate += 1,
        profile::EventOutcome::Rejected | profile::EventOutcome::Unspecified => {
            summary.rejected += 1;
            *summary
                .rejected_by_reason
                .entry(result.reason.clone())
                .or_default() += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use rapport_rpc::RpcError;
    use tonic::Code;

    use super::*;

    /// Returns how many calls were made while the first `busy` of them were refused with `code`.
    async fn calls(busy: u32, code: Code) -> (u32, bool) {
        let mut made = 0;
        let answer = patiently(|| {
            made += 1;
            let refused = made <= busy;
            async move {
                let status = RpcError::new(code, "BUSY", "test", "busy");
                if refused {
                    Err(status.retry_after(Duration::ZERO).into())
                } else {
                    Ok(())
                }
            }
        });
        let is_ok = answer.await.is_ok();
        (made, is_ok)
    }

    #[tokio::test]
    async fn a_busy_log_is_waited_for_and_not_for_ever() {
        assert_eq!(calls(3, Code::ResourceExhausted).await, (4, true));
        let most = (WAITS_MAX + 1, false);
        assert_eq!(calls(u32::MAX, Code::ResourceExhausted).await, most);
        assert_eq!(calls(1, Code::FailedPrecondition).await, (1, false));
    }
}
