//! Whether a failed call is made again, when, and within which budget. Pure but for the budget's count.
//!
//! Sources: gRPC A6 (client retries), Google SRE "Handling Overload" (at most 10 % retries), AWS
//! Builders' Library "Timeouts, retries and backoff with jitter".

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use rapport_api::policy::Idempotency;
use tonic::Code;

/// The most times that one call is made: once, and two more.
pub const ATTEMPTS_MAX: u32 = 3;

/// How many retries a channel may make before it has earned any.
pub const BUDGET_RESERVE: u64 = 10;

/// What one retry costs, in what one call earns: so retries stay below a tenth of the calls.
const RETRY_COST: u64 = 10;

/// The first pause, doubled for the second.
const BACKOFF: Duration = Duration::from_millis(25);

/// The longest pause that a server's pushback may ask for; beyond it the call fails at once.
const PUSHBACK_MAX: Duration = Duration::from_secs(5);

/// How an attempt failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Failure {
    /// The request did not leave this process, or the server said that it did not look at it.
    NeverSent,
    /// The connection broke after the request had left: it may have had its effect.
    Broken,
    /// The server answered with a status. `pushback_ms`: its `grpc-retry-pushback-ms`, where anything
    /// but a number that is not negative means "do not".
    Answered {
        code: Code,
        pushback_ms: Option<i64>,
    },
}

/// Decides about the next attempt: the shortest pause before it, `None` for no further attempt.
///
/// `attempt` counts the attempts made, from 1.
pub(crate) fn pause_before_retry(
    idempotency: Idempotency,
    failure: Failure,
    attempt: u32,
) -> Option<Duration> {
    if attempt >= ATTEMPTS_MAX {
        return None;
    }
    let backoff = BACKOFF * 2_u32.pow(attempt - 1);
    match (failure, idempotency) {
        (Failure::NeverSent, _) => Some(backoff),
        (Failure::Broken, Idempotency::ReadOnly | Idempotency::Keyed) => Some(backoff),
        (
            Failure::Answered {
                code: Code::Unavailable,
                pushback_ms,
            },
            Idempotency::ReadOnly | Idempotency::Keyed,
        ) => match pushback_ms {
            None => Some(backoff),
            Some(millis) => {
                let asked = u64::try_from(millis).ok().map(Duration::from_millis);
                asked.filter(|asked| *asked <= PUSHBACK_MAX)
            }
        },
        // With no key the effect could happen twice; any other status would only come again.
        (Failure::Broken | Failure::Answered { .. }, _) => None,
    }
}

/// Holds retries below a tenth of the calls, as a token bucket without a clock.
#[derive(Debug)]
pub(crate) struct Budget {
    earned: AtomicU64,
}

impl Default for Budget {
    fn default() -> Self {
        Self {
            earned: AtomicU64::new(BUDGET_RESERVE * RETRY_COST),
        }
    }
}

impl Budget {
    /// Counts one call.
    pub(crate) fn earn(&self) {
        let add = |earned: u64| (earned < BUDGET_RESERVE * RETRY_COST).then_some(earned + 1);
        // Full is full: nothing to do.
        let _ = self
            .earned
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, add);
    }

    /// Takes the cost of one retry; returns whether it was there.
    pub(crate) fn spend(&self) -> bool {
        let take = |earned: u64| earned.checked_sub(RETRY_COST);
        self.earned
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, take)
            .is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const UNAVAILABLE: Failure = Failure::Answered {
        code: Code::Unavailable,
        pushback_ms: None,
    };

    #[test]
    fn what_may_be_repeated_follows_the_idempotency_class() {
        use Idempotency::{Keyed, None as Never, ReadOnly};
        let retried = |class, failure| pause_before_retry(class, failure, 1).is_some();
        for (class, never_sent, broken, unavailable) in [
            (ReadOnly, true, true, true),
            (Keyed, true, true, true),
            (Never, true, false, false),
        ] {
            assert_eq!(retried(class, Failure::NeverSent), never_sent, "{class:?}");
            assert_eq!(retried(class, Failure::Broken), broken, "{class:?}");
            assert_eq!(retried(class, UNAVAILABLE), unavailable, "{class:?}");
            for code in [
                Code::Internal,
                Code::ResourceExhausted,
                Code::DeadlineExceeded,
            ] {
                assert!(
                    !retried(
                        class,
                        Failure::Answered {
                            code,
                            pushback_ms: None
                        }
                    ),
                    "{code:?}"
                );
            }
        }
    }

    #[test]
    fn pushback_sets_the_pause_or_forbids_the_retry() {
        let pause = |pushback_ms| {
            let failure = Failure::Answered {
                code: Code::Unavailable,
                pushback_ms,
            };
            pause_before_retry(Idempotency::ReadOnly, failure, 1)
        };
        assert_eq!(pause(Some(40)), Some(Duration::from_millis(40)));
        assert_eq!(pause(Some(-1)), None);
        assert_eq!(pause(Some(5_001)), None, "longer than we would wait");
        assert_eq!(pause(None), Some(BACKOFF));
    }

    #[test]
    fn pauses_double_and_attempts_end() {
        let pause = |attempt| pause_before_retry(Idempotency::ReadOnly, UNAVAILABLE, attempt);
        assert_eq!([pause(1), pause(2)], [Some(BACKOFF), Some(BACKOFF * 2)]);
        assert_eq!(pause(3), None);
    }

    #[test]
    fn retries_stay_within_a_tenth_of_the_calls_plus_the_reserve() {
        let budget = Budget::default();
        let mut retries = 0_u64;
        for _ in 0..1_000 {
            budget.earn();
            // Everything fails and wants both further attempts.
            retries += u64::from(budget.spend()) + u64::from(budget.spend());
        }
        assert!(retries <= 100 + BUDGET_RESERVE, "{retries}");
        assert!(retries >= 100, "{retries}");
    }
}
