//! The five processes of one life, and its chapters.

mod answers;
mod beginnings;
mod calls;
mod endings;
mod servers;
mod shop;

use std::path::PathBuf;

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
use rapport_stories::{FRAME, Five, Launch, Process};
use tempfile::TempDir;

pub(crate) use servers::Servers;

/// Text that must never lie on a disk in the clear, nor in a log.
pub(crate) const CANARIES: [&str; 6] = [
    "canary-query-7f3a",
    "canary-name-91bd",
    "+8613812345678",
    "canary-mail-55e0@example.com",
    "canary-message-c0de",
    "canary-login-3a77",
];

/// The folder of the packed part of the log.
const SEGMENTS: &str = "segments";

/// What a life happens on.
#[derive(Default)]
pub(crate) struct Setting<'a> {
    /// Postgres and Redis. `None`: files and memory.
    pub(crate) servers: Option<&'a Servers>,
    /// What profile is started with.
    pub(crate) flags: &'a [&'a str],
    /// Whether the log's rows become packed segments as soon as they are there.
    pub(crate) is_packed: bool,
}

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
    /// Counts requests that are made again and again, each under an id of its own.
    pub(crate) asked: u32,
}

impl Life {
    /// Starts the five processes.
    pub(crate) async fn begin(setting: &Setting<'_>) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let segments = folder.path().join(SEGMENTS);
        let adjust = |name: &str, launch: Launch| {
            let mut launch = match setting.servers {
                Some(servers) => servers.lend(name, launch),
                None => launch,
            };
            if name == "profile" {
                launch = setting.flags.iter().fold(launch, |it, flag| it.arg(*flag));
                if setting.is_packed {
                    launch = launch
                        .env("PROFILE_SEGMENTS", &segments)
                        .env("PROFILE_SEAL_EVERY", "100ms")
                        .env("PROFILE_SEGMENT_AGE", "0s");
                }
            }
            launch
        };
        let five = Five::start(folder, adjust).await.unwrap();
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
            asked: 0,
        }
    }

    /// Every chapter but the last.
    pub(crate) async fn is_lived_up_to_erasure(&mut self) {
        self.finds_a_shop().await;
        self.browses_anonymously().await;
        self.signs_in().await;
        self.is_linked_to_a_second_device().await;
        self.is_recommended_to_as_one_person().await;
        self.is_capped_as_one_person().await;
        self.is_assigned_as_one_person().await;
        self.writes_to_customer_service().await;
        self.withdraws_on_one_device_and_turns_non_personal_on_the_other()
            .await;
        self.is_unlinked_exactly().await;
    }

    /// Stops the processes, those first that need the others; returns what they left on disk.
    pub(crate) async fn end(self) -> TempDir {
        self.five.stop().await.unwrap()
    }

    /// Returns the folder of the packed part of the log.
    pub(crate) fn segments(&self) -> PathBuf {
        self.five.folder().join(SEGMENTS)
    }

    /// Returns whether a file of the packed part of the log holds something packed.
    pub(crate) fn has_segments(&self) -> bool {
        let mut folders = vec![self.segments()];
        while let Some(folder) = folders.pop() {
            for entry in std::fs::read_dir(folder).into_iter().flatten() {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    folders.push(path);
                } else if std::fs::read(path).is_ok_and(|bytes| holds_a_frame(&bytes)) {
                    return true;
                }
            }
        }
        false
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

fn holds_a_frame(bytes: &[u8]) -> bool {
    bytes.windows(FRAME.len()).any(|window| window == FRAME)
}
