//! What a message says: language, intent, emotion, how pressing it is, and why we think so. Trained
//! models answer where they are loaded, word rules where they are not.

use rapport_text::{Emotion, Language, TextClassifier, feel, guess_language, normalise};

use crate::intent::{Intent, intent_by_rules};

/// The trained models of message analysis; each is optional. Share them behind an `Arc`.
#[derive(Debug, Clone, Default)]
pub struct MessageModels {
    /// Text to intent. Labels may be the names of [`Intent`] or a shop's own.
    pub intent: Option<std::sync::Arc<TextClassifier>>,
    /// Text to emotion. Labels as [`Emotion::from_label`] reads them.
    pub emotion: Option<std::sync::Arc<TextClassifier>>,
}

/// Where a piece of evidence comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EvidenceSource {
    /// For the intent.
    Intent,
    /// For the emotion.
    Emotion,
    /// For the urgency.
    Urgency,
}

/// A word or phrase of the message and what it speaks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Evidence {
    /// What it speaks for.
    pub source: EvidenceSource,
    /// The words, normalised.
    pub words: String,
}

/// What one message says.
#[derive(Debug, Clone, PartialEq)]
pub struct Analysis {
    /// Language by script.
    pub language: Language,
    /// Label of the intent: a name of [`Intent`], or a trained model's own label.
    pub intent: String,
    /// How sure the intent is, in `[0, 1]`; calibrated if a model said it.
    pub intent_probability: f64,
    /// The strongest emotion.
    pub emotion: Emotion,
    /// How sure the emotion is, in `[0, 1]`; calibrated if a model said it.
    pub emotion_probability: f64,
    /// Pleasantness, in `[-1, 1]`.
    pub valence: f64,
    /// How pressing the message is, in `[0, 1]`: unpleasantness, stir, the intent and words of haste.
    pub urgency: f64,
    /// The words that decided, at most [`EVIDENCE_MAX`] per source.
    pub evidence: Vec<Evidence>,
}

/// Most pieces of evidence per source.
const EVIDENCE_MAX: usize = 5;

/// Words of haste. Chinese ones match anywhere, English ones between spaces or signs.
const HASTE: &[&str] = &[
    "urgent",
    "urgently",
    "asap",
    "immediately",
    "right now",
    "right away",
    "today",
    "tonight",
    "emergency",
    "at once",
    "deadline",
    "hurry",
    "马上",
    "立刻",
    "立即",
    "尽快",
    "赶紧",
    "赶快",
    "着急",
    "急用",
    "加急",
    "今天",
    "急急",
    "紧急",
    "火速",
];

/// Weights of urgency. They sum to 1, so that urgency is in `[0, 1]` without clamping.
const UNPLEASANT_WEIGHT: f64 = 0.35;
const AROUSAL_WEIGHT: f64 = 0.15;
const INTENT_WEIGHT: f64 = 0.25;
const HASTE_WEIGHT: f64 = 0.25;

/// Analyses one message. Never fails: a message of nothing known is neutral and `other`.
///
/// Cost: about 100 microseconds for a short text with both models.
#[must_use]
pub fn analyse(text: &str, models: &MessageModels) -> Analysis {
    let mut evidence = Vec::new();
    let (intent, intent_probability) = read_intent(text, models, &mut evidence);
    let felt = read_emotion(text, models, &mut evidence);
    let haste = words_of_haste(text);
    let pressing = Intent::from_name(&intent).map_or(0.3, intent_pressure);
    let urgency = UNPLEASANT_WEIGHT * (-felt.valence).max(0.0)
        + AROUSAL_WEIGHT * felt.arousal
        + INTENT_WEIGHT * pressing
        + if haste.is_empty() { 0.0 } else { HASTE_WEIGHT };
    add_evidence(
        &mut evidence,
        EvidenceSource::Urgency,
        haste.iter().map(|word| (*word).to_owned()),
    );
    Analysis {
        language: guess_language(text),
        intent,
        intent_probability,
        emotion: felt.emotion,
        emotion_probability: felt.probability,
        valence: felt.valence,
        urgency,
        evidence,
    }
}

fn add_evidence(
    evidence: &mut Vec<Evidence>,
    source: EvidenceSource,
    words: impl Iterator<Item = String>,
) {
    evidence.extend(
        words
            .take(EVIDENCE_MAX)
            .map(|words| Evidence { source, words }),
    );
}

fn read_intent(text: &str, models: &MessageModels, evidence: &mut Vec<Evidence>) -> (String, f64) {
    if let Some(model) = &models.intent {
        let prediction = model.predict(text);
        if prediction.out_of_scope {
            // Nothing the model was taught: saying so beats the least bad guess.
            return (
                Intent::Other.name().to_owned(),
                1.0 - prediction.probability,
            );
        }
        let reasons = model.why(text, EVIDENCE_MAX);
        add_evidence(
            evidence,
            EvidenceSource::Intent,
            reasons.into_iter().map(|r| r.feature),
        );
        return (prediction.label.to_owned(), prediction.probability);
    }
    let (intent, probability, phrases) = intent_by_rules(text);
    let words = phrases
        .iter()
        .map(|phrase| phrase.trim_end_matches('*').to_owned());
    add_evidence(evidence, EvidenceSource::Intent, words);
    (intent.name().to_owned(), probability)
}

struct Felt {
    emotion: Emotion,
    probability: f64,
    valence: f64,
    arousal: f64,
}

fn read_emotion(text: &str, models: &MessageModels, evidence: &mut Vec<Evidence>) -> Felt {
    let by_words = feel(text);
    let prediction = models
        .emotion
        .as_ref()
        .map(|model| (model, model.predict(text)));
    let read = prediction.and_then(|(model, p)| Some((model, Emotion::from_label(p.label)?, p)));
    let Some((model, emotion, prediction)) = read else {
        add_evidence(
            evidence,
            EvidenceSource::Emotion,
            by_words.evidence.into_iter(),
        );
        return Felt {
            emotion: by_words.emotion,
            probability: by_words.probability,
            valence: by_words.valence,
            arousal: by_words.arousal,
        };
    };
    let (mut valence, mut arousal) = (0.0, 0.0);
    for (label, probability) in &prediction.ranked {
        // A label that is no emotion of ours counts as neutral.
        let emotion = Emotion::from_label(label).unwrap_or(Emotion::Neutral);
        let (pleasant, stirred) = emotion.valence_and_arousal();
        valence += probability * pleasant;
        arousal += probability * stirred;
    }
    let reasons = model.why(text, EVIDENCE_MAX);
    add_evidence(
        evidence,
        EvidenceSource::Emotion,
        reasons.into_iter().map(|r| r.feature),
    );
    Felt {
        emotion,
        probability: prediction.probability,
        valence,
        arousal,
    }
}

/// How pressing an intent is by itself, in `[0, 1]`: money and anger cannot wait, praise can.
fn intent_pressure(intent: Intent) -> f64 {
    match intent {
        Intent::Complaint => 1.0,
        Intent::Payment | Intent::DeliveryLate => 0.8,
        Intent::Refund | Intent::Account => 0.6,
        Intent::Exchange | Intent::OrderStatus => 0.4,
        Intent::ProductQuestion | Intent::Other => 0.2,
        Intent::Praise => 0.0,
    }
}

fn words_of_haste(text: &str) -> Vec<&'static str> {
    let normal = normalise(text);
    let whole = |phrase: &str| {
        normal.match_indices(phrase).any(|(at, _)| {
            let before = normal[..at].chars().next_back();
            let after = normal[at + phrase.len()..].chars().next();
            !before.is_some_and(char::is_alphanumeric) && !after.is_some_and(char::is_alphanumeric)
        })
    };
    let said = |phrase: &&str| {
        if phrase.is_ascii() {
            whole(phrase)
        } else {
            normal.contains(*phrase)
        }
    };
    HASTE.iter().copied().filter(said).collect()
}

#[cfg(test)]
mod tests;
