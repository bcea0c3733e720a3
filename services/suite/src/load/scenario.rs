//! What load calls: who the calls are about, and one call of each scenario.

use rapport_api::ads::v1 as ads;
use rapport_api::ads::v1::decision_service_client::DecisionServiceClient;
use rapport_api::event::v1::{ConsentRegister, ViewItem};
use rapport_api::profile::v1 as profile;
use rapport_api::profile::v1::consent_service_client::ConsentServiceClient;
use rapport_api::profile::v1::event_service_client::EventServiceClient;
use rapport_api::profile::v1::profile_service_client::ProfileServiceClient;
use rapport_api::recommend::v1 as recommend;
use rapport_api::recommend::v1::recommend_service_client::RecommendServiceClient;
use rapport_api::r#type::v1::{ConsentState, Purpose};
use rapport_math::Rng;
use rapport_rpc::Channel;
use tonic::Status;

use super::LoadArgs;
use crate::failure::Failure;
use crate::import::values::any;
use crate::peers::Peers;
use crate::progress::Progress;

/// Identifiers of one consent request.
const IDENTIFIERS_PER_REQUEST: u32 = 200;
/// Items that generated views are of.
const ITEMS: u64 = 5_000;

/// What to call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Scenario {
    /// `CollectEvents` with a batch of views.
    Collect,
    /// `GetProfile`.
    Profile,
    /// `Recommend`.
    Recommend,
    /// `Decide`.
    Decide,
    /// Of ten calls: four `Recommend`, three `Decide`, two `CollectEvents` of one event, one `GetProfile`.
    Mixed,
}

impl Scenario {
    /// Returns the name as the command line has it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Collect => "collect",
            Self::Profile => "profile",
            Self::Recommend => "recommend",
            Self::Decide => "decide",
            Self::Mixed => "mixed",
        }
    }
}

/// Everything a call needs.
#[derive(Debug)]
pub(super) struct Load {
    peers: Peers,
    scenario: Scenario,
    subjects: Vec<Vec<u8>>,
    batch: u32,
    /// Makes event and request ids of this run unlike those of any other.
    run: String,
}

impl Load {
    /// Resolves the people, who grant first if asked to.
    pub(super) async fn prepare(args: &LoadArgs, peers: &Peers) -> Result<Self, Failure> {
        let run = uuid::Uuid::now_v7().simple().to_string();
        let purposes = if args.grant {
            vec![Purpose::Personalise, Purpose::Advertise]
        } else {
            vec![Purpose::Share]
        };
        // Without `--grant` one harmless register is written all the same: it makes the subjects.
        let state = if args.grant {
            ConsentState::Granted
        } else {
            ConsentState::Revoked
        };
        let registers: Vec<ConsentRegister> = purposes
            .into_iter()
            .map(|purpose| ConsentRegister {
                purpose: purpose as i32,
                state: state as i32,
            })
            .collect();
        let mut client = ConsentServiceClient::new(peers.profile.clone());
        let mut progress = Progress::new("people", u64::from(args.subjects));
        let mut subjects = Vec::with_capacity(args.subjects as usize);
        let mut first = 0;
        while first < args.subjects {
            let last = args.subjects.min(first + IDENTIFIERS_PER_REQUEST);
            let identifiers = (first..last).map(|number| profile::Identifier {
                kind: profile::IdentifierKind::Login as i32,
                value: name(&args.prefix, number),
            });
            let request = profile::ImportConsentRequest {
                request_id: format!("{run}-{first}"),
                identifiers: identifiers.collect(),
                registers: registers.clone(),
                evidence: "load".to_owned(),
            };
            let answer = client.import_consent(request).await;
            let answer =
                answer.map_err(|status| Failure::of_call(&args.to.server, "people", &status))?;
            subjects.extend(answer.into_inner().subject_ids);
            progress.advance(u64::from(last - first));
            first = last;
        }
        progress.finish();
        if subjects.is_empty() {
            return Err(Failure::Usage("--subjects must be 1 or more".to_owned()));
        }
        Ok(Self {
            peers: peers.clone(),
            scenario: args.scenario,
            subjects,
            batch: args.batch.max(1),
            run,
        })
    }

    /// Makes call `number` and returns its status and the events it had acknowledged.
    pub(super) async fn call(&self, number: u64) -> (&'static str, u64) {
        let outcome = match (self.scenario, number % 10) {
            (Scenario::Collect, _) => self.collect(number, self.batch).await,
            (Scenario::Profile, _) | (Scenario::Mixed, 0) => self.profile(number).await,
            (Scenario::Recommend, _) | (Scenario::Mixed, 1..=4) => self.recommend(number).await,
            (Scenario::Decide, _) | (Scenario::Mixed, 5..=7) => self.decide(number).await,
            (Scenario::Mixed, _) => self.collect(number, 1).await,
        };
        match outcome {
            Ok(events) => ("OK", events),
            Err(status) => (rapport_rpc::code_name(status.code()), 0),
        }
    }

    fn subject(&self, number: u64) -> Vec<u8> {
        // Scattered, so that neighbours in time are not neighbours on disk.
        let place = number.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 16;
        self.subjects[(place % self.subjects.len() as u64) as usize].clone()
    }

    async fn collect(&self, number: u64, batch: u32) -> Result<u64, Status> {
        let mut rng = Rng::seeded(number);
        let events = (0..batch).map(|index| profile::NewEvent {
            event_id: format!("{}-{number}-{index}", &self.run[..12]),
            subject_id: self.subject(number.wrapping_mul(u64::from(batch)) + u64::from(index)),
            payload: Some(any(&ViewItem {
                item_id: format!("item-{}", rng.below(ITEMS)),
                category: format!("category-{}", rng.below(20)),
                ..ViewItem::default()
            })),
            ..profile::NewEvent::default()
        });
        let request = profile::CollectEventsRequest {
            events: events.collect(),
            ..Default::default()
        };
        let mut client = EventServiceClient::new(self.peers.profile.clone());
        let results = client.collect_events(request).await?.into_inner().results;
        let accepted = profile::EventOutcome::Accepted;
        Ok(results
            .iter()
            .filter(|result| result.outcome() == accepted)
            .count() as u64)
    }

    async fn profile(&self, number: u64) -> Result<u64, Status> {
        let request = profile::GetProfileRequest {
            subject_id: self.subject(number),
            as_of_ms: 0,
        };
        client(ProfileServiceClient::new, &self.peers.profile)
            .get_profile(request)
            .await
            .map(|_| 0)
    }

    async fn recommend(&self, number: u64) -> Result<u64, Status> {
        let request = recommend::RecommendRequest {
            subject_id: self.subject(number),
            page_size: 20,
            placement: "home".to_owned(),
            ..Default::default()
        };
        client(RecommendServiceClient::new, &self.peers.recommend)
            .recommend(request)
            .await
            .map(|_| 0)
    }

    async fn decide(&self, number: u64) -> Result<u64, Status> {
        let request = ads::DecideRequest {
            request_id: format!("{}-{number}", &self.run[..12]),
            subject_id: self.subject(number),
            placement: "home".to_owned(),
            ..Default::default()
        };
        client(DecisionServiceClient::new, &self.peers.ads)
            .decide(request)
            .await
            .map(|_| 0)
    }
}

fn client<C>(new: impl Fn(Channel) -> C, channel: &Channel) -> C {
    new(channel.clone())
}

fn name(prefix: &str, number: u32) -> String {
    if prefix.is_empty() {
        number.to_string()
    } else {
        format!("{prefix}-{number}")
    }
}
