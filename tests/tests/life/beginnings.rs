//! From the first look to customer service, each chapter with every service's answer.

use rapport_api::care::v1 as care;
use rapport_api::event::v1 as events;
use rapport_api::profile::v1 as profile;
use rapport_api::profile::v1::IdentifierKind;
use rapport_api::r#type::v1::{ConsentState, Degraded, Purpose};

use super::answers::Answers;
use super::calls::{any, eventually};
use super::{CANARIES, Life};

/// What is granted and withdrawn in this life.
pub(super) const PURPOSES: [Purpose; 4] = [
    Purpose::Personalise,
    Purpose::Advertise,
    Purpose::Emotion,
    Purpose::Measure,
];

impl Life {
    pub(crate) async fn browses_anonymously(&mut self) {
        self.phone = self.resolve(IdentifierKind::Device, "phone").await;
        let phone = self.phone.clone();
        let viewed = self
            .collect(profile::NewEvent {
                event_id: "view-1".to_owned(),
                subject_id: phone.clone(),
                payload: any(&events::ViewItem {
                    item_id: "tea".to_owned(),
                    category: "kitchen".to_owned(),
                    ..Default::default()
                }),
                ..Default::default()
            })
            .await;
        assert_eq!(viewed.outcome(), profile::EventOutcome::Accepted);
        let searched = self
            .collect(profile::NewEvent {
                event_id: "search-1".to_owned(),
                subject_id: phone.clone(),
                payload: any(&events::Search { results: 2 }),
                personal: any(&events::SearchPersonal {
                    query: CANARIES[0].to_owned(),
                }),
                ..Default::default()
            })
            .await;
        assert_eq!(searched.outcome(), profile::EventOutcome::Accepted);
        // Nothing was granted: who cannot answer for everybody refuses.
        self.all_answer("browsing", &phone, &Answers::refused())
            .await;
    }

    pub(crate) async fn signs_in(&mut self) {
        let phone = self.phone.clone();
        self.set_consent("grant", &phone, &PURPOSES, ConsentState::Granted)
            .await;
        self.collect(profile::NewEvent {
            event_id: "sign-up-1".to_owned(),
            subject_id: phone.clone(),
            payload: any(&events::SignUp {
                language: "zh".to_owned(),
                age_band: events::AgeBand::Adult as i32,
                ..Default::default()
            }),
            personal: any(&events::SignUpPersonal {
                name: CANARIES[1].to_owned(),
                phone: CANARIES[2].to_owned(),
                email: CANARIES[3].to_owned(),
            }),
            ..Default::default()
        })
        .await;
        self.login = self.resolve(IdentifierKind::Login, CANARIES[5]).await;
        self.tablet = self.resolve(IdentifierKind::Device, "tablet").await;
        // What the phone granted is the phone's alone as yet.
        let (login, tablet) = (self.login.clone(), self.tablet.clone());
        let alone = Answers::personal(1, &["tea"]);
        self.all_answer("signed in", &phone, &alone).await;
        for subject in [login, tablet] {
            self.all_answer("signed in elsewhere", &subject, &Answers::refused())
                .await;
        }
    }

    pub(crate) async fn is_linked_to_a_second_device(&mut self) {
        for (number, device) in [self.phone.clone(), self.tablet.clone()]
            .into_iter()
            .enumerate()
        {
            let request = profile::LinkSubjectsRequest {
                request_id: format!("link-{number}"),
                left: device,
                right: self.login.clone(),
                evidence: "sign_in".to_owned(),
                validate_only: false,
            };
            let linked = self.subjects.link_subjects(request).await.unwrap();
            self.tablet_link = linked.into_inner().link_id;
        }
        let request = profile::GetPersonRequest {
            subject_id: self.tablet.clone(),
        };
        let person = self.subjects.get_person(request).await.unwrap();
        let person = person.into_inner().person.unwrap();
        assert_eq!(person.members.len(), 3);
        assert_eq!(
            person.anchor, self.phone,
            "the earliest-created member stands for the person"
        );
        self.all_answer_as_one_person("linked").await;
        let tablet = self.tablet.clone();
        eventually!("the tablet's profile tells what the phone saw", {
            self.profile_of(&tablet)
                .await
                .is_ok_and(|known| known.tags.iter().any(|tag| tag.name.contains("kitchen")))
        });
    }

    /// Every service gives all three subjects the one person's answer.
    async fn all_answer_as_one_person(&mut self, chapter: &str) {
        let one = Answers::personal(3, &["tea"]);
        for subject in [&self.phone, &self.login, &self.tablet].map(Clone::clone) {
            self.all_answer(chapter, &subject, &one).await;
        }
    }

    pub(crate) async fn is_recommended_to_as_one_person(&mut self) {
        let tablet = self.tablet.clone();
        let shown = self.recommended(&tablet).await;
        assert_ne!(shown.degraded(), Degraded::Consent);
        assert_eq!(shown.decision_id.len(), 16);
        assert!(shown.items.iter().all(|one| !one.reasons.is_empty()));
        self.all_answer_as_one_person("served").await;
    }

    pub(crate) async fn is_capped_as_one_person(&mut self) {
        let (phone, tablet) = (self.phone.clone(), self.tablet.clone());
        let mut number = 0;
        eventually!("an ad is shown on the phone", {
            number += 1;
            self.decided(&phone, &format!("phone-{number}"))
                .await
                .winner
                .is_some()
        });
        assert!(
            self.decided(&tablet, "tablet-1").await.winner.is_some(),
            "the second of two"
        );
        for (device, request_id) in [(phone, "phone-capped"), (tablet, "tablet-capped")] {
            let answer = self.decided(&device, request_id).await;
            assert!(answer.winner.is_none());
            assert_eq!(answer.considered[0].outcome, "FREQUENCY", "{answer:?}");
        }
        self.all_answer_as_one_person("capped").await;
    }

    pub(crate) async fn is_assigned_as_one_person(&mut self) {
        let (phone, tablet) = (self.phone.clone(), self.tablet.clone());
        let on_phone = self.assigned(&phone).await;
        assert_eq!(on_phone.len(), 1);
        assert_eq!(on_phone[0].reason, "SPLIT");
        assert_eq!(on_phone, self.assigned(&tablet).await);
        self.all_answer_as_one_person("assigned").await;
    }

    pub(crate) async fn writes_to_customer_service(&mut self) {
        let text = format!("太过分了，我要退款！{}", CANARIES[4]);
        let request = care::OpenCaseRequest {
            request_id: "case".to_owned(),
            subject_id: self.tablet.clone(),
            text: text.clone(),
            ..Default::default()
        };
        let opened = self.cases.open_case(request).await.unwrap().into_inner();
        assert_eq!(opened.analysis.as_ref().unwrap().intent, "refund");
        assert_eq!(opened.analysis.unwrap().emotion, "anger");
        assert_eq!(opened.route.unwrap().agent_id, "li");
        self.case_id = opened.case.unwrap().case_id;
        let request = care::GetCaseRequest {
            case_id: self.case_id.clone(),
        };
        let case = self.cases.get_case(request).await.unwrap().into_inner();
        assert_eq!(case.messages[0].text, text);
        self.all_answer_as_one_person("helped").await;
    }
}
