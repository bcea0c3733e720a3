//! `DecisionService`: decide, record.

use rapport_api::ads::v1 as pb;
use rapport_api::ads::v1::decision_service_server::DecisionService;
use rapport_rpc::{Caller, write};
use tonic::{Request, Response, Status};

use super::parse;
use crate::decide::Decider;
use crate::error::Error;
use crate::record::Recorder;

/// The service.
#[derive(Debug, Clone)]
pub struct DecisionApi {
    /// Makes decisions.
    pub decider: Decider,
    /// Records what came of them.
    pub recorder: Recorder,
}

#[tonic::async_trait]
impl DecisionService for DecisionApi {
    async fn decide(
        &self,
        request: Request<pb::DecideRequest>,
    ) -> Result<Response<pb::DecideResponse>, Status> {
        let caller = Caller::of(&request);
        Ok(Response::new(
            self.answer(&caller, request.into_inner()).await?,
        ))
    }

    async fn record_ad_event(
        &self,
        request: Request<pb::RecordAdEventRequest>,
    ) -> Result<Response<pb::RecordAdEventResponse>, Status> {
        Ok(Response::new(self.record(request.into_inner()).await?))
    }
}

impl DecisionApi {
    async fn answer(
        &self,
        caller: &Caller,
        raw: pb::DecideRequest,
    ) -> Result<pb::DecideResponse, Error> {
        let query = parse::decide(&raw)?;
        let body_hash = write::digest(&raw);
        self.decider.decide(&caller.name, &query, &body_hash).await
    }

    async fn record(
        &self,
        raw: pb::RecordAdEventRequest,
    ) -> Result<pb::RecordAdEventResponse, Error> {
        let (id, event) = parse::ad_event(&raw)?;
        let recorded = self.recorder.record(id, event).await?;
        Ok(pb::RecordAdEventResponse {
            recorded: recorded.is_new,
            cost_micros: recorded.cost.0,
        })
    }
}
