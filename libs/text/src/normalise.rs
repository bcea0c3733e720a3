//! One spelling for every way of typing the same text. Nothing here knows about languages or words.

use unicode_normalization::UnicodeNormalization;

/// Most characters of a text that are read; the rest is ignored. Longer messages say what they are
/// about well before this, and a bound keeps the cost of one text bounded.
pub const TEXT_CHARS_MAX: usize = 4_000;

/// Longest run of one character that is kept: `好好好好好` and `soooooo` are one emphasis each.
const RUN_MAX: usize = 3;

/// Returns the text in one spelling: NFKC (full-width letters become half-width), lower case, one
/// space for any white space, no control characters, runs of a character cut to three.
///
/// * At most [`TEXT_CHARS_MAX`] characters are read.
/// * Idempotent: normalising twice changes nothing.
/// * Cost: `O(n)`, one allocation.
#[must_use]
pub fn normalise(text: &str) -> String {
    let mut spelling = Spelling::with_capacity(text.len().min(4 * TEXT_CHARS_MAX));
    if text
        .chars()
        .take(TEXT_CHARS_MAX)
        .all(|letter| plain(letter).is_some())
    {
        text.chars()
            .take(TEXT_CHARS_MAX)
            .filter_map(plain)
            .for_each(|l| spelling.push(l));
    } else {
        // Lower-casing may undo composition and NFKC may give capitals, so each has the other behind it.
        let letters = text
            .chars()
            .take(TEXT_CHARS_MAX)
            .nfkc()
            .flat_map(char::to_lowercase)
            .nfkc();
        letters.for_each(|letter| spelling.push(letter));
    }
    spelling.finish()
}

/// Spells one character that NFKC and lower case map to one other whatever stands beside it: ASCII,
/// its full-width form, Han, CJK punctuation. Nearly every text is made of these alone, and tables
/// cost more than these few comparisons. `None`: ask the tables.
fn plain(letter: char) -> Option<char> {
    match letter {
        '\0'..='\u{7f}' => Some(letter.to_ascii_lowercase()),
        '\u{4e00}'..='\u{9fff}' | '\u{3001}'..='\u{3029}' => Some(letter),
        '\u{3000}' => Some(' '),
        '\u{ff01}'..='\u{ff5e}' => {
            char::from_u32(u32::from(letter) - 0xfee0).map(|half| half.to_ascii_lowercase())
        }
        _ => None,
    }
}

/// A text under way: drops what is invisible, joins spaces and cuts runs.
struct Spelling {
    normal: String,
    last: char,
    run: usize,
}

impl Spelling {
    fn with_capacity(bytes: usize) -> Self {
        Self {
            normal: String::with_capacity(bytes),
            last: ' ',
            run: 0,
        }
    }

    fn push(&mut self, letter: char) {
        let letter = if letter.is_whitespace() {
            ' '
        } else {
            curly_to_plain(letter)
        };
        if is_invisible(letter) {
            return;
        }
        self.run = if letter == self.last { self.run + 1 } else { 1 };
        let kept = if letter == ' ' {
            self.last != ' '
        } else {
            self.run <= RUN_MAX
        };
        self.last = letter;
        if kept {
            self.normal.push(letter);
        }
    }

    fn finish(mut self) -> String {
        self.normal.truncate(self.normal.trim_end().len());
        self.normal
    }
}

/// Phones type curly quotes where keyboards type straight ones.
fn curly_to_plain(letter: char) -> char {
    match letter {
        '\u{2018}' | '\u{2019}' => '\'',
        '\u{201c}' | '\u{201d}' => '"',
        other => other,
    }
}

/// Control characters, zero-width marks and variation selectors carry no meaning for a classifier.
fn is_invisible(letter: char) -> bool {
    letter.is_control()
        || matches!(letter, '\u{200b}'..='\u{200f}' | '\u{2060}' | '\u{feff}' | '\u{fe00}'..='\u{fe0f}')
}

#[cfg(test)]
mod tests {
    use super::normalise;
    use proptest::prelude::*;

    #[test]
    fn spellings_of_one_text_agree() {
        for (typed, expected) in [
            ("ＨＥＬＬＯ　Ｗｏｒｌｄ！", "hello world!"),
            ("  two\t\nspaces  ", "two spaces"),
            ("soooooooo good!!!!!", "sooo good!!!"),
            ("太好好好好好了", "太好好好了"),
            ("don\u{2019}t", "don't"),
            ("a\u{200b}b\u{0}c", "abc"),
            ("①②", "12"),
            ("这款ＩＰＨＯＮＥ，真好。", "这款iphone,真好。"),
            ("É e\u{301}", "é é"),
            ("", ""),
        ] {
            assert_eq!(normalise(typed), expected, "{typed:?}");
        }
    }

    proptest! {
        #[test]
        fn short_cut_and_tables_agree(text in "[\\x00-\\x7f\\x{3000}-\\x{3040}\\x{ff00}-\\x{ff60}一-龥]{0,20}") {
            // One character that only the tables know sends the whole text to them.
            let by_tables = normalise(&format!("{text} é"));
            prop_assert_eq!(format!("{} é", normalise(&text)).trim_start().to_owned(), by_tables);
        }

        #[test]
        fn normalising_twice_changes_nothing(text in "\\PC{0,80}") {
            let once = normalise(&text);
            prop_assert_eq!(normalise(&once), once);
        }
    }
}
