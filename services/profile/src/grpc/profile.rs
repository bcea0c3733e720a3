//! `ProfileService`: one profile, how the population stands, and who may be leaving.

mod page;

use rapport_api::profile::v1 as pb;
use rapport_api::profile::v1::profile_service_server::ProfileService;
use rapport_rpc::Fields;
use rapport_types::UnixMillis;
use tonic::{Request, Response, Status};

use crate::error::Error;
use crate::profiles::ProfileReader;
use crate::value::Sought;
use page::Token;

/// Persons of a page of churners, where none is asked for.
const CHURNERS: u32 = 50;
/// Most persons of a page of churners.
const CHURNERS_MAX: u32 = 500;
/// The bar of the chance to be a customer, where none is asked for.
const ALIVE_MAX: f64 = 0.5;

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

    async fn list_churners(
        &self,
        request: Request<pb::ListChurnersRequest>,
    ) -> Result<Response<pb::ListChurnersResponse>, Status> {
        Ok(Response::new(self.churners(request.get_ref()).await?))
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

    async fn churners(
        &self,
        raw: &pb::ListChurnersRequest,
    ) -> Result<pb::ListChurnersResponse, Error> {
        let mut fields = Fields::default();
        let as_of = instant(raw.as_of_ms, &mut fields);
        let alive_max = bar(raw.alive_max, &mut fields);
        let limit = fields.page_size(raw.page_size, CHURNERS, CHURNERS_MAX);
        let served = self.reader.models.served();
        let version = served.as_ref().map_or(0, |served| served.row.version);
        let token = match raw.page_token.as_str() {
            "" => None,
            token => Token::read(token)
                .and_then(|token| token.continues(version, as_of, alive_max))
                .map_err(|why| fields.refuse("page_token", why))
                .ok(),
        };
        fields.finish(())?;
        let sought = Sought {
            as_of: token
                .map(|token| token.as_of)
                .or(as_of)
                .unwrap_or_else(|| self.reader.clock.now()),
            alive_max: token
                .map(|token| token.alive_max)
                .or(alive_max)
                .unwrap_or(ALIVE_MAX),
            limit: limit as usize,
            after: token.map(|token| token.after),
        };
        let Some(served) = served else {
            return Ok(pb::ListChurnersResponse {
                no_forecast: pb::NoForecast::NoModel as i32,
                as_of_ms: sought.as_of.0,
                ..Default::default()
            });
        };
        let (churners, last) = self.reader.churners(&served, &sought).await?;
        let next = last.map(|after| Token {
            version,
            as_of: sought.as_of,
            alive_max: sought.alive_max,
            after,
        });
        Ok(pb::ListChurnersResponse {
            churners,
            next_page_token: next.map(|token| token.write()).unwrap_or_default(),
            no_forecast: pb::NoForecast::Unspecified as i32,
            model_version: served.row.name(),
            as_of_ms: sought.as_of.0,
        })
    }
}

/// Parses the bar; 0 is the default.
fn bar(alive_max: f64, fields: &mut Fields) -> Option<f64> {
    if alive_max == 0.0 {
        return None;
    }
    if !(0.0..=1.0).contains(&alive_max) {
        fields.refuse("alive_max", "must be above 0 and at most 1");
    }
    Some(alive_max)
}

/// Parses an instant; 0 is now, which is `None`.
fn instant(millis: i64, fields: &mut Fields) -> Option<UnixMillis> {
    if millis < 0 {
        fields.refuse("as_of_ms", "must not be negative");
    }
    (millis != 0).then_some(UnixMillis(millis))
}
