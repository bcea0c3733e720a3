//! How soon a case should be taken: points for emotion, urgency and value, and points for waiting,
//! which have no limit, so that nobody waits for ever.

use rapport_text::Emotion;
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
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QueuedCase {
    /// Unique; breaks every tie.
    pub case_id: String,
    /// Language the agent must speak, such as `zh`; empty asks for none.
    pub language: String,
    /// What it is about: an intent's name.
    pub intent: String,
    /// [`base_points`] of the latest message.
    pub base_points: i64,
    /// When it began to wait; a case that comes back to the queue keeps its first time.
    pub waiting_since: UnixMillis,
}

/// Points for a minute of waiting.
pub const AGING_POINTS_PER_MINUTE: i64 = 10;
/// Most points before waiting counts: 90 minutes of waiting outrank anything that arrives.
pub const BASE_POINTS_MAX: i64 = 900;

const MILLIS_PER_POINT: i64 = 60_000 / AGING_POINTS_PER_MINUTE;
const URGENCY_POINTS: f64 = 300.0;

/// Computes the points that a message is worth before waiting counts, in `0..=`[`BASE_POINTS_MAX`].
///
/// * `emotion`: with its probability; `None` where there is no consent to look.
/// * `urgency`: in `[0, 1]`.
#[must_use]
pub fn base_points(emotion: Option<(Emotion, f64)>, urgency: f64, tier: ValueTier) -> i64 {
    let felt = emotion.map_or(0.0, |(emotion, sure)| {
        emotion_points(emotion) * sure.clamp(0.0, 1.0)
    });
    let pressing = URGENCY_POINTS * urgency.clamp(0.0, 1.0);
    (felt + pressing).round() as i64 + tier_points(tier)
}

impl QueuedCase {
    /// Computes what orders the queue, more is sooner: priorities grow at one pace, so their order
    /// never changes while cases wait, and an index can keep it.
    #[must_use]
    pub fn rank(&self) -> i64 {
        rank(self.base_points, self.waiting_since)
    }

    /// Computes the priority in points: never falls as `now` grows.
    #[must_use]
    pub fn priority(&self, now: UnixMillis) -> f64 {
        priority(self.base_points, self.waiting_since, now)
    }
}

/// [`QueuedCase::rank`] from its parts.
#[must_use]
pub fn rank(base_points: i64, waiting_since: UnixMillis) -> i64 {
    (base_points * MILLIS_PER_POINT).saturating_sub(waiting_since.0)
}

/// [`QueuedCase::priority`] from its parts. A clock that ran backwards takes points away.
#[must_use]
pub fn priority(base_points: i64, waiting_since: UnixMillis, now: UnixMillis) -> f64 {
    base_points as f64 + now.since(waiting_since) as f64 / MILLIS_PER_POINT as f64
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
    use proptest::prelude::*;

    const MINUTE: i64 = 60_000;

    #[test]
    fn points_match_values_worked_by_hand() {
        assert_eq!(base_points(None, 0.0, ValueTier::Standard), 0);
        assert_eq!(
            base_points(Some((Emotion::Anger, 0.5)), 0.5, ValueTier::Gold),
            150 + 150 + 200
        );
        assert_eq!(
            base_points(Some((Emotion::Anger, 1.0)), 1.0, ValueTier::Vip),
            BASE_POINTS_MAX
        );
        assert_eq!(
            base_points(Some((Emotion::Joy, 1.0)), 0.1, ValueTier::Standard),
            30
        );
        let at = |now| priority(150, UnixMillis(0), UnixMillis(now));
        assert!((at(0) - 150.0).abs() < 1e-9);
        assert!((at(90 * 1_000) - 165.0).abs() < 1e-9); // a minute and a half
    }

    proptest! {
        #[test]
        fn rank_orders_as_priority_does_at_any_time(
            a in 0..=BASE_POINTS_MAX, b in 0..=BASE_POINTS_MAX, since_a in 0i64..1 << 40, since_b in 0i64..1 << 40,
            waited in 0i64..1 << 40,
        ) {
            let now = UnixMillis(since_a.max(since_b) + waited);
            let (since_a, since_b) = (UnixMillis(since_a), UnixMillis(since_b));
            let gap = priority(a, since_a, now) - priority(b, since_b, now);
            let ranks = rank(a, since_a) - rank(b, since_b);
            // A millisecond is 1/6000 point; doubles keep that apart here.
            prop_assert_eq!(gap.abs() > 1e-6, ranks != 0);
            prop_assert!(ranks == 0 || (gap > 0.0) == (ranks > 0));
        }

        #[test]
        fn waiting_never_lowers_priority(base in 0..=BASE_POINTS_MAX, waits in 0i64..1 << 40, more in 0i64..1 << 40) {
            let at = |now| priority(base, UnixMillis(0), UnixMillis(now));
            prop_assert!(at(waits) <= at(waits + more));
        }

        #[test]
        fn nobody_waits_for_ever(start in 0i64..1 << 40) {
            let now = start + (BASE_POINTS_MAX / AGING_POINTS_PER_MINUTE + 1) * MINUTE;
            prop_assert!(rank(0, UnixMillis(start)) > rank(BASE_POINTS_MAX, UnixMillis(now)));
        }
    }
}
