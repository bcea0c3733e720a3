//! `CaseService`: open, append, read, end, analyse.

use std::sync::Arc;

use care_domain::{
    Analysis, CaseEvent, CaseState, Feelings, Language, SlaClock, SlaPolicy, ValueTier, analyse,
    base_points,
};
use prost::Message;
use rapport_api::care::v1 as pb;
use rapport_api::care::v1::case_service_server::CaseService;
use rapport_rpc::write::{Asked, Begun, finish, recorded};
use rapport_rpc::{Caller, Fields};
use rapport_store::idempotency;
use rapport_types::{Purpose, SubjectId, UnixMillis};
use tonic::{Request, Response, Status};

use super::parse::TEXT_CHARS_MAX;
use super::{encode, parse};
use crate::desk::Desk;
use crate::error::Error;
use crate::events::Happening;
use crate::keys::SubjectKey;
use crate::models::Serving;
use crate::store::case::CaseRow;
use crate::store::message::MessageRow;
use crate::store::{agent, assignment, case, message};
use crate::write::retried;

/// The service.
#[derive(Debug, Clone)]
pub struct CaseApi {
    /// The cases.
    pub desk: Desk,
}

#[tonic::async_trait]
impl CaseService for CaseApi {
    async fn open_case(
        &self,
        request: Request<pb::OpenCaseRequest>,
    ) -> Result<Response<pb::OpenCaseResponse>, Status> {
        let caller = Caller::of(&request);
        let raw = request.into_inner();
        Ok(Response::new(retried!(self.open(&caller, &raw))?))
    }

    async fn append_message(
        &self,
        request: Request<pb::AppendMessageRequest>,
    ) -> Result<Response<pb::AppendMessageResponse>, Status> {
        let caller = Caller::of(&request);
        let raw = request.into_inner();
        Ok(Response::new(retried!(self.append(&caller, &raw))?))
    }

    async fn get_case(
        &self,
        request: Request<pb::GetCaseRequest>,
    ) -> Result<Response<pb::GetCaseResponse>, Status> {
        Ok(Response::new(self.get(&request.into_inner()).await?))
    }

    async fn end_case(
        &self,
        request: Request<pb::EndCaseRequest>,
    ) -> Result<Response<pb::EndCaseResponse>, Status> {
        let caller = Caller::of(&request);
        let raw = request.into_inner();
        Ok(Response::new(retried!(self.end(&caller, &raw))?))
    }

    async fn analyze_text(
        &self,
        request: Request<pb::AnalyzeTextRequest>,
    ) -> Result<Response<pb::AnalyzeTextResponse>, Status> {
        Ok(Response::new(self.analyze(&request.into_inner())?))
    }
}

impl CaseApi {
    async fn open(
        &self,
        caller: &Caller,
        raw: &pb::OpenCaseRequest,
    ) -> Result<pb::OpenCaseResponse, Error> {
        let subject = parse::open(raw)?;
        let key = self.key(subject).await?;
        let asked = sealed_request(caller, "OpenCase", &raw.request_id, &key, raw);
        let Desk { db, clock, .. } = &self.desk;
        let begun = idempotency::begin(db, &asked.call(), clock.now()).await?;
        let (mut tx, slot) = match begun {
            idempotency::Begun::New(tx, slot) => (tx, slot),
            idempotency::Begun::Done(sealed) => return reopened(&key, &raw.request_id, &sealed),
        };
        let now = self.desk.clock.now();
        let (analysis, version) = self.read(subject, &raw.text);
        let mut row = new_case(subject, raw.channel, &analysis, now);
        let message = sealed_message(&key, pb::Author::Customer, &raw.text, now);
        let mut happened = vec![Happening::Received(self.received(
            &row,
            message.message_id,
            &raw.text,
            &analysis,
        ))];
        let routed = self.desk.route(&mut tx, &mut row, &mut happened).await?;
        case::insert(&mut tx, &row).await?;
        message::insert(&mut tx, &row.case_id, row.messages, &message).await?;
        let response = pb::OpenCaseResponse {
            case: Some(encode::case(&row, now)),
            analysis: Some(encode::analysis(&analysis, &version)),
            route: Some(encode::route(&routed)),
        };
        happened.push(Happening::Changed(row));
        self.desk.record(&mut tx, &happened, Some(&key)).await?;
        // The answer quotes the message and may name a feeling: at rest it is sealed like both.
        let recorded = key.seal(raw.request_id.as_bytes(), &response.encode_to_vec());
        slot.commit(tx, &recorded).await?;
        self.desk.tell(happened);
        Ok(response)
    }

    async fn append(
        &self,
        caller: &Caller,
        raw: &pb::AppendMessageRequest,
    ) -> Result<pb::AppendMessageResponse, Error> {
        let (case_id, holder) = parse::append(raw)?;
        let subject = self.find(&case_id).await?.subject;
        let key = self.key(subject).await?;
        let asked = sealed_request(caller, "AppendMessage", &raw.request_id, &key, raw);
        let (mut tx, slot) = match self.desk.begin(&asked).await? {
            Begun::New(tx, slot) => (tx, slot),
            Begun::Done(response) => return Ok(response),
        };
        let now = self.desk.clock.now();
        let found = case::get_in(&mut tx, &case_id).await?;
        let mut row = found.ok_or(Error::CaseNotFound(case_id))?;
        if let Some(holder) = &holder {
            holds(&row, holder)?;
        }
        let (before, mut happened) = (row.state, Vec::new());
        let message = sealed_message(&key, raw.author(), &raw.text, now);
        if holder.is_some() {
            row.state = row.state.after(CaseEvent::AgentWrites)?;
            if row.first_response.0 == 0 {
                row.first_response = now;
            }
        } else {
            row.state = row.state.after(CaseEvent::CustomerWrites)?;
            let (analysis, _) = self.read(subject, &raw.text);
            heard(&mut row, before, &analysis, now);
            let received = self.received(&row, message.message_id, &raw.text, &analysis);
            happened.push(Happening::Received(received));
        }
        if row.messages as usize >= super::messages::MESSAGES_MAX {
            return Err(Error::CaseFull(super::messages::MESSAGES_MAX as u32));
        }
        row.messages += 1;
        if before == CaseState::Resolved && row.state == CaseState::Queued {
            self.desk.route(&mut tx, &mut row, &mut happened).await?;
        }
        if !case::update(&mut tx, &mut row, true).await? {
            return Err(Error::Conflict);
        }
        message::insert(&mut tx, &row.case_id, row.messages, &message).await?;
        let response = pb::AppendMessageResponse {
            case: Some(encode::case(&row, now)),
            message_id: message.message_id.to_vec(),
        };
        if row.state != before {
            happened.push(Happening::Changed(row));
        }
        self.desk.record(&mut tx, &happened, Some(&key)).await?;
        finish(tx, slot, &response).await?;
        self.desk.tell(happened);
        Ok(response)
    }

    async fn get(&self, raw: &pb::GetCaseRequest) -> Result<pb::GetCaseResponse, Error> {
        let mut fields = Fields::default();
        let case_id = fields.id16("case_id", &raw.case_id);
        let case_id = fields.finish(case_id)?;
        let mut row = self.find(&case_id).await?;
        self.desk.explain(std::slice::from_mut(&mut row)).await?;
        let messages = self.messages(&row).await?;
        Ok(pb::GetCaseResponse {
            case: Some(encode::case(&row, self.desk.clock.now())),
            messages,
        })
    }

    async fn end(
        &self,
        caller: &Caller,
        raw: &pb::EndCaseRequest,
    ) -> Result<pb::EndCaseResponse, Error> {
        let (case_id, event, holder) = parse::end(raw)?;
        let asked = Asked::plain(caller, "EndCase", &raw.request_id, raw);
        let (mut tx, slot) = match self.desk.begin(&asked).await? {
            Begun::New(tx, slot) => (tx, slot),
            Begun::Done(response) => return Ok(response),
        };
        let found = case::get_in(&mut tx, &case_id).await?;
        let mut row = found.ok_or(Error::CaseNotFound(case_id))?;
        if let Some(holder) = &holder {
            holds(&row, holder)?;
        }
        let now = self.desk.clock.now();
        let freed = row.agent_id.clone().filter(|_| row.state.has_agent());
        row.state = row.state.after(event)?;
        row.queue_reason.clear();
        if let Some(agent_id) = &freed {
            // The agent before the case: see `desk`.
            agent::give_back(&mut tx, agent_id, now).await?;
            assignment::end(&mut tx, &case_id, now).await?;
        }
        if !case::update(&mut tx, &mut row, true).await? {
            return Err(Error::Conflict);
        }
        let response = pb::EndCaseResponse {
            case: Some(encode::case(&row, now)),
        };
        let happened = [Happening::Changed(row)];
        self.desk.record(&mut tx, &happened, None).await?;
        finish(tx, slot, &response).await?;
        self.desk.tell(happened);
        if let Some(agent_id) = freed {
            self.refill(&agent_id).await;
        }
        Ok(response)
    }

    /// Gives the place that came free to whoever waits. Failing that, the sweeper will.
    async fn refill(&self, agent_id: &str) {
        if let Err(error) = self.desk.refill(agent_id).await {
            tracing::debug!(
                error = &error as &dyn std::error::Error,
                "left to the sweeper"
            );
            self.desk.kick.notify_one();
        }
    }

    fn analyze(&self, raw: &pb::AnalyzeTextRequest) -> Result<pb::AnalyzeTextResponse, Error> {
        let mut fields = Fields::default();
        let subject = fields.subject("subject_id", &raw.subject_id);
        fields.text("text", &raw.text, TEXT_CHARS_MAX);
        let subject = fields.finish(subject)?;
        if self.feelings(subject) == Feelings::Leave {
            return Err(Error::ConsentMissing(Purpose::Emotion));
        }
        let (analysis, version) = self.read(subject, &raw.text);
        let analysis = Some(encode::analysis(&analysis, &version));
        Ok(pb::AnalyzeTextResponse { analysis })
    }

    /// Reads a text, feelings only where the person lets the shop.
    fn read(&self, subject: SubjectId, text: &str) -> (Analysis, String) {
        let now = self.desk.models.now();
        let serving: &Serving = &now;
        let analysis = analyse(text, &serving.models, self.feelings(subject));
        (analysis, serving.version.clone())
    }

    fn feelings(&self, subject: SubjectId) -> Feelings {
        if self
            .desk
            .people
            .consent(subject, Purpose::Emotion)
            .is_granted()
        {
            Feelings::Read
        } else {
            Feelings::Leave
        }
    }

    async fn key(&self, subject: SubjectId) -> Result<Arc<SubjectKey>, Error> {
        let key = self.desk.keys.of(subject).await?;
        key.ok_or(Error::SubjectNotFound(subject))
    }

    async fn find(&self, case_id: &[u8; 16]) -> Result<CaseRow, Error> {
        let row = case::get(&self.desk.db, case_id).await?;
        row.ok_or(Error::CaseNotFound(*case_id))
    }
}

/// Names a write whose body holds personal text.
fn sealed_request(
    caller: &Caller,
    method: &'static str,
    request_id: &str,
    key: &SubjectKey,
    body: &impl Message,
) -> Asked {
    Asked::keyed(
        caller,
        method,
        request_id,
        key.digest(&body.encode_to_vec()),
    )
}

/// Returns the response of a call that was made before, opened.
fn reopened(
    key: &SubjectKey,
    request_id: &str,
    sealed: &[u8],
) -> Result<pb::OpenCaseResponse, Error> {
    let response = key.open(request_id.as_bytes(), sealed);
    let response = response.ok_or(Error::Internal("a recorded response cannot be opened"))?;
    Ok(recorded(&response)?)
}

/// Checks that an agent has the case now, under the epoch that it was given.
fn holds(row: &CaseRow, holder: &parse::Holder) -> Result<(), Error> {
    if row.agent_id.as_ref() == Some(&holder.agent_id) && row.epoch == holder.epoch {
        Ok(())
    } else {
        Err(Error::StaleEpoch(u64::try_from(row.epoch).unwrap_or(0)))
    }
}

fn sealed_message(key: &SubjectKey, author: pb::Author, text: &str, now: UnixMillis) -> MessageRow {
    let message_id = *uuid::Uuid::now_v7().as_bytes();
    MessageRow {
        message_id,
        author: author.into(),
        sealed: key.seal(&message_id, text.as_bytes()),
        written_at: now,
    }
}

fn new_case(subject: SubjectId, channel: i32, analysis: &Analysis, now: UnixMillis) -> CaseRow {
    // What a customer is worth to the shop is not care's to know: everybody is promised the same.
    let tier = ValueTier::Standard;
    let policy = SlaPolicy::of_tier(tier);
    CaseRow {
        case_id: *uuid::Uuid::now_v7().as_bytes(),
        subject,
        state: CaseState::Queued,
        channel,
        intent: analysis.intent.clone(),
        language: language(analysis.language),
        base_points: points(analysis, tier),
        waiting_since: now,
        agent_id: None,
        epoch: 0,
        opened_at: now,
        response_due: SlaClock::started(now, policy.first_response_ms).due_at(now),
        first_response: UnixMillis(0),
        queue_reason: String::new(),
        messages: 1,
        version: 1,
    }
}

/// Changes a case by what its customer wrote. A case that comes back begins a new wait; one that
/// waits may become more urgent, never less.
fn heard(row: &mut CaseRow, before: CaseState, analysis: &Analysis, now: UnixMillis) {
    let points = points(analysis, ValueTier::Standard);
    if before == CaseState::Resolved {
        row.agent_id = None;
        row.waiting_since = now;
        row.base_points = points;
        row.intent.clone_from(&analysis.intent);
    } else {
        row.base_points = row.base_points.max(points);
    }
    if row.language.is_empty() {
        row.language = language(analysis.language);
    }
}

fn points(analysis: &Analysis, tier: ValueTier) -> i64 {
    let felt = analysis
        .feeling
        .map(|felt| (felt.emotion, felt.probability));
    base_points(felt, analysis.urgency, tier)
}

fn language(language: Language) -> String {
    match language {
        Language::Unknown => String::new(),
        Language::Chinese | Language::English => language.code().to_owned(),
    }
}
