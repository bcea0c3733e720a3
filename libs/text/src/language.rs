//! Which language a text is in, by its script alone: enough to choose between Chinese and English.

/// A language that the suite answers in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Language {
    /// Chinese: most letters are Han.
    Chinese,
    /// English, or any other language in the Latin script: script cannot tell them apart.
    English,
    /// Neither: no letters, or mostly another script.
    Unknown,
}

impl Language {
    /// Returns the ISO 639-1 code, `und` for [`Language::Unknown`].
    #[must_use]
    pub fn code(self) -> &'static str {
        match self {
            Self::Chinese => "zh",
            Self::English => "en",
            Self::Unknown => "und",
        }
    }
}

/// Letters of a word in Latin script that weigh as much as one Han character: a Chinese sentence
/// that names "iPhone" stays Chinese.
const LATIN_PER_HAN: usize = 4;

/// Guesses the language of a text by counting letters of each script.
///
/// * Kana or Hangul in plenty make a text `Unknown`: Japanese also uses Han characters.
/// * Cost: `O(n)`, no allocation.
#[must_use]
pub fn guess_language(text: &str) -> Language {
    let (mut han, mut latin, mut other) = (0usize, 0usize, 0usize);
    for letter in text.chars() {
        if is_han(letter) {
            han += 1;
        } else if letter.is_ascii_alphabetic() || ('\u{c0}'..='\u{24f}').contains(&letter) {
            latin += 1;
        } else if letter.is_alphabetic() {
            other += 1;
        }
    }
    let (latin_weight, other_weight) = (latin.div_ceil(LATIN_PER_HAN), other);
    if other_weight > han && other > latin || han > 0 && other_weight * 2 > han {
        Language::Unknown
    } else if han > 0 && han >= latin_weight {
        Language::Chinese
    } else if latin > 0 {
        Language::English
    } else {
        Language::Unknown
    }
}

/// Returns whether a character is a Han ideograph.
pub(crate) fn is_han(letter: char) -> bool {
    matches!(letter, '\u{3400}'..='\u{4dbf}' | '\u{4e00}'..='\u{9fff}' | '\u{f900}'..='\u{faff}' | '\u{20000}'..='\u{3ffff}')
}

/// Returns whether a character belongs to a script written without spaces between words.
pub(crate) fn is_unspaced(letter: char) -> bool {
    is_han(letter) || matches!(letter, '\u{3040}'..='\u{30ff}' | '\u{ac00}'..='\u{d7af}')
}

#[cfg(test)]
mod tests {
    use super::{Language, guess_language};

    #[test]
    fn script_decides() {
        for (text, expected) in [
            ("我的快递在哪里", Language::Chinese),
            ("iPhone 屏幕碎了怎么办", Language::Chinese),
            ("where is my parcel?", Language::English),
            ("I bought it in 上海 last week", Language::English),
            ("où est mon colis", Language::English),
            ("注文はどこですか、まだ届いていません", Language::Unknown),
            ("где моя посылка", Language::Unknown),
            ("12345 !!!", Language::Unknown),
            ("", Language::Unknown),
        ] {
            assert_eq!(guess_language(text), expected, "{text:?}");
        }
    }
}
