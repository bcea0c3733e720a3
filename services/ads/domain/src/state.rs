//! Whether something may be delivered, and how that may change.

/// The state of a campaign or of a line item.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub enum DeliveryState {
    /// Being written.
    #[default]
    Draft,
    /// Waiting for somebody else's approval.
    InReview,
    /// Delivering, inside its dates.
    Active,
    /// Stopped for now.
    Paused,
    /// Over for ever.
    Ended,
}

/// Whether a draft needs somebody else's approval before it is delivered.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Review {
    /// A draft becomes active through review only.
    Required,
    /// A draft may become active at once.
    #[default]
    Waived,
}

/// A change of state that the rules do not know.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{from:?} cannot become {to:?}")]
pub struct TransitionError {
    /// The present state.
    pub from: DeliveryState,
    /// The state asked for.
    pub to: DeliveryState,
}

impl DeliveryState {
    /// Every state.
    pub const ALL: [Self; 5] = [
        Self::Draft,
        Self::InReview,
        Self::Active,
        Self::Paused,
        Self::Ended,
    ];

    /// Returns `next` if this state may become it; staying is always allowed.
    ///
    /// # Errors
    /// [`TransitionError`] for a change that the rules do not know, such as any out of `Ended`.
    pub fn transition(self, next: Self, review: Review) -> Result<Self, TransitionError> {
        let is_allowed = match (self, next) {
            (from, to) if from == to => true,
            (Self::Draft, Self::Active) => review == Review::Waived,
            (Self::Draft, Self::InReview | Self::Ended)
            | (Self::InReview, Self::Draft | Self::Active | Self::Ended)
            | (Self::Active, Self::Paused | Self::Ended)
            | (Self::Paused, Self::Active | Self::Ended) => true,
            // What was delivered has a history: it is never a draft again.
            (Self::Draft | Self::InReview, _) | (Self::Active | Self::Paused | Self::Ended, _) => {
                false
            }
        };
        if is_allowed {
            Ok(next)
        } else {
            Err(TransitionError {
                from: self,
                to: next,
            })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn transitions_match_the_table() {
        // Rows from, columns to, both in the order of `ALL`: `r` needs no review rule or a waived one.
        let table = ["yyr.y", "yyy.y", "..yyy", "..yyy", "....y"];
        for (from, row) in DeliveryState::ALL.into_iter().zip(table) {
            for (to, cell) in DeliveryState::ALL.into_iter().zip(row.chars()) {
                let allowed = |review| from.transition(to, review).is_ok();
                let expected = match cell {
                    'y' => (true, true),
                    'r' => (false, true),
                    _ => (false, false),
                };
                assert_eq!(
                    (allowed(Review::Required), allowed(Review::Waived)),
                    expected,
                    "{from:?} to {to:?}"
                );
            }
        }
    }
}
