//! Parsing that several services of profile share: every bad field at once.

use profile_domain::{Identifier, IdentifierKind, PhoneRegion, parse_identifier};
use rapport_api::profile::v1 as pb;
use rapport_rpc::status::FieldViolation;
use rapport_types::SubjectId;

use crate::error::Error;

/// Longest request id, in characters.
pub const REQUEST_ID_CHARS_MAX: usize = 64;
/// Longest evidence, in characters.
pub const EVIDENCE_CHARS_MAX: usize = 256;

/// Collects the violations of one request.
#[derive(Debug, Default)]
pub struct Fields {
    bad: Vec<FieldViolation>,
}

impl Fields {
    /// Notes that `field` is wrong.
    pub fn refuse(&mut self, field: &str, why: impl ToString) {
        self.bad.push(FieldViolation::new(field, why.to_string()));
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
        let count = text.chars().count();
        if count == 0 {
            self.refuse(field, "is required");
        } else if count > max {
            self.refuse(
                field,
                format!("must have at most {max} characters, has {count}"),
            );
        }
    }

    /// Parses an identifier, `None` if it is absent or wrong.
    pub fn identifier(&mut self, field: &str, raw: Option<&pb::Identifier>) -> Option<Identifier> {
        let Some(raw) = raw else {
            self.refuse(field, "is required");
            return None;
        };
        let Some(kind) = identifier_kind(raw.kind()) else {
            self.refuse(&format!("{field}.kind"), "is required");
            return None;
        };
        parse_identifier(kind, &raw.value, PhoneRegion::default())
            .map_err(|why| self.refuse(&format!("{field}.value"), why))
            .ok()
    }

    /// Returns `value` if nothing was wrong.
    ///
    /// # Errors
    /// [`Error::InvalidRequest`] with every violation.
    pub fn finish<T>(self, value: T) -> Result<T, Error> {
        if self.bad.is_empty() {
            Ok(value)
        } else {
            Err(Error::InvalidRequest(self.bad))
        }
    }
}

fn identifier_kind(kind: pb::IdentifierKind) -> Option<IdentifierKind> {
    match kind {
        pb::IdentifierKind::Unspecified => None,
        pb::IdentifierKind::Login => Some(IdentifierKind::Login),
        pb::IdentifierKind::Device => Some(IdentifierKind::Device),
        pb::IdentifierKind::Phone => Some(IdentifierKind::Phone),
        pb::IdentifierKind::Email => Some(IdentifierKind::Email),
        pb::IdentifierKind::Wechat => Some(IdentifierKind::Wechat),
        pb::IdentifierKind::Weibo => Some(IdentifierKind::Weibo),
        pb::IdentifierKind::Douyin => Some(IdentifierKind::Douyin),
        pb::IdentifierKind::Xiaohongshu => Some(IdentifierKind::Xiaohongshu),
        pb::IdentifierKind::Kuaishou => Some(IdentifierKind::Kuaishou),
        pb::IdentifierKind::Invoice => Some(IdentifierKind::Invoice),
        pb::IdentifierKind::Card => Some(IdentifierKind::LoyaltyCard),
    }
}
