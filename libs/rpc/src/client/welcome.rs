//! Whether a neighbour takes this process's token, said once when that changes: each refused call fails
//! for itself, and thousands of them must not be thousands of lines.

use std::sync::atomic::{AtomicBool, Ordering};

use http::HeaderMap;
use tonic::{Code, Status};

use crate::status::{reason, reason_of};

/// What one channel knows of it.
#[derive(Debug, Default)]
pub(crate) struct Welcome {
    token_refused: AtomicBool,
    scope_refused: AtomicBool,
}

impl Welcome {
    /// Notes how a call to `host` ended. Costs one load unless something is wrong.
    pub(crate) fn note(&self, host: &str, code: Code, headers: &HeaderMap) {
        if code == Code::Ok {
            if self.token_refused.load(Ordering::Relaxed)
                && self.token_refused.swap(false, Ordering::Relaxed)
            {
                tracing::info!(host, "a neighbour takes this service's token again");
            }
            return;
        }
        // A refusal has no body, so its status is in the headers.
        let Some(refused) = self.refused(code, headers) else {
            return;
        };
        let status = Status::from_header_map(headers).map(|status| status.message().to_owned());
        tracing::error!(
            host,
            reason = refused,
            why = status.unwrap_or_default(),
            "a neighbour refuses this service: check RAPPORT_PEER_TOKEN_FILE"
        );
    }

    /// Returns the reason of a refusal that was not told yet.
    fn refused(&self, code: Code, headers: &HeaderMap) -> Option<String> {
        if !matches!(code, Code::Unauthenticated | Code::PermissionDenied) {
            return None;
        }
        let reason = reason_of(&Status::from_header_map(headers)?)?;
        let told = match reason.as_str() {
            reason::TOKEN_MISSING | reason::TOKEN_INVALID | reason::TOKEN_EXPIRED => {
                &self.token_refused
            }
            reason::SCOPE_MISSING => &self.scope_refused,
            // A consent that is missing is nobody's token.
            _ => return None,
        };
        (!told.swap(true, Ordering::Relaxed)).then_some(reason)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::status::{DOMAIN, rpc_error};

    #[test]
    fn a_refused_token_is_told_once_until_it_is_taken_again() {
        let welcome = Welcome::default();
        let ended = |code, reason| {
            let headers = rpc_error(code, reason, DOMAIN, "no").into_http::<()>();
            welcome.refused(code, headers.headers())
        };
        let expired = || ended(Code::Unauthenticated, reason::TOKEN_EXPIRED);
        assert_eq!(expired().as_deref(), Some(reason::TOKEN_EXPIRED));
        assert_eq!(expired(), None, "told already");
        welcome.note("host", Code::Ok, &HeaderMap::new());
        assert!(expired().is_some());
        let scope = ended(Code::PermissionDenied, reason::SCOPE_MISSING);
        assert_eq!(scope.as_deref(), Some(reason::SCOPE_MISSING));
        assert_eq!(ended(Code::PermissionDenied, "CONSENT_MISSING"), None);
        assert_eq!(ended(Code::Internal, reason::INTERNAL), None);
    }
}
