//! What reports compute, person by person: pure collectors over folded journeys. Who may be counted
//! is decided in `view`, what the wire looks like in `grpc`.

pub mod campaigns;
pub mod credit;
pub mod daily;
pub mod page;
#[cfg(test)]
mod tests;
pub mod trial;

use evaluate_domain::activity::Day;
use rapport_types::UnixMillis;

use crate::error::Error;
use crate::projection::Journey;

/// Milliseconds of a day.
pub const DAY_MS: i64 = 86_400_000;
/// How long after a click on an ad or on a recommendation an order is still put down to it.
pub const CLICK_WINDOW_MS: i64 = 7 * DAY_MS;
/// How long after the mere sight of an ad.
pub const VIEW_WINDOW_MS: i64 = DAY_MS;

/// Takes people one by one, each folded over all their subjects.
pub trait Collect: Send {
    /// Counts one person.
    ///
    /// # Errors
    /// [`Error::ReportTooLarge`] when a limit is passed.
    fn take(&mut self, person: &Journey) -> Result<(), Error>;
}

/// A run of days in UTC, both ends included.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Days {
    /// The first.
    pub first: Day,
    /// The last.
    pub last: Day,
}

impl Days {
    /// Every day that there is.
    pub const ALL: Self = Self {
        first: Day(i32::MIN),
        last: Day(i32::MAX),
    };

    /// Returns the days that `from..to` touches.
    #[must_use]
    pub fn touched_by(from: UnixMillis, to: UnixMillis) -> Self {
        Self {
            first: Day::of(from),
            last: Day::of(to.plus(-1)),
        }
    }

    /// Returns these days from the first of the `count` that end with `last`.
    #[must_use]
    pub fn newest(self, last: Day, count: usize) -> Self {
        let count = i32::try_from(count).unwrap_or(i32::MAX);
        let first = Day(last.0.saturating_sub(count).saturating_add(1));
        Self {
            first: self.first.max(first),
            last: self.last,
        }
    }

    /// Returns whether a day is among them.
    #[must_use]
    pub fn has(self, day: i32) -> bool {
        (self.first.0..=self.last.0).contains(&day)
    }

    /// Returns whether a moment is within them.
    #[must_use]
    pub fn covers(self, at: UnixMillis) -> bool {
        self.has(Day::of(at).0)
    }
}
