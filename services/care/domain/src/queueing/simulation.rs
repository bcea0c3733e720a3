//! The queue of the closed forms, simulated: drawn calls through the replay, measured in independent
//! replications, each beside its interval. What the forms say must lie inside.

use rapport_math::{Interval, Rng, StudentT};

use super::{
    Call, CallClass, Fate, Outcome, Performance, Policy, Queue, REPLAY_AGENTS_MAX, Traffic, replay,
};

/// Independent replications of one simulation.
pub const REPLICATIONS: u64 = 32;
/// Most arrivals of all replications together: about a minute of one core.
pub const ARRIVALS_SIMULATED_MAX: f64 = 100e6;
/// Fewest arrivals that one replication measures.
const MEASURED_MIN: f64 = 5_000.0;
/// Relaxation times before measuring begins (what the empty start leaves is `e^-10`), and measured.
const WARM_UP: f64 = 10.0;
const MEASURED: f64 = 20.0;

/// A queue to simulate: Poisson arrivals, exponential service, and patience if any; first come, first
/// served.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Simulation {
    traffic: Traffic,
    agents: u32,
    patience_seconds: Option<f64>,
    target_seconds: f64,
    /// Arrivals before measuring begins, and measured.
    warm_up: usize,
    measured: usize,
}

impl Simulation {
    /// Plans a simulation: replications as long as the queue needs to forget where it began.
    ///
    /// `None` where there is no long run (see [`super::erlang_c`], [`super::erlang_a`]), it would take more
    /// than [`ARRIVALS_SIMULATED_MAX`] arrivals to see it, or there are more than [`REPLAY_AGENTS_MAX`]
    /// agents.
    #[must_use]
    pub fn plan(
        traffic: Traffic,
        agents: u32,
        patience_seconds: Option<f64>,
        target_seconds: f64,
    ) -> Option<Self> {
        if agents > REPLAY_AGENTS_MAX {
            return None;
        }
        let settled = match patience_seconds {
            Some(patience) => super::erlang_a(agents, traffic, patience, target_seconds),
            None => super::erlang_c(agents, traffic, target_seconds),
        };
        settled?;
        let served = 1.0 / traffic.handling_seconds;
        let forgets = match patience_seconds {
            // Every person leaves at one of two rates, so the queue forgets no slower than the lower.
            Some(patience) => served.min(1.0 / patience),
            // Karlin and McGregor 1958: of M/M/c the gap is at most (√cμ − √λ)², and μ at light load.
            None => {
                let capacity = libm::sqrt(f64::from(agents) * served);
                let spare = capacity - libm::sqrt(traffic.arrivals_per_second);
                served.min(spare * spare)
            }
        };
        let per_relaxation = traffic.arrivals_per_second / forgets;
        let warm_up = libm::ceil(WARM_UP * per_relaxation) + f64::from(agents);
        let measured = libm::ceil(MEASURED * per_relaxation).max(MEASURED_MIN);
        ((warm_up + measured) * REPLICATIONS as f64 <= ARRIVALS_SIMULATED_MAX).then_some(Self {
            traffic,
            agents,
            patience_seconds,
            target_seconds: target_seconds.max(0.0),
            warm_up: warm_up as usize,
            measured: measured as usize,
        })
    }

    /// Runs the replication of a number. `rng` is forked by it, so replications may run in any order.
    ///
    /// Cost: `O(arrivals · log(agents))`, memory about 100 bytes per arrival.
    #[must_use]
    pub fn replication(&self, rng: &Rng, number: u64) -> Performance {
        let mut rng = rng.fork(number);
        let mut now = 0.0;
        let calls: Vec<Call> = (0..self.warm_up + self.measured)
            .map(|_| {
                now += rng.exponential(self.traffic.arrivals_per_second);
                let service_seconds = rng.exponential(1.0 / self.traffic.handling_seconds);
                let patience_seconds = self
                    .patience_seconds
                    .map_or(f64::INFINITY, |mean| rng.exponential(1.0 / mean));
                Call {
                    arrival_seconds: now,
                    service_seconds,
                    patience_seconds,
                    class: 0,
                }
            })
            .collect();
        let one_class = [CallClass {
            priority: 0,
            cost: 1.0,
            mean_service_seconds: self.traffic.handling_seconds,
        }];
        let queue = Queue {
            agents: self.agents,
            policy: Policy::Fifo,
            classes: &one_class,
        };
        let outcomes = replay(&calls, &queue).expect("drawn in order, with sound times and agents");
        self.measure(&calls, &outcomes)
    }

    fn measure(&self, calls: &[Call], outcomes: &[Outcome]) -> Performance {
        let (mut waited, mut in_time, mut sum, mut gave_up) = (0u64, 0u64, 0.0, 0u64);
        for it in &outcomes[self.warm_up..] {
            waited += u64::from(it.wait_seconds > 0.0);
            sum += it.wait_seconds;
            match it.fate {
                Fate::Answered(_) => in_time += u64::from(it.wait_seconds <= self.target_seconds),
                Fate::GaveUp => gave_up += 1,
            }
        }
        let (begin, end) = (
            calls[self.warm_up].arrival_seconds,
            calls[calls.len() - 1].arrival_seconds,
        );
        let busy: f64 = calls
            .iter()
            .zip(outcomes)
            .filter(|(_, it)| it.fate != Fate::GaveUp)
            .map(|(call, it)| {
                let start = call.arrival_seconds + it.wait_seconds;
                let within = (start + call.service_seconds).min(end) - start.max(begin);
                within.max(0.0)
            })
            .sum();
        let n = self.measured as f64;
        Performance {
            wait_probability: waited as f64 / n,
            service_level: in_time as f64 / n,
            mean_wait_seconds: sum / n,
            occupancy: busy / (f64::from(self.agents) * (end - begin)),
            abandoned: gave_up as f64 / n,
        }
    }
}

/// A measure over replications.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Measured {
    /// Mean of the replications.
    pub mean: f64,
    /// Student's interval of that mean, 95 %.
    pub interval: Interval,
}

/// What a simulation measured; the fields are those of [`Performance`].
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Simulated {
    /// Share of cases that wait at all.
    pub wait_probability: Measured,
    /// Share of cases answered within the target.
    pub service_level: Measured,
    /// Mean wait over all cases, in seconds.
    pub mean_wait_seconds: Measured,
    /// Share of their time that agents are busy.
    pub occupancy: Measured,
    /// Share of cases that give up.
    pub abandoned: Measured,
}

/// Puts replications together. `None` with fewer than two.
#[must_use]
pub fn summarise(replications: &[Performance]) -> Option<Simulated> {
    let n = replications.len() as f64;
    let student = StudentT::new(n - 1.0)?.quantile(0.975);
    let of = |pick: fn(&Performance) -> f64| {
        let mean = replications.iter().map(pick).sum::<f64>() / n;
        let squares: f64 = replications
            .iter()
            .map(|it| (pick(it) - mean) * (pick(it) - mean))
            .sum();
        Measured {
            mean,
            interval: Interval::around(mean, student * libm::sqrt(squares / (n - 1.0) / n)),
        }
    };
    Some(Simulated {
        wait_probability: of(|it| it.wait_probability),
        service_level: of(|it| it.service_level),
        mean_wait_seconds: of(|it| it.mean_wait_seconds),
        occupancy: of(|it| it.occupancy),
        abandoned: of(|it| it.abandoned),
    })
}

#[cfg(test)]
mod tests {
    use super::{Performance, REPLAY_AGENTS_MAX, Simulated, Simulation, summarise};
    use crate::queueing::{Traffic, erlang_a, erlang_c};
    use rapport_math::Rng;

    const SEEDS: u64 = 40;

    fn simulated(plan: &Simulation, seed: u64) -> Simulated {
        let rng = Rng::seeded(seed);
        let runs: Vec<Performance> = (0..12).map(|run| plan.replication(&rng, run)).collect();
        summarise(&runs).unwrap()
    }

    /// Of 40 intervals of 95 %, fewer than 32 around the truth come once in 7,700 times.
    #[track_caller]
    fn covers(plan: Option<Simulation>, truth: Performance) {
        let plan = plan.unwrap();
        let found: Vec<Simulated> = (0..SEEDS).map(|seed| simulated(&plan, seed)).collect();
        let check = |name: &str, truth: f64, of: fn(&Simulated) -> super::Measured| {
            let inside = found.iter().filter(|it| {
                let interval = of(it).interval;
                interval.contains(truth)
                    || interval.width() == 0.0 && (of(it).mean - truth).abs() < 1e-12
            });
            assert!(inside.count() >= 32, "{name}");
        };
        check("wait_probability", truth.wait_probability, |it| {
            it.wait_probability
        });
        check("service_level", truth.service_level, |it| it.service_level);
        check("mean_wait", truth.mean_wait_seconds, |it| {
            it.mean_wait_seconds
        });
        check("occupancy", truth.occupancy, |it| it.occupancy);
        check("abandoned", truth.abandoned, |it| it.abandoned);
    }

    #[test]
    fn simulation_agrees_with_erlang_c() {
        let traffic = Traffic::per_hour(200.0, 180.0);
        let plan = Simulation::plan(traffic, 14, None, 20.0);
        covers(plan, erlang_c(14, traffic, 20.0).unwrap());
    }

    #[test]
    fn simulation_agrees_with_erlang_a_even_when_overloaded() {
        for (agents, patience) in [(9, 60.0), (12, 300.0)] {
            let traffic = Traffic::per_hour(200.0, 180.0);
            let plan = Simulation::plan(traffic, agents, Some(patience), 20.0);
            covers(plan, erlang_a(agents, traffic, patience, 20.0).unwrap());
        }
    }

    #[test]
    fn what_never_settles_is_not_simulated() {
        assert_eq!(
            Simulation::plan(Traffic::per_hour(200.0, 180.0), 10, None, 20.0),
            None
        );
        // A replay takes no more agents.
        let small = Traffic::per_hour(200.0, 180.0);
        assert!(Simulation::plan(small, REPLAY_AGENTS_MAX, None, 20.0).is_some());
        for patience in [None, Some(60.0)] {
            let plan = Simulation::plan(small, REPLAY_AGENTS_MAX + 1, patience, 20.0);
            assert_eq!(plan, None);
        }
        // One agent at 99.99 % of the load forgets in a thousand million calls.
        let edge = Traffic::per_hour(3_599.64, 1.0);
        assert_eq!(Simulation::plan(edge, 1, None, 20.0), None);
    }
}
