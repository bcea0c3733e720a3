//! Withdrawal, unlinking, erasure, each with every service's answer.

use std::time::{Duration, Instant};

use rapport_api::care::v1 as care;
use rapport_api::event::v1 as events;
use rapport_api::profile::v1 as profile;
use rapport_api::r#type::v1::ConsentState;
use rapport_stories::scan;

use super::Life;
use super::answers::Answers;
use super::beginnings::PURPOSES;
use super::calls::{any, eventually};

/// A withdrawn consent bites everywhere within this time.
const WITHDRAWAL_MAX: Duration = Duration::from_secs(1);

impl Life {
    pub(crate) async fn withdraws_on_one_device_and_turns_non_personal_on_the_other(&mut self) {
        let (phone, tablet) = (self.phone.clone(), self.tablet.clone());
        self.set_consent("withdraw", &tablet, &PURPOSES, ConsentState::Revoked)
            .await;
        let withdrawn = Instant::now();
        let refused = Answers::refused();
        self.all_answer("withdrawn on the other", &phone, &refused)
            .await;
        let took = withdrawn.elapsed();
        assert!(
            took < WITHDRAWAL_MAX,
            "a withdrawn consent took {took:?} to bite everywhere"
        );
        for subject in [tablet, self.login.clone()] {
            self.all_answer("withdrawn", &subject, &refused).await;
        }
    }

    pub(crate) async fn is_unlinked_exactly(&mut self) {
        let request = profile::UnlinkSubjectsRequest {
            request_id: "unlink".to_owned(),
            link_id: self.tablet_link.clone(),
            validate_only: false,
        };
        let left = self.subjects.unlink_subjects(request).await.unwrap();
        let left = left.into_inner().persons;
        let mut sizes: Vec<usize> = left.iter().map(|person| person.members.len()).collect();
        sizes.sort_unstable();
        assert_eq!(sizes, [1, 2]);
        // Registers stay as they were; the tablet grants for itself and has nothing of the phone's.
        let tablet = self.tablet.clone();
        self.set_consent("again", &tablet, &PURPOSES, ConsentState::Granted)
            .await;
        let alone = Answers::personal(1, &[]);
        self.all_answer("unlinked", &tablet, &alone).await;
        eventually!("the tablet is a person of its own", {
            self.profile_of(&tablet)
                .await
                .is_ok_and(|known| tells_of_its_message_only(&known))
        });
        let refused = Answers::refused();
        for subject in [self.phone.clone(), self.login.clone()] {
            self.all_answer("left behind", &subject, &refused).await;
        }
    }

    /// Waits until a segment of the log lies on disk, packed, so that a search of files reads one.
    pub(crate) async fn is_packed_in_segments(&mut self) {
        eventually!("a segment is written", self.has_segments());
    }

    /// Waits until the part of the log that holds a canary is packed.
    pub(crate) async fn is_found_in_segments(&mut self, canaries: &[&str]) {
        let folder = self.segments();
        eventually!("a canary is packed", !scan(&folder, canaries).is_empty());
    }

    pub(crate) async fn is_erased(&mut self) {
        let (phone, login, tablet) = (self.phone.clone(), self.login.clone(), self.tablet.clone());
        self.erase("erase-phone", &phone).await;
        let gone = Answers::erased();
        // The phone and the log-in are one person, the tablet is another by now.
        for subject in [&phone, &login] {
            self.all_answer("erased", subject, &gone).await;
        }
        let alone = Answers::personal(1, &[]);
        self.all_answer("not erased", &tablet, &alone).await;
        self.erase("erase-tablet", &tablet).await;
        self.all_answer("erased too", &tablet, &gone).await;
        for subject in [phone, login, tablet] {
            self.is_refused_by_the_log(&subject).await;
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

    async fn erase(&mut self, request_id: &str, subject: &[u8]) {
        let request = profile::ErasePersonRequest {
            request_id: request_id.to_owned(),
            subject_id: subject.to_vec(),
        };
        let receipt = self.subjects.erase_person(request).await.unwrap();
        let receipt = receipt.into_inner();
        let lengths = (receipt.receipt_id.len(), receipt.signature.len());
        assert_eq!(lengths, (16, 32));
    }

    async fn is_refused_by_the_log(&mut self, subject: &[u8]) {
        self.asked += 1;
        let late = self
            .collect(profile::NewEvent {
                event_id: format!("late-{}", self.asked),
                subject_id: subject.to_vec(),
                payload: any(&events::ViewItem {
                    item_id: "tea".to_owned(),
                    ..Default::default()
                }),
                ..Default::default()
            })
            .await;
        assert_eq!(late.outcome(), profile::EventOutcome::Rejected);
        assert_eq!(late.reason, "SUBJECT_ERASED");
    }
}

/// Returns whether a profile holds nothing but the message that its own device wrote: the hour of it, and
/// neither an interest nor a view of the other device.
fn tells_of_its_message_only(known: &profile::Profile) -> bool {
    let own = ["message_received", "emotion_observed"];
    let counted = |count: &profile::TypeCount| own.contains(&count.r#type.as_str());
    known.tags.iter().all(|tag| tag.kind == "behaviour") && known.events.iter().all(counted)
}
