//! What can go wrong in care, one variant per thing that a caller can act on.

use std::time::Duration;

use care_domain::ForbiddenMove;
use rapport_rpc::status::{self, FieldViolation, RpcError};
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
    /// The request id was used with another body.
    REQUEST_ID_REUSED,
    /// Another writer won; the same call may succeed now.
    CONFLICT,
    /// The database did not answer; the same call may succeed later.
    STORE_UNAVAILABLE,
    /// Profile does not hand out the key that seals the text; the same call may succeed later.
    KEYS_UNAVAILABLE,
}

/// How long a caller should wait before it tries again what was away.
const RETRY_AFTER: Duration = Duration::from_millis(250);

/// What can go wrong.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Fields of the request are missing or wrong.
    #[error("request has {} invalid field(s)", .0.len())]
    InvalidRequest(Vec<FieldViolation>),
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
    /// The idempotency key was used with another body.
    #[error("the request id was used with another body")]
    RequestIdReused,
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

impl From<IdempotencyError> for Error {
    fn from(error: IdempotencyError) -> Self {
        match error {
            IdempotencyError::Reused => Self::RequestIdReused,
            IdempotencyError::Store(error) => Self::Store(error),
            IdempotencyError::Invalid(part) => Self::InvalidRequest(vec![FieldViolation::new(
                "request_id",
                format!("{part} is not usable"),
            )]),
            IdempotencyError::Unrecorded | _ => {
                Self::Internal("an idempotency record has no response")
            }
        }
    }
}

impl From<Error> for Status {
    fn from(error: Error) -> Self {
        let message = error.to_string();
        let plain = |code, reason| RpcError::new(code, reason, DOMAIN, message.as_str());
        match error {
            Error::InvalidRequest(violations) => status::invalid_request(DOMAIN, violations),
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
            Error::RequestIdReused => plain(Code::AlreadyExists, REQUEST_ID_REUSED).into(),
            Error::Conflict => plain(Code::Aborted, CONFLICT).into(),
            Error::Store(error) => from_store(&error),
            Error::Keys(code) => {
                tracing::warn!(%code, "profile does not hand out keys");
                plain(Code::Unavailable, KEYS_UNAVAILABLE)
                    .retry_after(RETRY_AFTER)
                    .into()
            }
            Error::Internal(why) => {
                tracing::error!(why, "internal error");
                plain(Code::Internal, status::reason::INTERNAL).into()
            }
        }
    }
}

fn from_store(error: &StoreError) -> Status {
    match error {
        StoreError::Unavailable(_) => {
            tracing::warn!(error = error as &dyn std::error::Error, "store unavailable");
            let message = "the store does not answer";
            RpcError::new(Code::Unavailable, STORE_UNAVAILABLE, DOMAIN, message)
                .retry_after(RETRY_AFTER)
                .into()
        }
        StoreError::Conflict(_) => {
            RpcError::new(Code::Aborted, CONFLICT, DOMAIN, "another writer won").into()
        }
        StoreError::Constraint { .. } | StoreError::Query(_) | StoreError::Migration(_) | _ => {
            tracing::error!(error = error as &dyn std::error::Error, "store failed");
            let reason = status::reason::INTERNAL;
            RpcError::new(Code::Internal, reason, DOMAIN, "store failed").into()
        }
    }
}
