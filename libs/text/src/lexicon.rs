//! Emotion by word lists, for when no trained model is loaded: what a text feels like, how pleasant
//! and how stirred up it is, and the words that say so. Negation turns a word round.

mod entries;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::sync::OnceLock;

use crate::normalise::normalise;
use crate::tokenise::{Unit, UnitKind, units_into};

/// A basic emotion, or none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Emotion {
    /// No emotion shown.
    Neutral,
    /// Content, grateful, happy.
    Joy,
    /// Annoyed to furious.
    Anger,
    /// Disappointed to desperate.
    Sadness,
    /// Worried to terrified.
    Fear,
    /// Taken aback, for better or worse.
    Surprise,
}

impl Emotion {
    /// Every emotion, in the order of its number.
    pub const ALL: [Self; 6] = [
        Self::Neutral,
        Self::Joy,
        Self::Anger,
        Self::Sadness,
        Self::Fear,
        Self::Surprise,
    ];

    /// Returns the name that labels and reports use.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Neutral => "neutral",
            Self::Joy => "joy",
            Self::Anger => "anger",
            Self::Sadness => "sadness",
            Self::Fear => "fear",
            Self::Surprise => "surprise",
        }
    }

    /// Returns the emotion that a model's label means, `None` if it means none of these. Reads the
    /// names above and the customary `happy`, `angry`, `sad`.
    #[must_use]
    pub fn from_label(label: &str) -> Option<Self> {
        match label {
            "happy" => Some(Self::Joy),
            "angry" => Some(Self::Anger),
            "sad" => Some(Self::Sadness),
            name => Self::ALL.into_iter().find(|emotion| emotion.name() == name),
        }
    }

    /// Returns pleasantness, in `[-1, 1]`, and stir, in `[0, 1]`: the corners of Russell's
    /// circumplex (1980), rounded to tenths.
    #[must_use]
    pub fn valence_and_arousal(self) -> (f64, f64) {
        match self {
            Self::Neutral => (0.0, 0.2),
            Self::Joy => (0.8, 0.6),
            Self::Anger => (-0.8, 0.9),
            Self::Sadness => (-0.7, 0.3),
            Self::Fear => (-0.6, 0.8),
            Self::Surprise => (0.0, 0.8),
        }
    }
}

/// What the lexicon reads in a text.
#[derive(Debug, Clone, PartialEq)]
pub struct Feeling {
    /// The strongest emotion.
    pub emotion: Emotion,
    /// Share of the evidence that speaks for it, in `(0, 1]`; the absence of evidence counts as
    /// evidence for neutral.
    pub probability: f64,
    /// Pleasantness, in `[-1, 1]`.
    pub valence: f64,
    /// Stir, in `[0, 1]`: exclamation marks and capitals add to it.
    pub arousal: f64,
    /// The words that were found, in order, at most [`EVIDENCE_MAX`]; a negated one starts with `not `.
    pub evidence: Vec<String>,
}

/// Most words of evidence in a [`Feeling`].
pub const EVIDENCE_MAX: usize = 10;
/// Weight of saying nothing emotional: one mild word does not yet outweigh it.
const NEUTRAL_WEIGHT: f64 = 1.0;
/// How far a negation reaches, in units.
const NEGATION_REACH: usize = 3;
/// How far an intensifier reaches, in units.
const INTENSITY_REACH: usize = 2;
/// What an intensifier multiplies by.
const INTENSITY: f64 = 1.5;
/// Longest entry, in units: four characters and two brackets of a Chinese emoticon, with a margin.
const ENTRY_UNITS_MAX: usize = 8;

/// What a run of units means.
#[derive(Debug, Clone, Copy)]
enum Meaning {
    Feels(Emotion, u8),
    Negates,
    Intensifies,
}

/// Reads the emotion of a text from the built-in lists.
///
/// Cost: `O(n)`, a few microseconds for a short text once the lists are loaded.
#[must_use]
pub fn feel(text: &str) -> Feeling {
    let normal = normalise(text);
    let mut units = Vec::new();
    units_into(&normal, &mut units);
    let mut sums = [0.0; Emotion::ALL.len()];
    sums[Emotion::Neutral as usize] = NEUTRAL_WEIGHT;
    let mut evidence = Vec::new();
    let (mut negated_until, mut intense_until) = (0, 0);
    let mut at = 0;
    while at < units.len() {
        let (length, meaning) = longest_match(&normal, &units[at..]);
        match meaning {
            Some(Meaning::Negates) => negated_until = at + length + NEGATION_REACH,
            Some(Meaning::Intensifies) => intense_until = at + length + INTENSITY_REACH,
            Some(Meaning::Feels(emotion, weight)) => {
                let negated = at < negated_until;
                let strength = if at < intense_until { INTENSITY } else { 1.0 };
                add_word(&mut sums, emotion, f64::from(weight) * strength, negated);
                if evidence.len() < EVIDENCE_MAX {
                    let word =
                        &normal[units[at].start as usize..units[at + length - 1].end as usize];
                    evidence.push(if negated {
                        format!("not {word}")
                    } else {
                        word.to_owned()
                    });
                }
            }
            // A clause ends at punctuation, and so does what negation reaches.
            None if units[at].kind == UnitKind::Symbol => (negated_until, intense_until) = (0, 0),
            None => {}
        }
        at += length;
    }
    conclude(text, &sums, evidence)
}

/// A negated pleasure is a displeasure, somewhat weaker; a negated displeasure is only calm.
fn add_word(sums: &mut [f64; Emotion::ALL.len()], emotion: Emotion, weight: f64, negated: bool) {
    let emotion = match (emotion, negated) {
        (kept, false) => kept,
        (Emotion::Joy, true) => Emotion::Anger,
        (
            Emotion::Neutral
            | Emotion::Anger
            | Emotion::Sadness
            | Emotion::Fear
            | Emotion::Surprise,
            true,
        ) => Emotion::Neutral,
    };
    sums[emotion as usize] += weight;
}

fn conclude(text: &str, sums: &[f64; Emotion::ALL.len()], evidence: Vec<String>) -> Feeling {
    let total: f64 = sums.iter().sum();
    let mut best = Emotion::Neutral;
    let (mut valence, mut arousal) = (0.0, 0.0);
    for emotion in Emotion::ALL {
        let share = sums[emotion as usize] / total;
        let (pleasant, stirred) = emotion.valence_and_arousal();
        valence += share * pleasant;
        arousal += share * stirred;
        if sums[emotion as usize] > sums[best as usize] {
            best = emotion;
        }
    }
    Feeling {
        emotion: best,
        probability: sums[best as usize] / total,
        valence,
        arousal: (arousal + shouting(text)).min(1.0),
        evidence,
    }
}

/// Up to 0.3 for exclamation marks and words in capitals.
fn shouting(text: &str) -> f64 {
    let marks = text
        .chars()
        .filter(|letter| matches!(letter, '!' | '！'))
        .take(3)
        .count();
    let capitals = text
        .split_whitespace()
        .filter(|word| word.len() > 2 && word.chars().all(|letter| letter.is_ascii_uppercase()))
        .take(3)
        .count();
    (0.1 * (marks + capitals) as f64).min(0.3)
}

/// Returns how many units the longest entry at the front covers (1 if there is none) and its meaning.
fn longest_match(normal: &str, units: &[Unit]) -> (usize, Option<Meaning>) {
    let lists = lists();
    let start = units[0].start as usize;
    for length in (1..=units.len().min(ENTRY_UNITS_MAX)).rev() {
        let text = &normal[start..units[length - 1].end as usize];
        if let Some(meaning) = lists.get(text) {
            return (length, Some(*meaning));
        }
    }
    (1, None)
}

fn lists() -> &'static HashMap<String, Meaning> {
    static LISTS: OnceLock<HashMap<String, Meaning>> = OnceLock::new();
    LISTS.get_or_init(|| {
        let mut lists = HashMap::new();
        let mut add = |words: &str, meaning: Meaning| {
            for word in words.split_whitespace() {
                // The first list that names a word decides, so feelings stand before intensifiers.
                lists
                    .entry(normalise(&word.replace('_', " ")))
                    .or_insert(meaning);
            }
        };
        for (emotion, weight, words) in entries::ENGLISH.iter().chain(entries::CHINESE) {
            add(words, Meaning::Feels(*emotion, *weight));
        }
        add(entries::NEGATIONS_ENGLISH, Meaning::Negates);
        add(entries::NEGATIONS_CHINESE, Meaning::Negates);
        add(entries::INTENSIFIERS_ENGLISH, Meaning::Intensifies);
        add(entries::INTENSIFIERS_CHINESE, Meaning::Intensifies);
        lists
    })
}
