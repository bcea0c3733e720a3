//! Cuts normalised text into units: a word of a spaced script, one Han character, one symbol; and,
//! for Chinese, into dictionary words. What the units mean is not known here.

use std::sync::OnceLock;

use jieba_rs::Jieba;

use crate::language::is_unspaced;
use crate::normalise::normalise;

/// What a unit of text is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum UnitKind {
    /// Letters and digits of a script that puts spaces between words.
    Word,
    /// One character of a script that does not.
    Character,
    /// Punctuation, an emoji, any other sign.
    Symbol,
}

/// One unit of a normalised text.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Unit {
    pub(crate) kind: UnitKind,
    /// Byte offsets in the normalised text.
    pub(crate) start: u32,
    pub(crate) end: u32,
    /// Hash of the unit's characters.
    pub(crate) hash: u64,
}

/// Mixes one more value into a running hash. The constant is 2^64 divided by the golden ratio.
pub(crate) fn mix(hash: u64, value: u64) -> u64 {
    (hash.rotate_left(23) ^ value).wrapping_mul(0x9e37_79b9_7f4a_7c15)
}

/// Seed of every unit hash: any odd number; part of the model file format.
pub(crate) const HASH_SEED: u64 = 0x51_7c_c1_b7_27_22_0a_95;

/// Computes the hash of a unit's characters.
pub(crate) fn hash_of(text: &str) -> u64 {
    text.chars()
        .fold(HASH_SEED, |hash, letter| mix(hash, u64::from(letter)))
}

/// Appends the units of a normalised text, in order.
pub(crate) fn units_into(normal: &str, units: &mut Vec<Unit>) {
    units.clear();
    let mut letters = normal.char_indices().peekable();
    while let Some((start, first)) = letters.next() {
        if first == ' ' {
            continue;
        }
        let mut end = start + first.len_utf8();
        let mut hash = mix(HASH_SEED, u64::from(first));
        let kind = if is_unspaced(first) {
            UnitKind::Character
        } else if first.is_alphanumeric() {
            while let Some(&(at, letter)) = letters.peek() {
                if !continues_word(letter, &normal[at + letter.len_utf8()..]) {
                    break;
                }
                letters.next();
                end = at + letter.len_utf8();
                hash = mix(hash, u64::from(letter));
            }
            UnitKind::Word
        } else {
            UnitKind::Symbol
        };
        units.push(Unit {
            kind,
            start: start as u32,
            end: end as u32,
            hash,
        });
    }
}

/// A word goes on through letters and digits, and through an apostrophe that a letter follows.
fn continues_word(letter: char, rest: &str) -> bool {
    if letter == '\'' {
        return rest
            .chars()
            .next()
            .is_some_and(|next| next.is_alphabetic() && !is_unspaced(next));
    }
    letter.is_alphanumeric() && !is_unspaced(letter)
}

/// Returns the dictionary segmenter, loaded once per process (about 0.2 s and 60 MB).
pub(crate) fn segmenter() -> &'static Jieba {
    static SEGMENTER: OnceLock<Jieba> = OnceLock::new();
    SEGMENTER.get_or_init(Jieba::new)
}

/// Returns the words of a text, normalised: dictionary words for Chinese, runs of letters and
/// digits otherwise. Punctuation and spaces are left out.
///
/// * The first call in a process loads the Chinese dictionary (about 0.2 s).
/// * Cost: `O(n)`.
#[must_use]
pub fn words(text: &str) -> Vec<String> {
    let normal = normalise(text);
    let mut units = Vec::new();
    units_into(&normal, &mut units);
    let mut found = Vec::new();
    let mut next = 0;
    while let Some(unit) = units.get(next) {
        match unit.kind {
            UnitKind::Symbol => next += 1,
            UnitKind::Word => {
                found.push(normal[unit.start as usize..unit.end as usize].to_owned());
                next += 1;
            }
            UnitKind::Character => {
                let run = character_run(&units[next..]);
                let end = units[next + run - 1].end as usize;
                let text = &normal[unit.start as usize..end];
                found.extend(
                    segmenter()
                        .cut(text, false)
                        .into_iter()
                        .map(|t| t.word.to_owned()),
                );
                next += run;
            }
        }
    }
    found
}

/// Returns how many units from the first on are characters that touch one another.
pub(crate) fn character_run(units: &[Unit]) -> usize {
    let mut run = 0;
    while run < units.len()
        && units[run].kind == UnitKind::Character
        && (run == 0 || units[run - 1].end == units[run].start)
    {
        run += 1;
    }
    run
}

#[cfg(test)]
mod tests {
    use super::{UnitKind, units_into, words};
    use crate::normalise::normalise;

    fn check(text: &str, expected: &[&str]) {
        let normal = normalise(text);
        let mut units = Vec::new();
        units_into(&normal, &mut units);
        let cut: Vec<&str> = units
            .iter()
            .map(|u| &normal[u.start as usize..u.end as usize])
            .collect();
        assert_eq!(cut, expected, "{text:?}");
    }

    #[test]
    fn units_are_words_characters_and_symbols() {
        check("I don't know!", &["i", "don't", "know", "!"]);
        check(
            "买了iPhone15，坏了",
            &["买", "了", "iphone15", ",", "坏", "了"],
        );
        check("it's 'fine'", &["it's", "'", "fine", "'"]);
        check("", &[]);
    }

    #[test]
    fn equal_units_have_equal_hashes() {
        let mut units = Vec::new();
        units_into("card my card", &mut units);
        assert_eq!(units[0].hash, units[2].hash);
        assert_ne!(units[0].hash, units[1].hash);
        assert_eq!(units[0].kind, UnitKind::Word);
    }

    #[test]
    fn words_of_both_languages_in_one_text() {
        assert_eq!(
            words("Refund please, 我要退货！"),
            ["refund", "please", "我", "要", "退货"]
        );
    }
}
