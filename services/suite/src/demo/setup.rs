//! What the town's shop sets up before it opens: catalogue, campaigns, agents, an experiment.

use std::time::Duration;

use rapport_api::ads::v1 as ads;
use rapport_api::ads::v1::campaign_service_client::CampaignServiceClient;
use rapport_api::care::v1 as care;
use rapport_api::care::v1::agent_service_client::AgentServiceClient;
use rapport_api::evaluate::v1 as evaluate;
use rapport_api::evaluate::v1::experiment_service_client::ExperimentServiceClient;
use rapport_api::profile::v1 as profile;
use rapport_api::profile::v1::model_service_client::ModelServiceClient as ValueModelClient;
use rapport_api::recommend::v1 as recommend;
use rapport_api::recommend::v1::catalog_service_client::CatalogServiceClient;
use rapport_api::recommend::v1::model_service_client::ModelServiceClient;
use rapport_api::r#type::v1::{Channel, Money};
use rapport_town::{Language, Town};

use super::convert::{CURRENCY, language_code};
use super::driver::PLACEMENT;
use crate::failure::Failure;
use crate::peers::Peers;

/// The town's experiment.
pub const EXPERIMENT: &str = "home-layout";
/// Its control.
pub const CONTROL: &str = "classic";
/// Its treatment.
pub const TREATMENT: &str = "stories";

/// One agent of the shop.
struct Helper {
    id: &'static str,
    name: &'static str,
    languages: &'static [&'static str],
    /// Intents; none is all.
    skills: &'static [&'static str],
    /// Cases at a time.
    capacity: u32,
}

const AGENTS: [Helper; 5] = [
    Helper {
        id: "agent-li",
        name: "李娜",
        languages: &["zh"],
        skills: &["complaint", "refund"],
        capacity: 6,
    },
    Helper {
        id: "agent-wang",
        name: "王强",
        languages: &["zh"],
        skills: &[],
        capacity: 8,
    },
    Helper {
        id: "agent-chen",
        name: "陈晨",
        languages: &["zh", "en"],
        skills: &["delivery", "exchange"],
        capacity: 8,
    },
    Helper {
        id: "agent-smith",
        name: "Ann Smith",
        languages: &["en"],
        skills: &[],
        capacity: 8,
    },
    Helper {
        id: "agent-garcia",
        name: "Leo Garcia",
        languages: &["en"],
        skills: &["complaint", "refund"],
        capacity: 6,
    },
];

/// Sets everything up.
///
/// # Errors
/// [`Failure`] of the first call that fails.
pub async fn set_up(peers: &Peers, town: &Town) -> Result<(), Failure> {
    catalogue(peers, town).await?;
    campaigns(peers, town).await?;
    agents(peers).await?;
    experiment(peers).await
}

/// Returns what the request ids of one town's life begin with: another town, or the same one at another
/// time, writes other campaigns under other ids.
#[must_use]
pub fn run_of(town: &Town) -> String {
    let config = town.config();
    format!("town-{:x}-{}", config.seed, config.start.0)
}

async fn catalogue(peers: &Peers, town: &Town) -> Result<(), Failure> {
    let categories = town.catalogue().categories();
    let items = town.catalogue().items().iter().map(|item| recommend::Item {
        item_id: item.id.clone(),
        title: format!("{} {}", item.zh, item.en),
        category: categories[item.category].id.to_owned(),
        brand: item.brand.to_owned(),
        price: Some(Money {
            currency: CURRENCY.to_owned(),
            micros: item.price.0,
        }),
        available: true,
        tags: Vec::new(),
    });
    let request = recommend::UpsertItemsRequest {
        request_id: format!("{}-catalogue", run_of(town)),
        items: items.collect(),
    };
    let sent = CatalogServiceClient::new(peers.recommend.clone())
        .upsert_items(request)
        .await;
    sent.map(|_| ()).map_err(failed("catalogue"))
}

async fn campaigns(peers: &Peers, town: &Town) -> Result<(), Failure> {
    let run = run_of(town);
    let mut client = CampaignServiceClient::new(peers.ads.clone());
    let days = i64::from(town.config().days);
    let starts_at_ms = town.config().start.0;
    let mut seen: Vec<&str> = Vec::new();
    for (index, item) in town.line_items().iter().enumerate() {
        if !seen.contains(&item.campaign_id) {
            let channel = [Channel::Wechat, Channel::Douyin, Channel::Web][seen.len() % 3];
            seen.push(item.campaign_id);
            let campaign = ads::Campaign {
                campaign_id: item.campaign_id.to_owned(),
                name: item.campaign_id.to_owned(),
                state: ads::DeliveryState::Active as i32,
                starts_at_ms,
                ends_at_ms: 0,
                channel: channel as i32,
            };
            let request = ads::UpsertCampaignRequest {
                request_id: format!("{run}-{}", item.campaign_id),
                campaign: Some(campaign),
            };
            client
                .upsert_campaign(request)
                .await
                .map_err(failed("campaign"))?;
        }
        let request = ads::UpsertLineItemRequest {
            request_id: format!("{run}-{}", item.id),
            line_item: Some(line_item(town, index, days)),
        };
        client
            .upsert_line_item(request)
            .await
            .map_err(failed("line item"))?;
    }
    Ok(())
}

/// Every other line item is for people who like its category; the rest are for everybody.
fn line_item(town: &Town, index: usize, days: i64) -> ads::LineItem {
    let item = &town.line_items()[index];
    let category = town.catalogue().categories()[item.category].id;
    let creative = |language: Language| ads::Creative {
        creative_id: format!("{}-{}", item.id, language_code(language)),
        headline: item.headline(language).to_owned(),
        language: language_code(language).to_owned(),
        landing: category.to_owned(),
    };
    let interests = if index.is_multiple_of(2) {
        vec![format!("category:{category}")]
    } else {
        Vec::new()
    };
    ads::LineItem {
        line_item_id: item.id.to_owned(),
        campaign_id: item.campaign_id.to_owned(),
        state: ads::DeliveryState::Active as i32,
        bid_type: ads::BidType::Cpc as i32,
        bid_micros: item.bid_per_click.0,
        budget_micros: item.daily_budget.0 * days,
        targeting: Some(ads::Targeting {
            placements: vec![PLACEMENT.to_owned()],
            interests,
            ..ads::Targeting::default()
        }),
        caps: vec![ads::FrequencyCap {
            impressions_max: 3,
            window_hours: 24,
        }],
        creatives: vec![
            creative(Language::Chinese),
            ads::Creative {
                language: String::new(),
                ..creative(Language::English)
            },
        ],
    }
}

async fn agents(peers: &Peers) -> Result<(), Failure> {
    let mut client = AgentServiceClient::new(peers.care.clone());
    for helper in AGENTS {
        let owned = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect();
        let agent = care::Agent {
            agent_id: helper.id.to_owned(),
            name: helper.name.to_owned(),
            languages: owned(helper.languages),
            skills: owned(helper.skills),
            capacity: helper.capacity,
            presence: care::Presence::Online as i32,
            ..care::Agent::default()
        };
        let request = care::UpsertAgentRequest {
            request_id: format!("town-{}", helper.id),
            agent: Some(agent),
        };
        client
            .upsert_agent(request)
            .await
            .map_err(failed("agent"))?;
    }
    Ok(())
}

async fn experiment(peers: &Peers) -> Result<(), Failure> {
    let variant = |key: &str| evaluate::Variant {
        key: key.to_owned(),
        share: 5_000,
    };
    let experiment = evaluate::Experiment {
        key: EXPERIMENT.to_owned(),
        hypothesis: "a home page of short stories sells more than the classic one".to_owned(),
        variants: vec![variant(CONTROL), variant(TREATMENT)],
        ..evaluate::Experiment::default()
    };
    let mut client = ExperimentServiceClient::new(peers.evaluate.clone());
    let request = evaluate::UpsertExperimentRequest {
        request_id: "town-experiment".to_owned(),
        experiment: Some(experiment),
    };
    client
        .upsert_experiment(request)
        .await
        .map_err(failed("experiment"))?;
    let request = evaluate::SetExperimentStateRequest {
        request_id: "town-experiment-start".to_owned(),
        key: EXPERIMENT.to_owned(),
        state: evaluate::ExperimentState::Running as i32,
    };
    client
        .set_experiment_state(request)
        .await
        .map_err(failed("experiment"))?;
    Ok(())
}

/// How long to wait before asking again while a training of the service's own runs.
const TRAINING_PAUSE: Duration = Duration::from_millis(250);
/// How often to ask: for five minutes, longer than any town's training.
const TRAINING_ASKS_MAX: u32 = 1_200;

/// Trains the recommender on what is known by now, after the training that runs already if one does.
///
/// # Errors
/// [`Failure`] of the call.
pub async fn train_recommender(peers: &Peers, request_id: &str) -> Result<(), Failure> {
    let mut client = ModelServiceClient::new(peers.recommend.clone());
    let mut asked = 0;
    loop {
        let request = recommend::TrainModelRequest {
            request_id: request_id.to_owned(),
        };
        asked += 1;
        match client.train_model(request).await {
            Err(status) if status.code() == tonic::Code::Aborted && asked < TRAINING_ASKS_MAX => {
                tokio::time::sleep(TRAINING_PAUSE).await;
            }
            sent => return sent.map(|_| ()).map_err(failed("training")),
        }
    }
}

/// Learns what customers are worth.
///
/// # Errors
/// [`Failure`] when profile cannot be reached.
pub async fn train_value(peers: &Peers) -> Result<(), Failure> {
    let request = profile::TrainModelRequest {
        request_id: "tour-value".to_owned(),
    };
    let mut client = ValueModelClient::new(peers.profile.clone());
    match client.train_model(request).await {
        // It is being trained in the background, or the town is too small: the tour says so then.
        Err(status)
            if matches!(
                status.code(),
                tonic::Code::Aborted | tonic::Code::FailedPrecondition
            ) =>
        {
            Ok(())
        }
        sent => sent.map(|_| ()).map_err(failed("training")),
    }
}

fn failed(what: &'static str) -> impl Fn(tonic::Status) -> Failure {
    move |status| Failure::of_call("the server", what, &status)
}
