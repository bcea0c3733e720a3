//! Writes that a caller may repeat: one effect per request id, and the first call's answer for every
//! later one. `rapport_store::idempotency` holds the records; what is typed stands here.
//!
//! ```ignore
//! let asked = Asked::plain(caller, "UpsertCampaign", &raw.request_id, &raw);
//! let (mut tx, slot) = match write::begin(&self.db, &asked, self.clock.now()).await? {
//!     Begun::New(tx, slot) => (tx, slot),
//!     Begun::Done(response) => return Ok(response),
//! };
//! let response = effect(&mut tx).await?;
//! write::finish(tx, slot, &response).await?;
//! ```

use std::sync::Arc;

use prost::Message;
use rapport_store::idempotency::{self, Call, IdempotencyError, Slot};
use rapport_store::{Db, Tx};
use rapport_types::UnixMillis;
use ring::digest;
use tonic::{Code, Status};

use crate::status::{self, FieldViolation, rpc_error};
use crate::store;
use crate::token::Caller;

crate::reasons! {
    /// The request id was used with another body.
    REQUEST_ID_REUSED,
}

/// Who asks, by which method, with which key and body: what makes a write idempotent.
#[derive(Debug, Clone)]
pub struct Asked {
    caller: Arc<str>,
    method: &'static str,
    request_id: String,
    body_hash: [u8; 32],
}

impl Asked {
    /// Names a write whose body holds nothing personal: its plain hash tells nothing worth knowing.
    #[must_use]
    pub fn plain(
        caller: &Caller,
        method: &'static str,
        request_id: &str,
        body: &impl Message,
    ) -> Self {
        Self::keyed(caller, method, request_id, digest(body))
    }

    /// Names a write whose body was hashed under a key: the plain hash of a body with a phone number
    /// or a short message in it could be searched for.
    #[must_use]
    pub fn keyed(
        caller: &Caller,
        method: &'static str,
        request_id: &str,
        body_hash: [u8; 32],
    ) -> Self {
        Self {
            caller: Arc::clone(&caller.name),
            method,
            request_id: request_id.to_owned(),
            body_hash,
        }
    }

    /// Returns the same as the store names it, for responses that are not kept as they are.
    #[must_use]
    pub fn call(&self) -> Call<'_> {
        Call {
            caller: &self.caller,
            method: self.method,
            request_id: &self.request_id,
            body_hash: &self.body_hash,
        }
    }
}

/// A write that was either begun now or finished long ago.
#[derive(Debug)]
pub enum Begun<T> {
    /// To be done in this transaction, then [`finish`].
    New(Tx, Slot),
    /// Was done; the answer of then.
    Done(T),
}

/// Returns the SHA-256 of an encoded message.
#[must_use]
pub fn digest(body: &impl Message) -> [u8; 32] {
    let mut hash = [0; 32];
    let found = digest::digest(&digest::SHA256, &body.encode_to_vec());
    hash.copy_from_slice(found.as_ref());
    hash
}

/// Begins an idempotent write.
///
/// # Errors
/// As [`idempotency::begin`], and [`IdempotencyError::Damaged`] when the answer of then is no `T`.
pub async fn begin<T: Message + Default>(
    db: &Db,
    asked: &Asked,
    now: UnixMillis,
) -> Result<Begun<T>, IdempotencyError> {
    match idempotency::begin(db, &asked.call(), now).await? {
        idempotency::Begun::New(tx, slot) => Ok(Begun::New(tx, slot)),
        idempotency::Begun::Done(response) => Ok(Begun::Done(recorded(&response)?)),
    }
}

/// Returns the answer of a write that was finished long ago; `None` where it is still to be done. For
/// effects that take too long for a transaction: they [`begin`] once more when all is ready.
///
/// # Errors
/// As [`begin`].
pub async fn finished<T: Message + Default>(
    db: &Db,
    asked: &Asked,
    now: UnixMillis,
) -> Result<Option<T>, IdempotencyError> {
    match begin(db, asked, now).await? {
        Begun::Done(response) => Ok(Some(response)),
        Begun::New(tx, _slot) => {
            tx.rollback().await?;
            Ok(None)
        }
    }
}

/// Decodes a recorded response.
///
/// # Errors
/// [`IdempotencyError::Damaged`].
pub fn recorded<T: Message + Default>(response: &[u8]) -> Result<T, IdempotencyError> {
    T::decode(response).map_err(|_| IdempotencyError::Damaged)
}

/// Records the response of a write and commits.
///
/// # Errors
/// As [`Slot::commit`].
pub async fn finish<T: Message>(tx: Tx, slot: Slot, response: &T) -> Result<(), IdempotencyError> {
    slot.commit(tx, &response.encode_to_vec()).await
}

/// Returns the status of a write that was not done, in the domain of the service that did not do it.
#[must_use]
pub fn status(domain: &str, error: &IdempotencyError) -> Status {
    match error {
        IdempotencyError::Reused => {
            let (code, message) = (Code::AlreadyExists, error.to_string());
            rpc_error(code, REQUEST_ID_REUSED, domain, message)
        }
        IdempotencyError::Invalid(part) => {
            let violation = FieldViolation::new("request_id", format!("{part} is not usable"));
            status::invalid_request(domain, vec![violation])
        }
        IdempotencyError::Store(error) => store::status(domain, error),
        IdempotencyError::Unrecorded | IdempotencyError::Damaged | _ => {
            status::internal(domain, &error.to_string())
        }
    }
}

#[cfg(test)]
mod tests {
    use tonic_types::StatusExt as _;

    use super::*;

    #[track_caller]
    fn check(error: &IdempotencyError, code: Code, reason: &str, message: &str) -> Status {
        let status = status("ads.rapport", error);
        let info = status.get_details_error_info().unwrap();
        assert_eq!(
            (status.code(), info.reason.as_str(), status.message()),
            (code, reason, message)
        );
        assert_eq!(info.domain, "ads.rapport", "the service's own");
        status
    }

    #[test]
    fn a_write_that_was_not_done_says_why() {
        let reused = "the request id was used with another body";
        let error = IdempotencyError::Reused;
        check(&error, Code::AlreadyExists, "REQUEST_ID_REUSED", reused);
        let error = IdempotencyError::Invalid("response");
        let invalid = "request has 1 invalid field(s)";
        let status = check(&error, Code::InvalidArgument, "INVALID_REQUEST", invalid);
        let violations = status.get_details_bad_request().unwrap().field_violations;
        assert_eq!(violations[0].field, "request_id");
        assert_eq!(violations[0].description, "response is not usable");
        for error in [IdempotencyError::Unrecorded, IdempotencyError::Damaged] {
            check(&error, Code::Internal, "INTERNAL", "ads failed");
        }
    }
}
