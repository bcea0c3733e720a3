//! Identifiers as people type them, made canonical so that one person's spellings meet in one blind
//! index entry. The keyed hash and the storage are the service's; nothing here keeps a value.

#[cfg(test)]
mod tests;

/// Characters of an identifier, before and after normalising.
pub const IDENTIFIER_CHARS_MAX: usize = 256;

/// What an identifier names. The names go into the blind index: append only.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum IdentifierKind {
    /// The shop's own account name. Case matters.
    Login,
    /// A device or browser id.
    Device,
    /// A phone number, kept as E.164.
    Phone,
    /// An e-mail address.
    Email,
    /// WeChat open id or union id. Case matters.
    Wechat,
    /// Weibo account. Case matters.
    Weibo,
    /// Douyin open id. Case matters.
    Douyin,
    /// Xiaohongshu account. Case matters.
    Xiaohongshu,
    /// Kuaishou account. Case matters.
    Kuaishou,
    /// An invoice number: the subject of an order by nobody in particular.
    Invoice,
    /// A loyalty card number.
    LoyaltyCard,
}

impl IdentifierKind {
    /// Every kind.
    pub const ALL: [Self; 11] = [
        Self::Login,
        Self::Device,
        Self::Phone,
        Self::Email,
        Self::Wechat,
        Self::Weibo,
        Self::Douyin,
        Self::Xiaohongshu,
        Self::Kuaishou,
        Self::Invoice,
        Self::LoyaltyCard,
    ];

    /// Returns the lower-case name: what the blind index and documents write.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Login => "login",
            Self::Device => "device",
            Self::Phone => "phone",
            Self::Email => "email",
            Self::Wechat => "wechat",
            Self::Weibo => "weibo",
            Self::Douyin => "douyin",
            Self::Xiaohongshu => "xiaohongshu",
            Self::Kuaishou => "kuaishou",
            Self::Invoice => "invoice",
            Self::LoyaltyCard => "loyalty_card",
        }
    }

    /// Parses the lower-case name, `None` for any other text.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.name() == name)
    }
}

/// A canonical identifier: equal exactly when two spellings mean the same.
///
/// Personal data in plain text: `Debug` hides it.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Identifier {
    kind: IdentifierKind,
    text: String,
}

impl Identifier {
    /// Returns what it names.
    #[must_use]
    pub fn kind(&self) -> IdentifierKind {
        self.kind
    }

    /// Returns the canonical text: `kind`, then this, are what the blind index hashes.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }
}

impl std::fmt::Debug for Identifier {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Identifier({}, ..)", self.kind.name())
    }
}

/// Why text is not an identifier. Never quotes the text, which is personal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum IdentifierError {
    /// Nothing but space.
    #[error("is required")]
    Empty,
    /// Longer than [`IDENTIFIER_CHARS_MAX`].
    #[error("must have at most {IDENTIFIER_CHARS_MAX} characters, has {0}")]
    TooLong(usize),
    /// Holds a line break, tab or other control character.
    #[error("must not hold control characters")]
    Control,
    /// Not a phone number.
    #[error("must be a phone number of 7 to 15 digits")]
    Phone,
    /// Not an e-mail address.
    #[error("must be an e-mail address such as name@example.com")]
    Email,
}

/// The country whose numbers are written without a country code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PhoneRegion {
    /// Country calling code, such as 86.
    pub calling_code: u16,
}

impl Default for PhoneRegion {
    /// Mainland China, +86.
    fn default() -> Self {
        Self { calling_code: 86 }
    }
}

/// Normalises one identifier. Idempotent: canonical text comes back unchanged.
///
/// # Errors
/// [`IdentifierError`], worded to follow the field's name.
pub fn parse_identifier(
    kind: IdentifierKind,
    raw: &str,
    region: PhoneRegion,
) -> Result<Identifier, IdentifierError> {
    let count = raw.chars().count();
    if count > IDENTIFIER_CHARS_MAX {
        return Err(IdentifierError::TooLong(count));
    }
    let narrow: String = raw.chars().map(narrow).collect();
    let trimmed = narrow.trim();
    if trimmed.is_empty() {
        return Err(IdentifierError::Empty);
    }
    if trimmed.chars().any(char::is_control) {
        return Err(IdentifierError::Control);
    }
    let text = match kind {
        IdentifierKind::Login
        | IdentifierKind::Wechat
        | IdentifierKind::Weibo
        | IdentifierKind::Douyin
        | IdentifierKind::Xiaohongshu
        | IdentifierKind::Kuaishou => trimmed.to_owned(),
        IdentifierKind::Device => trimmed.to_ascii_lowercase(),
        IdentifierKind::Invoice => trimmed.to_ascii_uppercase(),
        IdentifierKind::LoyaltyCard => without_separators(trimmed).to_ascii_uppercase(),
        IdentifierKind::Phone => phone(trimmed, region)?,
        IdentifierKind::Email => email(trimmed)?,
    };
    if text.is_empty() {
        return Err(IdentifierError::Empty);
    }
    Ok(Identifier { kind, text })
}

/// Returns the ASCII form of a full-width character, as Chinese keyboards type digits, `＠` and `＋`.
fn narrow(c: char) -> char {
    match c {
        '\u{3000}' => ' ',
        '\u{ff01}'..='\u{ff5e}' => char::from_u32(c as u32 - 0xfee0).unwrap_or(c),
        other => other,
    }
}

fn without_separators(text: &str) -> String {
    text.chars()
        .filter(|c| !matches!(c, ' ' | '-' | '.' | '(' | ')'))
        .collect()
}

/// Returns E.164: `+`, country code, number.
///
/// `00` stands for `+`. Without either, a number that already carries the region's code (that is, is
/// `86` and a mainland mobile of 11 digits from 1) keeps it; else one trunk `0` goes and the code comes.
fn phone(text: &str, region: PhoneRegion) -> Result<String, IdentifierError> {
    let compact = without_separators(text);
    let (international, digits) = match (compact.strip_prefix('+'), compact.strip_prefix("00")) {
        (Some(rest), _) | (None, Some(rest)) => (true, rest),
        (None, None) => (false, compact.as_str()),
    };
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(IdentifierError::Phone);
    }
    let code = region.calling_code.to_string();
    let coded_mobile = code == "86" && digits.len() == 13 && digits.starts_with("861");
    let number = match (international || coded_mobile, digits.strip_prefix('0')) {
        (true, Some(_)) => return Err(IdentifierError::Phone), // no country code starts with 0
        (true, None) => digits.to_owned(),
        (false, Some(rest)) => code + rest,
        (false, None) => code + digits,
    };
    // E.164 allows 15 digits; shorter than 7 is a service number, which names nobody.
    if (7..=15).contains(&number.len()) {
        Ok(format!("+{number}"))
    } else {
        Err(IdentifierError::Phone)
    }
}

/// Returns the address in lower case. The local part may in theory be case-sensitive (RFC 5321,
/// section 2.4), but no large provider treats it so, and people do not type it so.
fn email(text: &str) -> Result<String, IdentifierError> {
    let lower = text.to_lowercase();
    let (local, domain) = lower.rsplit_once('@').ok_or(IdentifierError::Email)?;
    let plain = |part: &str| {
        !part
            .chars()
            .any(|c| c.is_whitespace() || matches!(c, '@' | '<' | '>' | ',' | ';'))
    };
    let labels_ok = domain.contains('.') && domain.split('.').all(|label| !label.is_empty());
    let local_ok = (1..=64).contains(&local.len()) && plain(local);
    if local_ok && plain(domain) && labels_ok {
        Ok(lower)
    } else {
        Err(IdentifierError::Email)
    }
}
