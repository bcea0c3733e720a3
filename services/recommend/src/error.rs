//! What can go wrong in recommend, one variant per thing that a caller can act on.

use rapport_rpc::status::{self, RpcError};
use rapport_rpc::{InvalidRequest, store, write};
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
    /// A model is being trained already.
    TRAINING_RUNNING,
    /// Nobody who granted `personalise` has done anything yet; the loaded model stays.
    TRAINING_EMPTY,
}

/// What can go wrong.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Fields of the request are missing or wrong.
    #[error(transparent)]
    InvalidRequest(#[from] InvalidRequest),
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
    /// The write's record refused it, or its store failed.
    #[error(transparent)]
    Write(#[from] IdempotencyError),
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
            Error::InvalidRequest(bad) => bad.status(DOMAIN),
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
                    .retry_after(store::RETRY_AFTER)
                    .into()
            }
            Error::Write(error) => write::status(DOMAIN, &error),
            Error::TrainingRunning => {
                RpcError::new(Code::Aborted, TRAINING_RUNNING, DOMAIN, message).into()
            }
            Error::TrainingEmpty => {
                RpcError::new(Code::FailedPrecondition, TRAINING_EMPTY, DOMAIN, message).into()
            }
            Error::Store(error) => store::status(DOMAIN, &error),
            Error::Away(error) => store::unavailable(DOMAIN, &*error),
            Error::Internal(why) => status::internal(DOMAIN, why),
        }
    }
}
