//! How many agents a queue needs: Erlang B (callers turned away), C (callers wait) and A (callers
//! wait and give up). Closed forms here, nothing rounded; `replay.rs` plays queues call by call,
//! `simulation.rs` checks the forms by it, `patience.rs` estimates patience from real calls.
//!
//! Sources: the recursion of Erlang B is textbook; Erlang C follows from it. Erlang A is Mandelbaum
//! and Zeltyn, "Service engineering in action: the Palm/Erlang-A queue" (2007), section 4.

mod patience;
mod replay;
mod simulation;
mod staffing;

pub use patience::{PATIENCE_STEPS_MAX, Patience, Wait};
pub use replay::{
    CALLS_MAX, CLASSES_MAX, Call, CallClass, Fate, Outcome, Policy, Queue, REPLAY_AGENTS_MAX,
    ReplayError, replay,
};
pub use simulation::{
    ARRIVALS_SIMULATED_MAX, Measured, REPLICATIONS, Simulated, Simulation, summarise,
};
pub use staffing::{square_root_staffing, staffing_impatient};

/// Most agents that staffing looks at: far above any shop, so that a search always ends.
pub const AGENTS_STAFFED_MAX: u32 = 100_000;

/// Most arrivals while one case loses patience, and most erlangs, that Erlang A is computed for: its
/// series has about so many terms.
const SERIES_TERMS_MAX: f64 = 1e8;

/// Arrivals and work of one queue. Both and their product are above 0 and finite, or every answer is
/// `None`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Traffic {
    /// Cases that arrive per second.
    pub arrivals_per_second: f64,
    /// Mean time one case keeps one agent, in seconds.
    pub handling_seconds: f64,
}

impl Traffic {
    /// Returns the traffic of so many cases an hour.
    #[must_use]
    pub fn per_hour(arrivals: f64, handling_seconds: f64) -> Self {
        Self {
            arrivals_per_second: arrivals / 3_600.0,
            handling_seconds,
        }
    }

    /// Returns the offered load in erlangs: agents busy on average if nobody had to wait.
    #[must_use]
    pub fn erlangs(self) -> f64 {
        self.arrivals_per_second * self.handling_seconds
    }

    /// Whether arrivals, service and the load that they make are above 0 and finite.
    #[must_use]
    pub fn is_sound(self) -> bool {
        let positive = |value: f64| value.is_finite() && value > 0.0;
        positive(self.arrivals_per_second)
            && positive(self.handling_seconds)
            && positive(self.erlangs())
    }
}

/// What a queue does in the long run.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Performance {
    /// Share of cases that wait at all, in `[0, 1]`.
    pub wait_probability: f64,
    /// Share of cases answered within the target, in `[0, 1]`.
    pub service_level: f64,
    /// Mean wait over all cases, those that do not wait and those that give up included, in seconds.
    pub mean_wait_seconds: f64,
    /// Share of their time that agents are busy, in `[0, 1]`.
    pub occupancy: f64,
    /// Share of cases that give up, in `[0, 1]`; 0 where nobody does.
    pub abandoned: f64,
}

/// Computes Erlang B: the share of cases turned away when there is no queue.
///
/// `B(0) = 1`, `B(c) = A·B(c−1) / (c + A·B(c−1))`: stable for any size, unlike the factorials.
/// Returns a value in `(0, 1]`; `erlangs` must be finite and above 0. Cost: `O(agents)`.
#[must_use]
pub fn erlang_b(agents: u32, erlangs: f64) -> f64 {
    debug_assert!(erlangs.is_finite() && erlangs > 0.0);
    (1..=agents).fold(1.0, |blocked, agent| {
        erlangs * blocked / (f64::from(agent) + erlangs * blocked)
    })
}

/// Computes Erlang C (M/M/c): everybody waits as long as it takes.
///
/// Returns `None` when the traffic is not sound, or the load is not below the number of agents: the
/// queue would grow for ever. Cost: `O(agents)`.
#[must_use]
pub fn erlang_c(agents: u32, traffic: Traffic, target_seconds: f64) -> Option<Performance> {
    let erlangs = traffic.erlangs();
    if !traffic.is_sound() || erlangs >= f64::from(agents) {
        return None;
    }
    Some(waiting(
        agents,
        traffic,
        target_seconds,
        erlang_b(agents, erlangs),
    ))
}

/// Erlang C from Erlang B: `C = B / (1 − ρ(1 − B))`; waits are exponential at the spare rate.
fn waiting(agents: u32, traffic: Traffic, target_seconds: f64, blocked: f64) -> Performance {
    let occupancy = traffic.erlangs() / f64::from(agents);
    let wait_probability = blocked / (1.0 - occupancy * (1.0 - blocked));
    let spare_per_second = (f64::from(agents) - traffic.erlangs()) / traffic.handling_seconds;
    let late = wait_probability * libm::exp(-spare_per_second * target_seconds.max(0.0));
    Performance {
        wait_probability,
        service_level: 1.0 - late,
        mean_wait_seconds: wait_probability / spare_per_second,
        occupancy,
        abandoned: 0.0,
    }
}

/// Computes Erlang A (M/M/c+M): a waiting case gives up after an exponential time of this mean.
///
/// `service_level` is the share of all cases that are answered, and within the target. Returns `None`
/// when the traffic or the patience is not sound, there is no agent, or more than 10⁸ arrive while one
/// loses patience; an overloaded queue is fine, because giving up keeps it finite. Cost: `O(agents + erlangs of waiting)`.
#[must_use]
pub fn erlang_a(
    agents: u32,
    traffic: Traffic,
    patience_seconds: f64,
    target_seconds: f64,
) -> Option<Performance> {
    if !traffic.is_sound()
        || agents == 0
        || !(patience_seconds.is_finite() && patience_seconds > 0.0)
    {
        return None;
    }
    let load = traffic.erlangs() / f64::from(agents);
    let serving_rate = f64::from(agents) / traffic.handling_seconds;
    // In units of patience: rates of serving and of arriving while one case loses patience.
    let (served, arrived) = (
        serving_rate * patience_seconds,
        traffic.arrivals_per_second * patience_seconds,
    );
    if arrived > SERIES_TERMS_MAX {
        return None;
    }
    let blocked = erlang_b(agents, traffic.erlangs());
    let tail = ln_gamma_series(served, arrived);
    let rarely = libm::exp(-tail);
    let wait_probability = 1.0 / (1.0 + (1.0 - blocked) * rarely / blocked);
    let gives_up = rarely / load + 1.0 - 1.0 / load;
    let abandoned = wait_probability * gives_up.clamp(0.0, 1.0);
    let target = target_seconds.max(0.0);
    let kept = libm::exp(-target / patience_seconds);
    // Logarithms throughout: with few agents and much patience the series leaves the doubles.
    let still = arrived * (1.0 - kept) - serving_rate * target;
    let longer = libm::exp(still + ln_gamma_series(served, arrived * kept) - tail);
    let answered_in_time = (libm::exp(still - tail) - rarely + 1.0 - longer) / load;
    let service_level = 1.0 - wait_probability + wait_probability * answered_in_time;
    Some(Performance {
        wait_probability,
        service_level: service_level.clamp(0.0, 1.0),
        mean_wait_seconds: abandoned * patience_seconds,
        occupancy: (load * (1.0 - abandoned)).min(1.0),
        abandoned,
    })
}

/// The logarithm of `Σ yⁿ / ((x+1)…(x+n))`, the confluent series of the lower incomplete gamma
/// function: `A(x, y)` of Mandelbaum and Zeltyn. Terms fall once `n > y − x`, so the loop ends.
fn ln_gamma_series(x: f64, y: f64) -> f64 {
    const LARGE: f64 = 1e200;
    let (mut sum, mut term, mut n, mut scale) = (1.0, 1.0, 0.0, 0.0);
    loop {
        n += 1.0;
        term *= y / (x + n);
        sum += term;
        if sum > LARGE {
            sum /= LARGE;
            term /= LARGE;
            scale += libm::log(LARGE);
        }
        if x + n > y && term < sum * 1e-16 {
            return libm::log(sum) + scale;
        }
    }
}

/// Returns the fewest agents with which at least `level` of the cases are answered within
/// `target_seconds` under Erlang C, and what they achieve.
///
/// `None` if the traffic is not sound, `level` is not in `(0, 1)`, or more than
/// [`AGENTS_STAFFED_MAX`] agents would be needed. Cost: `O(answer)`: one pass of the recursion.
#[must_use]
pub fn staffing(traffic: Traffic, level: f64, target_seconds: f64) -> Option<(u32, Performance)> {
    if !(traffic.is_sound() && level > 0.0 && level < 1.0) {
        return None;
    }
    let erlangs = traffic.erlangs();
    let mut blocked = 1.0;
    for agents in 1..=AGENTS_STAFFED_MAX {
        blocked = erlangs * blocked / (f64::from(agents) + erlangs * blocked);
        if erlangs >= f64::from(agents) {
            continue;
        }
        let performance = waiting(agents, traffic, target_seconds, blocked);
        if performance.service_level >= level {
            return Some((agents, performance));
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::{Traffic, erlang_a, erlang_b, erlang_c, staffing};
    use proptest::prelude::*;

    #[track_caller]
    fn near(found: f64, expected: f64, error: f64) {
        assert!(
            (found - expected).abs() <= error,
            "{found} is not {expected} ± {error}"
        );
    }

    #[test]
    fn erlang_b_matches_values_worked_by_hand() {
        near(erlang_b(0, 3.0), 1.0, 0.0);
        near(erlang_b(1, 1.0), 0.5, 1e-15); // 1 / 2
        near(erlang_b(2, 1.0), 0.2, 1e-15); // 0.5 / 2.5
        near(erlang_b(3, 2.0), 4.0 / 19.0, 1e-15); // (8/6) / (1 + 2 + 2 + 8/6)
    }

    #[test]
    fn one_server_is_the_textbook_queue() {
        // M/M/1 with ρ = 1/2: half wait, the mean wait is ρ / (μ − λ) = 0.5 / 0.5.
        let one = erlang_c(
            1,
            Traffic {
                arrivals_per_second: 0.5,
                handling_seconds: 1.0,
            },
            0.0,
        )
        .unwrap();
        near(one.wait_probability, 0.5, 1e-15);
        near(one.mean_wait_seconds, 1.0, 1e-15);
        near(one.service_level, 0.5, 1e-15);
        assert!(
            erlang_c(
                1,
                Traffic {
                    arrivals_per_second: 1.0,
                    handling_seconds: 1.0
                },
                0.0
            )
            .is_none()
        );
    }

    #[test]
    fn staffing_matches_the_golden_table() {
        // Erlang B recursion in another language; 80 % within 20 s.
        for (per_hour, seconds, agents, level, asa) in [
            (200.0, 180.0, 14, 0.8884, 7.84),
            (360.0, 240.0, 29, 0.8403, 11.63),
            (1_000.0, 300.0, 91, 0.8144, 12.11),
        ] {
            let (found, performance) =
                staffing(Traffic::per_hour(per_hour, seconds), 0.8, 20.0).unwrap();
            assert_eq!(found, agents);
            near(performance.service_level, level, 5e-5);
            near(performance.mean_wait_seconds, asa, 5e-3);
        }
        let fourteen = erlang_c(14, Traffic::per_hour(200.0, 180.0), 20.0).unwrap();
        near(fourteen.wait_probability, 0.1741, 5e-5);
        near(fourteen.occupancy, 10.0 / 14.0, 1e-12);
        let (agents, large) = staffing(Traffic::per_hour(10_000.0, 300.0), 0.8, 20.0).unwrap();
        assert_eq!(agents, 848);
        near(large.service_level, 0.8110, 5e-5);
        near(large.mean_wait_seconds, 10.28, 5e-3);
        near(large.occupancy, 0.983, 5e-4);
    }

    #[test]
    fn erlang_a_matches_garnett_mandelbaum_and_reiman() {
        // "Designing a call center with impatient customers" (2002), table 1: 48 calls a minute of
        // one minute, 50 agents, patience two minutes: 3.1 % give up, 3.7 s mean wait, 93 % busy.
        let traffic = Traffic {
            arrivals_per_second: 0.8,
            handling_seconds: 60.0,
        };
        let found = erlang_a(50, traffic, 120.0, 12.5).unwrap();
        near(found.abandoned, 0.031, 5e-4);
        near(found.mean_wait_seconds, 3.7, 5e-2);
        near(found.occupancy, 0.93, 5e-3);
        let patient = erlang_c(50, traffic, 12.5).unwrap();
        near(patient.mean_wait_seconds, 20.8, 5e-2);
        near(patient.occupancy, 0.96, 5e-3);
    }

    #[test]
    fn one_impatient_server_matches_its_birth_and_death_chain() {
        // One agent, λ = μ = θ = 1: state n leaves at rate n, so states are Poisson(1).
        let one = Traffic {
            arrivals_per_second: 1.0,
            handling_seconds: 1.0,
        };
        let found = erlang_a(1, one, 1.0, 0.0).unwrap();
        let idle = libm::exp(-1.0);
        near(found.wait_probability, 1.0 - idle, 1e-12);
        near(found.abandoned, idle, 1e-12); // mean in queue = E(N) − P(busy) = 1 − (1 − 1/e)
        near(found.occupancy, 1.0 - idle, 1e-12);
        near(found.service_level, idle, 1e-12); // within 0 s: those who found nobody before them
    }

    #[test]
    fn one_agent_and_endless_patience_stay_finite() {
        // 1,389 erlangs on one agent: all but the one served per 1,000 s give up.
        let found = erlang_a(1, Traffic::per_hour(5_000.0, 1_000.0), 2_000.0, 20.0).unwrap();
        near(found.wait_probability, 1.0, 1e-12);
        near(found.occupancy, 1.0, 1e-9);
        near(found.abandoned, 1.0 - 3.6 / 5_000.0, 1e-9);
    }

    #[test]
    fn unsound_traffic_has_no_answer() {
        for (arrivals, seconds) in [
            (0.0, 1.0),
            (1.0, 0.0),
            (f64::NAN, 1.0),
            (1.0, f64::INFINITY),
            // Each of both is a number, their product is none.
            (1e300, 1e300),
            (1e-300, 1e-300),
        ] {
            let traffic = Traffic {
                arrivals_per_second: arrivals,
                handling_seconds: seconds,
            };
            assert!(erlang_c(9, traffic, 1.0).is_none());
            assert!(erlang_a(9, traffic, 1.0, 1.0).is_none());
            // So impatient that the series alone would not refuse.
            assert!(erlang_a(9, traffic, 1e-300, 1.0).is_none());
            assert!(!traffic.is_sound());
            assert!(staffing(traffic, 0.8, 20.0).is_none());
        }
        let traffic = Traffic::per_hour(10.0, 10.0);
        assert!(staffing(traffic, 1.0, 20.0).is_none());
        assert!(erlang_a(0, traffic, 1.0, 1.0).is_none());
        assert!(staffing(Traffic::per_hour(1e12, 3_600.0), 0.8, 20.0).is_none());
    }

    proptest! {
        #[test]
        fn answers_stay_in_their_ranges(
            agents in 1u32..200, per_hour in 1.0..5_000.0f64, seconds in 1.0..1_000.0f64,
            patience in 1.0..2_000.0f64, target in 0.0..600.0f64,
        ) {
            let traffic = Traffic::per_hour(per_hour, seconds);
            let with_a = erlang_a(agents, traffic, patience, target).unwrap();
            for share in [with_a.wait_probability, with_a.service_level, with_a.occupancy, with_a.abandoned] {
                prop_assert!((0.0..=1.0).contains(&share), "{with_a:?}");
            }
            if let Some(with_c) = erlang_c(agents, traffic, target) {
                prop_assert!((0.0..=1.0).contains(&with_c.service_level));
                // Those who give up make room for the rest.
                prop_assert!(with_a.wait_probability <= with_c.wait_probability + 1e-9);
            }
        }

        #[test]
        fn one_more_agent_never_makes_it_worse(
            spare in 1u32..50, per_hour in 1.0..3_000.0f64, seconds in 1.0..600.0f64,
        ) {
            let traffic = Traffic::per_hour(per_hour, seconds);
            let agents = traffic.erlangs() as u32 + spare;
            let (few, more) = (erlang_c(agents, traffic, 20.0), erlang_c(agents + 1, traffic, 20.0));
            if let (Some(few), Some(more)) = (few, more) {
                prop_assert!(more.service_level >= few.service_level - 1e-12);
                prop_assert!(more.mean_wait_seconds <= few.mean_wait_seconds + 1e-12);
            }
        }

        #[test]
        fn staffing_is_the_least_that_will_do(per_hour in 1.0..2_000.0f64, seconds in 1.0..600.0f64, level in 0.1..0.99f64) {
            let traffic = Traffic::per_hour(per_hour, seconds);
            let (agents, performance) = staffing(traffic, level, 20.0).unwrap();
            prop_assert!(performance.service_level >= level);
            let fewer = erlang_c(agents - 1, traffic, 20.0);
            prop_assert!(fewer.is_none_or(|fewer| fewer.service_level < level));
        }

        #[test]
        fn endless_patience_is_erlang_c(per_hour in 10.0..1_000.0f64, spare in 1u32..10) {
            let traffic = Traffic::per_hour(per_hour, 120.0);
            let agents = traffic.erlangs() as u32 + spare + 1;
            let (with_c, with_a) = (erlang_c(agents, traffic, 20.0).unwrap(), erlang_a(agents, traffic, 1e7, 20.0).unwrap());
            prop_assert!((with_c.wait_probability - with_a.wait_probability).abs() < 1e-3);
            prop_assert!((with_c.service_level - with_a.service_level).abs() < 1e-3);
        }
    }
}
