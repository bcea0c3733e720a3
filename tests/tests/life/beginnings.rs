//! From the first look to customer service, each chapter with every service's answer.

use rapport_api::ads::v1 as ads;
use rapport_api::care::v1 as care;
use rapport_api::evaluate::v1 as evaluate;
use rapport_api::event::v1 as events;
use rapport_api::profile::v1 as profile;
use rapport_api::profile::v1::IdentifierKind;
use rapport_api::recommend::v1 as recommend;
use rapport_api::r#type::v1::{ConsentState, Degraded, Money, Purpose};
use rapport_rpc::reason_of;

use super::calls::{any, eventually};
use super::{CANARIES, Life};

impl Life {
    pub(crate) async fn browses_anonymously(&mut self) {
        let items = ["tea", "cup", "pot"].map(|id| recommend::Item {
            item_id: id.to_owned(),
            title: id.to_owned(),
            category: "kitchen".to_owned(),
            price: Some(Money {
                currency: "CNY".to_owned(),
                micros: 9_000_000,
            }),
            available: true,
            ..Default::default()
        });
        let request = recommend::UpsertItemsRequest {
            request_id: "items".to_owned(),
            items: items.to_vec(),
        };
        self.catalogue.upsert_items(request).await.unwrap();

        self.phone = self.resolve(IdentifierKind::Device, "phone").await;
        let (phone, refused) = (self.phone.clone(), self.phone.clone());
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
        // Nothing was granted: profile refuses, recommend answers for everybody.
        let status = self.profile_of(&refused).await.unwrap_err();
        assert_eq!(reason_of(&status).as_deref(), Some("CONSENT_MISSING"));
        assert_eq!(self.recommended(&phone).await.degraded(), Degraded::Consent);
    }

    pub(crate) async fn signs_in_and_is_linked_to_a_second_device(&mut self) {
        let purposes = [
            Purpose::Personalise,
            Purpose::Advertise,
            Purpose::Emotion,
            Purpose::Measure,
        ];
        let phone = self.phone.clone();
        self.set_consent("grant", &phone, &purposes, ConsentState::Granted)
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
            self.tablet_link = self
                .subjects
                .link_subjects(request)
                .await
                .unwrap()
                .into_inner()
                .link_id;
        }
        let request = profile::GetPersonRequest {
            subject_id: self.tablet.clone(),
        };
        let person = self
            .subjects
            .get_person(request)
            .await
            .unwrap()
            .into_inner()
            .person
            .unwrap();
        assert_eq!(person.members.len(), 3);
        assert_eq!(
            person.anchor, self.phone,
            "the earliest-created member stands for the person"
        );
        let tablet = self.tablet.clone();
        eventually!("the profile folds three subjects", {
            self.profile_of(&tablet).await.is_ok_and(|known| {
                known.members == 3 && known.tags.iter().any(|tag| tag.name.contains("kitchen"))
            })
        });
    }

    pub(crate) async fn is_recommended_to_as_one_person(&mut self) {
        let tablet = self.tablet.clone();
        eventually!("the tablet's timeline holds what the phone saw", {
            let request = recommend::GetTimelineRequest {
                subject_id: tablet.clone(),
                page_size: 5,
            };
            self.recommend
                .get_timeline(request)
                .await
                .is_ok_and(|answer| {
                    answer
                        .into_inner()
                        .entries
                        .iter()
                        .any(|entry| entry.item_id == "tea")
                })
        });
        let shown = self.recommended(&tablet).await;
        assert_ne!(shown.degraded(), Degraded::Consent);
        assert_eq!(shown.decision_id.len(), 16);
        assert!(shown.items.iter().all(|one| !one.reasons.is_empty()));
    }

    pub(crate) async fn is_capped_as_one_person(&mut self) {
        let campaign = ads::Campaign {
            campaign_id: "spring".to_owned(),
            name: "Spring".to_owned(),
            state: ads::DeliveryState::Active as i32,
            ..Default::default()
        };
        let request = ads::UpsertCampaignRequest {
            request_id: "campaign".to_owned(),
            campaign: Some(campaign),
        };
        self.campaigns.upsert_campaign(request).await.unwrap();
        let creative = ads::Creative {
            creative_id: "c".to_owned(),
            headline: "Tea for everybody".to_owned(),
            landing: "tea".to_owned(),
            ..Default::default()
        };
        let line_item = ads::LineItem {
            line_item_id: "li".to_owned(),
            campaign_id: "spring".to_owned(),
            state: ads::DeliveryState::Active as i32,
            bid_type: ads::BidType::Cpc as i32,
            bid_micros: 1_000_000,
            budget_micros: 100_000_000,
            caps: vec![ads::FrequencyCap {
                impressions_max: 2,
                window_hours: 24,
            }],
            creatives: vec![creative],
            ..Default::default()
        };
        let request = ads::UpsertLineItemRequest {
            request_id: "line-item".to_owned(),
            line_item: Some(line_item),
        };
        self.campaigns.upsert_line_item(request).await.unwrap();
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
    }

    pub(crate) async fn is_assigned_as_one_person(&mut self) {
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
        self.experiments.upsert_experiment(request).await.unwrap();
        let request = evaluate::SetExperimentStateRequest {
            request_id: "start".to_owned(),
            key: "layout".to_owned(),
            state: evaluate::ExperimentState::Running as i32,
        };
        self.experiments
            .set_experiment_state(request)
            .await
            .unwrap();
        let (phone, tablet) = (self.phone.clone(), self.tablet.clone());
        let on_phone = self.assigned(&phone).await;
        assert_eq!(on_phone.len(), 1);
        assert_eq!(on_phone[0].reason, "SPLIT");
        assert_eq!(on_phone, self.assigned(&tablet).await);
    }

    pub(crate) async fn writes_to_customer_service(&mut self) {
        let agent = care::Agent {
            agent_id: "li".to_owned(),
            name: "Li".to_owned(),
            languages: vec!["zh".to_owned(), "en".to_owned()],
            capacity: 2,
            presence: care::Presence::Online as i32,
            ..Default::default()
        };
        let request = care::UpsertAgentRequest {
            request_id: "agent".to_owned(),
            agent: Some(agent),
        };
        self.agents.upsert_agent(request).await.unwrap();
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
    }
}
