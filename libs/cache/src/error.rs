//! What a caller can do about a cache: wait, give up, or mend the call.

use redis::{ErrorKind, RedisError, ServerErrorKind};

type Source = Box<dyn std::error::Error + Send + Sync>;

/// Why a cache did not answer. `Display` never includes the source: no address, no secret leaks.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CacheError {
    /// It cannot be reached, is too slow, is full or is changing its primary. Whether a write
    /// happened is unknown; the same call may succeed later. Degrade until then.
    #[error("the cache is unavailable")]
    Unavailable(#[source] Source),
    /// It answered what we do not understand: a defect, or another program's keys.
    #[error("the cache answered unexpectedly")]
    Protocol(#[source] Source),
    /// A part of the call is empty, too long or malformed; the name of the part.
    #[error("{0} is not valid")]
    Invalid(&'static str),
    /// Counters were lost and are not rebuilt yet: treat what is capped as at its cap.
    #[error("the counters are incomplete")]
    Incomplete,
    /// The twin in memory holds as much as it may.
    #[error("the cache is full")]
    Full,
}

impl From<RedisError> for CacheError {
    fn from(error: RedisError) -> Self {
        let passes = error.is_io_error()
            || error.is_cluster_error()
            || error.is_unrecoverable_error()
            || error.code() == Some("OOM")
            || matches!(
                error.kind(),
                ErrorKind::ClusterConnectionNotFound
                    | ErrorKind::Server(
                        ServerErrorKind::BusyLoading
                            | ServerErrorKind::MasterDown
                            | ServerErrorKind::ReadOnly
                    )
            );
        if passes {
            Self::Unavailable(error.into())
        } else {
            Self::Protocol(error.into())
        }
    }
}
