//! The life of a case: which state may follow which. Who may cause a move, and storing it, is the
//! service's business.

/// Where a case stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum CaseState {
    /// Just created; nobody has looked at it.
    Open,
    /// Waiting for an agent.
    Queued,
    /// One agent has it.
    Assigned,
    /// The agent waits for the customer.
    Pending,
    /// Answered; the customer may still disagree.
    Resolved,
    /// Over.
    Closed,
    /// Resolved or closed, but the customer came back.
    Reopened,
}

impl CaseState {
    /// Every state.
    pub const ALL: [Self; 7] = [
        Self::Open,
        Self::Queued,
        Self::Assigned,
        Self::Pending,
        Self::Resolved,
        Self::Closed,
        Self::Reopened,
    ];

    /// Returns whether an agent's capacity is taken by a case in this state.
    #[must_use]
    pub fn takes_capacity(self) -> bool {
        matches!(self, Self::Assigned)
    }

    /// Returns whether the case still needs somebody of the shop.
    #[must_use]
    pub fn is_waiting_for_us(self) -> bool {
        matches!(
            self,
            Self::Open | Self::Queued | Self::Assigned | Self::Reopened
        )
    }
}

/// Something that happens to a case.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum CaseEvent {
    /// Nobody fits now: wait.
    Enqueue,
    /// An agent claims it or is chosen.
    Assign,
    /// The agent gives it back, or went away.
    Release,
    /// The agent asks the customer something.
    AskCustomer,
    /// The customer writes.
    CustomerReplies,
    /// The agent, or a bot, has answered it.
    Resolve,
    /// The customer agreed, or said nothing for long enough.
    Close,
    /// The customer or an agent takes it up again.
    Reopen,
}

impl CaseEvent {
    /// Every event.
    pub const ALL: [Self; 8] = [
        Self::Enqueue,
        Self::Assign,
        Self::Release,
        Self::AskCustomer,
        Self::CustomerReplies,
        Self::Resolve,
        Self::Close,
        Self::Reopen,
    ];
}

/// A move that the rules do not allow.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a case that is {from:?} cannot take {event:?}")]
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
        let forbidden = Err(ForbiddenMove { from: self, event });
        match self {
            Self::Open | Self::Reopened => match event {
                E::Enqueue => Ok(Self::Queued),
                E::Assign => Ok(Self::Assigned),
                E::Resolve => Ok(Self::Resolved),
                E::CustomerReplies => Ok(self),
                E::Release | E::AskCustomer | E::Close | E::Reopen => forbidden,
            },
            Self::Queued => match event {
                E::Assign => Ok(Self::Assigned),
                E::Resolve => Ok(Self::Resolved),
                E::CustomerReplies => Ok(Self::Queued),
                E::Enqueue | E::Release | E::AskCustomer | E::Close | E::Reopen => forbidden,
            },
            Self::Assigned => match event {
                E::Release => Ok(Self::Queued),
                E::AskCustomer => Ok(Self::Pending),
                E::CustomerReplies => Ok(Self::Assigned),
                E::Resolve => Ok(Self::Resolved),
                E::Enqueue | E::Assign | E::Close | E::Reopen => forbidden,
            },
            Self::Pending => match event {
                // Back into the queue, not to the agent, whose capacity may be taken by now.
                E::CustomerReplies | E::Release => Ok(Self::Queued),
                E::Resolve => Ok(Self::Resolved),
                E::Enqueue | E::Assign | E::AskCustomer | E::Close | E::Reopen => forbidden,
            },
            Self::Resolved => match event {
                E::Close => Ok(Self::Closed),
                E::CustomerReplies | E::Reopen => Ok(Self::Reopened),
                E::Enqueue | E::Assign | E::Release | E::AskCustomer | E::Resolve => forbidden,
            },
            Self::Closed => match event {
                E::CustomerReplies | E::Reopen => Ok(Self::Reopened),
                E::Enqueue | E::Assign | E::Release | E::AskCustomer | E::Resolve | E::Close => {
                    forbidden
                }
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{CaseEvent, CaseState, ForbiddenMove};
    use proptest::prelude::*;

    /// The whole table; every move that is not here is forbidden.
    const ALLOWED: [(CaseState, CaseEvent, CaseState); 23] = [
        (CaseState::Open, CaseEvent::Enqueue, CaseState::Queued),
        (CaseState::Open, CaseEvent::Assign, CaseState::Assigned),
        (CaseState::Open, CaseEvent::Resolve, CaseState::Resolved),
        (CaseState::Open, CaseEvent::CustomerReplies, CaseState::Open),
        (CaseState::Reopened, CaseEvent::Enqueue, CaseState::Queued),
        (CaseState::Reopened, CaseEvent::Assign, CaseState::Assigned),
        (CaseState::Reopened, CaseEvent::Resolve, CaseState::Resolved),
        (
            CaseState::Reopened,
            CaseEvent::CustomerReplies,
            CaseState::Reopened,
        ),
        (CaseState::Queued, CaseEvent::Assign, CaseState::Assigned),
        (CaseState::Queued, CaseEvent::Resolve, CaseState::Resolved),
        (
            CaseState::Queued,
            CaseEvent::CustomerReplies,
            CaseState::Queued,
        ),
        (CaseState::Assigned, CaseEvent::Release, CaseState::Queued),
        (
            CaseState::Assigned,
            CaseEvent::AskCustomer,
            CaseState::Pending,
        ),
        (
            CaseState::Assigned,
            CaseEvent::CustomerReplies,
            CaseState::Assigned,
        ),
        (CaseState::Assigned, CaseEvent::Resolve, CaseState::Resolved),
        (
            CaseState::Pending,
            CaseEvent::CustomerReplies,
            CaseState::Queued,
        ),
        (CaseState::Pending, CaseEvent::Release, CaseState::Queued),
        (CaseState::Pending, CaseEvent::Resolve, CaseState::Resolved),
        (CaseState::Resolved, CaseEvent::Close, CaseState::Closed),
        (
            CaseState::Resolved,
            CaseEvent::CustomerReplies,
            CaseState::Reopened,
        ),
        (CaseState::Resolved, CaseEvent::Reopen, CaseState::Reopened),
        (
            CaseState::Closed,
            CaseEvent::CustomerReplies,
            CaseState::Reopened,
        ),
        (CaseState::Closed, CaseEvent::Reopen, CaseState::Reopened),
    ];

    #[test]
    fn only_the_moves_of_the_table_are_allowed() {
        for from in CaseState::ALL {
            for event in CaseEvent::ALL {
                let listed = ALLOWED.iter().find(|row| row.0 == from && row.1 == event);
                let expected = listed.map(|row| row.2).ok_or(ForbiddenMove { from, event });
                assert_eq!(from.after(event), expected);
            }
        }
    }

    proptest! {
        #[test]
        fn a_customer_can_always_be_heard(events in prop::collection::vec(0usize..8, 0..20)) {
            let mut state = CaseState::Open;
            for event in events {
                state = state.after(CaseEvent::ALL[event]).unwrap_or(state);
            }
            let heard = state.after(CaseEvent::CustomerReplies);
            prop_assert!(heard.is_ok_and(CaseState::is_waiting_for_us));
        }
    }
}
