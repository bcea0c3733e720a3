//! Staffing beyond Erlang C: with callers who give up, and by the square root rule.

use rapport_math::{normal_cdf, normal_pdf};

use super::{AGENTS_STAFFED_MAX, Performance, Traffic, erlang_a};

/// Returns the fewest agents with which at least `level` of the cases are answered within
/// `target_seconds` under Erlang A, and what they achieve.
///
/// `None` if the traffic or the patience is not sound, `level` is not in `(0, 1)`, or more than
/// [`AGENTS_STAFFED_MAX`] agents would be needed. Cost: `O(answer · log(answer))`, by bisection: one
/// more agent never lowers the level.
#[must_use]
pub fn staffing_impatient(
    traffic: Traffic,
    patience_seconds: f64,
    level: f64,
    target_seconds: f64,
) -> Option<(u32, Performance)> {
    // No more than the agents can do is ever answered: a load far above the limit needs no search.
    let hopeless = traffic.erlangs() * level > f64::from(AGENTS_STAFFED_MAX);
    if !(level > 0.0 && level < 1.0) || hopeless {
        return None;
    }
    let achieved = |agents| erlang_a(agents, traffic, patience_seconds, target_seconds);
    let enough = |agents| achieved(agents).is_some_and(|it| it.service_level >= level);
    // Above the load itself the level is near; doubling from 1 finds an upper end, or the limit.
    let mut high = 1;
    while !enough(high) {
        if high == AGENTS_STAFFED_MAX || achieved(high).is_none() {
            return None;
        }
        high = (high * 2).min(AGENTS_STAFFED_MAX);
    }
    let mut low = 0;
    while high - low > 1 {
        let middle = low + (high - low) / 2;
        if enough(middle) {
            high = middle;
        } else {
            low = middle;
        }
    }
    Some((high, achieved(high)?))
}

/// Returns the agents that the square root rule advises: `A + β√A` with the least `β` for which
/// `P(wait > target) ≤ 1 − level` in the limit of many agents.
///
/// * `None` as for [`super::staffing`]. Cost: `O(1)`.
/// * Source: Halfin and Whitt, "Heavy-traffic limits for queues with many exponential servers", 1981:
///   `P(wait) = 1 / (1 + β Φ(β) / φ(β))`, and waits are exponential with rate `β√A` per service.
#[must_use]
pub fn square_root_staffing(traffic: Traffic, level: f64, target_seconds: f64) -> Option<u32> {
    if !(traffic.is_sound() && level > 0.0 && level < 1.0) {
        return None;
    }
    let root = libm::sqrt(traffic.erlangs());
    let target = target_seconds.max(0.0) / traffic.handling_seconds;
    let late = |beta: f64| {
        let waits = 1.0 / (1.0 + beta * normal_cdf(beta) / normal_pdf(beta));
        waits * libm::exp(-beta * root * target)
    };
    // Lateness falls with β; at 30 it is below every double's idea of a share.
    let (mut low, mut high) = (0.0, 30.0);
    for _ in 0..100 {
        let middle = 0.5 * (low + high);
        if late(middle) > 1.0 - level {
            low = middle;
        } else {
            high = middle;
        }
    }
    let agents = libm::ceil(traffic.erlangs() + high * root);
    (agents <= f64::from(AGENTS_STAFFED_MAX)).then_some(agents as u32)
}

#[cfg(test)]
mod tests {
    use super::super::{Traffic, erlang_a, staffing};
    use super::{square_root_staffing, staffing_impatient};
    use proptest::prelude::*;

    #[test]
    fn the_square_root_rule_is_within_one_agent() {
        for (per_hour, seconds) in [
            (200.0, 180.0),
            (360.0, 240.0),
            (1_000.0, 300.0),
            (10_000.0, 300.0),
        ] {
            let traffic = Traffic::per_hour(per_hour, seconds);
            let (exact, _) = staffing(traffic, 0.8, 20.0).unwrap();
            let rule = square_root_staffing(traffic, 0.8, 20.0).unwrap();
            assert!(exact.abs_diff(rule) <= 1, "{exact} {rule}");
        }
        assert_eq!(
            square_root_staffing(Traffic::per_hour(1.0, 1.0), 1.0, 9.0),
            None
        );
    }

    #[test]
    fn impatience_needs_fewer_agents() {
        let traffic = Traffic::per_hour(1_000.0, 300.0);
        let (patient, _) = staffing(traffic, 0.8, 20.0).unwrap();
        let (impatient, found) = staffing_impatient(traffic, 120.0, 0.8, 20.0).unwrap();
        assert!(impatient < patient && found.service_level >= 0.8);
        assert_eq!(staffing_impatient(traffic, 0.0, 0.8, 20.0), None);
        assert_eq!(
            staffing_impatient(Traffic::per_hour(1e12, 3_600.0), 60.0, 0.8, 20.0),
            None
        );
    }

    proptest! {
        #[test]
        fn one_agent_fewer_is_too_few(
            per_hour in 1.0..2_000.0f64, seconds in 1.0..600.0f64, patience in 5.0..2_000.0f64, level in 0.1..0.99f64,
        ) {
            let traffic = Traffic::per_hour(per_hour, seconds);
            let (agents, found) = staffing_impatient(traffic, patience, level, 20.0).unwrap();
            prop_assert!(found.service_level >= level);
            let fewer = erlang_a(agents - 1, traffic, patience, 20.0);
            prop_assert!(fewer.is_none_or(|fewer| fewer.service_level < level));
        }
    }
}
