//! The shop that the life happens in: items, one capped ad, one experiment, one agent.

use rapport_api::ads::v1 as ads;
use rapport_api::care::v1 as care;
use rapport_api::evaluate::v1 as evaluate;
use rapport_api::recommend::v1 as recommend;
use rapport_api::r#type::v1::Money;

use super::Life;

impl Life {
    pub(crate) async fn finds_a_shop(&mut self) {
        self.fills_the_shelves().await;
        self.books_a_capped_ad().await;
        self.starts_an_experiment().await;
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
    }

    async fn fills_the_shelves(&mut self) {
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
    }

    async fn books_a_capped_ad(&mut self) {
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
            targeting: Some(ads::Targeting {
                placements: vec!["home".to_owned()],
                ..Default::default()
            }),
            caps: vec![ads::FrequencyCap {
                impressions_max: 2,
                window_hours: 24,
            }],
            creatives: vec![creative],
        };
        let request = ads::UpsertLineItemRequest {
            request_id: "line-item".to_owned(),
            line_item: Some(line_item),
        };
        self.campaigns.upsert_line_item(request).await.unwrap();
    }

    async fn starts_an_experiment(&mut self) {
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
    }
}
