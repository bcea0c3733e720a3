//! `KeyService`: data keys after the consent check.

use rapport_api::profile::v1 as pb;
use rapport_api::profile::v1::key_service_server::KeyService;
use rapport_flow::People;
use rapport_rpc::{Fields, InvalidRequest};
use rapport_types::{Purpose, SubjectId};
use tonic::{Request, Response, Status};

use crate::error::Error;
use crate::subjects::Subjects;

/// Subjects of one request.
const SUBJECTS_MAX: usize = 500;

/// The service.
#[derive(Debug, Clone)]
pub struct KeyApi {
    /// Whose keys.
    pub subjects: Subjects,
    /// Who allows what.
    pub people: People,
}

#[tonic::async_trait]
impl KeyService for KeyApi {
    async fn get_data_keys(
        &self,
        request: Request<pb::GetDataKeysRequest>,
    ) -> Result<Response<pb::GetDataKeysResponse>, Status> {
        Ok(Response::new(self.answer(request.into_inner()).await?))
    }
}

impl KeyApi {
    async fn answer(&self, raw: pb::GetDataKeysRequest) -> Result<pb::GetDataKeysResponse, Error> {
        let (subjects, purpose) = parse(&raw)?;
        let allowed: Vec<SubjectId> = subjects
            .into_iter()
            .filter(|subject| {
                self.people.consent(*subject, purpose).is_granted()
                    && !self.people.is_erased(*subject)
            })
            .collect();
        let keys = self.subjects.keys(&allowed).await?;
        let mut keys: Vec<pb::DataKey> = keys
            .into_iter()
            .map(|(subject, keys)| pb::DataKey {
                subject_id: subject.to_vec(),
                key: keys.sealing_key().to_vec(),
            })
            .collect();
        keys.sort_by(|left, right| left.subject_id.cmp(&right.subject_id));
        Ok(pb::GetDataKeysResponse { keys })
    }
}

fn parse(raw: &pb::GetDataKeysRequest) -> Result<(Vec<SubjectId>, Purpose), InvalidRequest> {
    let mut fields = Fields::default();
    if raw.subject_ids.is_empty() || raw.subject_ids.len() > SUBJECTS_MAX {
        fields.refuse(
            "subject_ids",
            format!("must have 1 to {SUBJECTS_MAX} entries"),
        );
    }
    let subjects = raw.subject_ids.iter().take(SUBJECTS_MAX).enumerate();
    let subjects = subjects
        .map(|(index, bytes)| match SubjectId::parse(bytes) {
            Ok(subject) => subject,
            Err(why) => {
                fields.refuse(&format!("subject_ids[{index}]"), why);
                SubjectId::new([0; 16])
            }
        })
        .collect();
    let purpose = Purpose::from_wire(raw.purpose).unwrap_or_else(|| {
        fields.refuse("purpose", "is required");
        Purpose::Service
    });
    fields.finish((subjects, purpose))
}
