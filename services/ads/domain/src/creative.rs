//! What is shown when an ad wins.

use crate::campaign::{Violation, check_id, check_text};

/// Longest headline, in characters.
pub const HEADLINE_CHARS_MAX: usize = 128;
/// Longest landing address, in characters.
pub const LANDING_CHARS_MAX: usize = 512;

/// One creative of a line item.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Creative {
    /// Unique in its line item.
    pub id: String,
    /// What people read.
    pub headline: String,
    /// BCP 47; empty fits every person.
    pub language: String,
    /// Where a click leads: an item or a page.
    pub landing: String,
}

impl Creative {
    /// Returns whether the creative may be shown to somebody who reads `language` (empty: unknown).
    ///
    /// The primary subtag decides: `zh` fits `zh-CN` and `zh-Hant`.
    #[must_use]
    pub fn fits(&self, language: &str) -> bool {
        self.language.is_empty() || language.is_empty() || same_language(&self.language, language)
    }

    pub(crate) fn check(&self, bad: &mut Vec<Violation>, field: &str) {
        check_id(bad, &format!("{field}.id"), &self.id);
        check_text(
            bad,
            &format!("{field}.headline"),
            &self.headline,
            1,
            HEADLINE_CHARS_MAX,
        );
        if !self.language.is_empty() && !is_language(&self.language) {
            bad.push(Violation::new(
                format!("{field}.language"),
                "must be a BCP 47 language",
            ));
        }
        check_text(
            bad,
            &format!("{field}.landing"),
            &self.landing,
            1,
            LANDING_CHARS_MAX,
        );
    }
}

/// Returns whether two BCP 47 tags share the primary subtag, in any case.
pub(crate) fn same_language(a: &str, b: &str) -> bool {
    fn primary(tag: &str) -> &str {
        tag.split(['-', '_']).next().unwrap_or("")
    }
    primary(a).eq_ignore_ascii_case(primary(b))
}

/// Returns whether `tag` looks like BCP 47: a primary subtag of 2 or 3 letters, then subtags of at
/// most 8 letters or digits.
pub(crate) fn is_language(tag: &str) -> bool {
    let mut parts = tag.split('-');
    let primary = parts.next().unwrap_or("");
    (2..=3).contains(&primary.len())
        && primary.bytes().all(|byte| byte.is_ascii_alphabetic())
        && parts.all(|part| {
            (1..=8).contains(&part.len()) && part.bytes().all(|byte| byte.is_ascii_alphanumeric())
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_primary_subtag_decides() {
        let creative = |language: &str| Creative {
            language: language.to_owned(),
            ..Creative::default()
        };
        assert!(creative("zh").fits("zh-CN"));
        assert!(creative("zh-Hant").fits("ZH"));
        assert!(!creative("en").fits("zh-CN"));
        assert!(creative("").fits("de"));
        assert!(creative("en").fits(""));
    }

    #[test]
    fn language_tags_are_checked_by_shape() {
        for (tag, expected) in [
            ("en", true),
            ("zh-Hans-CN", true),
            ("yue", true),
            ("english", false),
            ("e", false),
            ("en-", false),
        ] {
            assert_eq!(is_language(tag), expected, "{tag}");
        }
    }
}
