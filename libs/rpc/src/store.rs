//! What a store's failure looks like to a caller, for every service alike. The domain is the service's.

use std::time::Duration;

use rapport_store::StoreError;
use tonic::{Code, Status};

use crate::status::{RpcError, reason, rpc_error};

crate::reasons! {
    /// Another writer won; the same call may succeed now.
    CONFLICT,
    /// What keeps a service's data did not answer; the same call may succeed later.
    STORE_UNAVAILABLE,
}

/// How long a caller should wait before it tries again what was away.
pub const RETRY_AFTER: Duration = Duration::from_millis(250);

/// Returns the status of a failed store: UNAVAILABLE and ABORTED may be tried again, INTERNAL is ours.
#[must_use]
pub fn status(domain: &str, error: &StoreError) -> Status {
    match error {
        StoreError::Unavailable(_) => unavailable(domain, error),
        StoreError::Conflict(_) => rpc_error(Code::Aborted, CONFLICT, domain, "another writer won"),
        StoreError::Constraint { .. } | StoreError::Query(_) | StoreError::Migration(_) | _ => {
            tracing::error!(error = error as &dyn std::error::Error, "store failed");
            rpc_error(Code::Internal, reason::INTERNAL, domain, "store failed")
        }
    }
}

/// Returns UNAVAILABLE / STORE_UNAVAILABLE; the cause goes to the log only.
#[must_use]
pub fn unavailable(domain: &str, error: &(dyn std::error::Error + 'static)) -> Status {
    tracing::warn!(error, "store unavailable");
    let message = "the store does not answer";
    RpcError::new(Code::Unavailable, STORE_UNAVAILABLE, domain, message)
        .retry_after(RETRY_AFTER)
        .into()
}

#[cfg(test)]
mod tests {
    use tonic_types::StatusExt as _;

    use super::*;

    #[track_caller]
    fn check(error: &StoreError, code: Code, reason: &str, message: &str) -> Option<Duration> {
        let status = status("care.rapport", error);
        let info = status.get_details_error_info().unwrap();
        assert_eq!(
            (status.code(), info.reason.as_str(), status.message()),
            (code, reason, message)
        );
        assert_eq!(info.domain, "care.rapport", "the service's own");
        status.get_details_retry_info()?.retry_delay
    }

    #[test]
    fn what_may_be_tried_again_is_told_from_what_may_not() {
        let away = StoreError::Unavailable(sqlx::Error::PoolTimedOut);
        let message = "the store does not answer";
        let wait = check(&away, Code::Unavailable, "STORE_UNAVAILABLE", message);
        assert_eq!(wait, Some(Duration::from_millis(250)));
        let lost = StoreError::Conflict(sqlx::Error::RowNotFound);
        let wait = check(&lost, Code::Aborted, "CONFLICT", "another writer won");
        assert_eq!(wait, None);
        let wrong = StoreError::Query(sqlx::Error::RowNotFound);
        let wait = check(&wrong, Code::Internal, "INTERNAL", "store failed");
        assert_eq!(wait, None);
    }
}
