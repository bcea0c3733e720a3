//! `ModelService`: training the model of customer value, and what is served.

use rapport_api::profile::v1 as pb;
use rapport_api::profile::v1::model_service_server::ModelService;
use rapport_rpc::write::Asked;
use rapport_rpc::{Caller, Fields};
use tonic::{Request, Response, Status};

use crate::error::Error;
use crate::value::{Models, Trainer};

/// The service.
#[derive(Debug, Clone)]
pub struct ModelApi {
    /// Trains.
    pub trainer: Trainer,
    /// What is served.
    pub models: Models,
}

#[tonic::async_trait]
impl ModelService for ModelApi {
    async fn train_model(
        &self,
        request: Request<pb::TrainModelRequest>,
    ) -> Result<Response<pb::TrainModelResponse>, Status> {
        let caller = Caller::of(&request);
        Ok(Response::new(
            self.train(&caller, request.into_inner()).await?,
        ))
    }

    async fn get_model(
        &self,
        _request: Request<pb::GetModelRequest>,
    ) -> Result<Response<pb::GetModelResponse>, Status> {
        let model = self.models.served().map(|served| served.to_wire());
        Ok(Response::new(pb::GetModelResponse { model }))
    }
}

impl ModelApi {
    async fn train(
        &self,
        caller: &Caller,
        raw: pb::TrainModelRequest,
    ) -> Result<pb::TrainModelResponse, Error> {
        let mut fields = Fields::default();
        fields.request_id(&raw.request_id);
        fields.finish(())?;
        let asked = Asked::plain(caller, "TrainModel", &raw.request_id, &raw);
        let trainer = self.trainer.clone();
        // A task of its own: a caller that goes away must not leave a lease and half a training.
        let training = tokio::spawn(async move { trainer.train(Some(&asked)).await });
        training
            .await
            .map_err(|_panicked| Error::Internal("a training failed"))?
    }
}
