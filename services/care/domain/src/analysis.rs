//! What a message says: language, intent, feelings, how pressing it is, and why we think so. Trained
//! models answer where they are loaded, word rules where they are not.

use std::sync::Arc;

use rapport_text::{Emotion, Language, TextClassifier, feel, guess_language, normalise};

use crate::intent::{HASTE, Intent, intent_by_rules};

/// The trained models of message analysis; each is optional.
#[derive(Debug, Clone, Default)]
pub struct MessageModels {
    /// Text to intent. Labels may be the names of [`Intent`] or a shop's own.
    pub intent: Option<Arc<TextClassifier>>,
    /// Text to emotion. Labels as [`Emotion::from_label`] reads them.
    pub emotion: Option<Arc<TextClassifier>>,
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

/// What the writer of a message feels.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Felt {
    /// The strongest emotion.
    pub emotion: Emotion,
    /// How sure the emotion is, in `[0, 1]`; calibrated if a model said it.
    pub probability: f64,
    /// Pleasantness, in `[-1, 1]`.
    pub valence: f64,
    /// Stir, in `[0, 1]`.
    pub arousal: f64,
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
    /// What the writer feels; `None` where nobody may look.
    pub feeling: Option<Felt>,
    /// How pressing the message is, in `[0, 1]`: the intent and words of haste, and where one may
    /// look also unpleasantness and stir.
    pub urgency: f64,
    /// The words that decided, at most [`EVIDENCE_MAX`] per source.
    pub evidence: Vec<Evidence>,
}

/// Whether the writer lets the shop read feelings.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Feelings {
    /// The `emotion` consent is there.
    Read,
    /// It is not: nothing about feelings is computed.
    Leave,
}

/// Most pieces of evidence per source.
const EVIDENCE_MAX: usize = 5;

/// Weights of urgency. They sum to 1, so that urgency is in `[0, 1]` without clamping.
const UNPLEASANT_WEIGHT: f64 = 0.35;
const AROUSAL_WEIGHT: f64 = 0.15;
const INTENT_WEIGHT: f64 = 0.25;
const HASTE_WEIGHT: f64 = 0.25;
/// How pressing an intent of a shop's own is.
const UNKNOWN_PRESSURE: f64 = 0.3;

/// Analyses one message. Never fails: a message of nothing known is neutral and `other`.
///
/// Cost: about 100 microseconds for a short text with both models.
#[must_use]
pub fn analyse(text: &str, models: &MessageModels, feelings: Feelings) -> Analysis {
    let mut evidence = Vec::new();
    let (intent, intent_probability) = read_intent(text, models, &mut evidence);
    let haste = words_of_haste(text);
    let pressing = Intent::from_name(&intent).map_or(UNKNOWN_PRESSURE, intent_pressure);
    let mut urgency = INTENT_WEIGHT * pressing + if haste.is_empty() { 0.0 } else { HASTE_WEIGHT };
    let feeling = match feelings {
        Feelings::Read => Some(read_emotion(text, models, &mut evidence)),
        Feelings::Leave => None,
    };
    if let Some(felt) = &feeling {
        urgency += UNPLEASANT_WEIGHT * (-felt.valence).max(0.0) + AROUSAL_WEIGHT * felt.arousal;
    }
    let haste = haste.iter().map(|word| (*word).to_owned());
    add_evidence(&mut evidence, EvidenceSource::Urgency, haste);
    Analysis {
        language: guess_language(text),
        intent,
        intent_probability,
        feeling,
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
        // A text unlike everything the model was taught: the shop's own words may still tell.
        if !prediction.out_of_scope {
            let reasons = model
                .why(text, EVIDENCE_MAX)
                .into_iter()
                .map(|reason| reason.feature);
            add_evidence(evidence, EvidenceSource::Intent, reasons);
            return (prediction.label.to_owned(), prediction.probability);
        }
    }
    let found = intent_by_rules(text);
    let words = found.phrases.into_iter().map(str::to_owned);
    add_evidence(evidence, EvidenceSource::Intent, words);
    (found.intent.name().to_owned(), found.probability)
}

fn read_emotion(text: &str, models: &MessageModels, evidence: &mut Vec<Evidence>) -> Felt {
    let model = models.emotion.as_deref();
    let read = model.and_then(|model| {
        let prediction = model.predict(text);
        let emotion = Emotion::from_label(prediction.label)?;
        Some((model, emotion, prediction))
    });
    let Some((model, emotion, prediction)) = read else {
        let by_words = feel(text);
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
    let reasons = model
        .why(text, EVIDENCE_MAX)
        .into_iter()
        .map(|reason| reason.feature);
    add_evidence(evidence, EvidenceSource::Emotion, reasons);
    Felt {
        emotion,
        probability: prediction.probability,
        // Sums of rounded shares may leave their range by a hair.
        valence: valence.clamp(-1.0, 1.0),
        arousal: arousal.clamp(0.0, 1.0),
    }
}

/// How pressing an intent is by itself, in `[0, 1]`: money and anger cannot wait, praise can.
fn intent_pressure(intent: Intent) -> f64 {
    match intent {
        Intent::Complaint => 1.0,
        Intent::Payment => 0.8,
        Intent::Refund | Intent::Account | Intent::Delivery | Intent::Privacy => 0.6,
        Intent::Exchange | Intent::Coupon => 0.4,
        Intent::Product | Intent::Other => 0.2,
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
