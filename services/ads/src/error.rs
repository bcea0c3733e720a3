//! What can go wrong in ads, one variant per thing that a caller can act on.

use ads_domain::{LedgerError, TransitionError};
use rapport_rpc::status::{self, RpcError};
use rapport_rpc::{InvalidRequest, store, write};
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
    /// The service holds as many campaigns as it may.
    TOO_MANY_CAMPAIGNS,
    /// The line items of the campaign would be more than one answer holds.
    CAMPAIGN_TOO_LARGE,
}

/// What can go wrong.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Fields of the request are missing or wrong.
    #[error(transparent)]
    InvalidRequest(#[from] InvalidRequest),
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
    #[error("there are as many line items as there may be, ended ones among them")]
    TooManyLineItems,
    /// The service holds as many campaigns as it may.
    #[error("there are as many campaigns as there may be, ended ones among them")]
    TooManyCampaigns,
    /// The line items of the campaign would be more than one answer holds.
    #[error("the line items of campaign {0} would be too large together")]
    CampaignTooLarge(String),
    /// The write's record refused it, or its store failed.
    #[error(transparent)]
    Write(#[from] IdempotencyError),
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

impl From<Error> for Status {
    fn from(error: Error) -> Self {
        let message = error.to_string();
        let refused = |code, reason| RpcError::new(code, reason, DOMAIN, message.as_str());
        match error {
            Error::InvalidRequest(bad) => bad.status(DOMAIN),
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
            Error::TooManyCampaigns => refused(Code::FailedPrecondition, TOO_MANY_CAMPAIGNS).into(),
            Error::CampaignTooLarge(id) => refused(Code::FailedPrecondition, CAMPAIGN_TOO_LARGE)
                .resource("campaign", &id)
                .into(),
            Error::Write(error) => write::status(DOMAIN, &error),
            Error::ShuttingDown => refused(Code::Unavailable, status::reason::SHUTTING_DOWN)
                .retry_after(store::RETRY_AFTER)
                .into(),
            Error::Store(error) => store::status(DOMAIN, &error),
            Error::Ledger(_) | Error::Internal(_) => status::internal(DOMAIN, &message),
        }
    }
}
