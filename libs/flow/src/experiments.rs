//! The experiments that run, and the arms that a person gets in them. Setting them up and analysing
//! them is evaluate's.

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use rapport_api::evaluate::v1::experiment_service_client::ExperimentServiceClient;
use rapport_api::evaluate::v1::{Experiment, ExperimentState, ListExperimentsRequest};
use rapport_api::event::v1::ExperimentArm;
use rapport_telemetry::names;
use rapport_types::SubjectId;
use tokio::time::{Instant, MissedTickBehavior, interval, timeout};
use tokio_util::sync::CancellationToken;
use tonic::Status;

use crate::Channel;

const POLL_EVERY: Duration = Duration::from_secs(2);
const PAGE_MAX: i32 = 500;
/// Experiments that may run at once; more are ignored, the last keys first.
const PAGES_MAX: usize = 4;

/// The running experiments. Cloning shares them. Empty until evaluate answered for the first time;
/// while it is away, the last answer holds.
#[derive(Debug, Clone, Default)]
pub struct Experiments(Arc<ArcSwap<Vec<Experiment>>>);

/// What one person gets in every running experiment, in the order of the keys.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Arms {
    arms: Vec<ExperimentArm>,
    measured: bool,
}

impl Arms {
    /// Returns the variant to act on, `None` when the experiment does not run: do as the control.
    #[must_use]
    pub fn variant(&self, experiment: &str) -> Option<&str> {
        let found = self
            .arms
            .binary_search_by(|arm| arm.experiment.as_str().cmp(experiment));
        found.ok().map(|index| self.arms[index].variant.as_str())
    }

    /// Returns the arms to write into a decision, of the experiments that mattered to it. Empty
    /// without the `measure` consent: acting on the control is then no exposure.
    #[must_use]
    pub fn exposures(&self, experiments: &[&str]) -> Vec<ExperimentArm> {
        let exposed = self
            .arms
            .iter()
            .filter(|arm| experiments.contains(&arm.experiment.as_str()));
        exposed.filter(|_| self.measured).cloned().collect()
    }
}

impl Experiments {
    /// Returns the experiments that a task reads from evaluate every two seconds until `stop` is
    /// cancelled. Must be called inside a tokio runtime.
    #[must_use]
    pub fn follow(evaluate: Channel, stop: CancellationToken) -> Self {
        let experiments = Self::default();
        let fed = experiments.clone();
        tokio::spawn(async move {
            tokio::select! {
                () = stop.cancelled() => {}
                () = fed.poll(evaluate) => {}
            }
        });
        experiments
    }

    /// Replaces the list. For evaluate itself, which needs no network, and for tests. Experiments
    /// that do not run are left out.
    pub fn set(&self, mut experiments: Vec<Experiment>) {
        experiments.retain(|experiment| experiment.state() == ExperimentState::Running);
        experiments.sort_by(|a, b| a.key.cmp(&b.key));
        self.0.store(Arc::new(experiments));
    }

    /// Returns the arms of a person. `anchor`: see [`crate::People::anchor`]. Without the `measure`
    /// consent everybody gets the control, the first variant.
    #[must_use]
    pub fn arms(&self, anchor: SubjectId, measure_granted: bool) -> Arms {
        let arm = |experiment: &Experiment| {
            let shares = experiment.variants.iter().map(|variant| variant.share);
            let unit = anchor.as_bytes();
            let assigned = match measure_granted {
                true => rapport_math::assigned_arm(&experiment.key, unit, shares),
                false => 0,
            };
            Some(ExperimentArm {
                experiment: experiment.key.clone(),
                variant: experiment.variants.get(assigned)?.key.clone(),
            })
        };
        let arms = self.0.load().iter().filter_map(arm).collect();
        Arms {
            arms,
            measured: measure_granted,
        }
    }

    async fn poll(&self, evaluate: Channel) {
        let mut client = ExperimentServiceClient::new(evaluate);
        let mut ticks = interval(POLL_EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut read_at = Instant::now();
        loop {
            ticks.tick().await;
            match timeout(POLL_EVERY, list(&mut client)).await {
                Ok(Ok(running)) => {
                    self.set(running);
                    read_at = Instant::now();
                }
                Ok(Err(status)) => tracing::debug!(code = %status.code(), "evaluate is away"),
                Err(_elapsed) => tracing::debug!("evaluate did not answer"),
            }
            names::EXPERIMENTS_AGE.set(read_at.elapsed().as_secs_f64(), &[]);
        }
    }
}

async fn list(client: &mut ExperimentServiceClient<Channel>) -> Result<Vec<Experiment>, Status> {
    let mut running = Vec::new();
    let mut page_token = String::new();
    for _page in 0..PAGES_MAX {
        let request = ListExperimentsRequest {
            state: ExperimentState::Running.into(),
            page_size: PAGE_MAX,
            page_token,
        };
        let page = client.list_experiments(request).await?.into_inner();
        running.extend(page.experiments);
        page_token = page.next_page_token;
        if page_token.is_empty() {
            break;
        }
    }
    Ok(running)
}

#[cfg(test)]
mod tests {
    use super::*;
    use rapport_api::evaluate::v1::Variant;

    fn experiment(key: &str, state: ExperimentState) -> Experiment {
        let variant = |key: &str| Variant {
            key: key.to_owned(),
            share: 5_000,
        };
        Experiment {
            key: key.to_owned(),
            state: state.into(),
            variants: vec![variant("control"), variant("bold")],
            ..Experiment::default()
        }
    }

    fn running() -> Experiments {
        let experiments = Experiments::default();
        experiments.set(vec![
            experiment("ranker", ExperimentState::Running),
            experiment("checkout", ExperimentState::Running),
            experiment("old", ExperimentState::Stopped),
        ]);
        experiments
    }

    #[test]
    fn a_measured_person_keeps_the_arm_that_the_shared_hash_gives() {
        let experiments = running();
        let mut seen = [0, 0];
        for n in 0..200u8 {
            let anchor = SubjectId::new([n; 16]);
            let arms = experiments.arms(anchor, true);
            let index = rapport_math::assigned_arm("ranker", anchor.as_bytes(), [5_000, 5_000]);
            assert_eq!(arms.variant("ranker"), Some(["control", "bold"][index]));
            assert_eq!(arms.exposures(&["ranker"]).len(), 1);
            seen[index] += 1;
        }
        assert!(seen.iter().all(|count| *count > 60), "{seen:?}");
    }

    #[test]
    fn without_the_measure_consent_everybody_is_control_and_nobody_exposed() {
        let experiments = running();
        for n in 0..100u8 {
            let arms = experiments.arms(SubjectId::new([n; 16]), false);
            assert_eq!(arms.variant("checkout"), Some("control"));
            assert_eq!(arms.exposures(&["checkout", "ranker"]), []);
        }
    }

    #[test]
    fn an_experiment_that_does_not_run_has_no_variant() {
        let arms = running().arms(SubjectId::new([1; 16]), true);
        assert_eq!(arms.variant("old"), None);
        assert_eq!(arms.variant("unheard"), None);
        assert_eq!(arms.exposures(&["old"]), []);
    }
}
