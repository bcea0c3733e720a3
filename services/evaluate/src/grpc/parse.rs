//! Parsing that both services share: every bad field at once.

use rapport_api::evaluate::v1 as pb;
use rapport_rpc::status::FieldViolation;
use rapport_types::{SubjectId, UnixMillis};

use crate::error::Error;
use crate::report::Days;

/// Longest request id, in characters.
pub(super) const REQUEST_ID_CHARS_MAX: usize = 64;

/// Collects the violations of one request.
#[derive(Debug, Default)]
pub(super) struct Fields {
    bad: Vec<FieldViolation>,
}

impl Fields {
    /// Notes that `field` is wrong.
    pub(super) fn refuse(&mut self, field: &str, why: impl ToString) {
        self.bad.push(FieldViolation::new(field, why.to_string()));
    }

    /// Parses a subject id.
    pub(super) fn subject(&mut self, field: &str, bytes: &[u8]) -> SubjectId {
        SubjectId::parse(bytes).unwrap_or_else(|why| {
            self.refuse(field, why);
            SubjectId::new([0; 16])
        })
    }

    /// Checks a text of `min` to `max` characters.
    pub(super) fn text(&mut self, field: &str, text: &str, min: usize, max: usize) {
        let count = text.chars().count();
        if count < min {
            self.refuse(field, "is required");
        } else if count > max {
            let why = format!("must have at most {max} characters, has {count}");
            self.refuse(field, why);
        }
    }

    /// Parses a period, up to `now` where its end is open; absent means all days.
    pub(super) fn period(&mut self, period: Option<pb::Period>, now: UnixMillis) -> Days {
        let Some(period) = period else {
            return Days::ALL;
        };
        let to = match period.to_ms {
            0 => now,
            to => UnixMillis(to),
        };
        if to.0 <= period.from_ms {
            self.refuse("period.to_ms", "must be after from_ms");
        }
        Days::touched_by(UnixMillis(period.from_ms), to)
    }

    /// Returns `value` if nothing was wrong.
    ///
    /// # Errors
    /// [`Error::InvalidRequest`] with every violation.
    pub(super) fn finish<T>(self, value: T) -> Result<T, Error> {
        if self.bad.is_empty() {
            Ok(value)
        } else {
            Err(self.refused())
        }
    }

    /// Returns the error of a request in which something is known to be wrong.
    pub(super) fn refused(self) -> Error {
        Error::InvalidRequest(self.bad)
    }
}
