//! The five processes of one life, and its chapters.

mod beginnings;
mod calls;
mod endings;

use rapport_api::ads::v1::campaign_service_client::CampaignServiceClient;
use rapport_api::ads::v1::decision_service_client::DecisionServiceClient;
use rapport_api::care::v1::agent_service_client::AgentServiceClient;
use rapport_api::care::v1::case_service_client::CaseServiceClient;
use rapport_api::evaluate::v1::experiment_service_client::ExperimentServiceClient;
use rapport_api::profile::v1 as profile;
use rapport_api::profile::v1::consent_service_client::ConsentServiceClient;
use rapport_api::profile::v1::event_service_client::EventServiceClient;
use rapport_api::profile::v1::profile_service_client::ProfileServiceClient;
use rapport_api::profile::v1::subject_service_client::SubjectServiceClient;
use rapport_api::recommend::v1::catalog_service_client::CatalogServiceClient;
use rapport_api::recommend::v1::recommend_service_client::RecommendServiceClient;
use rapport_rpc::{Channel, ClientConfig, connect};
use rapport_stories::{Five, Launch, Process};
use tempfile::TempDir;

/// Text that must never lie on a disk in the clear, nor in a log.
pub(crate) const CANARIES: [&str; 6] = [
    "canary-query-7f3a",
    "canary-name-91bd",
    "+8613812345678",
    "canary-mail-55e0@example.com",
    "canary-message-c0de",
    "canary-login-3a77",
];

/// Five processes and clients to all of their services.
pub(crate) struct Life {
    five: Five,
    pub(crate) events: EventServiceClient<Channel>,
    pub(crate) subjects: SubjectServiceClient<Channel>,
    pub(crate) consent: ConsentServiceClient<Channel>,
    pub(crate) profiles: ProfileServiceClient<Channel>,
    pub(crate) catalogue: CatalogServiceClient<Channel>,
    pub(crate) recommend: RecommendServiceClient<Channel>,
    pub(crate) campaigns: CampaignServiceClient<Channel>,
    pub(crate) ads: DecisionServiceClient<Channel>,
    pub(crate) agents: AgentServiceClient<Channel>,
    pub(crate) cases: CaseServiceClient<Channel>,
    pub(crate) experiments: ExperimentServiceClient<Channel>,
    pub(crate) phone: Vec<u8>,
    pub(crate) tablet: Vec<u8>,
    pub(crate) login: Vec<u8>,
    pub(crate) tablet_link: Vec<u8>,
    pub(crate) case_id: Vec<u8>,
}

impl Life {
    /// Starts the five processes; `flags` go to profile.
    pub(crate) async fn begin(flags: &[&str]) -> Self {
        let with_flags = |name: &str, launch: Launch| match name {
            "profile" => flags.iter().fold(launch, |launch, flag| launch.arg(*flag)),
            _ => launch,
        };
        let folder = tempfile::tempdir().unwrap();
        let five = Five::start(folder, with_flags).await.unwrap();
        let channel = |process: &Process| connect(&ClientConfig::new(process.url())).unwrap();
        let to_profile = channel(&five.profile);
        let to_recommend = channel(&five.recommend);
        let (to_ads, to_care) = (channel(&five.ads), channel(&five.care));
        let experiments = ExperimentServiceClient::new(channel(&five.evaluate));
        Self {
            events: EventServiceClient::new(to_profile.clone()),
            subjects: SubjectServiceClient::new(to_profile.clone()),
            consent: ConsentServiceClient::new(to_profile.clone()),
            profiles: ProfileServiceClient::new(to_profile),
            catalogue: CatalogServiceClient::new(to_recommend.clone()),
            recommend: RecommendServiceClient::new(to_recommend),
            campaigns: CampaignServiceClient::new(to_ads.clone()),
            ads: DecisionServiceClient::new(to_ads),
            agents: AgentServiceClient::new(to_care.clone()),
            cases: CaseServiceClient::new(to_care),
            experiments,
            five,
            phone: Vec::new(),
            tablet: Vec::new(),
            login: Vec::new(),
            tablet_link: Vec::new(),
            case_id: Vec::new(),
        }
    }

    /// Stops the processes, those first that need the others; returns what they left on disk.
    pub(crate) async fn end(self) -> TempDir {
        self.five.stop().await.unwrap()
    }

    /// Returns the subject of an identifier.
    pub(crate) async fn resolve(&mut self, kind: profile::IdentifierKind, value: &str) -> Vec<u8> {
        let identifier = profile::Identifier {
            kind: kind as i32,
            value: value.to_owned(),
        };
        let request = profile::ResolveSubjectRequest {
            identifier: Some(identifier),
        };
        self.subjects
            .resolve_subject(request)
            .await
            .unwrap()
            .into_inner()
            .subject_id
    }
}
