//! `ConsentService`: write, read, snapshot.

use std::pin::Pin;

use futures::Stream;
use rapport_api::event::v1::{ConsentRegister, Person};
use rapport_api::profile::v1 as pb;
use rapport_api::profile::v1::consent_service_server::ConsentService;
use rapport_flow::Snapshot;
use rapport_rpc::write::Begun;
use rapport_rpc::{Caller, Fields};
use rapport_types::{CONTROL_PARTITION, ConsentState, Purpose, PurposeSet, SubjectId};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status};

use super::parse::{EVIDENCE_CHARS_MAX, identifier};
use crate::control::ControlWriter;
use crate::error::Error;
use crate::identity::Identity;
use crate::store::consent::Registers;
use crate::store::{consent, link, log, subject};

/// Identifiers of one import.
const IMPORT_MAX: usize = 200;
/// Erased subjects of one part of a snapshot.
const ERASED_PER_PART: u32 = 4_096;
/// Parts made ahead of a slow reader.
const PARTS_AHEAD: usize = 2;

/// The service.
#[derive(Debug, Clone)]
pub struct ConsentApi {
    /// The changes.
    pub identity: Identity,
}

type Parts = Pin<Box<dyn Stream<Item = Result<pb::GetControlSnapshotResponse, Status>> + Send>>;

#[tonic::async_trait]
impl ConsentService for ConsentApi {
    type GetControlSnapshotStream = Parts;

    async fn set_consent(
        &self,
        request: Request<pb::SetConsentRequest>,
    ) -> Result<Response<pb::SetConsentResponse>, Status> {
        let caller = Caller::of(&request);
        Ok(Response::new(
            self.set(&caller, request.into_inner()).await?,
        ))
    }

    async fn import_consent(
        &self,
        request: Request<pb::ImportConsentRequest>,
    ) -> Result<Response<pb::ImportConsentResponse>, Status> {
        let caller = Caller::of(&request);
        Ok(Response::new(
            self.import(&caller, request.into_inner()).await?,
        ))
    }

    async fn get_consent(
        &self,
        request: Request<pb::GetConsentRequest>,
    ) -> Result<Response<pb::GetConsentResponse>, Status> {
        let raw = request.into_inner();
        let mut fields = Fields::default();
        let subject_id = fields.subject("subject_id", &raw.subject_id);
        let subject_id = fields.finish(subject_id).map_err(Error::from)?;
        let registers = self.registers(subject_id).await?;
        Ok(Response::new(pb::GetConsentResponse {
            registers: to_wire(registers),
        }))
    }

    async fn get_control_snapshot(
        &self,
        _: Request<pb::GetControlSnapshotRequest>,
    ) -> Result<Response<Parts>, Status> {
        let (parts, read) = mpsc::channel(PARTS_AHEAD);
        let identity = self.identity.clone();
        tokio::spawn(async move {
            if let Err(error) = snapshot(&identity, &parts).await {
                // The reader may be gone, then nobody needs the error.
                let _ = parts.send(Err(error.into())).await;
            }
        });
        Ok(Response::new(Box::pin(ReceiverStream::new(read))))
    }
}

impl ConsentApi {
    async fn set(
        &self,
        caller: &Caller,
        raw: pb::SetConsentRequest,
    ) -> Result<pb::SetConsentResponse, Error> {
        let mut fields = Fields::default();
        fields.request_id(&raw.request_id);
        let subject_id = fields.subject("subject_id", &raw.subject_id);
        let writes = parse_registers(&raw.registers, &mut fields);
        fields.text("evidence", &raw.evidence, EVIDENCE_CHARS_MAX);
        let (subject_id, writes) = fields.finish((subject_id, writes))?;
        let begun = self
            .identity
            .begin(caller, "SetConsent", &raw.request_id, &raw)
            .await?;
        let (mut tx, slot) = match begun {
            Begun::New(tx, slot) => (tx, slot),
            Begun::Done(response) => return Ok(response),
        };
        let mut control = ControlWriter::lock(&mut tx, self.identity.clock.now()).await?;
        let (registers, record) = self
            .identity
            .set_consent(
                &mut tx,
                &mut control,
                subject_id,
                &writes,
                &raw.evidence,
                raw.imported,
            )
            .await?;
        let response = pb::SetConsentResponse {
            registers: to_wire(registers),
            control_sequence: record.as_ref().map_or(0, |record| record.last_sequence),
        };
        self.identity.finish(tx, slot, response, record).await
    }

    async fn import(
        &self,
        caller: &Caller,
        raw: pb::ImportConsentRequest,
    ) -> Result<pb::ImportConsentResponse, Error> {
        let mut fields = Fields::default();
        fields.request_id(&raw.request_id);
        if raw.identifiers.is_empty() || raw.identifiers.len() > IMPORT_MAX {
            fields.refuse(
                "identifiers",
                format!("must have 1 to {IMPORT_MAX} entries"),
            );
        }
        let identifiers = raw.identifiers.iter().take(IMPORT_MAX).enumerate();
        let identifiers: Vec<_> = identifiers
            .filter_map(|(index, one)| {
                identifier(&mut fields, &format!("identifiers[{index}]"), Some(one))
            })
            .collect();
        let writes = parse_registers(&raw.registers, &mut fields);
        fields.text("evidence", &raw.evidence, EVIDENCE_CHARS_MAX);
        let (identifiers, writes) = fields.finish((identifiers, writes))?;
        let subjects = self.identity.subjects.resolve(&identifiers).await?;
        let begun = self
            .identity
            .begin(caller, "ImportConsent", &raw.request_id, &raw)
            .await?;
        let (mut tx, slot) = match begun {
            Begun::New(tx, slot) => (tx, slot),
            Begun::Done(response) => return Ok(response),
        };
        let mut control = ControlWriter::lock(&mut tx, self.identity.clock.now()).await?;
        let mut records = Vec::new();
        for subject in &subjects {
            let (_, record) = self
                .identity
                .set_consent(
                    &mut tx,
                    &mut control,
                    subject.subject_id,
                    &writes,
                    &raw.evidence,
                    true,
                )
                .await?;
            records.extend(record);
        }
        let response = pb::ImportConsentResponse {
            subject_ids: subjects
                .iter()
                .map(|subject| subject.subject_id.to_vec())
                .collect(),
            control_sequence: records.last().map_or(0, |record| record.last_sequence),
        };
        self.identity.finish(tx, slot, response, records).await
    }

    async fn registers(&self, subject_id: SubjectId) -> Result<Registers, Error> {
        let mut tx = self.identity.db.begin().await?;
        let mut members = link::members_of(&mut tx, &subject_id).await?;
        members.sort_unstable();
        let mut folded = consent::of(&mut tx, &subject_id).await?;
        for member in members {
            folded = folded.fold(consent::of(&mut tx, &member.subject).await?);
        }
        tx.rollback().await?;
        Ok(folded)
    }
}

/// Reads the compacted control partition into a snapshot: how a view in this process starts.
///
/// # Errors
/// [`Error::Store`].
pub async fn load(identity: &Identity) -> Result<Snapshot, Error> {
    let (parts, mut read) = mpsc::channel(PARTS_AHEAD);
    let mut snapshot_made = Snapshot::default();
    let make = snapshot(identity, &parts);
    tokio::pin!(make);
    let mut making = true;
    while making || !read.is_empty() {
        tokio::select! {
            made = &mut make, if making => {
                made?;
                making = false;
            }
            Some(part) = read.recv() => {
                if let Ok(part) = part {
                    snapshot_made
                        .add(&part)
                        .map_err(|_malformed| Error::Internal("a stored id is not 16 bytes"))?;
                }
            }
        }
    }
    Ok(snapshot_made)
}

/// Sends the compacted control partition. The position is read first: a reader tails on from it, and
/// what the pages already hold of later records is only applied again.
async fn snapshot(
    identity: &Identity,
    parts: &mpsc::Sender<Result<pb::GetControlSnapshotResponse, Status>>,
) -> Result<(), Error> {
    let ends = log::ends(&identity.db).await?;
    let end = ends.iter().find(|end| end.partition == CONTROL_PARTITION);
    let control_sequence = end.map_or(0, |end| end.last_sequence);
    let send = |part| async { parts.send(Ok(part)).await.is_ok() };
    let mut after = Vec::new();
    loop {
        let persons = link::persons(&identity.db, &after).await?;
        let Some((last, _)) = persons.last() else {
            break;
        };
        after = last.to_vec();
        let persons = persons.into_iter().map(|(anchor, members)| Person {
            anchor: anchor.to_vec(),
            members: members.into_iter().map(SubjectId::to_vec).collect(),
        });
        let part = pb::GetControlSnapshotResponse {
            persons: persons.collect(),
            ..Default::default()
        };
        if !send(part).await {
            return Ok(());
        }
    }
    after.clear();
    loop {
        let page = consent::page(&identity.db, &after).await?;
        let Some((last, _)) = page.last() else { break };
        after = last.to_vec();
        let consents = page
            .into_iter()
            .map(|(subject, registers)| pb::SubjectConsent {
                subject_id: subject.to_vec(),
                granted: u32::from(registers.granted),
                revoked: u32::from(registers.revoked),
            });
        let part = pb::GetControlSnapshotResponse {
            consents: consents.collect(),
            ..Default::default()
        };
        if !send(part).await {
            return Ok(());
        }
    }
    after.clear();
    loop {
        let erased = subject::erased(&identity.db, &after, ERASED_PER_PART).await?;
        let Some(last) = erased.last() else { break };
        after = last.to_vec();
        let erased = erased.into_iter().map(SubjectId::to_vec).collect();
        let part = pb::GetControlSnapshotResponse {
            erased,
            ..Default::default()
        };
        if !send(part).await {
            return Ok(());
        }
    }
    let last = pb::GetControlSnapshotResponse {
        control_sequence,
        graph_version: control_sequence,
        last: true,
        ..Default::default()
    };
    send(last).await;
    Ok(())
}

fn parse_registers(raw: &[ConsentRegister], fields: &mut Fields) -> Vec<(Purpose, ConsentState)> {
    let mut writes: Vec<(Purpose, ConsentState)> = Vec::new();
    if raw.is_empty() || raw.len() > Purpose::ALL.len() {
        fields.refuse("registers", "must have 1 to 7 entries");
        return writes;
    }
    let mut seen = PurposeSet::default();
    for (index, register) in raw.iter().enumerate() {
        let at = |field: &str| format!("registers[{index}].{field}");
        let state = match register.state {
            1 => Some(ConsentState::Granted),
            2 => Some(ConsentState::Revoked),
            _ => None,
        };
        let purpose = Purpose::from_wire(register.purpose);
        match purpose {
            None => fields.refuse(&at("purpose"), "is required"),
            Some(Purpose::Service) => {
                fields.refuse(&at("purpose"), "`service` is always permitted")
            }
            Some(purpose) if seen.contains(purpose) => {
                fields.refuse(&at("purpose"), "must not come twice");
            }
            Some(purpose) => seen = seen.with(purpose),
        }
        if state.is_none() {
            fields.refuse(&at("state"), "must be GRANTED or REVOKED");
        }
        writes.extend(purpose.zip(state));
    }
    writes
}

fn to_wire(registers: Registers) -> Vec<ConsentRegister> {
    let state = |purpose| {
        if registers_bit(registers.revoked, purpose) {
            ConsentState::Revoked
        } else if purpose == Purpose::Service || registers_bit(registers.granted, purpose) {
            ConsentState::Granted
        } else {
            ConsentState::Unset
        }
    };
    let register = |purpose: Purpose| ConsentRegister {
        purpose: i32::from(purpose as u8),
        state: i32::from(state(purpose) as u8),
    };
    Purpose::ALL.into_iter().map(register).collect()
}

fn registers_bit(bits: u8, purpose: Purpose) -> bool {
    PurposeSet(bits).contains(purpose)
}
