//! One effect per request id: what every write of care begins and ends with.

use rapport_store::idempotency::{self, Call, Claim, Slot};
use rapport_store::{StoreError, Tx};
use ring::digest;

use crate::desk::Desk;
use crate::error::Error;

/// Times that one request is tried when other transactions win.
pub const ATTEMPTS_MAX: u32 = 4;

/// Who asks, by which method, with which key and body: what makes a write idempotent.
#[derive(Debug, Clone, Copy)]
pub struct Asked<'a> {
    /// The authenticated caller.
    pub caller: &'a str,
    /// The RPC.
    pub method: &'a str,
    /// The request's own key.
    pub request_id: &'a str,
    /// A fingerprint of the body.
    pub body_hash: [u8; 32],
}

/// A write that was either begun now or finished long ago.
#[derive(Debug)]
pub enum Begun {
    /// To be done in this transaction.
    New(Tx, Slot),
    /// Was done; the response that was recorded.
    Done(Vec<u8>),
}

/// Returns the fingerprint of a body without personal text.
#[must_use]
pub fn plain_digest(body: &[u8]) -> [u8; 32] {
    let mut hash = [0; 32];
    hash.copy_from_slice(digest::digest(&digest::SHA256, body).as_ref());
    hash
}

impl Desk {
    /// Begins an idempotent write.
    ///
    /// # Errors
    /// [`Error::RequestIdReused`], [`Error::Store`].
    pub async fn begin(&self, asked: &Asked<'_>) -> Result<Begun, Error> {
        let call = Call {
            caller: asked.caller,
            method: asked.method,
            request_id: asked.request_id,
            body_hash: &asked.body_hash,
        };
        let mut tx = self.db.begin().await?;
        match idempotency::claim(&mut tx, &call, self.clock.now()).await? {
            Claim::New(slot) => Ok(Begun::New(tx, slot)),
            Claim::Replay(response) => {
                tx.rollback().await?;
                Ok(Begun::Done(response))
            }
        }
    }
}

/// Records the response of a write and commits.
///
/// # Errors
/// [`Error::Store`]: unknown whether it happened; the same request id finds out.
pub async fn finish(mut tx: Tx, slot: Slot, response: &[u8]) -> Result<(), Error> {
    slot.record(&mut tx, response).await?;
    tx.commit().await?;
    Ok(())
}

/// Returns whether the same write, tried again, may succeed: nothing was written.
#[must_use]
pub fn lost_a_race(error: &Error) -> bool {
    match error {
        Error::Conflict | Error::Store(StoreError::Conflict(_)) => true,
        Error::InvalidRequest(_)
        | Error::CaseNotFound(_)
        | Error::AgentNotFound(_)
        | Error::SubjectNotFound(_)
        | Error::StateForbids(_)
        | Error::StaleEpoch(_)
        | Error::CaseFull(_)
        | Error::AgentsFull(_)
        | Error::ConsentMissing(_)
        | Error::RequestIdReused
        | Error::Store(_)
        | Error::Keys(_)
        | Error::Internal(_) => false,
    }
}

/// Runs a write again while other transactions win, [`ATTEMPTS_MAX`] times in all.
macro_rules! retried {
    ($write:expr) => {{
        let mut attempt = 1;
        loop {
            match $write.await {
                Err(error)
                    if $crate::write::lost_a_race(&error)
                        && attempt < $crate::write::ATTEMPTS_MAX =>
                {
                    attempt += 1;
                }
                answer => break answer,
            }
        }
    }};
}
pub(crate) use retried;
