//! Living a town through real services: each visit asks them what to show, and tells them what came.

use std::collections::HashMap;

use rapport_api::ads::v1 as ads;
use rapport_api::ads::v1::decision_service_client::DecisionServiceClient;
use rapport_api::care::v1 as care;
use rapport_api::care::v1::case_service_client::CaseServiceClient;
use rapport_api::evaluate::v1 as evaluate;
use rapport_api::evaluate::v1::experiment_service_client::ExperimentServiceClient;
use rapport_api::event::v1::{ConsentRegister, ExperimentArm, Exposure};
use rapport_api::profile::v1 as profile;
use rapport_api::profile::v1::consent_service_client::ConsentServiceClient;
use rapport_api::profile::v1::event_service_client::EventServiceClient;
use rapport_api::profile::v1::subject_service_client::SubjectServiceClient;
use rapport_api::recommend::v1 as recommend;
use rapport_api::recommend::v1::recommend_service_client::RecommendServiceClient;
use rapport_rpc::Channel;
use rapport_town::{Arm, Body, Moment, Served, SessionStart, Town, TownEvent};
use rapport_types::{ManualClock, SubjectId};
use tonic::{Code, Response, Status};

use super::convert::{Decisions, channel, device, to_new_event};
use super::setup::{EXPERIMENT, TREATMENT};
use crate::failure::Failure;
use crate::import::values::any;
use crate::peers::Peers;
use crate::progress::Progress;

/// Items asked for in a visit.
const RECOMMENDED: i32 = 10;
/// The one placement of the town's shop.
pub const PLACEMENT: &str = "home";
/// Visits between two trainings of the recommender: a small shop trains every night.
const TRAIN_EVERY_DAYS: i64 = 5;
const DAY_MS: i64 = 86_400_000;

/// What happened while the town lived.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Serialize)]
pub struct Lived {
    /// Visits.
    pub visits: u64,
    /// Events that the log took.
    pub events: u64,
    /// Events that the log refused, for want of consent.
    pub refused: u64,
    /// Visits in which an ad was shown.
    pub ads_shown: u64,
    /// Messages to customer service.
    pub cases: u64,
    /// Devices that were linked to a log-in.
    pub links: u64,
    /// Answers that came too late to be shown.
    pub late: u64,
}

/// Drives one town.
pub struct Driver<'a> {
    events: EventServiceClient<Channel>,
    consent: ConsentServiceClient<Channel>,
    subjects: SubjectServiceClient<Channel>,
    recommend: RecommendServiceClient<Channel>,
    ads: DecisionServiceClient<Channel>,
    care: CaseServiceClient<Channel>,
    experiments: ExperimentServiceClient<Channel>,
    peers: Peers,
    /// Set to the town's time, when the services live by it.
    clock: Option<&'a ManualClock>,
    known: HashMap<String, Vec<u8>>,
    linked: HashMap<String, String>,
    lived: Lived,
    numbers: u64,
    /// What request ids begin with.
    run: String,
}

impl std::fmt::Debug for Driver<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Driver")
            .field("lived", &self.lived)
            .finish_non_exhaustive()
    }
}

impl<'a> Driver<'a> {
    /// Returns a driver that calls `peers` and keeps `clock` at the town's time.
    #[must_use]
    pub fn new(peers: &Peers, clock: Option<&'a ManualClock>) -> Self {
        Self {
            events: EventServiceClient::new(peers.profile.clone()),
            consent: ConsentServiceClient::new(peers.profile.clone()),
            subjects: SubjectServiceClient::new(peers.profile.clone()),
            recommend: RecommendServiceClient::new(peers.recommend.clone()),
            ads: DecisionServiceClient::new(peers.ads.clone()),
            care: CaseServiceClient::new(peers.care.clone()),
            experiments: ExperimentServiceClient::new(peers.evaluate.clone()),
            peers: peers.clone(),
            clock,
            known: HashMap::new(),
            linked: HashMap::new(),
            lived: Lived::default(),
            numbers: 0,
            run: String::new(),
        }
    }

    /// Lives the town to its end.
    ///
    /// # Errors
    /// [`Failure`] of the first call that fails.
    pub async fn live(&mut self, town: &mut Town) -> Result<Lived, Failure> {
        self.run = super::setup::run_of(town);
        let (start, days) = (town.config().start.0, i64::from(town.config().days));
        let mut progress = Progress::new("days", days as u64);
        let mut day = 0;
        while let Some(moment) = town.next_moment() {
            if let Some(clock) = self.clock {
                clock.set(moment.at());
            }
            let today = (moment.at().0 - start) / DAY_MS;
            if today > day {
                progress.advance((today - day) as u64);
                if today / TRAIN_EVERY_DAYS > day / TRAIN_EVERY_DAYS {
                    super::setup::train_recommender(
                        &self.peers,
                        &format!("{}-day-{today}", self.run),
                    )
                    .await?;
                }
                day = today;
            }
            match moment {
                Moment::Session(visit) => self.visit(town, &visit).await?,
                Moment::Event(event) => self.send(&[event], &Decisions::default()).await?,
            }
        }
        progress.finish();
        Ok(self.lived.clone())
    }

    /// Returns the subject of a device that was seen.
    #[must_use]
    pub fn subject(&self, device: &str) -> Option<SubjectId> {
        self.known
            .get(device)
            .and_then(|bytes| SubjectId::parse(bytes).ok())
    }

    async fn visit(&mut self, town: &mut Town, visit: &SessionStart) -> Result<(), Failure> {
        self.lived.visits += 1;
        let subject_id = self.resolve(&visit.device).await?;
        self.send(&visit.opening, &Decisions::default()).await?;
        let request = recommend::RecommendRequest {
            subject_id: subject_id.clone(),
            page_size: RECOMMENDED,
            placement: PLACEMENT.to_owned(),
            ..Default::default()
        };
        let shown = self.recommend.recommend(request).await;
        let shown = self.in_time(shown, "recommend")?;
        let request = ads::DecideRequest {
            request_id: self.request_id("decide"),
            subject_id: subject_id.clone(),
            placement: PLACEMENT.to_owned(),
            ..Default::default()
        };
        let ad = self.ads.decide(request).await;
        let ad = self.in_time(ad, "decide")?;
        let arm = self.expose(visit, &subject_id).await?;
        let served = Served {
            recommended: shown
                .items
                .iter()
                .filter_map(|one| Some(one.item.as_ref()?.item_id.clone()))
                .collect(),
            line_item_id: ad.winner.as_ref().map(|winner| winner.line_item_id.clone()),
            arm,
        };
        self.lived.ads_shown += u64::from(served.line_item_id.is_some());
        let decisions = Decisions {
            recommendation: shown.decision_id,
            ad: ad.decision_id,
        };
        let came = town.respond(visit, &served);
        self.send(&came, &decisions).await
    }

    /// Returns an answer, or nothing to show where it did not come in time: a page does not wait, and a
    /// shop does not close for it.
    fn in_time<T: Default>(
        &mut self,
        answer: Result<Response<T>, Status>,
        what: &'static str,
    ) -> Result<T, Failure> {
        match answer {
            Ok(answer) => Ok(answer.into_inner()),
            Err(status)
                if matches!(
                    status.code(),
                    Code::DeadlineExceeded | Code::ResourceExhausted
                ) =>
            {
                self.lived.late += 1;
                Ok(T::default())
            }
            Err(status) => Err(failed(what)(status)),
        }
    }

    /// Asks which side of the shop's experiment a person is on, and says that the person met it;
    /// nobody's without consent.
    async fn expose(
        &mut self,
        visit: &SessionStart,
        subject_id: &[u8],
    ) -> Result<Option<Arm>, Failure> {
        let request = evaluate::GetAssignmentsRequest {
            subject_id: subject_id.to_vec(),
        };
        let answer = self
            .experiments
            .get_assignments(request)
            .await
            .map_err(failed("assignments"))?;
        let own = answer.into_inner().assignments.into_iter();
        let Some(own) = own
            .into_iter()
            .find(|one| one.experiment == EXPERIMENT && one.reason == "SPLIT")
        else {
            return Ok(None);
        };
        let arm = if own.variant == TREATMENT {
            Arm::Treatment
        } else {
            Arm::Control
        };
        let exposure = Exposure {
            arm: Some(ExperimentArm {
                experiment: own.experiment,
                variant: own.variant,
            }),
        };
        let event = profile::NewEvent {
            event_id: self.request_id("exposure"),
            subject_id: subject_id.to_vec(),
            occurred_at_ms: visit.at.0,
            payload: Some(any(&exposure)),
            ..Default::default()
        };
        self.collect(vec![event]).await?;
        Ok(Some(arm))
    }

    /// Sends events in their order; those that go by other RPCs keep their place.
    async fn send(&mut self, came: &[TownEvent], decisions: &Decisions) -> Result<(), Failure> {
        let mut batch = Vec::new();
        for event in came {
            if let Some(event) = to_new_event(event, decisions) {
                batch.push(event);
            }
            match &event.body {
                Body::Consent { purpose, state } => {
                    let request = profile::SetConsentRequest {
                        request_id: event.event_id.clone(),
                        subject_id: self.resolve(&event.device).await?,
                        registers: vec![ConsentRegister {
                            purpose: i32::from(*purpose as u8),
                            state: i32::from(*state as u8),
                        }],
                        evidence: "asked in the shop".to_owned(),
                        imported: false,
                    };
                    self.consent
                        .set_consent(request)
                        .await
                        .map_err(failed("consent"))?;
                }
                Body::SignIn { login } => self.link(&event.device, login).await?,
                Body::Message { text, .. } => self.write(event, text).await?,
                Body::AdImpression { .. } => {
                    self.ad_event(decisions, ads::AdEventKind::Impression)
                        .await?
                }
                Body::AdClick { .. } => self.ad_event(decisions, ads::AdEventKind::Click).await?,
                Body::SignUp { .. }
                | Body::ViewItemList { .. }
                | Body::SelectItem { .. }
                | Body::ViewItem { .. }
                | Body::Search { .. }
                | Body::AddToCart(_)
                | Body::AddToWishlist { .. }
                | Body::Share { .. }
                | Body::Purchase { .. }
                | Body::Refund { .. }
                | Body::Review { .. } => {}
            }
        }
        if batch.is_empty() {
            return Ok(());
        }
        self.collect(batch).await
    }

    /// Writes to customer service, where the agent who gets the case answers and solves it at once.
    async fn write(&mut self, event: &TownEvent, text: &str) -> Result<(), Failure> {
        self.lived.cases += 1;
        let request = care::OpenCaseRequest {
            request_id: event.event_id.clone(),
            subject_id: self.resolve(&event.device).await?,
            channel: channel(event.channel) as i32,
            text: text.to_owned(),
        };
        let opened = self
            .care
            .open_case(request)
            .await
            .map_err(failed("open case"))?;
        let Some(case) = opened
            .into_inner()
            .case
            .filter(|case| !case.agent_id.is_empty())
        else {
            return Ok(());
        };
        let request = care::EndCaseRequest {
            request_id: format!("{}-end", event.event_id),
            case_id: case.case_id,
            state: care::CaseState::Resolved as i32,
            agent_id: case.agent_id,
            epoch: case.epoch,
        };
        self.care
            .end_case(request)
            .await
            .map_err(failed("end case"))?;
        Ok(())
    }

    async fn collect(&mut self, events: Vec<profile::NewEvent>) -> Result<(), Failure> {
        let request = profile::CollectEventsRequest {
            events,
            ..Default::default()
        };
        let answer = self
            .events
            .collect_events(request)
            .await
            .map_err(failed("collect"))?
            .into_inner();
        for result in answer.results {
            match result.outcome() {
                profile::EventOutcome::Accepted | profile::EventOutcome::Duplicate => {
                    self.lived.events += 1
                }
                profile::EventOutcome::Rejected | profile::EventOutcome::Unspecified => {
                    self.lived.refused += 1
                }
            }
        }
        Ok(())
    }

    async fn ad_event(
        &mut self,
        decisions: &Decisions,
        kind: ads::AdEventKind,
    ) -> Result<(), Failure> {
        let request = ads::RecordAdEventRequest {
            decision_id: decisions.ad.clone(),
            kind: kind as i32,
        };
        self.ads
            .record_ad_event(request)
            .await
            .map_err(failed("ad event"))?;
        Ok(())
    }

    /// Links a device to a log-in, once.
    async fn link(&mut self, device: &str, login: &str) -> Result<(), Failure> {
        if self.linked.get(device).is_some_and(|known| known == login) {
            return Ok(());
        }
        let left = self.resolve(device).await?;
        let identifier = profile::Identifier {
            kind: profile::IdentifierKind::Login as i32,
            value: login.to_owned(),
        };
        let request = profile::ResolveSubjectRequest {
            identifier: Some(identifier),
        };
        let right = self
            .subjects
            .resolve_subject(request)
            .await
            .map_err(failed("resolve"))?;
        let request = profile::LinkSubjectsRequest {
            request_id: self.request_id("link"),
            left,
            right: right.into_inner().subject_id,
            evidence: "sign_in".to_owned(),
            validate_only: false,
        };
        self.subjects
            .link_subjects(request)
            .await
            .map_err(failed("link"))?;
        self.linked.insert(device.to_owned(), login.to_owned());
        self.lived.links += 1;
        Ok(())
    }

    async fn resolve(&mut self, name: &str) -> Result<Vec<u8>, Failure> {
        if let Some(subject_id) = self.known.get(name) {
            return Ok(subject_id.clone());
        }
        let request = profile::ResolveSubjectRequest {
            identifier: Some(device(name)),
        };
        let answer = self
            .subjects
            .resolve_subject(request)
            .await
            .map_err(failed("resolve"))?;
        let subject_id = answer.into_inner().subject_id;
        self.known.insert(name.to_owned(), subject_id.clone());
        Ok(subject_id)
    }

    fn request_id(&mut self, what: &str) -> String {
        self.numbers += 1;
        format!("{}-{what}-{}", self.run, self.numbers)
    }
}

fn failed(what: &'static str) -> impl Fn(tonic::Status) -> Failure {
    move |status| Failure::of_call("the server", what, &status)
}
