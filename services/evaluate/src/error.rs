//! What can go wrong in evaluate, one variant per thing that a caller can act on.

use std::time::Duration;

use rapport_flow::StateError;
use rapport_rpc::status::{self, FieldViolation, RpcError};
use rapport_store::StoreError;
use rapport_store::idempotency::IdempotencyError;
use tonic::{Code, Status};

/// The domain of evaluate's reasons.
pub const DOMAIN: &str = "evaluate.rapport";

rapport_rpc::reasons! {
    /// No such experiment.
    EXPERIMENT_NOT_FOUND,
    /// The state that it is in does not allow the change.
    STATE_FORBIDS,
    /// As many experiments run as may.
    TOO_MANY_EXPERIMENTS,
    /// The request id was used with another body.
    REQUEST_ID_REUSED,
    /// Another writer won; the same call may succeed now.
    CONFLICT,
    /// The database did not answer; the same call may succeed later.
    STORE_UNAVAILABLE,
    /// Who permits what is not known now, so nobody may be counted.
    CONSENT_VIEW_STALE,
    /// The report would need more memory than one may have.
    REPORT_TOO_LARGE,
    /// This process no longer follows the log.
    PROJECTION_STOPPED,
}

/// How long a caller should wait before it tries an unavailable store again.
const RETRY_AFTER: Duration = Duration::from_millis(250);
/// How long before a report is tried again that needed what is away.
const REPORT_RETRY_AFTER: Duration = Duration::from_secs(1);

/// What can go wrong.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Fields of the request are missing or wrong.
    #[error("request has {} invalid field(s)", .0.len())]
    InvalidRequest(Vec<FieldViolation>),
    /// No such experiment.
    #[error("experiment {0:?} does not exist")]
    ExperimentNotFound(String),
    /// The experiment's state forbids the change; the text says why.
    #[error("{0}")]
    StateForbids(String),
    /// As many experiments run as may.
    #[error("{0} experiments run already")]
    TooManyExperiments(u32),
    /// The idempotency key was used with another body.
    #[error("the request id was used with another body")]
    RequestIdReused,
    /// The view of consent is too old to permit anything.
    #[error("who permits what is not known at present")]
    ConsentViewStale,
    /// More of something than a report may hold; the text says what.
    #[error("the report would hold too many {0}: choose a shorter period")]
    ReportTooLarge(&'static str),
    /// A projection ended.
    #[error("this server no longer follows the log")]
    ProjectionStopped,
    /// The store failed. `Display` omits the source: nothing leaks.
    #[error("store failed")]
    Store(#[from] StoreError),
    /// The projections' states cannot be read.
    #[error("states cannot be read")]
    States(#[from] StateError),
    /// The caller went away, and nobody waits for the report.
    #[error("the call was given up")]
    GivenUp,
    /// Something that cannot happen did; the message says what, for the log only.
    #[error("evaluate failed")]
    Internal(&'static str),
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
            Error::ExperimentNotFound(key) => plain(Code::NotFound, EXPERIMENT_NOT_FOUND)
                .resource("experiment", &key)
                .into(),
            Error::StateForbids(_) => plain(Code::FailedPrecondition, STATE_FORBIDS).into(),
            Error::TooManyExperiments(max) => plain(Code::FailedPrecondition, TOO_MANY_EXPERIMENTS)
                .with("max", max.to_string())
                .into(),
            Error::RequestIdReused => plain(Code::AlreadyExists, REQUEST_ID_REUSED).into(),
            Error::ConsentViewStale => plain(Code::Unavailable, CONSENT_VIEW_STALE)
                .retry_after(REPORT_RETRY_AFTER)
                .into(),
            Error::ReportTooLarge(_) => plain(Code::ResourceExhausted, REPORT_TOO_LARGE).into(),
            Error::ProjectionStopped => plain(Code::Unavailable, PROJECTION_STOPPED)
                .retry_after(REPORT_RETRY_AFTER)
                .into(),
            Error::GivenUp => {
                plain(Code::DeadlineExceeded, status::reason::DEADLINE_EXCEEDED).into()
            }
            Error::Store(error) => from_store(&error),
            Error::States(error) => {
                tracing::error!(
                    error = &error as &dyn std::error::Error,
                    "states unreadable"
                );
                plain(Code::Unavailable, STORE_UNAVAILABLE)
                    .retry_after(REPORT_RETRY_AFTER)
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
    let answer = |code, reason, message| RpcError::new(code, reason, DOMAIN, message);
    match error {
        StoreError::Unavailable(_) => {
            tracing::warn!(error = error as &dyn std::error::Error, "store unavailable");
            let message = "the store does not answer";
            answer(Code::Unavailable, STORE_UNAVAILABLE, message)
                .retry_after(RETRY_AFTER)
                .into()
        }
        StoreError::Conflict(_) => answer(Code::Aborted, CONFLICT, "another writer won").into(),
        StoreError::Constraint { .. } | StoreError::Query(_) | StoreError::Migration(_) | _ => {
            tracing::error!(error = error as &dyn std::error::Error, "store failed");
            answer(Code::Internal, status::reason::INTERNAL, "store failed").into()
        }
    }
}
