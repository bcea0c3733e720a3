//! Service-level clocks: by when somebody must have answered, and by when it must be solved. Time
//! that the customer takes is not the shop's. Now is always an argument.

use rapport_types::UnixMillis;

use crate::case::CaseState;
use crate::priority::ValueTier;

/// What the shop promises for one tier.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SlaPolicy {
    /// From the first message to the first answer by a person, in milliseconds.
    pub first_response_ms: i64,
    /// From the first message to solved, without the time that the customer takes, in milliseconds.
    pub resolution_ms: i64,
}

const MINUTE_MS: i64 = 60_000;

impl SlaPolicy {
    /// Returns the promise for chat: first answer within 10, 5, 2 and 1 minutes by tier, solved
    /// within 24, 12, 8 and 4 hours.
    #[must_use]
    pub fn of_tier(tier: ValueTier) -> Self {
        let (first, hours) = match tier {
            ValueTier::Standard => (10, 24),
            ValueTier::Silver => (5, 12),
            ValueTier::Gold => (2, 8),
            ValueTier::Vip => (1, 4),
        };
        Self {
            first_response_ms: first * MINUTE_MS,
            resolution_ms: hours * 60 * MINUTE_MS,
        }
    }
}

/// How a clock stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ClockState {
    /// Running, with so many milliseconds left.
    OnTime {
        /// More than 0.
        left_ms: i64,
    },
    /// Standing still while the customer is asked.
    Paused {
        /// What is left when it runs again; negative if it is already late.
        left_ms: i64,
    },
    /// Late by so many milliseconds; 0 is the very moment it fell due.
    Breached {
        /// At least 0.
        late_ms: i64,
    },
    /// Stopped in time.
    Met,
    /// Stopped too late.
    Missed {
        /// More than 0.
        late_ms: i64,
    },
}

/// One clock of one case: it runs, pauses and stops.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SlaClock {
    started_at: UnixMillis,
    limit_ms: i64,
    paused_ms: i64,
    paused_since: Option<UnixMillis>,
    stopped_at: Option<UnixMillis>,
}

impl SlaClock {
    /// Starts a clock.
    #[must_use]
    pub fn started(at: UnixMillis, limit_ms: i64) -> Self {
        Self {
            started_at: at,
            limit_ms,
            paused_ms: 0,
            paused_since: None,
            stopped_at: None,
        }
    }

    /// Follows a change of the case's state: pauses while it waits for the customer, stops when it is
    /// resolved, runs on when it is reopened. Moments must not go backwards.
    #[must_use]
    pub fn on_state(mut self, state: CaseState, at: UnixMillis) -> Self {
        let stands = self.paused_since.or(self.stopped_at);
        match state {
            CaseState::Pending => {
                self = self.running_again(stands, at);
                self.paused_since = Some(at);
            }
            CaseState::Resolved | CaseState::Closed => {
                if self.stopped_at.is_none() {
                    self = self.running_again(stands, at);
                    self.stopped_at = Some(at);
                }
            }
            CaseState::Queued | CaseState::Assigned => {
                self = self.running_again(stands, at);
            }
        }
        self
    }

    fn running_again(mut self, stood_since: Option<UnixMillis>, at: UnixMillis) -> Self {
        self.paused_ms += stood_since.map_or(0, |since| at.since(since).max(0));
        self.paused_since = None;
        self.stopped_at = None;
        self
    }

    /// Stops the clock for good, as the first answer stops the first-response clock. Stopping twice
    /// changes nothing.
    #[must_use]
    pub fn stopped(self, at: UnixMillis) -> Self {
        self.on_state(CaseState::Resolved, at)
    }

    /// Returns when it falls due if it is not paused again. A standing clock is due as if it ran on now.
    #[must_use]
    pub fn due_at(&self, now: UnixMillis) -> UnixMillis {
        let standing = self.paused_since.map_or(0, |since| now.since(since).max(0));
        self.started_at
            .plus(self.limit_ms + self.paused_ms + standing)
    }

    /// Returns how the clock stands.
    #[must_use]
    pub fn state(&self, now: UnixMillis) -> ClockState {
        if let Some(stopped_at) = self.stopped_at {
            let late_ms = stopped_at.since(self.due_at(stopped_at));
            return if late_ms > 0 {
                ClockState::Missed { late_ms }
            } else {
                ClockState::Met
            };
        }
        let left_ms = self.due_at(now).since(now);
        match self.paused_since {
            Some(_) => ClockState::Paused { left_ms },
            None if left_ms > 0 => ClockState::OnTime { left_ms },
            None => ClockState::Breached { late_ms: -left_ms },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{ClockState, SlaClock};
    use crate::case::CaseState;
    use proptest::prelude::*;
    use rapport_types::UnixMillis;

    fn at(ms: i64) -> UnixMillis {
        UnixMillis(ms)
    }

    #[test]
    fn clock_runs_out_to_the_millisecond() {
        let clock = SlaClock::started(at(1_000), 500);
        assert_eq!(clock.state(at(1_499)), ClockState::OnTime { left_ms: 1 });
        assert_eq!(clock.state(at(1_500)), ClockState::Breached { late_ms: 0 });
        assert_eq!(clock.stopped(at(1_500)).state(at(9_999)), ClockState::Met);
        assert_eq!(
            clock.stopped(at(1_501)).state(at(9_999)),
            ClockState::Missed { late_ms: 1 }
        );
        assert_eq!(
            clock.stopped(at(1_100)).stopped(at(2_000)).state(at(9_999)),
            ClockState::Met
        );
    }

    #[test]
    fn time_of_the_customer_does_not_count() {
        let clock = SlaClock::started(at(0), 100).on_state(CaseState::Pending, at(40));
        assert_eq!(clock.state(at(9_000)), ClockState::Paused { left_ms: 60 });
        let clock = clock.on_state(CaseState::Queued, at(10_000));
        assert_eq!(clock.due_at(at(10_000)), at(10_060));
        assert_eq!(clock.state(at(10_059)), ClockState::OnTime { left_ms: 1 });
    }

    #[test]
    fn reopening_takes_the_clock_up_where_it_stopped() {
        let clock = SlaClock::started(at(0), 100).on_state(CaseState::Resolved, at(70));
        let clock = clock
            .on_state(CaseState::Closed, at(80))
            .on_state(CaseState::Queued, at(500));
        assert_eq!(clock.state(at(500)), ClockState::OnTime { left_ms: 30 });
    }

    proptest! {
        #[test]
        fn running_time_is_what_counts(steps in prop::collection::vec((0usize..5, 0i64..100), 0..20)) {
            let mut clock = SlaClock::started(at(0), 1_000);
            let (mut now, mut ran, mut runs) = (0, 0, true);
            for (state, wait) in steps {
                now += wait;
                if runs { ran += wait; }
                let state = CaseState::ALL[state];
                clock = clock.on_state(state, at(now));
                runs = matches!(state, CaseState::Queued | CaseState::Assigned);
            }
            let clock = clock.on_state(CaseState::Queued, at(now));
            prop_assert_eq!(clock.due_at(at(now)), at(now + 1_000 - ran));
        }
    }
}
