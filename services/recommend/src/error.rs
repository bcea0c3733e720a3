//! What can go wrong in recommend, one variant per thing that a caller can act on.

use std::time::Duration;

use rapport_rpc::status::{self, FieldViolation, RpcError};
use rapport_store::StoreError;
use rapport_store::idempotency::IdempotencyError;
use rapport_store::lease::LeaseError;
use rapport_store::objects::ObjectError;
use rapport_types::Purpose;
use tonic::{Code, Status};

/// The domain of recommend's reasons.
pub const DOMAIN: &str = "recommend.rapport";

rapport_rpc::reasons! {
    /// No such item in the catalogue.
    ITEM_NOT_FOUND,
    /// The catalogue holds as many items as it may.
    CATALOGUE_FULL,
    /// The person has not granted a purpose that the call needs.
    CONSENT_MISSING,
    /// What people allow is not known freshly enough to use their data.
    CONSENT_VIEW_STALE,
    /// The request id was used with another body.
    REQUEST_ID_REUSED,
    /// A model is being trained already.
    TRAINING_RUNNING,
    /// Nobody who granted `personalise` has done anything yet; the loaded model stays.
    TRAINING_EMPTY,
    /// Another writer won; the same call may succeed now.
    CONFLICT,
    /// The database, the cache or the model directory did not answer; the same call may succeed later.
    STORE_UNAVAILABLE,
}

/// How long a caller should wait before it tries again what was away.
const RETRY_AFTER: Duration = Duration::from_millis(250);

/// What can go wrong.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Fields of the request are missing or wrong.
    #[error("request has {} invalid field(s)", .0.len())]
    InvalidRequest(Vec<FieldViolation>),
    /// No such item.
    #[error("item does not exist")]
    ItemNotFound(String),
    /// Too many items.
    #[error("the catalogue may hold at most {0} items")]
    CatalogueFull(usize),
    /// A purpose is not granted.
    #[error("the person has not granted purpose {0}")]
    ConsentMissing(Purpose),
    /// The view of people is not fresh.
    #[error("consent is not known freshly enough")]
    ConsentViewStale,
    /// The idempotency key was used with another body.
    #[error("the request id was used with another body")]
    RequestIdReused,
    /// One training at a time.
    #[error("a training is running")]
    TrainingRunning,
    /// Nothing to learn from.
    #[error("nobody who granted personalise has a history")]
    TrainingEmpty,
    /// The store failed. `Display` omits the source: nothing leaks.
    #[error("store failed")]
    Store(#[from] StoreError),
    /// Timelines or models cannot be read or written now.
    #[error("store failed")]
    Away(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// Something that cannot happen did; the message says what, for the log only.
    #[error("recommend failed")]
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

impl From<LeaseError> for Error {
    fn from(error: LeaseError) -> Self {
        match error {
            LeaseError::Fenced { .. } => Self::TrainingRunning,
            LeaseError::Store(error) => Self::Store(error),
            LeaseError::Invalid(_) | _ => Self::Internal("a lease has no usable name"),
        }
    }
}

impl From<ObjectError> for Error {
    fn from(error: ObjectError) -> Self {
        Self::Away(Box::new(error))
    }
}

impl From<Error> for Status {
    fn from(error: Error) -> Self {
        let message = error.to_string();
        match error {
            Error::InvalidRequest(violations) => status::invalid_request(DOMAIN, violations),
            Error::ItemNotFound(item) => {
                RpcError::new(Code::NotFound, ITEM_NOT_FOUND, DOMAIN, message)
                    .resource("item", &item)
                    .into()
            }
            Error::CatalogueFull(_) => {
                RpcError::new(Code::ResourceExhausted, CATALOGUE_FULL, DOMAIN, message).into()
            }
            Error::ConsentMissing(purpose) => {
                RpcError::new(Code::PermissionDenied, CONSENT_MISSING, DOMAIN, message)
                    .with("purpose", purpose.name())
                    .into()
            }
            Error::ConsentViewStale => {
                RpcError::new(Code::Unavailable, CONSENT_VIEW_STALE, DOMAIN, message)
                    .retry_after(RETRY_AFTER)
                    .into()
            }
            Error::RequestIdReused => {
                RpcError::new(Code::AlreadyExists, REQUEST_ID_REUSED, DOMAIN, message).into()
            }
            Error::TrainingRunning => {
                RpcError::new(Code::Aborted, TRAINING_RUNNING, DOMAIN, message).into()
            }
            Error::TrainingEmpty => {
                RpcError::new(Code::FailedPrecondition, TRAINING_EMPTY, DOMAIN, message).into()
            }
            Error::Store(error) => from_store(&error),
            Error::Away(error) => unavailable(&*error),
            Error::Internal(why) => {
                tracing::error!(why, "internal error");
                internal(message)
            }
        }
    }
}

fn from_store(error: &StoreError) -> Status {
    match error {
        StoreError::Unavailable(_) => unavailable(error),
        StoreError::Conflict(_) => {
            RpcError::new(Code::Aborted, CONFLICT, DOMAIN, "another writer won").into()
        }
        StoreError::Constraint { .. } | StoreError::Query(_) | StoreError::Migration(_) | _ => {
            tracing::error!(error = error as &dyn std::error::Error, "store failed");
            internal("store failed".to_owned())
        }
    }
}

fn unavailable(error: &(dyn std::error::Error + 'static)) -> Status {
    tracing::warn!(error, "store unavailable");
    let message = "the store does not answer";
    RpcError::new(Code::Unavailable, STORE_UNAVAILABLE, DOMAIN, message)
        .retry_after(RETRY_AFTER)
        .into()
}

fn internal(message: String) -> Status {
    RpcError::new(Code::Internal, status::reason::INTERNAL, DOMAIN, message).into()
}
