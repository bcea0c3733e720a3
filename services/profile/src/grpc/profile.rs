//! `ProfileService`: one profile, and how the population stands.

use rapport_api::profile::v1 as pb;
use rapport_api::profile::v1::profile_service_server::ProfileService;
use rapport_rpc::Fields;
use rapport_types::UnixMillis;
use tonic::{Request, Response, Status};

use crate::error::Error;
use crate::profiles::ProfileReader;

/// The service.
#[derive(Debug, Clone)]
pub struct ProfileApi {
    /// What is known.
    pub reader: ProfileReader,
}

#[tonic::async_trait]
impl ProfileService for ProfileApi {
    async fn get_profile(
        &self,
        request: Request<pb::GetProfileRequest>,
    ) -> Result<Response<pb::GetProfileResponse>, Status> {
        Ok(Response::new(self.profile(&request.into_inner()).await?))
    }

    async fn summarise_profiles(
        &self,
        request: Request<pb::SummariseProfilesRequest>,
    ) -> Result<Response<pb::SummariseProfilesResponse>, Status> {
        Ok(Response::new(self.summary(request.get_ref()).await?))
    }
}

impl ProfileApi {
    async fn profile(&self, raw: &pb::GetProfileRequest) -> Result<pb::GetProfileResponse, Error> {
        let mut fields = Fields::default();
        let subject_id = fields.subject("subject_id", &raw.subject_id);
        let as_of = instant(raw.as_of_ms, &mut fields);
        let (subject_id, as_of) = fields.finish((subject_id, as_of))?;
        let profile = self.reader.profile(subject_id, as_of).await?;
        Ok(pb::GetProfileResponse {
            profile: Some(profile),
        })
    }

    async fn summary(
        &self,
        raw: &pb::SummariseProfilesRequest,
    ) -> Result<pb::SummariseProfilesResponse, Error> {
        let mut fields = Fields::default();
        let as_of = instant(raw.as_of_ms, &mut fields);
        let summary = self.reader.summary(fields.finish(as_of)?).await?;
        let stage = |(stage, persons): (&&str, &u64)| pb::StageCount {
            stage: (*stage).to_owned(),
            persons: *persons,
        };
        Ok(pb::SummariseProfilesResponse {
            persons: summary.persons(),
            stages: summary.stages.iter().map(stage).collect(),
            without_consent: summary.without_consent,
        })
    }
}

/// Parses an instant; 0 is now, which is `None`.
fn instant(millis: i64, fields: &mut Fields) -> Option<UnixMillis> {
    if millis < 0 {
        fields.refuse("as_of_ms", "must not be negative");
    }
    (millis != 0).then_some(UnixMillis(millis))
}
