//! One effect per request id: what every write of care begins and ends with.

use prost::Message;
use rapport_rpc::write::{self, Asked, Begun};
use rapport_store::StoreError;
use rapport_store::idempotency::IdempotencyError;

use crate::desk::Desk;
use crate::error::Error;

/// Times that one request is tried when other transactions win.
pub const ATTEMPTS_MAX: u32 = 4;

impl Desk {
    /// Begins an idempotent write.
    ///
    /// # Errors
    /// [`Error::Write`], [`Error::Store`].
    pub async fn begin<T: Message + Default>(&self, asked: &Asked) -> Result<Begun<T>, Error> {
        Ok(write::begin(&self.db, asked, self.clock.now()).await?)
    }
}

/// Returns whether the same write, tried again, may succeed: nothing was written.
#[must_use]
pub fn lost_a_race(error: &Error) -> bool {
    match error {
        Error::Conflict
        | Error::Store(StoreError::Conflict(_))
        | Error::Write(IdempotencyError::Store(StoreError::Conflict(_))) => true,
        Error::InvalidRequest(_)
        | Error::CaseNotFound(_)
        | Error::AgentNotFound(_)
        | Error::SubjectNotFound(_)
        | Error::StateForbids(_)
        | Error::StaleEpoch(_)
        | Error::CaseFull(_)
        | Error::AgentsFull(_)
        | Error::ConsentMissing(_)
        | Error::Write(_)
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
