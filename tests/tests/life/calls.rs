//! The calls that every chapter makes.

use prost::{Message, Name};
use rapport_api::ads::v1 as ads;
use rapport_api::evaluate::v1 as evaluate;
use rapport_api::event::v1::ConsentRegister;
use rapport_api::profile::v1 as profile;
use rapport_api::recommend::v1 as recommend;
use rapport_api::r#type::v1::{ConsentState, Purpose};

use super::Life;

/// Wraps an event as an append request carries it.
pub(crate) fn any<M: Message + Name>(message: &M) -> Option<prost_types::Any> {
    Some(prost_types::Any {
        type_url: M::type_url(),
        value: message.encode_to_vec(),
    })
}

/// Repeats until it holds; fails the test when it never does.
macro_rules! eventually {
    ($what:expr, $holds:expr) => {{
        let began = std::time::Instant::now();
        while !$holds {
            assert!(
                began.elapsed() < std::time::Duration::from_secs(20),
                "never came to pass: {}",
                $what
            );
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
    }};
}
pub(super) use eventually;

impl Life {
    pub(crate) async fn collect(&mut self, event: profile::NewEvent) -> profile::EventResult {
        let request = profile::CollectEventsRequest {
            events: vec![event],
            ..Default::default()
        };
        let mut results = self
            .events
            .collect_events(request)
            .await
            .unwrap()
            .into_inner()
            .results;
        results.remove(0)
    }

    pub(crate) async fn set_consent(
        &mut self,
        request_id: &str,
        subject: &[u8],
        purposes: &[Purpose],
        state: ConsentState,
    ) {
        let register = |purpose: &Purpose| ConsentRegister {
            purpose: *purpose as i32,
            state: state as i32,
        };
        let request = profile::SetConsentRequest {
            request_id: request_id.to_owned(),
            subject_id: subject.to_vec(),
            registers: purposes.iter().map(register).collect(),
            evidence: "one life".to_owned(),
            imported: false,
        };
        self.consent.set_consent(request).await.unwrap();
    }

    pub(crate) async fn profile_of(
        &mut self,
        subject: &[u8],
    ) -> Result<profile::Profile, tonic::Status> {
        let request = profile::GetProfileRequest {
            subject_id: subject.to_vec(),
            as_of_ms: 0,
        };
        Ok(self
            .profiles
            .get_profile(request)
            .await?
            .into_inner()
            .profile
            .unwrap())
    }

    pub(crate) async fn recommended(&mut self, subject: &[u8]) -> recommend::RecommendResponse {
        let request = recommend::RecommendRequest {
            subject_id: subject.to_vec(),
            page_size: 3,
            placement: "home".to_owned(),
            ..Default::default()
        };
        self.recommend
            .recommend(request)
            .await
            .unwrap()
            .into_inner()
    }

    pub(crate) async fn decided(
        &mut self,
        subject: &[u8],
        request_id: &str,
    ) -> ads::DecideResponse {
        let request = ads::DecideRequest {
            request_id: request_id.to_owned(),
            subject_id: subject.to_vec(),
            placement: "home".to_owned(),
            explain: true,
            ..Default::default()
        };
        self.ads.decide(request).await.unwrap().into_inner()
    }

    pub(crate) async fn assigned(&mut self, subject: &[u8]) -> Vec<evaluate::Assignment> {
        let request = evaluate::GetAssignmentsRequest {
            subject_id: subject.to_vec(),
        };
        self.experiments
            .get_assignments(request)
            .await
            .unwrap()
            .into_inner()
            .assignments
    }
}
