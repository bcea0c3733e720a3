//! Messages of both languages read by rules and by models, and the laws of the numbers.

use std::sync::Arc;

use proptest::prelude::*;
use rapport_text::TrainOptions;

use super::*;

fn by_rules(text: &str) -> Analysis {
    analyse(text, &MessageModels::default(), Feelings::Read)
}

#[test]
fn angry_chinese_message_is_understood_without_a_model() {
    let analysis = by_rules("太生气了！三个星期还没收到货，你们就是骗子，马上给我退款！");
    assert_eq!(analysis.language, Language::Chinese);
    assert_eq!(analysis.feeling.unwrap().emotion, Emotion::Anger);
    assert!(analysis.feeling.unwrap().valence < -0.5, "{analysis:?}");
    assert!(analysis.urgency > 0.7, "{analysis:?}");
    assert!(analysis.evidence.iter().any(|e| e.words == "生气"));
    assert!(
        analysis
            .evidence
            .iter()
            .any(|e| e.source == EvidenceSource::Urgency && e.words == "马上")
    );
}

#[test]
fn calm_question_is_not_urgent() {
    let analysis = by_rules("Is this available in blue?");
    assert_eq!(analysis.intent, "product");
    assert_eq!(analysis.language, Language::English);
    assert_eq!(analysis.feeling.unwrap().emotion, Emotion::Neutral);
    // Neutral arousal 0.2 · 0.15 + pressure 0.2 · 0.25.
    assert!((analysis.urgency - 0.08).abs() < 1e-12, "{analysis:?}");
}

#[test]
fn without_consent_nothing_about_feelings_is_computed() {
    let text = "太生气了！你们就是骗子，马上给我退款！";
    let analysis = analyse(text, &MessageModels::default(), Feelings::Leave);
    assert_eq!(analysis.feeling, None);
    assert!(
        analysis
            .evidence
            .iter()
            .all(|e| e.source != EvidenceSource::Emotion)
    );
    let calm = analyse(
        "你们就是骗子，马上给我退款",
        &MessageModels::default(),
        Feelings::Leave,
    );
    assert!(
        (analysis.urgency - calm.urgency).abs() < 1e-12,
        "anger changes nothing"
    );
}

#[test]
fn haste_needs_whole_words() {
    assert!(words_of_haste("it came yesterday").is_empty());
    assert_eq!(words_of_haste("I need it today!"), ["today"]);
    assert_eq!(words_of_haste("请尽快处理"), ["尽快"]);
}

fn model(rows: &[(&str, &str)]) -> Arc<TextClassifier> {
    let rows: Vec<(String, String)> = (0..8)
        .flat_map(|n| {
            rows.iter()
                .map(move |(text, label)| (format!("{text} {n}"), (*label).to_owned()))
        })
        .collect();
    Arc::new(TextClassifier::train(&rows, &TrainOptions::default()).unwrap())
}

#[test]
fn trained_models_answer_before_the_rules() {
    let models = MessageModels {
        intent: Some(model(&[
            ("quibble frob", "gift_wrap"),
            ("plonk zork", "loyalty"),
        ])),
        emotion: Some(model(&[("quibble", "angry"), ("plonk", "happy")])),
    };
    let analysis = analyse("quibble frob 3", &models, Feelings::Read);
    assert_eq!(analysis.intent, "gift_wrap");
    assert_eq!(analysis.feeling.unwrap().emotion, Emotion::Anger);
    assert!(analysis.feeling.unwrap().valence < 0.0);
    assert!(!analysis.evidence.is_empty());
}

#[test]
fn emotion_model_of_other_labels_leaves_the_lexicon_in_charge() {
    let models = MessageModels {
        intent: None,
        emotion: Some(model(&[("aaa", "category one"), ("bbb", "category two")])),
    };
    assert_eq!(
        analyse("I am furious", &models, Feelings::Read)
            .feeling
            .unwrap()
            .emotion,
        Emotion::Anger
    );
}

proptest! {
    #[test]
    fn numbers_stay_in_their_ranges(text in "\\PC{0,60}") {
        let analysis = by_rules(&text);
        prop_assert!((0.0..=1.0).contains(&analysis.urgency));
        prop_assert!((-1.0..=1.0).contains(&analysis.feeling.unwrap().valence));
        prop_assert!((0.0..=1.0).contains(&analysis.intent_probability));
        prop_assert!((0.0..=1.0).contains(&analysis.feeling.unwrap().probability));
        prop_assert!(analysis.evidence.len() <= 3 * EVIDENCE_MAX);
    }
}
