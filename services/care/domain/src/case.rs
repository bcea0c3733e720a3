//! The life of a case: which state may follow which. Who may cause a move, and storing it, is the
//! service's business.

/// Where a case stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum CaseState {
    /// Waits for an agent.
    Queued,
    /// One agent has it and owes the customer an answer.
    Assigned,
    /// The same agent has it; the customer owes an answer.
    Pending,
    /// Solved; a new message of the customer takes it up again.
    Resolved,
    /// Over for ever.
    Closed,
}

impl CaseState {
    /// Every state.
    pub const ALL: [Self; 5] = [
        Self::Queued,
        Self::Assigned,
        Self::Pending,
        Self::Resolved,
        Self::Closed,
    ];

    /// Returns whether an agent has the case: then it takes one place of the agent's capacity.
    #[must_use]
    pub fn has_agent(self) -> bool {
        matches!(self, Self::Assigned | Self::Pending)
    }

    /// Returns the name that events and reports use.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Queued => "queued",
            Self::Assigned => "assigned",
            Self::Pending => "pending",
            Self::Resolved => "resolved",
            Self::Closed => "closed",
        }
    }
}

/// Something that happens to a case.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum CaseEvent {
    /// An agent gets it.
    Assign,
    /// The agent is gone: back into the queue.
    Release,
    /// The agent writes.
    AgentWrites,
    /// The customer writes.
    CustomerWrites,
    /// The agent has solved it.
    Resolve,
    /// Nobody will come back to it.
    Close,
}

impl CaseEvent {
    /// Every event.
    pub const ALL: [Self; 6] = [
        Self::Assign,
        Self::Release,
        Self::AgentWrites,
        Self::CustomerWrites,
        Self::Resolve,
        Self::Close,
    ];
}

/// A move that the rules do not allow.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a case that is {} cannot take {event:?}", .from.name())]
pub struct ForbiddenMove {
    /// Where the case stands.
    pub from: CaseState,
    /// What was tried.
    pub event: CaseEvent,
}

impl CaseState {
    /// Returns the state after an event.
    ///
    /// # Errors
    ///
    /// [`ForbiddenMove`] names both; nothing changes.
    pub fn after(self, event: CaseEvent) -> Result<Self, ForbiddenMove> {
        use CaseEvent as E;
        let next = match (self, event) {
            (Self::Queued, E::Assign) | (Self::Assigned | Self::Pending, E::CustomerWrites) => {
                Self::Assigned
            }
            (Self::Queued | Self::Resolved, E::CustomerWrites)
            | (Self::Assigned | Self::Pending, E::Release) => Self::Queued,
            (Self::Assigned | Self::Pending, E::AgentWrites) => Self::Pending,
            (Self::Assigned | Self::Pending, E::Resolve) => Self::Resolved,
            (Self::Queued | Self::Assigned | Self::Pending | Self::Resolved, E::Close) => {
                Self::Closed
            }
            (Self::Queued, E::Release | E::AgentWrites | E::Resolve)
            | (Self::Assigned | Self::Pending, E::Assign)
            | (Self::Resolved, E::Assign | E::Release | E::AgentWrites | E::Resolve)
            | (
                Self::Closed,
                E::Assign | E::Release | E::AgentWrites | E::CustomerWrites | E::Resolve | E::Close,
            ) => return Err(ForbiddenMove { from: self, event }),
        };
        Ok(next)
    }
}

#[cfg(test)]
mod tests {
    use super::{CaseEvent as E, CaseState as S, ForbiddenMove};
    use proptest::prelude::*;

    /// The whole table; every move that is not here is forbidden.
    const ALLOWED: [(S, E, S); 15] = [
        (S::Queued, E::Assign, S::Assigned),
        (S::Queued, E::CustomerWrites, S::Queued),
        (S::Queued, E::Close, S::Closed),
        (S::Assigned, E::Release, S::Queued),
        (S::Assigned, E::AgentWrites, S::Pending),
        (S::Assigned, E::CustomerWrites, S::Assigned),
        (S::Assigned, E::Resolve, S::Resolved),
        (S::Assigned, E::Close, S::Closed),
        (S::Pending, E::Release, S::Queued),
        (S::Pending, E::AgentWrites, S::Pending),
        (S::Pending, E::CustomerWrites, S::Assigned),
        (S::Pending, E::Resolve, S::Resolved),
        (S::Pending, E::Close, S::Closed),
        (S::Resolved, E::CustomerWrites, S::Queued),
        (S::Resolved, E::Close, S::Closed),
    ];

    #[test]
    fn only_the_moves_of_the_table_are_allowed() {
        for from in S::ALL {
            for event in E::ALL {
                let listed = ALLOWED.iter().find(|row| row.0 == from && row.1 == event);
                let expected = listed.map(|row| row.2).ok_or(ForbiddenMove { from, event });
                assert_eq!(from.after(event), expected);
            }
        }
    }

    proptest! {
        #[test]
        fn a_customer_is_heard_until_the_case_is_closed(events in prop::collection::vec(0usize..6, 0..20)) {
            let mut state = S::Queued;
            for event in events {
                state = state.after(E::ALL[event]).unwrap_or(state);
            }
            let heard = state.after(E::CustomerWrites);
            prop_assert_eq!(heard.is_err(), state == S::Closed);
            prop_assert!(heard.is_err() || matches!(heard, Ok(S::Queued | S::Assigned)));
        }
    }
}
