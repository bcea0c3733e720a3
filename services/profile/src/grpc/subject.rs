//! `SubjectService`: resolve, person, link, unlink, erase.

use profile_domain::{Link, LinkId};
use rapport_api::profile::v1 as pb;
use rapport_api::profile::v1::subject_service_server::SubjectService;
use rapport_rpc::write::Begun;
use rapport_rpc::{Caller, Fields};
use rapport_types::SubjectId;
use tonic::{Request, Response, Status};

use super::parse::{EVIDENCE_CHARS_MAX, identifier};
use crate::error::Error;
use crate::identity::{Identity, Linked};

/// The service.
#[derive(Debug, Clone)]
pub struct SubjectApi {
    /// The changes.
    pub identity: Identity,
}

#[tonic::async_trait]
impl SubjectService for SubjectApi {
    async fn resolve_subject(
        &self,
        request: Request<pb::ResolveSubjectRequest>,
    ) -> Result<Response<pb::ResolveSubjectResponse>, Status> {
        Ok(Response::new(self.resolve(request.into_inner()).await?))
    }

    async fn get_person(
        &self,
        request: Request<pb::GetPersonRequest>,
    ) -> Result<Response<pb::GetPersonResponse>, Status> {
        Ok(Response::new(self.person(request.into_inner()).await?))
    }

    async fn link_subjects(
        &self,
        request: Request<pb::LinkSubjectsRequest>,
    ) -> Result<Response<pb::LinkSubjectsResponse>, Status> {
        let caller = Caller::of(&request);
        Ok(Response::new(
            self.link(&caller, request.into_inner()).await?,
        ))
    }

    async fn unlink_subjects(
        &self,
        request: Request<pb::UnlinkSubjectsRequest>,
    ) -> Result<Response<pb::UnlinkSubjectsResponse>, Status> {
        let caller = Caller::of(&request);
        Ok(Response::new(
            self.unlink(&caller, request.into_inner()).await?,
        ))
    }

    async fn erase_person(
        &self,
        request: Request<pb::ErasePersonRequest>,
    ) -> Result<Response<pb::ErasePersonResponse>, Status> {
        let caller = Caller::of(&request);
        Ok(Response::new(
            self.erase(&caller, request.into_inner()).await?,
        ))
    }
}

impl SubjectApi {
    async fn resolve(
        &self,
        raw: pb::ResolveSubjectRequest,
    ) -> Result<pb::ResolveSubjectResponse, Error> {
        let mut fields = Fields::default();
        let identifier = identifier(&mut fields, "identifier", raw.identifier.as_ref());
        let identifier = fields.finish_some(identifier)?;
        let resolved = self.identity.subjects.resolve(&[identifier]).await?;
        let resolved = resolved
            .first()
            .ok_or(Error::Internal("an identifier was not resolved"))?;
        Ok(pb::ResolveSubjectResponse {
            subject_id: resolved.subject_id.to_vec(),
            created: resolved.created,
        })
    }

    async fn person(&self, raw: pb::GetPersonRequest) -> Result<pb::GetPersonResponse, Error> {
        let mut fields = Fields::default();
        let subject_id = fields.subject("subject_id", &raw.subject_id);
        let subject_id = fields.finish(subject_id)?;
        let person = self.identity.person(subject_id).await?;
        Ok(pb::GetPersonResponse {
            person: Some(to_view(&person)),
        })
    }

    async fn link(
        &self,
        caller: &Caller,
        raw: pb::LinkSubjectsRequest,
    ) -> Result<pb::LinkSubjectsResponse, Error> {
        let mut fields = Fields::default();
        fields.request_id(&raw.request_id);
        let left = fields.subject("left", &raw.left);
        let right = fields.subject("right", &raw.right);
        fields.text("evidence", &raw.evidence, EVIDENCE_CHARS_MAX);
        let (left, right) = fields.finish((left, right))?;
        if raw.validate_only {
            let mut tx = self.identity.db.begin().await?;
            let (_, person, _) = self
                .identity
                .link(&mut tx, left, right, &raw.evidence, false)
                .await?;
            tx.rollback().await?;
            return Ok(to_linked(None, &person));
        }
        let begun = self
            .identity
            .begin(caller, "LinkSubjects", &raw.request_id, &raw)
            .await?;
        let (mut tx, slot) = match begun {
            Begun::New(tx, slot) => (tx, slot),
            Begun::Done(response) => return Ok(response),
        };
        let (link_id, person, record) = self
            .identity
            .link(&mut tx, left, right, &raw.evidence, true)
            .await?;
        self.identity
            .finish(tx, slot, to_linked(link_id, &person), record)
            .await
    }

    async fn unlink(
        &self,
        caller: &Caller,
        raw: pb::UnlinkSubjectsRequest,
    ) -> Result<pb::UnlinkSubjectsResponse, Error> {
        let mut fields = Fields::default();
        fields.request_id(&raw.request_id);
        let link_id = fields.id16("link_id", &raw.link_id);
        let link_id = LinkId(fields.finish(link_id)?);
        if raw.validate_only {
            let mut tx = self.identity.db.begin().await?;
            let (left, _) = self.identity.unlink(&mut tx, link_id, false).await?;
            tx.rollback().await?;
            return Ok(to_unlinked(&left));
        }
        let begun = self
            .identity
            .begin(caller, "UnlinkSubjects", &raw.request_id, &raw)
            .await?;
        let (mut tx, slot) = match begun {
            Begun::New(tx, slot) => (tx, slot),
            Begun::Done(response) => return Ok(response),
        };
        let (left, record) = self.identity.unlink(&mut tx, link_id, true).await?;
        self.identity
            .finish(tx, slot, to_unlinked(&left), record)
            .await
    }

    async fn erase(
        &self,
        caller: &Caller,
        raw: pb::ErasePersonRequest,
    ) -> Result<pb::ErasePersonResponse, Error> {
        let mut fields = Fields::default();
        fields.request_id(&raw.request_id);
        let subject_id = fields.subject("subject_id", &raw.subject_id);
        let subject_id = fields.finish(subject_id)?;
        let begun = self
            .identity
            .begin(caller, "ErasePerson", &raw.request_id, &raw)
            .await?;
        let (mut tx, slot) = match begun {
            Begun::New(tx, slot) => (tx, slot),
            Begun::Done(response) => return Ok(response),
        };
        let (receipt, record) = self.identity.erase(&mut tx, subject_id).await?;
        let response = pb::ErasePersonResponse {
            receipt_id: receipt.receipt_id.to_vec(),
            subjects: receipt.members.len() as u32,
            erased_at_ms: receipt.erased_at.0,
            signature: receipt.signature.to_vec(),
        };
        let response = self.identity.finish(tx, slot, response, record).await?;
        self.identity.subjects.forget(&receipt.members);
        Ok(response)
    }
}

fn to_linked(link_id: Option<LinkId>, person: &Linked) -> pb::LinkSubjectsResponse {
    pb::LinkSubjectsResponse {
        link_id: link_id.map(|id| id.0.to_vec()).unwrap_or_default(),
        person: Some(to_view(person)),
    }
}

fn to_unlinked(left: &[Linked]) -> pb::UnlinkSubjectsResponse {
    pb::UnlinkSubjectsResponse {
        persons: left.iter().map(to_view).collect(),
    }
}

fn to_view(linked: &Linked) -> pb::PersonView {
    pb::PersonView {
        anchor: linked.person.anchor().to_vec(),
        members: linked.person.subjects().map(SubjectId::to_vec).collect(),
        graph_version: linked.graph_version,
        links: linked.links.iter().map(to_link).collect(),
    }
}

fn to_link(link: &Link) -> pb::Link {
    pb::Link {
        link_id: link.id.0.to_vec(),
        left: link.left.subject.to_vec(),
        right: link.right.subject.to_vec(),
        evidence: link.evidence.clone(),
        created_at_ms: link.at.0,
    }
}
