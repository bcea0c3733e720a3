//! Feelings of sentences whose reading nobody would dispute, and laws of the numbers.

use super::{Emotion, feel};
use proptest::prelude::*;

#[test]
fn plain_sentences_are_read_as_people_read_them() {
    for (text, expected) in [
        ("I am furious, this is the worst scam ever", Emotion::Anger),
        ("Still waiting, totally unacceptable!", Emotion::Anger),
        ("Thank you so much, you were amazing", Emotion::Joy),
        ("I am so disappointed and upset", Emotion::Sadness),
        ("I'm scared my account was hacked", Emotion::Fear),
        ("Wow, I was shocked", Emotion::Surprise),
        ("Where is my parcel?", Emotion::Neutral),
        ("太生气了,你们就是骗子!", Emotion::Anger),
        ("非常满意,谢谢客服", Emotion::Joy),
        ("心碎了,太难过了", Emotion::Sadness),
        ("我很害怕信用卡被盗刷", Emotion::Fear),
        ("我的订单到哪里了", Emotion::Neutral),
        ("", Emotion::Neutral),
    ] {
        let feeling = feel(text);
        assert_eq!(feeling.emotion, expected, "{text:?}: {feeling:?}");
    }
}

#[test]
fn negation_turns_a_word_round() {
    assert!(feel("not happy").valence < 0.0);
    assert!(feel("I am not very happy with this").valence < 0.0);
    assert_eq!(feel("not happy").evidence, ["not happy"]);
    assert!(feel("不满意").valence < 0.0, "{:?}", feel("不满意"));
    assert!(feel("一点都不开心").valence < 0.0);
    assert_eq!(feel("no problem").emotion, Emotion::Neutral);
    // Punctuation ends what a negation reaches.
    assert!(feel("No, great service").valence > 0.0);
}

#[test]
fn shouting_raises_arousal_only() {
    let (calm, loud) = (feel("this is terrible"), feel("THIS IS TERRIBLE!!!"));
    assert!(loud.arousal > calm.arousal);
    assert!((loud.valence - calm.valence).abs() < 1e-12);
}

#[test]
fn probability_matches_a_value_worked_by_hand() {
    // furious weighs 3 against 1 for neutral.
    let feeling = feel("furious");
    assert!((feeling.probability - 0.75).abs() < 1e-12);
    assert!((feeling.valence + 0.6).abs() < 1e-12); // 0.75 · -0.8
}

proptest! {
    #[test]
    fn numbers_stay_in_their_ranges(text in "[a-z !不好很生气满意]{0,40}") {
        let feeling = feel(&text);
        prop_assert!((-1.0..=1.0).contains(&feeling.valence));
        prop_assert!((0.0..=1.0).contains(&feeling.arousal));
        prop_assert!(feeling.probability > 0.0 && feeling.probability <= 1.0);
    }
}
