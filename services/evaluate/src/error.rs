//! What can go wrong in evaluate, one variant per thing that a caller can act on.

use std::time::Duration;

use rapport_flow::StateError;
use rapport_rpc::status::{self, RpcError};
use rapport_rpc::{InvalidRequest, store, write};
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
    /// Who permits what is not known now, so nobody may be counted.
    CONSENT_VIEW_STALE,
    /// The report would need more memory than one may have.
    REPORT_TOO_LARGE,
    /// This process no longer follows the log.
    PROJECTION_STOPPED,
}

/// How long before a report is tried again that needed what is away.
const REPORT_RETRY_AFTER: Duration = Duration::from_secs(1);

/// What can go wrong.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Fields of the request are missing or wrong.
    #[error(transparent)]
    InvalidRequest(#[from] InvalidRequest),
    /// No such experiment.
    #[error("experiment {0:?} does not exist")]
    ExperimentNotFound(String),
    /// The experiment's state forbids the change; the text says why.
    #[error("{0}")]
    StateForbids(String),
    /// As many experiments run as may.
    #[error("{0} experiments run already")]
    TooManyExperiments(u32),
    /// The write's record refused it, or its store failed.
    #[error(transparent)]
    Write(#[from] IdempotencyError),
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

impl From<Error> for Status {
    fn from(error: Error) -> Self {
        let message = error.to_string();
        let plain = |code, reason| RpcError::new(code, reason, DOMAIN, message.as_str());
        match error {
            Error::InvalidRequest(bad) => bad.status(DOMAIN),
            Error::ExperimentNotFound(key) => plain(Code::NotFound, EXPERIMENT_NOT_FOUND)
                .resource("experiment", &key)
                .into(),
            Error::StateForbids(_) => plain(Code::FailedPrecondition, STATE_FORBIDS).into(),
            Error::TooManyExperiments(max) => plain(Code::FailedPrecondition, TOO_MANY_EXPERIMENTS)
                .with("max", max.to_string())
                .into(),
            Error::Write(error) => write::status(DOMAIN, &error),
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
            Error::Store(error) => store::status(DOMAIN, &error),
            Error::States(error) => {
                tracing::error!(
                    error = &error as &dyn std::error::Error,
                    "states unreadable"
                );
                plain(Code::Unavailable, store::STORE_UNAVAILABLE)
                    .retry_after(REPORT_RETRY_AFTER)
                    .into()
            }
            Error::Internal(why) => status::internal(DOMAIN, why),
        }
    }
}
