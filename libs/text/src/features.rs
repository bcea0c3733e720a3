//! The features of a text: n-grams of units, pieces of words, dictionary words and pairs of words,
//! each named by a 64-bit key. How they are weighed is `vocabulary.rs`'s business.

use crate::normalise::normalise;
use crate::tokenise::{
    HASH_SEED, Unit, UnitKind, character_run, hash_of, mix, segmenter, units_into,
};

/// How many kinds of feature there are; each kind is scaled to unit length on its own, so that the
/// many pieces of words do not drown the few words.
pub(crate) const GROUPS: usize = 4;
/// Runs of units: words of spaced scripts, characters of the others.
const UNITS: u64 = 0;
/// Pieces of a word, its edges included.
const SUBWORDS: u64 = 1;
/// Words that the Chinese dictionary finds, and runs of them.
const SEGMENTS: u64 = 2;
/// Two words near one another, in any order.
const PAIRS: u64 = 3;

/// Stands for the edge of a word inside a piece of it.
const EDGE: u64 = 0;

/// Which features are taken from a text. Zero turns a kind off.
///
/// The default was found by cross-validation inside the training halves of four public data sets,
/// two in each language; one set of features serves both, so nobody has to say which it is.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct FeatureOptions {
    /// Longest run of words of a spaced script.
    pub(crate) word_ngrams: u8,
    /// Longest run of units when one of them is a character of an unspaced script or a symbol.
    pub(crate) character_ngrams: u8,
    /// Shortest piece of a word, in letters and edges.
    pub(crate) subword_min: u8,
    /// Longest piece of a word, in letters and edges.
    pub(crate) subword_max: u8,
    /// Longest run of dictionary words in Chinese.
    pub(crate) segment_ngrams: u8,
    /// Farthest apart two words make a pair.
    pub(crate) pair_window: u8,
    /// Weight of each kind: runs of units, pieces of words, dictionary words, pairs.
    pub(crate) weights: [f32; GROUPS],
}

impl Default for FeatureOptions {
    fn default() -> Self {
        Self {
            word_ngrams: 2,
            character_ngrams: 3,
            subword_min: 2,
            subword_max: 5,
            segment_ngrams: 2,
            pair_window: 4,
            weights: [1.0; GROUPS],
        }
    }
}

/// One occurrence of a feature in a text: its key and the two places it was taken from, as byte
/// ranges of the normalised text. Runs have one place, and then both are the same.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Occurrence {
    pub(crate) key: u64,
    pub(crate) first: (u32, u32),
    pub(crate) last: (u32, u32),
}

/// Buffers that live from text to text, so that extraction allocates nothing once warm.
#[derive(Debug, Default)]
pub(crate) struct Extractor {
    pub(crate) normal: String,
    units: Vec<Unit>,
    letters: Vec<(u32, u64)>,
    tokens: Vec<Token>,
}

/// Returns the group of a feature key.
pub(crate) fn group_of(key: u64) -> usize {
    (key >> 62) as usize
}

/// Finishes a running hash into a key: the group in the two top bits, so that sorting keys sorts groups.
fn key(group: u64, hash: u64) -> u64 {
    let spread = (hash ^ (hash >> 32)).wrapping_mul(0xd6e8_feb8_6659_fd93);
    (group << 62) | ((spread ^ (spread >> 29)) >> 2)
}

impl Extractor {
    /// Calls `emit` for every feature of a text, in a fixed order, repeats included.
    pub(crate) fn each(
        &mut self,
        text: &str,
        options: &FeatureOptions,
        mut emit: impl FnMut(Occurrence),
    ) {
        self.normal = normalise(text);
        let mut units = std::mem::take(&mut self.units);
        units_into(&self.normal, &mut units);
        unit_runs(&units, options, &mut emit);
        if options.subword_max > 0 {
            for unit in units.iter().filter(|unit| unit.kind == UnitKind::Word) {
                self.subwords(unit, options, &mut emit);
            }
        }
        if options.pair_window > 0 || options.segment_ngrams > 0 {
            let segmented = options.segment_ngrams > 0;
            tokens_into(&self.normal, &units, segmented, &mut self.tokens);
            segments(&self.tokens, usize::from(options.segment_ngrams), &mut emit);
            pairs(&self.tokens, usize::from(options.pair_window), &mut emit);
        }
        self.units = units;
    }

    /// Emits the pieces of one word. A word shorter than a piece is emitted whole, once.
    fn subwords(
        &mut self,
        unit: &Unit,
        options: &FeatureOptions,
        emit: &mut impl FnMut(Occurrence),
    ) {
        let word = &self.normal[unit.start as usize..unit.end as usize];
        self.letters.clear();
        self.letters.push((unit.start, EDGE));
        let letters = word.char_indices();
        self.letters
            .extend(letters.map(|(at, letter)| (unit.start + at as u32, u64::from(letter))));
        self.letters.push((unit.end, EDGE));
        let shortest = usize::from(options.subword_min).min(self.letters.len());
        for from in 0..self.letters.len() {
            let mut hash = HASH_SEED;
            for (length, &(_, letter)) in
                (1..=usize::from(options.subword_max)).zip(&self.letters[from..])
            {
                hash = mix(hash, letter);
                if length >= shortest {
                    let end = self
                        .letters
                        .get(from + length)
                        .map_or(unit.end, |next| next.0);
                    let place = (self.letters[from].0, end);
                    emit(Occurrence {
                        key: key(SUBWORDS, hash),
                        first: place,
                        last: place,
                    });
                }
            }
        }
    }
}

/// Emits every run of units up to the longest that its kinds allow.
fn unit_runs(units: &[Unit], options: &FeatureOptions, emit: &mut impl FnMut(Occurrence)) {
    for from in 0..units.len() {
        let mut hash = HASH_SEED;
        let mut longest = usize::from(options.word_ngrams);
        for (length, unit) in (1..).zip(&units[from..]) {
            if unit.kind != UnitKind::Word {
                longest = usize::from(options.character_ngrams);
            }
            if length > longest {
                break;
            }
            hash = mix(hash, unit.hash);
            let place = (units[from].start, unit.end);
            emit(Occurrence {
                key: key(UNITS, hash),
                first: place,
                last: place,
            });
        }
    }
}

/// A word for the purpose of runs and pairs: its hash and its place in the normalised text.
#[derive(Debug, Clone, Copy)]
struct Token {
    hash: u64,
    place: (u32, u32),
    /// Whether the dictionary found it (words of spaced scripts are runs of units already).
    segmented: bool,
}

/// Collects the words of a text, those of the Chinese dictionary among them if `segmented`.
fn tokens_into(normal: &str, units: &[Unit], segmented: bool, tokens: &mut Vec<Token>) {
    tokens.clear();
    let mut next = 0;
    while let Some(unit) = units.get(next) {
        let place = (unit.start, unit.end);
        let run = if segmented {
            character_run(&units[next..])
        } else {
            0
        };
        if run == 0 {
            if unit.kind == UnitKind::Word {
                tokens.push(Token {
                    hash: unit.hash,
                    place,
                    segmented: false,
                });
            }
            next += 1;
            continue;
        }
        let text = &normal[unit.start as usize..units[next + run - 1].end as usize];
        tokens.extend(segmenter().cut(text, false).iter().map(|token| Token {
            hash: hash_of(token.word),
            place: (
                unit.start + token.byte_start as u32,
                unit.start + token.byte_end as u32,
            ),
            segmented: true,
        }));
        next += run;
    }
}

/// Emits every two words at most `window` words apart, the same key for either order.
fn pairs(tokens: &[Token], window: usize, emit: &mut impl FnMut(Occurrence)) {
    for (at, one) in tokens.iter().enumerate() {
        for other in tokens[at + 1..]
            .iter()
            .take(window)
            .filter(|other| other.hash != one.hash)
        {
            let hash = mix(one.hash.min(other.hash), one.hash.max(other.hash));
            emit(Occurrence {
                key: key(PAIRS, hash),
                first: one.place,
                last: other.place,
            });
        }
    }
}

/// Emits runs of dictionary words that touch one another.
fn segments(tokens: &[Token], longest: usize, emit: &mut impl FnMut(Occurrence)) {
    for from in 0..tokens.len() {
        let mut hash = HASH_SEED;
        let mut end = tokens[from].place.0;
        for token in tokens[from..].iter().take(longest) {
            if !token.segmented || token.place.0 != end {
                break;
            }
            hash = mix(hash, token.hash);
            end = token.place.1;
            let place = (tokens[from].place.0, end);
            emit(Occurrence {
                key: key(SEGMENTS, hash),
                first: place,
                last: place,
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Extractor, FeatureOptions, group_of};

    fn spans(text: &str, options: FeatureOptions, group: usize) -> Vec<String> {
        let mut extractor = Extractor::default();
        let mut found = Vec::new();
        extractor.each(text, &options, |o| found.push(o));
        let normal = &extractor.normal;
        let of_group = found.iter().filter(|o| group_of(o.key) == group);
        let cut = |(from, to): (u32, u32)| normal[from as usize..to as usize].to_owned();
        of_group
            .map(|o| {
                if o.first == o.last {
                    cut(o.first)
                } else {
                    cut(o.first) + "+" + &cut(o.last)
                }
            })
            .collect()
    }

    fn only_words(word_ngrams: u8, character_ngrams: u8) -> FeatureOptions {
        FeatureOptions {
            word_ngrams,
            character_ngrams,
            subword_max: 0,
            segment_ngrams: 0,
            pair_window: 0,
            ..FeatureOptions::default()
        }
    }

    #[test]
    fn runs_of_units_are_as_long_as_their_kinds_allow() {
        assert_eq!(
            spans("my new card", only_words(2, 3), 0),
            ["my", "my new", "new", "new card", "card"]
        );
        assert_eq!(
            spans("退货吗", only_words(1, 3), 0),
            ["退", "退货", "退货吗", "货", "货吗", "吗"]
        );
    }

    #[test]
    fn pieces_of_a_word_include_its_edges() {
        let options = FeatureOptions {
            subword_min: 2,
            subword_max: 3,
            ..only_words(1, 1)
        };
        assert_eq!(spans("ab", options, 1), ["a", "ab", "ab", "ab", "b"]);
    }

    #[test]
    fn pairs_have_no_order() {
        let options = FeatureOptions {
            pair_window: 2,
            ..only_words(1, 1)
        };
        assert_eq!(
            spans("lost my card", options, 3),
            ["lost+my", "lost+card", "my+card"]
        );
        let keys = |text: &str| {
            let mut keys = Vec::new();
            Extractor::default().each(text, &options, |o| keys.push(o.key));
            keys.retain(|key| group_of(*key) == 3);
            keys
        };
        assert_eq!(keys("card lost"), keys("lost card"));
    }

    #[test]
    fn dictionary_words_come_from_chinese_only() {
        let options = FeatureOptions {
            segment_ngrams: 2,
            ..only_words(1, 1)
        };
        assert_eq!(
            spans("我要退货 please", options, 2),
            ["我", "我要", "要", "要退货", "退货"]
        );
    }
}
