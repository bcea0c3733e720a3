//! The life of an experiment: draft, running, stopped, and no way back.

use rapport_types::UnixMillis;

/// Where an experiment stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// May still be edited; nobody is assigned.
    Draft,
    /// People are assigned and exposed; the allocation is frozen.
    Running {
        /// First moment of assignment.
        started_at: UnixMillis,
    },
    /// Everybody gets the control again; results may still be read.
    Stopped {
        /// First moment of assignment.
        started_at: UnixMillis,
        /// Exposures from here on do not count.
        stopped_at: UnixMillis,
    },
}

/// A step that the life of an experiment does not have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a {from} experiment cannot be {action}")]
pub struct TransitionError {
    /// The state it is in.
    pub from: &'static str,
    /// What was asked.
    pub action: &'static str,
}

impl State {
    /// Returns the running state; only a draft can be started.
    ///
    /// # Errors
    /// The experiment is running or stopped: a restart would mix two populations.
    pub fn start(self, now: UnixMillis) -> Result<Self, TransitionError> {
        match self {
            Self::Draft => Ok(Self::Running { started_at: now }),
            Self::Running { .. } | Self::Stopped { .. } => Err(TransitionError {
                from: self.name(),
                action: "started",
            }),
        }
    }

    /// Returns the stopped state; only a running experiment can be stopped.
    ///
    /// # Errors
    /// The experiment is a draft or stopped already.
    pub fn stop(self, now: UnixMillis) -> Result<Self, TransitionError> {
        match self {
            // A clock that stepped back must not end an experiment before it began.
            Self::Running { started_at } => Ok(Self::Stopped {
                started_at,
                stopped_at: now.max(started_at),
            }),
            Self::Draft | Self::Stopped { .. } => Err(TransitionError {
                from: self.name(),
                action: "stopped",
            }),
        }
    }

    /// Returns whether people are assigned now.
    #[must_use]
    pub fn is_running(self) -> bool {
        matches!(self, Self::Running { .. })
    }

    /// Returns whether an exposure at that moment belongs to the experiment.
    #[must_use]
    pub fn covers(self, at: UnixMillis) -> bool {
        match self {
            Self::Draft => false,
            Self::Running { started_at } => at >= started_at,
            Self::Stopped {
                started_at,
                stopped_at,
            } => at >= started_at && at < stopped_at,
        }
    }

    /// Returns the word for the state: `draft`, `running` or `stopped`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Draft => "draft",
            Self::Running { .. } => "running",
            Self::Stopped { .. } => "stopped",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const START: UnixMillis = UnixMillis(1_000);

    #[test]
    fn walks_forward_only() {
        let running = State::Draft.start(START).unwrap();
        let stopped = running.stop(UnixMillis(2_000)).unwrap();
        assert_eq!(running, State::Running { started_at: START });
        assert_eq!(
            stopped,
            State::Stopped {
                started_at: START,
                stopped_at: UnixMillis(2_000)
            }
        );
        for (state, action) in [(running, "started"), (stopped, "started")] {
            let refused = state.start(START);
            assert_eq!(
                refused,
                Err(TransitionError {
                    from: state.name(),
                    action
                })
            );
        }
        for state in [State::Draft, stopped] {
            assert!(state.stop(START).is_err());
        }
        let message = State::Draft.stop(START).unwrap_err().to_string();
        assert_eq!(message, "a draft experiment cannot be stopped");
    }

    #[test]
    fn covers_from_start_to_just_before_stop() {
        let running = State::Draft.start(START).unwrap();
        let stopped = running.stop(UnixMillis(2_000)).unwrap();
        assert!(!State::Draft.covers(START));
        assert!(!running.covers(UnixMillis(999)) && running.covers(UnixMillis(9_999)));
        assert!(stopped.covers(UnixMillis(1_999)) && !stopped.covers(UnixMillis(2_000)));
        let back = running.stop(UnixMillis(5)).unwrap();
        assert_eq!(
            back,
            State::Stopped {
                started_at: START,
                stopped_at: START
            }
        );
    }
}
