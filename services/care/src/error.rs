//! What can go wrong in care, one variant per thing that a caller can act on.

use care_domain::ForbiddenMove;
use rapport_rpc::status::{self, RpcError};
use rapport_rpc::{InvalidRequest, store, write};
use rapport_store::StoreError;
use rapport_store::idempotency::IdempotencyError;
use rapport_types::{Purpose, SubjectId};
use tonic::{Code, Status};

/// The domain of care's reasons.
pub const DOMAIN: &str = "care.rapport";

rapport_rpc::reasons! {
    /// No such case.
    CASE_NOT_FOUND,
    /// No such agent.
    AGENT_NOT_FOUND,
    /// No such subject, or it was erased.
    SUBJECT_NOT_FOUND,
    /// The case's state does not allow the move.
    STATE_FORBIDS,
    /// The agent no longer has the case under the epoch that the request names.
    STALE_EPOCH,
    /// The case holds as many messages as it may.
    CASE_FULL,
    /// There are as many agents as there may be.
    AGENTS_FULL,
    /// The person has not granted a purpose that the call needs.
    CONSENT_MISSING,
    /// Profile does not hand out the key that seals the text; the same call may succeed later.
    KEYS_UNAVAILABLE,
}

/// What can go wrong.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Fields of the request are missing or wrong.
    #[error(transparent)]
    InvalidRequest(#[from] InvalidRequest),
    /// No such case.
    #[error("case {} does not exist", hex(.0))]
    CaseNotFound([u8; 16]),
    /// No such agent.
    #[error("agent does not exist")]
    AgentNotFound(String),
    /// No such subject, or it was erased.
    #[error("subject {0} does not exist")]
    SubjectNotFound(SubjectId),
    /// The case's state does not allow it.
    #[error("{0}")]
    StateForbids(#[from] ForbiddenMove),
    /// Another agent has the case, or nobody. The present epoch.
    #[error("the agent does not have the case under this epoch")]
    StaleEpoch(u64),
    /// Too many messages in one case.
    #[error("a case may hold at most {0} messages")]
    CaseFull(u32),
    /// Too many agents.
    #[error("there may be at most {0} agents")]
    AgentsFull(u32),
    /// A purpose is not granted.
    #[error("the person has not granted purpose {0}")]
    ConsentMissing(Purpose),
    /// The write's record refused it, or its store failed.
    #[error(transparent)]
    Write(#[from] IdempotencyError),
    /// Another transaction changed the same rows. Nothing was written.
    #[error("another writer won")]
    Conflict,
    /// The store failed. `Display` omits the source: nothing leaks.
    #[error("store failed")]
    Store(#[from] StoreError),
    /// Profile did not answer, with its code.
    #[error("profile does not hand out keys")]
    Keys(Code),
    /// Something that cannot happen did; the message says what, for the log only.
    #[error("care failed")]
    Internal(&'static str),
}

/// Returns bytes as hexadecimal digits: how ids stand in messages and events.
#[must_use]
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

impl From<Error> for Status {
    fn from(error: Error) -> Self {
        let message = error.to_string();
        let plain = |code, reason| RpcError::new(code, reason, DOMAIN, message.as_str());
        match error {
            Error::InvalidRequest(bad) => bad.status(DOMAIN),
            Error::CaseNotFound(case) => plain(Code::NotFound, CASE_NOT_FOUND)
                .resource("case", &hex(&case))
                .into(),
            Error::AgentNotFound(agent) => plain(Code::NotFound, AGENT_NOT_FOUND)
                .resource("agent", &agent)
                .into(),
            Error::SubjectNotFound(subject) => plain(Code::NotFound, SUBJECT_NOT_FOUND)
                .resource("subject", &subject.to_string())
                .into(),
            Error::StateForbids(forbidden) => plain(Code::FailedPrecondition, STATE_FORBIDS)
                .with("state", forbidden.from.name())
                .into(),
            Error::StaleEpoch(epoch) => plain(Code::Aborted, STALE_EPOCH)
                .with("epoch", epoch.to_string())
                .into(),
            Error::CaseFull(_) => plain(Code::ResourceExhausted, CASE_FULL).into(),
            Error::AgentsFull(_) => plain(Code::ResourceExhausted, AGENTS_FULL).into(),
            Error::ConsentMissing(purpose) => plain(Code::PermissionDenied, CONSENT_MISSING)
                .with("purpose", purpose.name())
                .into(),
            Error::Write(error) => write::status(DOMAIN, &error),
            Error::Conflict => plain(Code::Aborted, store::CONFLICT).into(),
            Error::Store(error) => store::status(DOMAIN, &error),
            Error::Keys(code) => {
                tracing::warn!(%code, "profile does not hand out keys");
                plain(Code::Unavailable, KEYS_UNAVAILABLE)
                    .retry_after(store::RETRY_AFTER)
                    .into()
            }
            Error::Internal(why) => status::internal(DOMAIN, why),
        }
    }
}
