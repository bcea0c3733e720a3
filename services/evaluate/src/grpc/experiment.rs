//! `ExperimentService`: set up, start and stop, list, assign, analyse.

use evaluate_domain::experiment::{self, Allocation, Arm, ArmAnalysis, KEY_CHARS_MAX, Variant};
use rapport_api::evaluate::v1 as pb;
use rapport_api::evaluate::v1::experiment_service_server::ExperimentService;
use rapport_flow::People;
use rapport_rpc::write::{Asked, Begun};
use rapport_rpc::{Caller, Fields, InvalidRequest};
use rapport_types::Purpose;
use tonic::{Request, Response, Status};

use crate::directory::{Change, Directory};
use crate::error::Error;
use crate::report::Days;
use crate::report::trial::{Metric, Trial, TrialResult};
use crate::store::experiment::{self as store, Experiment};
use crate::view::Reader;

/// Longest hypothesis, in characters.
const HYPOTHESIS_CHARS_MAX: usize = 256;
/// Experiments of a page unless asked for otherwise.
const PAGE_DEFAULT: u32 = 100;
/// Most experiments of a page.
const PAGE_MAX: u32 = 500;

/// The service.
#[derive(Debug, Clone)]
pub struct ExperimentApi {
    /// The experiments.
    pub directory: Directory,
    /// Who is whom and permits what.
    pub people: People,
    /// What people did.
    pub reader: Reader,
}

#[tonic::async_trait]
impl ExperimentService for ExperimentApi {
    async fn upsert_experiment(
        &self,
        request: Request<pb::UpsertExperimentRequest>,
    ) -> Result<Response<pb::UpsertExperimentResponse>, Status> {
        let caller = Caller::of(&request);
        let response = self.upsert(&caller, request.into_inner()).await?;
        Ok(Response::new(response))
    }

    async fn set_experiment_state(
        &self,
        request: Request<pb::SetExperimentStateRequest>,
    ) -> Result<Response<pb::SetExperimentStateResponse>, Status> {
        let caller = Caller::of(&request);
        let response = self.set_state(&caller, request.into_inner()).await?;
        Ok(Response::new(response))
    }

    async fn list_experiments(
        &self,
        request: Request<pb::ListExperimentsRequest>,
    ) -> Result<Response<pb::ListExperimentsResponse>, Status> {
        Ok(Response::new(self.list(&request.into_inner()).await?))
    }

    async fn get_assignments(
        &self,
        request: Request<pb::GetAssignmentsRequest>,
    ) -> Result<Response<pb::GetAssignmentsResponse>, Status> {
        Ok(Response::new(self.assignments(&request.into_inner())?))
    }

    async fn analyze_experiment(
        &self,
        request: Request<pb::AnalyzeExperimentRequest>,
    ) -> Result<Response<pb::AnalyzeExperimentResponse>, Status> {
        Ok(Response::new(self.analyze(&request.into_inner()).await?))
    }
}

impl ExperimentApi {
    async fn upsert(
        &self,
        caller: &Caller,
        raw: pb::UpsertExperimentRequest,
    ) -> Result<pb::UpsertExperimentResponse, Error> {
        let (key, hypothesis, allocation) = parse_experiment(&raw)?;
        let asked = Asked::plain(caller, "UpsertExperiment", &raw.request_id, &raw);
        let (mut tx, slot) = match self.directory.begin(&asked).await? {
            Begun::New(tx, slot) => (tx, slot),
            Begun::Done(response) => return Ok(response),
        };
        let written = self
            .directory
            .upsert(&mut tx, &key, &hypothesis, allocation);
        let response = pb::UpsertExperimentResponse {
            experiment: Some(to_experiment(&written.await?)),
        };
        self.directory.finish(tx, slot, response).await
    }

    async fn set_state(
        &self,
        caller: &Caller,
        raw: pb::SetExperimentStateRequest,
    ) -> Result<pb::SetExperimentStateResponse, Error> {
        let mut fields = Fields::default();
        fields.request_id(&raw.request_id);
        fields.text("key", &raw.key, KEY_CHARS_MAX);
        let change = match raw.state() {
            pb::ExperimentState::Running => Change::Start,
            pb::ExperimentState::Stopped => Change::Stop,
            pb::ExperimentState::Unspecified | pb::ExperimentState::Draft => {
                fields.refuse("state", "must be RUNNING or STOPPED");
                Change::Start
            }
        };
        let change = fields.finish(change)?;
        let asked = Asked::plain(caller, "SetExperimentState", &raw.request_id, &raw);
        let (mut tx, slot) = match self.directory.begin(&asked).await? {
            Begun::New(tx, slot) => (tx, slot),
            Begun::Done(response) => return Ok(response),
        };
        let changed = self.directory.change(&mut tx, &raw.key, change).await?;
        let response = pb::SetExperimentStateResponse {
            experiment: Some(to_experiment(&changed)),
        };
        self.directory.finish(tx, slot, response).await
    }

    async fn list(
        &self,
        raw: &pb::ListExperimentsRequest,
    ) -> Result<pb::ListExperimentsResponse, Error> {
        let mut fields = Fields::default();
        let state = raw.state;
        if pb::ExperimentState::try_from(state).is_err() {
            fields.refuse("state", "is not known");
        }
        let size = fields.page_size(raw.page_size, PAGE_DEFAULT, PAGE_MAX);
        let after = after_of(&raw.page_token, state).unwrap_or_else(|| {
            fields.refuse("page_token", "is not a token of this list");
            ""
        });
        let (size, after) = fields.finish((size, after))?;
        let mut found = store::list(self.directory.db(), state, after, size + 1).await?;
        let more = found.len() > size as usize;
        found.truncate(size as usize);
        let last = found.last().filter(|_| more);
        let next_page_token = last.map(|last| format!("{state}.{}", last.key));
        Ok(pb::ListExperimentsResponse {
            experiments: found.iter().map(to_experiment).collect(),
            next_page_token: next_page_token.unwrap_or_default(),
        })
    }

    fn assignments(
        &self,
        raw: &pb::GetAssignmentsRequest,
    ) -> Result<pb::GetAssignmentsResponse, Error> {
        let mut fields = Fields::default();
        let subject = fields.subject("subject_id", &raw.subject_id);
        let subject = fields.finish(subject)?;
        let measured = self.people.consent(subject, Purpose::Measure).is_granted();
        let anchor = self.people.anchor(subject);
        let running = self.directory.running();
        let assignment = |experiment: &Experiment| {
            let allocation = &experiment.allocation;
            let (variant, reason) = match measured {
                true => {
                    let unit = anchor.as_bytes();
                    (
                        experiment::assign(&experiment.key, unit, allocation),
                        "SPLIT",
                    )
                }
                false => (allocation.control(), "CONSENT"),
            };
            pb::Assignment {
                experiment: experiment.key.clone(),
                variant: variant.to_owned(),
                reason: reason.to_owned(),
            }
        };
        Ok(pb::GetAssignmentsResponse {
            assignments: running.iter().map(assignment).collect(),
        })
    }

    async fn analyze(
        &self,
        raw: &pb::AnalyzeExperimentRequest,
    ) -> Result<pb::AnalyzeExperimentResponse, Error> {
        let mut fields = Fields::default();
        fields.text("key", &raw.key, KEY_CHARS_MAX);
        let metric = match raw.metric() {
            pb::Metric::Conversion => Metric::Conversion,
            pb::Metric::Revenue => Metric::Revenue,
            pb::Metric::Unspecified => {
                fields.refuse("metric", "is required");
                Metric::Conversion
            }
        };
        let metric = fields.finish(metric)?;
        let found = store::get(self.directory.db(), &raw.key).await?;
        let found = found.ok_or_else(|| Error::ExperimentNotFound(raw.key.clone()))?;
        let counted = self.reader.run(move |view| async move {
            let currency = view.totals(Days::ALL).await?.main_currency();
            let trial = || Trial::new(found.clone(), metric, currency);
            let (trial, graph_version) = view.people(trial).await?;
            Ok((trial.finish()?, graph_version))
        });
        let (result, graph_version) = counted.await?;
        Ok(to_analysis(
            &result,
            graph_version,
            self.reader.events_behind(),
        ))
    }
}

fn parse_experiment(
    raw: &pb::UpsertExperimentRequest,
) -> Result<(String, String, Allocation), InvalidRequest> {
    let mut fields = Fields::default();
    fields.request_id(&raw.request_id);
    let Some(experiment) = &raw.experiment else {
        fields.refuse("experiment", "is required");
        return Err(fields.refused());
    };
    fields.text("experiment.key", &experiment.key, KEY_CHARS_MAX);
    let hypothesis = &experiment.hypothesis;
    fields.text("experiment.hypothesis", hypothesis, HYPOTHESIS_CHARS_MAX);
    for (place, variant) in experiment.variants.iter().enumerate() {
        if variant.share == 0 {
            let field = format!("experiment.variants[{place}].share");
            fields.refuse(&field, "must be at least 1");
        }
    }
    let variant = |variant: &pb::Variant| Variant {
        key: variant.key.clone(),
        share: variant.share,
    };
    let allocation = Allocation::new(experiment.variants.iter().map(variant).collect());
    match allocation {
        Ok(allocation) => fields.finish((experiment.key.clone(), hypothesis.clone(), allocation)),
        Err(why) => {
            fields.refuse("experiment.variants", why);
            Err(fields.refused())
        }
    }
}

/// Returns the key that a page starts after, `None` for a token of another list.
fn after_of(token: &str, state: i32) -> Option<&str> {
    if token.is_empty() {
        return Some("");
    }
    let (of, key) = token.split_once('.')?;
    let fits = of.parse() == Ok(state) && (1..=KEY_CHARS_MAX).contains(&key.chars().count());
    // Postgres has no text with a NUL: asked for one it fails as if it were away.
    (fits && !key.contains('\0')).then_some(key)
}

fn to_experiment(experiment: &Experiment) -> pb::Experiment {
    let (state, started_at_ms, stopped_at_ms) = store::numbers(experiment.state);
    let variant = |variant: &Variant| pb::Variant {
        key: variant.key.clone(),
        share: variant.share,
    };
    pb::Experiment {
        key: experiment.key.clone(),
        hypothesis: experiment.hypothesis.clone(),
        state,
        variants: experiment
            .allocation
            .variants()
            .iter()
            .map(variant)
            .collect(),
        started_at_ms,
        stopped_at_ms,
    }
}

fn to_analysis(
    result: &TrialResult,
    graph_version: u64,
    events_behind: u64,
) -> pb::AnalyzeExperimentResponse {
    let of = |arm: &Arm| result.treated.iter().find(|row| row.variant == arm.variant);
    pb::AnalyzeExperimentResponse {
        arms: result.arms.iter().map(|arm| to_arm(arm, of(arm))).collect(),
        srm_p: result.srm_p,
        crossovers: result.crossovers,
        verdict: result.verdict.as_str().to_owned(),
        warnings: result.warnings.clone(),
        graph_version,
        events_behind,
    }
}

fn to_arm(arm: &Arm, treated: Option<&ArmAnalysis>) -> pb::ArmResult {
    let estimate = treated.and_then(|row| row.estimate);
    let sequential = treated.and_then(|row| row.sequential);
    pb::ArmResult {
        variant: arm.variant.clone(),
        persons: arm.units.x().count(),
        mean: arm.units.x().mean().unwrap_or(0.0),
        effect: estimate.map(|found| found.effect),
        ci_low: estimate.map(|found| found.interval.low),
        ci_high: estimate.map(|found| found.interval.high),
        sequential_low: sequential.map(|range| range.low),
        sequential_high: sequential.map(|range| range.high),
        p: estimate.map(|found| found.p),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_of_another_list_or_of_no_key_is_refused() {
        assert_eq!(after_of("", 1), Some(""));
        assert_eq!(after_of("1.a.b", 1), Some("a.b"));
        for foreign in ["2.a", "1", "1.", "x.a", "1.a\0"] {
            assert_eq!(after_of(foreign, 1), None, "{foreign:?}");
        }
    }
}
