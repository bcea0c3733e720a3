//! Parsing that several services of profile share.

use profile_domain::{Identifier, IdentifierKind, PhoneRegion, parse_identifier};
use rapport_api::profile::v1 as pb;
use rapport_rpc::Fields;

/// Longest evidence, in characters.
pub const EVIDENCE_CHARS_MAX: usize = 256;

/// Parses an identifier, `None` if it is absent or wrong.
pub fn identifier(
    fields: &mut Fields,
    field: &str,
    raw: Option<&pb::Identifier>,
) -> Option<Identifier> {
    let Some(raw) = raw else {
        fields.refuse(field, "is required");
        return None;
    };
    let Some(kind) = identifier_kind(raw.kind()) else {
        fields.refuse(&format!("{field}.kind"), "is required");
        return None;
    };
    parse_identifier(kind, &raw.value, PhoneRegion::default())
        .map_err(|why| fields.refuse(&format!("{field}.value"), why))
        .ok()
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
