//! What the five services answer about one subject, side by side.

use std::time::{Duration, Instant};

use rapport_api::ads::v1 as ads;
use rapport_api::care::v1 as care;
use rapport_api::recommend::v1 as recommend;
use rapport_api::r#type::v1::Degraded;
use rapport_rpc::reason_of;
use tonic::Status;

use super::Life;

/// Longest wait for an answer that follows the log.
const PATIENCE: Duration = Duration::from_secs(20);
const LOOK_AGAIN: Duration = Duration::from_millis(20);
/// No line item is for it: asking here uses up no cap.
const ASIDE: &str = "aside";
const ANGRY: &str = "太过分了";

/// One answer per service, two of recommend.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Answers {
    /// The members whom the profile folds, or the reason of the refusal.
    profile: Result<u32, String>,
    /// `Unspecified` for an answer from the person's own history, with or without a model.
    recommend: Result<Degraded, String>,
    /// The items of the timeline, newest first, or the reason of the refusal.
    timeline: Result<Vec<String>, String>,
    ads: Result<Degraded, String>,
    /// The emotion that care reads in an angry text, or the reason of the refusal.
    care: Result<String, String>,
    /// Why the person has its variant in each running experiment; the variant where it is no draw.
    evaluate: Vec<String>,
}

impl Answers {
    /// Everything permitted, to a person of `members` subjects who looked at `seen`.
    pub(crate) fn personal(members: u32, seen: &[&str]) -> Self {
        Self {
            profile: Ok(members),
            recommend: Ok(Degraded::Unspecified),
            timeline: Ok(seen.iter().map(|item| (*item).to_owned()).collect()),
            ads: Ok(Degraded::Unspecified),
            care: Ok("anger".to_owned()),
            evaluate: vec!["SPLIT".to_owned()],
        }
    }

    /// Nothing permitted.
    pub(crate) fn refused() -> Self {
        let missing = || "CONSENT_MISSING".to_owned();
        Self {
            profile: Err(missing()),
            recommend: Ok(Degraded::Consent),
            timeline: Err(missing()),
            ads: Ok(Degraded::Consent),
            care: Err(missing()),
            evaluate: vec!["CONSENT: classic".to_owned()],
        }
    }

    /// As if the subject had never been.
    pub(crate) fn erased() -> Self {
        Self {
            profile: Err("SUBJECT_NOT_FOUND".to_owned()),
            ..Self::refused()
        }
    }
}

impl Life {
    /// Waits until every service answers about `subject` what a chapter promises.
    pub(crate) async fn all_answer(&mut self, chapter: &str, subject: &[u8], promised: &Answers) {
        let began = Instant::now();
        loop {
            let given = self.answers(subject).await;
            if given == *promised {
                return;
            }
            assert!(
                began.elapsed() < PATIENCE,
                "{chapter}: {given:#?} instead of {promised:#?}"
            );
            tokio::time::sleep(LOOK_AGAIN).await;
        }
    }

    async fn answers(&mut self, subject: &[u8]) -> Answers {
        let profile = self.profile_of(subject).await;
        let assigned = self.assigned(subject).await;
        let why = |one: &rapport_api::evaluate::v1::Assignment| match one.reason.as_str() {
            "SPLIT" => one.reason.clone(),
            reason => format!("{reason}: {}", one.variant),
        };
        Answers {
            profile: profile.map(|known| known.members).map_err(reason),
            recommend: self.recommended_aside(subject).await.map_err(reason),
            timeline: self.timeline_of(subject).await.map_err(reason),
            ads: self.decided_aside(subject).await.map_err(reason),
            care: self.emotion_read(subject).await.map_err(reason),
            evaluate: assigned.iter().map(why).collect(),
        }
    }

    async fn timeline_of(&mut self, subject: &[u8]) -> Result<Vec<String>, Status> {
        let request = recommend::GetTimelineRequest {
            subject_id: subject.to_vec(),
            page_size: 5,
        };
        let answer = self.recommend.get_timeline(request).await?.into_inner();
        let items = answer.entries.into_iter().map(|entry| entry.item_id);
        Ok(items.collect())
    }

    async fn recommended_aside(&mut self, subject: &[u8]) -> Result<Degraded, Status> {
        let request = recommend::RecommendRequest {
            subject_id: subject.to_vec(),
            placement: ASIDE.to_owned(),
            ..Default::default()
        };
        let answer = self.recommend.recommend(request).await?.into_inner();
        let given = answer.degraded();
        let is_modelless = given == Degraded::NoModel;
        Ok(if is_modelless {
            Degraded::Unspecified
        } else {
            given
        })
    }

    async fn decided_aside(&mut self, subject: &[u8]) -> Result<Degraded, Status> {
        self.asked += 1;
        let request = ads::DecideRequest {
            request_id: format!("aside-{}", self.asked),
            subject_id: subject.to_vec(),
            placement: ASIDE.to_owned(),
            ..Default::default()
        };
        let answer = self.ads.decide(request).await?;
        Ok(answer.into_inner().degraded())
    }

    async fn emotion_read(&mut self, subject: &[u8]) -> Result<String, Status> {
        let request = care::AnalyzeTextRequest {
            subject_id: subject.to_vec(),
            text: ANGRY.to_owned(),
        };
        let answer = self.cases.analyze_text(request).await?.into_inner();
        Ok(answer.analysis.unwrap().emotion)
    }
}

fn reason(status: Status) -> String {
    reason_of(&status).unwrap_or_else(|| status.to_string())
}
