//! The policy table that the contracts carry is what the services do: what needs a purpose has it asked
//! for, and what says something about a person says how sensitive it is.
#![expect(clippy::unwrap_used, reason = "tests")]

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use prost_reflect::{DescriptorPool, Kind};
use rapport_api::ads::v1 as ads;
use rapport_api::ads::v1::decision_service_client::DecisionServiceClient;
use rapport_api::care::v1 as care;
use rapport_api::care::v1::case_service_client::CaseServiceClient;
use rapport_api::evaluate::v1 as evaluate;
use rapport_api::evaluate::v1::experiment_service_client::ExperimentServiceClient;
use rapport_api::event::v1::ConsentRegister;
use rapport_api::policy::{MethodPolicy, OnRefusal};
use rapport_api::profile::v1 as profile;
use rapport_api::profile::v1::consent_service_client::ConsentServiceClient;
use rapport_api::profile::v1::profile_service_client::ProfileServiceClient;
use rapport_api::profile::v1::subject_service_client::SubjectServiceClient;
use rapport_api::recommend::v1 as recommend;
use rapport_api::recommend::v1::recommend_service_client::RecommendServiceClient;
use rapport_api::r#type::v1::{ConsentState, Degraded};
use rapport_rpc::{Channel, ClientConfig, connect, reason_of};
use rapport_stories::Launch;
use tonic::{Code, Status};

/// Longest wait for a grant to reach a service.
const PATIENCE: Duration = Duration::from_secs(20);
const LOOK_AGAIN: Duration = Duration::from_millis(20);

/// Counts decisions asked for: each needs an id of its own, or it would be the last one again.
static ASKED: AtomicU32 = AtomicU32::new(0);

/// Names of texts and bytes that say nothing about a person wherever they stand: names of things, keys of
/// requests, codes, pages. Whoever adds a field under another name classes it or answers for the name here.
const IMPERSONAL: &str = "account brand campaign_id case_id category categories code creative_id currency \
    decision_id event_id evidence exclude_item_ids experiment fingerprint headline html hypothesis \
    import_hash intent interests item_id item_ids key landing language languages lifecycles line_item_id \
    link_id list_id message_id model_version next_page_token order_id outcome page_token payload placement \
    placements queue_reason reader reason reasons receipt_id reference regions replica request_id scope \
    sealed service shop_id signature skills source stage state subject_field tags title touch \
    trace_context type types variant verdict version warnings agent_id algorithm id";

/// Fields whose name elsewhere stands for a person's, and why they hold nobody's.
const EXCEPTIONS: [(&str, &str); 4] = [
    ("rapport.ads.v1.Campaign.name", "the shop's own"),
    (
        "rapport.ads.v1.Considered.text",
        "a sentence about a line item",
    ),
    ("rapport.care.v1.Agent.name", "staff, not a customer"),
    (
        "rapport.recommend.v1.Reason.text",
        "a sentence about an item",
    ),
];

#[test]
fn what_may_name_or_quote_a_person_has_a_data_class() {
    let pool = DescriptorPool::decode(rapport_api::FILE_DESCRIPTOR_SET).unwrap();
    let impersonal: BTreeSet<&str> = IMPERSONAL.split_whitespace().collect();
    let classed = |name: &str| {
        let fields = rapport_api::policy::fields();
        fields.iter().any(|policy| policy.field == name)
    };
    let excepted = |name: &str| EXCEPTIONS.iter().any(|(field, _)| *field == name);
    let messages = pool.all_messages();
    let ours = messages.filter(|message| message.full_name().starts_with("rapport."));
    let fields: Vec<_> = ours
        .flat_map(|message| message.fields().collect::<Vec<_>>())
        .collect();
    assert!(
        fields.len() > 300,
        "the contracts are read: {}",
        fields.len()
    );
    let silent = fields
        .iter()
        .filter(|field| matches!(field.kind(), Kind::String | Kind::Bytes))
        .filter(|field| !impersonal.contains(field.name()))
        .map(|field| field.full_name().to_owned())
        .filter(|name| !classed(name) && !excepted(name));
    let silent: Vec<String> = silent.collect();
    assert!(silent.is_empty(), "no data class: {silent:#?}");
    // An exception for a field that is gone or classed by now excuses nothing.
    for (name, _) in EXCEPTIONS {
        assert!(
            fields.iter().any(|field| field.full_name() == name),
            "{name}"
        );
        assert!(!classed(name), "{name}");
    }
}

#[tokio::test]
async fn every_call_that_needs_a_purpose_asks_for_the_one_in_the_table() {
    let folder = tempfile::tempdir().unwrap();
    let server = Launch::new("rapport", folder.path()).arg("serve");
    let server = server.arg("--data").arg(folder.path().join("data"));
    let server = server.start("").await.unwrap();
    let shop = Shop(connect(&ClientConfig::new(server.url())).unwrap());
    shop.start_an_experiment().await;
    let methods = rapport_api::policy::methods();
    let personal = methods.iter().filter(|policy| !policy.purposes.is_empty());
    let personal: Vec<&MethodPolicy> = personal.collect();
    assert!(personal.len() >= 6, "{personal:?}");
    for policy in personal {
        assert_eq!(policy.subject_field, "subject_id", "{}", policy.path);
        let subject = shop.subject(policy.path).await;
        let refused = shop.is_personal(policy.path, &subject).await;
        match policy.on_refusal {
            OnRefusal::Deny => {
                let status = refused.expect_err(policy.path);
                assert_eq!(status.code(), Code::PermissionDenied, "{}", policy.path);
                assert_eq!(reason_of(&status).as_deref(), Some("CONSENT_MISSING"));
            }
            OnRefusal::Degrade => assert!(!refused.unwrap(), "{}", policy.path),
            OnRefusal::None => panic!("{} has purposes and no refusal", policy.path),
        }
        // No other purpose is asked for: those of the table suffice.
        shop.grant(&subject, policy).await;
        let began = Instant::now();
        while !shop
            .is_personal(policy.path, &subject)
            .await
            .is_ok_and(|it| it)
        {
            assert!(
                began.elapsed() < PATIENCE,
                "{} with its purposes",
                policy.path
            );
            tokio::time::sleep(LOOK_AGAIN).await;
        }
    }
    server.stop().await.unwrap();
}

/// All services behind one address.
struct Shop(Channel);

impl Shop {
    async fn start_an_experiment(&self) {
        let mut client = ExperimentServiceClient::new(self.0.clone());
        let variant = |key: &str| evaluate::Variant {
            key: key.to_owned(),
            share: 5_000,
        };
        let experiment = evaluate::Experiment {
            key: "layout".to_owned(),
            hypothesis: "stories sell".to_owned(),
            variants: vec![variant("classic"), variant("stories")],
            ..Default::default()
        };
        let request = evaluate::UpsertExperimentRequest {
            request_id: "experiment".to_owned(),
            experiment: Some(experiment),
        };
        client.upsert_experiment(request).await.unwrap();
        let request = evaluate::SetExperimentStateRequest {
            request_id: "start".to_owned(),
            key: "layout".to_owned(),
            state: evaluate::ExperimentState::Running as i32,
        };
        client.set_experiment_state(request).await.unwrap();
    }

    async fn subject(&self, device: &str) -> Vec<u8> {
        let request = profile::ResolveSubjectRequest {
            identifier: Some(profile::Identifier {
                kind: profile::IdentifierKind::Device as i32,
                value: device.to_owned(),
            }),
        };
        let mut client = SubjectServiceClient::new(self.0.clone());
        let resolved = client.resolve_subject(request).await.unwrap();
        resolved.into_inner().subject_id
    }

    /// Grants exactly the purposes of a call.
    async fn grant(&self, subject: &[u8], policy: &MethodPolicy) {
        let register = |purpose: &rapport_types::Purpose| ConsentRegister {
            purpose: i32::from(*purpose as u8),
            state: ConsentState::Granted as i32,
        };
        let request = profile::SetConsentRequest {
            request_id: policy.path.replace('/', "."),
            subject_id: subject.to_vec(),
            registers: policy.purposes.iter().map(register).collect(),
            evidence: "policy".to_owned(),
            imported: false,
        };
        let mut client = ConsentServiceClient::new(self.0.clone());
        client.set_consent(request).await.unwrap();
    }

    /// As [`Self::call`], again where a busy machine had no time for it.
    async fn is_personal(&self, path: &str, subject: &[u8]) -> Result<bool, Status> {
        let began = Instant::now();
        loop {
            match self.call(path, subject).await {
                Err(late) if late.code() == Code::DeadlineExceeded => {
                    assert!(began.elapsed() < PATIENCE, "{path} is never in time");
                }
                answered => return answered,
            }
        }
    }

    /// Makes the call about a subject; returns whether the answer used what is known of it.
    async fn call(&self, path: &str, subject: &[u8]) -> Result<bool, Status> {
        let (channel, subject_id) = (self.0.clone(), subject.to_vec());
        match path {
            "/rapport.profile.v1.ProfileService/GetProfile" => {
                let request = profile::GetProfileRequest {
                    subject_id,
                    as_of_ms: 0,
                };
                let mut client = ProfileServiceClient::new(channel);
                client.get_profile(request).await.map(|_| true)
            }
            "/rapport.recommend.v1.RecommendService/GetTimeline" => {
                let request = recommend::GetTimelineRequest {
                    subject_id,
                    page_size: 5,
                };
                let answer = RecommendServiceClient::new(channel)
                    .get_timeline(request)
                    .await;
                answer.map(|_| true)
            }
            "/rapport.recommend.v1.RecommendService/Recommend" => {
                let request = recommend::RecommendRequest {
                    subject_id,
                    ..Default::default()
                };
                let answer = RecommendServiceClient::new(channel)
                    .recommend(request)
                    .await?;
                Ok(answer.into_inner().degraded() != Degraded::Consent)
            }
            "/rapport.ads.v1.DecisionService/Decide" => {
                let request = ads::DecideRequest {
                    request_id: format!("aside-{}", ASKED.fetch_add(1, Ordering::Relaxed)),
                    subject_id,
                    placement: "home".to_owned(),
                    ..Default::default()
                };
                let answer = DecisionServiceClient::new(channel).decide(request).await?;
                Ok(answer.into_inner().degraded() != Degraded::Consent)
            }
            "/rapport.care.v1.CaseService/AnalyzeText" => {
                let request = care::AnalyzeTextRequest {
                    subject_id,
                    text: "太过分了".to_owned(),
                };
                let mut client = CaseServiceClient::new(channel);
                client.analyze_text(request).await.map(|_| true)
            }
            "/rapport.evaluate.v1.ExperimentService/GetAssignments" => {
                let request = evaluate::GetAssignmentsRequest { subject_id };
                let mut client = ExperimentServiceClient::new(channel);
                let answer = client.get_assignments(request).await?;
                let assignments = answer.into_inner().assignments;
                assert_eq!(assignments.len(), 1);
                Ok(assignments[0].reason != "CONSENT")
            }
            other => panic!("{other} needs a purpose: call it here"),
        }
    }
}
