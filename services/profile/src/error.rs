//! What can go wrong in profile, one variant per thing that a caller can act on.

use profile_domain::clv::TooFewRepeaters;
use profile_domain::{GraphError, LinkId};
use rapport_flow::StateError;
use rapport_rpc::status::{self, FieldViolation, RpcError};
use rapport_rpc::{InvalidRequest, store, write};
use rapport_store::StoreError;
use rapport_store::idempotency::IdempotencyError;
use rapport_store::lease::LeaseError;
use rapport_types::{Purpose, SubjectId};
use tonic::{Code, Status};

use crate::log::{AppendError, SegmentError, TailError};
use crate::store::reader::READERS_MAX;

/// The domain of profile's reasons.
pub const DOMAIN: &str = "profile.rapport";

rapport_rpc::reasons! {
    /// No such subject, or it was erased.
    SUBJECT_NOT_FOUND,
    /// No such link, or it was taken back already.
    LINK_NOT_FOUND,
    /// The person would have more members or links than one person may.
    PERSON_TOO_LARGE,
    /// The person has not granted a purpose that the call needs.
    CONSENT_MISSING,
    /// The log takes events more slowly than they come.
    LOG_BEHIND,
    /// As many backfills are worked on as may be.
    BACKFILL_LIMITED,
    /// The event id was used for another event.
    EVENT_ID_CONFLICT,
    /// The event is older than the log remembers ids.
    EVENT_TOO_OLD,
    /// The subject was erased.
    SUBJECT_ERASED,
    /// The event may not be stored without a consent that is missing.
    EVENT_REFUSED,
    /// Profiles cannot be read now; the same call may succeed later.
    PROFILES_UNAVAILABLE,
    /// The log keeps nothing that far back; `low_water` in the metadata is the last sequence it forgot.
    SEQUENCE_EXPIRED,
    /// As many readers are registered as may be.
    TOO_MANY_READERS,
    /// What people allow is not known freshly enough to use their data.
    CONSENT_VIEW_STALE,
    /// A model is being trained already.
    TRAINING_RUNNING,
    /// Too few persons who granted `personalise` bought again; the served model stays.
    TRAINING_EMPTY,
}

/// What can go wrong.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Fields of the request are missing or wrong.
    #[error(transparent)]
    InvalidRequest(#[from] InvalidRequest),
    /// No such subject, or it was erased.
    #[error("subject {0} does not exist")]
    SubjectNotFound(SubjectId),
    /// No such standing link.
    #[error("link {0} does not exist")]
    LinkNotFound(LinkId),
    /// The graph refuses.
    #[error("{0}")]
    Graph(#[from] GraphError),
    /// A purpose is not granted.
    #[error("the person has not granted purpose {0}")]
    ConsentMissing(Purpose),
    /// The write's record refused it, or its store failed.
    #[error(transparent)]
    Write(#[from] IdempotencyError),
    /// The log does not take more.
    #[error(transparent)]
    Append(#[from] AppendError),
    /// As many backfills are worked on as may be.
    #[error("as many backfills are worked on as may be")]
    BackfillLimited,
    /// The log cannot be read.
    #[error(transparent)]
    Tail(#[from] TailError),
    /// As many readers of the log are registered as may be.
    #[error("{READERS_MAX} readers are registered, which is the most")]
    TooManyReaders,
    /// The view of people is not fresh.
    #[error("consent is not known freshly enough")]
    ConsentViewStale,
    /// One training at a time.
    #[error("a training is running")]
    TrainingRunning,
    /// Too little to learn from.
    #[error(transparent)]
    TrainingEmpty(#[from] TooFewRepeaters),
    /// Profiles cannot be read.
    #[error("profiles cannot be read")]
    States(#[from] StateError),
    /// The store failed. `Display` omits the source: nothing leaks.
    #[error("store failed")]
    Store(#[from] StoreError),
    /// Something that cannot happen did; the message says what, for the log only.
    #[error("profile failed")]
    Internal(&'static str),
}

impl From<LeaseError> for Error {
    fn from(error: LeaseError) -> Self {
        match error {
            LeaseError::Fenced { .. } => Self::TrainingRunning,
            LeaseError::Store(error) => Self::Store(error),
            LeaseError::Invalid(_) | _ => Self::Internal("a lease has no usable name"),
        }
    }
}

impl From<Error> for Status {
    fn from(error: Error) -> Self {
        let message = error.to_string();
        match error {
            Error::InvalidRequest(bad) => bad.status(DOMAIN),
            Error::SubjectNotFound(subject) => {
                RpcError::new(Code::NotFound, SUBJECT_NOT_FOUND, DOMAIN, message)
                    .resource("subject", &subject.to_string())
                    .into()
            }
            Error::LinkNotFound(link) | Error::Graph(GraphError::LinkNotFound(link)) => {
                RpcError::new(Code::NotFound, LINK_NOT_FOUND, DOMAIN, message)
                    .resource("link", &link.to_string())
                    .into()
            }
            Error::Graph(GraphError::SelfLink) => {
                let violation = FieldViolation::new("right", "must be another subject than `left`");
                status::invalid_request(DOMAIN, vec![violation])
            }
            Error::Graph(GraphError::PersonTooLarge(_) | GraphError::TooManyLinks) => {
                RpcError::new(Code::FailedPrecondition, PERSON_TOO_LARGE, DOMAIN, message).into()
            }
            Error::Graph(GraphError::LinkIdReused(_)) => status::internal(DOMAIN, &message),
            Error::Internal(why) => status::internal(DOMAIN, why),
            Error::ConsentMissing(purpose) => {
                RpcError::new(Code::PermissionDenied, CONSENT_MISSING, DOMAIN, message)
                    .with("purpose", purpose.name())
                    .into()
            }
            Error::Write(error) => write::status(DOMAIN, &error),
            Error::Append(AppendError::Overloaded) => {
                later(Code::ResourceExhausted, LOG_BEHIND, message)
            }
            Error::BackfillLimited => later(Code::ResourceExhausted, BACKFILL_LIMITED, message),
            Error::Append(AppendError::Closed) => {
                later(Code::Unavailable, status::reason::SHUTTING_DOWN, message)
            }
            Error::States(error) => {
                let error = &error as &dyn std::error::Error;
                tracing::warn!(error, "states unreadable");
                later(Code::Unavailable, PROFILES_UNAVAILABLE, message)
            }
            Error::Append(AppendError::Store(error)) => store::status(DOMAIN, &error),
            Error::Store(error) => store::status(DOMAIN, &error),
            Error::TooManyReaders => {
                RpcError::new(Code::ResourceExhausted, TOO_MANY_READERS, DOMAIN, message).into()
            }
            Error::ConsentViewStale => later(Code::Unavailable, CONSENT_VIEW_STALE, message),
            Error::TrainingRunning => {
                RpcError::new(Code::Aborted, TRAINING_RUNNING, DOMAIN, message).into()
            }
            Error::TrainingEmpty(_) => {
                RpcError::new(Code::FailedPrecondition, TRAINING_EMPTY, DOMAIN, message).into()
            }
            Error::Tail(error) => from_tail(error, message),
        }
    }
}

/// A failure that may be over soon.
fn later(code: Code, reason: &str, message: String) -> Status {
    RpcError::new(code, reason, DOMAIN, message)
        .retry_after(store::RETRY_AFTER)
        .into()
}

fn from_tail(error: TailError, message: String) -> Status {
    match error {
        TailError::Store(error) => store::status(DOMAIN, &error),
        TailError::Expired {
            partition,
            low_water,
        } => RpcError::new(Code::OutOfRange, SEQUENCE_EXPIRED, DOMAIN, message)
            .with("partition", partition.to_string())
            .with("low_water", low_water.to_string())
            .into(),
        TailError::Segment(error @ SegmentError::Unavailable { .. }) => {
            let error = &error as &dyn std::error::Error;
            tracing::warn!(error, "segment unavailable");
            later(Code::Unavailable, store::STORE_UNAVAILABLE, message)
        }
        // A segment's message names its file, which is what an operator needs and nobody's secret.
        TailError::Segment(SegmentError::Damaged { name, .. }) => {
            tracing::error!(error = %message, "the log is damaged");
            RpcError::new(Code::DataLoss, status::reason::INTERNAL, DOMAIN, message)
                .resource("segment", &name)
                .into()
        }
        TailError::Damaged(_) | TailError::Lost(..) => {
            tracing::error!(error = %message, "the log is damaged");
            let (code, reason) = (Code::DataLoss, status::reason::INTERNAL);
            RpcError::new(code, reason, DOMAIN, "the log is damaged").into()
        }
    }
}
