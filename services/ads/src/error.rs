//! What can go wrong in ads, one variant per thing that a caller can act on.

use std::time::Duration;

use ads_domain::{LedgerError, TransitionError};
use rapport_rpc::status::{self, FieldViolation, RpcError};
use rapport_store::StoreError;
use rapport_store::idempotency::IdempotencyError;
use rapport_types::{DecisionId, Micros};
use tonic::{Code, Status};

/// The domain of ads' reasons.
pub const DOMAIN: &str = "ads.rapport";

rapport_rpc::reasons! {
    /// No such campaign.
    CAMPAIGN_NOT_FOUND,
    /// No such line item.
    LINE_ITEM_NOT_FOUND,
    /// No such decision, or it showed no ad.
    DECISION_NOT_FOUND,
    /// The state does not allow the change.
    STATE_FORBIDS,
    /// The budget would be less than what is spent and leased.
    BUDGET_BELOW_SPEND,
    /// The service holds as many line items as it may.
    TOO_MANY_LINE_ITEMS,
    /// The request id was used with another body.
    REQUEST_ID_REUSED,
    /// Another writer won; the same call may succeed now.
    CONFLICT,
    /// The database did not answer; the same call may succeed later.
    STORE_UNAVAILABLE,
}

/// How long a caller should wait before it tries an unavailable store again.
const RETRY_AFTER: Duration = Duration::from_millis(250);

/// What can go wrong.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Fields of the request are missing or wrong.
    #[error("request has {} invalid field(s)", .0.len())]
    InvalidRequest(Vec<FieldViolation>),
    /// No such campaign.
    #[error("campaign {0} does not exist")]
    CampaignNotFound(String),
    /// No such line item.
    #[error("line item {0} does not exist")]
    LineItemNotFound(String),
    /// No such decision, or it showed no ad.
    #[error("decision {0} does not exist or showed no ad")]
    DecisionNotFound(DecisionId),
    /// The state does not allow the change.
    #[error("{0}")]
    StateForbids(#[from] TransitionError),
    /// The budget would be less than what is spent and leased.
    #[error("only {free} of the budget is neither spent nor leased")]
    BudgetBelowSpend {
        /// What could be taken out.
        free: Micros,
    },
    /// The service holds as many line items as it may.
    #[error("there are as many line items as there may be")]
    TooManyLineItems,
    /// The idempotency key was used with another body.
    #[error("the request id was used with another body")]
    RequestIdReused,
    /// The service is going away.
    #[error("ads is shutting down")]
    ShuttingDown,
    /// The store failed. `Display` omits the source: nothing leaks.
    #[error("store failed")]
    Store(#[from] StoreError),
    /// The ledger refused what was decided to be possible.
    #[error("the ledger refused: {0}")]
    Ledger(#[from] LedgerError),
    /// Something that cannot happen did; the message says what, for the log only.
    #[error("ads failed: {0}")]
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
        let refused = |code, reason| RpcError::new(code, reason, DOMAIN, message.as_str());
        match error {
            Error::InvalidRequest(violations) => status::invalid_request(DOMAIN, violations),
            Error::CampaignNotFound(id) => refused(Code::NotFound, CAMPAIGN_NOT_FOUND)
                .resource("campaign", &id)
                .into(),
            Error::LineItemNotFound(id) => refused(Code::NotFound, LINE_ITEM_NOT_FOUND)
                .resource("line_item", &id)
                .into(),
            Error::DecisionNotFound(id) => refused(Code::NotFound, DECISION_NOT_FOUND)
                .resource("decision", &id.to_string())
                .into(),
            Error::StateForbids(_) => refused(Code::FailedPrecondition, STATE_FORBIDS).into(),
            Error::BudgetBelowSpend { free } => {
                refused(Code::FailedPrecondition, BUDGET_BELOW_SPEND)
                    .with("free_micros", free.0.to_string())
                    .into()
            }
            Error::TooManyLineItems => {
                refused(Code::FailedPrecondition, TOO_MANY_LINE_ITEMS).into()
            }
            Error::RequestIdReused => refused(Code::AlreadyExists, REQUEST_ID_REUSED).into(),
            Error::ShuttingDown => refused(Code::Unavailable, status::reason::SHUTTING_DOWN)
                .retry_after(RETRY_AFTER)
                .into(),
            Error::Store(error) => from_store(&error),
            Error::Ledger(_) | Error::Internal(_) => {
                tracing::error!(error = %message, "internal error");
                internal("ads failed")
            }
        }
    }
}

fn internal(message: &str) -> Status {
    RpcError::new(Code::Internal, status::reason::INTERNAL, DOMAIN, message).into()
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
            internal("store failed")
        }
    }
}
