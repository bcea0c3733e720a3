//! How soon a case should be taken: points for emotion, urgency and value, and points for waiting,
//! which have no limit, so that nobody waits for ever.

use rapport_text::{Emotion, Language};
use rapport_types::UnixMillis;

/// How much the shop values a customer's business. Never a reason to refuse anybody: it is worth at
/// most 30 minutes of waiting.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum ValueTier {
    /// Everybody.
    Standard,
    /// Buys now and then.
    Silver,
    /// Buys often.
    Gold,
    /// The best customers.
    Vip,
}

/// A case that waits for an agent, as routing sees it.
#[derive(Debug, Clone, PartialEq)]
pub struct QueuedCase {
    /// Unique; breaks every tie.
    pub case_id: String,
    /// Language the agent must speak; [`Language::Unknown`] asks for none.
    pub language: Language,
    /// Topic the agent should know: an intent's name. Empty asks for none.
    pub topic: String,
    /// Least level in the topic, 0 to [`crate::LEVEL_MAX`].
    pub level_min: u8,
    /// Emotion of the latest message.
    pub emotion: Emotion,
    /// How sure the emotion is, in `[0, 1]`.
    pub emotion_probability: f64,
    /// How pressing, in `[0, 1]`.
    pub urgency: f64,
    /// Value of the customer.
    pub tier: ValueTier,
    /// When it began to wait; a case that comes back keeps its first time.
    pub waiting_since: UnixMillis,
    /// Agents who gave the case back; they are not asked again.
    pub declined_by: Vec<String>,
}

/// Points for a minute of waiting.
pub const AGING_POINTS_PER_MINUTE: i64 = 10;
/// Most points before waiting counts: 90 minutes of waiting outrank anything that arrives.
pub const BASE_POINTS_MAX: i64 = 900;

const URGENCY_POINTS: f64 = 300.0;
const MILLIS_PER_MINUTE: i64 = 60_000;

/// Computes the priority of a waiting case: more is sooner. A whole number, so that it orders totally.
///
/// * Never falls as `now` grows; at least 0 and, before waiting counts, at most [`BASE_POINTS_MAX`].
/// * A clock that ran backwards counts as no wait.
#[must_use]
pub fn priority(case: &QueuedCase, now: UnixMillis) -> i64 {
    let felt = emotion_points(case.emotion) * case.emotion_probability.clamp(0.0, 1.0);
    let pressing = URGENCY_POINTS * case.urgency.clamp(0.0, 1.0);
    let base = (felt + pressing).round() as i64 + tier_points(case.tier);
    let waited = now.since(case.waiting_since).max(0);
    base + waited.saturating_mul(AGING_POINTS_PER_MINUTE) / MILLIS_PER_MINUTE
}

fn emotion_points(emotion: Emotion) -> f64 {
    match emotion {
        Emotion::Anger => 300.0,
        Emotion::Fear => 200.0,
        Emotion::Sadness => 150.0,
        Emotion::Surprise => 50.0,
        Emotion::Joy | Emotion::Neutral => 0.0,
    }
}

fn tier_points(tier: ValueTier) -> i64 {
    match tier {
        ValueTier::Standard => 0,
        ValueTier::Silver => 100,
        ValueTier::Gold => 200,
        ValueTier::Vip => 300,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::routing::tests::a_case;
    use proptest::prelude::*;

    #[test]
    fn points_match_values_worked_by_hand() {
        let minute = MILLIS_PER_MINUTE;
        let mut case = a_case("c1", 0);
        assert_eq!(priority(&case, UnixMillis(0)), 0);
        assert_eq!(priority(&case, UnixMillis(5 * minute)), 50);
        assert_eq!(priority(&case, UnixMillis(-minute)), 0);
        case.emotion = Emotion::Anger;
        case.emotion_probability = 0.5;
        case.urgency = 0.5;
        case.tier = ValueTier::Gold;
        assert_eq!(priority(&case, UnixMillis(minute)), 150 + 150 + 200 + 10);
        case.emotion_probability = 1.0;
        case.urgency = 1.0;
        case.tier = ValueTier::Vip;
        assert_eq!(priority(&case, UnixMillis(0)), BASE_POINTS_MAX);
    }

    proptest! {
        #[test]
        fn waiting_never_lowers_priority(
            urgency in 0.0..=1.0f64, probability in 0.0..=1.0f64, waits in 0i64..1 << 40, more in 0i64..1 << 40,
        ) {
            let case = QueuedCase {
                urgency, emotion_probability: probability, emotion: Emotion::Anger, ..a_case("c1", 0)
            };
            let (early, late) = (UnixMillis(waits), UnixMillis(waits + more));
            prop_assert!(priority(&case, early) <= priority(&case, late));
        }

        #[test]
        fn nobody_waits_for_ever(urgency in 0.0..=1.0f64, start in 0i64..1 << 40) {
            let meek = a_case("meek", start);
            let now = UnixMillis(start + (BASE_POINTS_MAX / AGING_POINTS_PER_MINUTE + 1) * MILLIS_PER_MINUTE);
            let loud = QueuedCase {
                urgency, emotion_probability: 1.0, emotion: Emotion::Anger, tier: ValueTier::Vip,
                ..a_case("loud", now.0)
            };
            prop_assert!(priority(&meek, now) > priority(&loud, now));
        }
    }
}
