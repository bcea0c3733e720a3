//! Profile and evaluate, as far as recommend needs them: the fake log, and the experiments it is given.

use std::ops::Deref;
use std::sync::{Arc, Mutex};

use prost::Message;
use rapport_api::evaluate::v1::experiment_service_server::ExperimentService;
use rapport_api::evaluate::v1::{self as evaluate, Experiment};
use rapport_api::event::v1::RecommendationDecided;
use rapport_flow::testing::FakeLog;
use rapport_types::{ConsentState, Purpose, SubjectId};
use tonic::{Request, Response, Status};

/// The log and the experiments. Cloning shares them.
#[derive(Debug, Clone, Default)]
pub(crate) struct Neighbours {
    log: FakeLog,
    experiments: Arc<Mutex<Vec<Experiment>>>,
}

impl Deref for Neighbours {
    type Target = FakeLog;

    fn deref(&self) -> &FakeLog {
        &self.log
    }
}

impl Neighbours {
    pub(crate) fn log(&self) -> FakeLog {
        self.log.clone()
    }

    pub(crate) fn set_experiments(&self, experiments: Vec<Experiment>) {
        *self.experiments.lock().unwrap() = experiments;
    }

    /// Grants purposes and returns the control sequence.
    pub(crate) fn grant(&self, subjects: &[SubjectId], purposes: &[Purpose]) -> u64 {
        self.log
            .set_consent(subjects, purposes, ConsentState::Granted)
    }

    /// Returns every decision with the subject that the log has for it.
    pub(crate) fn decisions(&self) -> Vec<(Vec<u8>, RecommendationDecided)> {
        let events = self.log.records("RecommendationDecided").into_iter();
        events
            .map(|event| {
                let payload = RecommendationDecided::decode(event.payload).unwrap();
                (event.subject_id.to_vec(), payload)
            })
            .collect()
    }
}

fn unused<T>() -> Result<Response<T>, Status> {
    Err(Status::internal("recommend does not call this"))
}

#[tonic::async_trait]
impl ExperimentService for Neighbours {
    async fn upsert_experiment(
        &self,
        _request: Request<evaluate::UpsertExperimentRequest>,
    ) -> Result<Response<evaluate::UpsertExperimentResponse>, Status> {
        unused()
    }

    async fn set_experiment_state(
        &self,
        _request: Request<evaluate::SetExperimentStateRequest>,
    ) -> Result<Response<evaluate::SetExperimentStateResponse>, Status> {
        unused()
    }

    async fn list_experiments(
        &self,
        _request: Request<evaluate::ListExperimentsRequest>,
    ) -> Result<Response<evaluate::ListExperimentsResponse>, Status> {
        let experiments = self.experiments.lock().unwrap().clone();
        Ok(Response::new(evaluate::ListExperimentsResponse {
            experiments,
            next_page_token: String::new(),
        }))
    }

    async fn get_assignments(
        &self,
        _request: Request<evaluate::GetAssignmentsRequest>,
    ) -> Result<Response<evaluate::GetAssignmentsResponse>, Status> {
        unused()
    }

    async fn analyze_experiment(
        &self,
        _request: Request<evaluate::AnalyzeExperimentRequest>,
    ) -> Result<Response<evaluate::AnalyzeExperimentResponse>, Status> {
        unused()
    }
}
