//! Parsing a request: every bad field at once, by its name on the wire.
//!
//! A check that refuses still returns a value, so that the next field is looked at as well; only
//! [`Fields::finish`] lets values out. What is one service's alone is checked there, by `refuse`.

use rapport_types::SubjectId;
use tonic::Status;

use crate::status::{self, FieldViolation};

/// Longest request id, in characters.
pub const REQUEST_ID_CHARS_MAX: usize = 64;

/// Collects the violations of one request.
#[derive(Debug, Default)]
pub struct Fields {
    bad: Vec<FieldViolation>,
}

/// A request with missing or wrong fields: all of them.
#[derive(Debug, thiserror::Error)]
#[error("request has {} invalid field(s)", .0.len())]
pub struct InvalidRequest(pub Vec<FieldViolation>);

impl InvalidRequest {
    /// Returns INVALID_ARGUMENT / INVALID_REQUEST in the domain of a service.
    #[must_use]
    pub fn status(self, domain: &str) -> Status {
        status::invalid_request(domain, self.0)
    }
}

impl Fields {
    /// Notes that `field` is wrong.
    pub fn refuse(&mut self, field: &str, why: impl ToString) {
        self.bad.push(FieldViolation::new(field, why.to_string()));
    }

    /// Checks an idempotency key: 1 to [`REQUEST_ID_CHARS_MAX`] characters.
    pub fn request_id(&mut self, request_id: &str) {
        self.text("request_id", request_id, REQUEST_ID_CHARS_MAX);
    }

    /// Parses a subject id.
    pub fn subject(&mut self, field: &str, bytes: &[u8]) -> SubjectId {
        SubjectId::parse(bytes).unwrap_or_else(|why| {
            self.refuse(field, why);
            SubjectId::new([0; 16])
        })
    }

    /// Parses 16 bytes that name something other than a subject.
    pub fn id16(&mut self, field: &str, bytes: &[u8]) -> [u8; 16] {
        *self.subject(field, bytes).as_bytes()
    }

    /// Checks a text of 1 to `max` characters.
    pub fn text(&mut self, field: &str, text: &str, max: usize) {
        if text.is_empty() {
            self.refuse(field, "is required");
        } else {
            self.optional_text(field, text, max);
        }
    }

    /// Checks a text of at most `max` characters, none of them NUL: Postgres stores no text with one.
    pub fn optional_text(&mut self, field: &str, text: &str, max: usize) {
        let count = text.chars().count();
        if text.contains('\0') {
            self.refuse(field, "must not hold a NUL character");
        } else if count > max {
            let why = format!("must have at most {max} characters, has {count}");
            self.refuse(field, why);
        }
    }

    /// Parses the field `page_size`: 0 means `default`, above `max` is coerced to it.
    pub fn page_size(&mut self, raw: i32, default: u32, max: u32) -> u32 {
        match u32::try_from(raw) {
            Ok(0) => default,
            Ok(wanted) => wanted.min(max),
            Err(_) => {
                self.refuse("page_size", "must not be negative");
                default
            }
        }
    }

    /// Returns `value` if nothing was wrong.
    ///
    /// # Errors
    /// Every violation.
    pub fn finish<T>(self, value: T) -> Result<T, InvalidRequest> {
        if self.bad.is_empty() {
            Ok(value)
        } else {
            Err(self.refused())
        }
    }

    /// Returns `value` if nothing was wrong. `None` is wrong: whoever made it refused a field.
    ///
    /// # Errors
    /// Every violation.
    pub fn finish_some<T>(self, value: Option<T>) -> Result<T, InvalidRequest> {
        match value {
            Some(value) if self.bad.is_empty() => Ok(value),
            Some(_) | None => Err(self.refused()),
        }
    }

    /// Returns the error of a request in which something is known to be wrong.
    #[must_use]
    pub fn refused(self) -> InvalidRequest {
        InvalidRequest(self.bad)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_bad_field_is_named_in_order() {
        let mut fields = Fields::default();
        fields.request_id("");
        fields.text("name", "a", 1);
        fields.text("title", "茶茶", 1);
        fields.optional_text("note", "a\0b", 3);
        let page = fields.page_size(-1, 20, 100);
        fields.id16("case_id", &[1; 15]);
        let bad = fields.finish(page).unwrap_err();
        assert_eq!(bad.to_string(), "request has 5 invalid field(s)");
        let named = bad.0.iter().map(|it| it.field.as_str());
        assert_eq!(
            named.collect::<Vec<_>>(),
            ["request_id", "title", "note", "page_size", "case_id"]
        );
        let said = bad.0.iter().map(|it| it.description.as_str()).take(4);
        assert_eq!(
            said.collect::<Vec<_>>(),
            [
                "is required",
                "must have at most 1 characters, has 2",
                "must not hold a NUL character",
                "must not be negative"
            ]
        );
    }

    #[test]
    fn good_fields_come_out_and_absent_ones_do_not() {
        let mut fields = Fields::default();
        fields.request_id(&"x".repeat(REQUEST_ID_CHARS_MAX));
        fields.optional_text("title", "", 0);
        let page = [0, 7, 1_000].map(|raw| fields.page_size(raw, 20, 100));
        assert_eq!(fields.finish(page).unwrap(), [20, 7, 100]);
        assert!(Fields::default().finish_some::<u8>(None).is_err());
        assert_eq!(Fields::default().finish_some(Some(1)).unwrap(), 1);
    }
}
