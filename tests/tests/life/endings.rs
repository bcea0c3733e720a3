//! Withdrawal, unlinking, erasure, each with every service's answer.

use std::time::{Duration, Instant};

use rapport_api::care::v1 as care;
use rapport_api::event::v1 as events;
use rapport_api::profile::v1 as profile;
use rapport_api::recommend::v1 as recommend;
use rapport_api::r#type::v1::{ConsentState, Degraded, Purpose};

use super::Life;
use super::calls::{any, eventually};

/// A withdrawn consent bites everywhere within this time.
const WITHDRAWAL_MAX: Duration = Duration::from_secs(1);

impl Life {
    pub(crate) async fn withdraws_on_one_device_and_turns_non_personal_on_the_other(&mut self) {
        let (phone, tablet) = (self.phone.clone(), self.tablet.clone());
        let purposes = [
            Purpose::Personalise,
            Purpose::Advertise,
            Purpose::Emotion,
            Purpose::Measure,
        ];
        self.set_consent("withdraw", &tablet, &purposes, ConsentState::Revoked)
            .await;
        let withdrawn = Instant::now();
        eventually!("profile refuses", self.profile_of(&phone).await.is_err());
        eventually!("recommend is non-personal", {
            self.recommended(&phone).await.degraded() == Degraded::Consent
        });
        let mut number = 0;
        eventually!("ads are non-personal", {
            number += 1;
            self.decided(&phone, &format!("withdrawn-{number}"))
                .await
                .degraded()
                == Degraded::Consent
        });
        eventually!("care reads no emotion", {
            let request = care::AnalyzeTextRequest {
                subject_id: phone.clone(),
                text: "太过分了".to_owned(),
            };
            self.cases.analyze_text(request).await.is_err()
        });
        eventually!("evaluate gives the control", {
            self.assigned(&phone)
                .await
                .iter()
                .all(|one| one.reason == "CONSENT")
        });
        let took = withdrawn.elapsed();
        assert!(
            took < WITHDRAWAL_MAX,
            "a withdrawn consent took {took:?} to bite everywhere"
        );
    }

    pub(crate) async fn is_unlinked_exactly(&mut self) {
        let request = profile::UnlinkSubjectsRequest {
            request_id: "unlink".to_owned(),
            link_id: self.tablet_link.clone(),
            validate_only: false,
        };
        let left = self
            .subjects
            .unlink_subjects(request)
            .await
            .unwrap()
            .into_inner()
            .persons;
        let mut sizes: Vec<usize> = left.iter().map(|person| person.members.len()).collect();
        sizes.sort_unstable();
        assert_eq!(sizes, [1, 2]);
        // Registers stay as they were; the tablet grants for itself and has nothing of the phone's.
        let tablet = self.tablet.clone();
        self.set_consent(
            "again",
            &tablet,
            &[Purpose::Personalise],
            ConsentState::Granted,
        )
        .await;
        eventually!("the tablet is a person of its own", {
            self.profile_of(&tablet)
                .await
                .is_ok_and(|known| known.members == 1 && tells_of_its_message_only(&known))
        });
        eventually!("the tablet's timeline is its own", {
            let request = recommend::GetTimelineRequest {
                subject_id: tablet.clone(),
                page_size: 5,
            };
            self.recommend
                .get_timeline(request)
                .await
                .is_ok_and(|answer| answer.into_inner().entries.is_empty())
        });
        let phone = self.phone.clone();
        assert!(
            self.profile_of(&phone).await.is_err(),
            "the phone's registers are still revoked"
        );
    }

    pub(crate) async fn is_erased(&mut self) {
        for (number, subject) in [self.phone.clone(), self.tablet.clone()]
            .into_iter()
            .enumerate()
        {
            let request = profile::ErasePersonRequest {
                request_id: format!("erase-{number}"),
                subject_id: subject.clone(),
            };
            let receipt = self
                .subjects
                .erase_person(request)
                .await
                .unwrap()
                .into_inner();
            assert_eq!(
                (receipt.receipt_id.len(), receipt.signature.len()),
                (16, 32)
            );
            let late = self
                .collect(profile::NewEvent {
                    event_id: format!("late-{number}"),
                    subject_id: subject.clone(),
                    payload: any(&events::ViewItem {
                        item_id: "tea".to_owned(),
                        ..Default::default()
                    }),
                    ..Default::default()
                })
                .await;
            assert_eq!(late.outcome(), profile::EventOutcome::Rejected);
            assert_eq!(late.reason, "SUBJECT_ERASED");
            assert!(self.profile_of(&subject).await.is_err());
        }
        let case_id = self.case_id.clone();
        eventually!("the case's text is gone", {
            let request = care::GetCaseRequest {
                case_id: case_id.clone(),
            };
            let case = self.cases.get_case(request).await.unwrap().into_inner();
            case.messages.iter().all(|message| message.text.is_empty())
        });
    }
}

/// Returns whether a profile holds nothing but the message that its own device wrote: the hour of it, and
/// neither an interest nor a view of the other device.
fn tells_of_its_message_only(known: &profile::Profile) -> bool {
    let own = ["message_received", "emotion_observed"];
    let counted = |count: &profile::TypeCount| own.contains(&count.r#type.as_str());
    known.tags.iter().all(|tag| tag.kind == "behaviour") && known.events.iter().all(counted)
}
