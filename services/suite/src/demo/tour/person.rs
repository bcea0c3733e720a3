//! One person of the tour: what is known, shown, offered, and how they are helped.

use rapport_api::ads::v1 as ads;
use rapport_api::ads::v1::decision_service_client::DecisionServiceClient;
use rapport_api::care::v1 as care;
use rapport_api::care::v1::case_service_client::CaseServiceClient;
use rapport_api::profile::v1 as profile;
use rapport_api::profile::v1::event_service_client::EventServiceClient;
use rapport_api::recommend::v1 as recommend;
use rapport_api::recommend::v1::model_service_client::ModelServiceClient;
use rapport_api::recommend::v1::recommend_service_client::RecommendServiceClient;
use rapport_api::r#type::v1::Channel;
use rapport_types::{Micros, SubjectId};

use super::{ANGRY, Person, failed, heading, hex};
use crate::demo::driver::PLACEMENT;
use crate::failure::Failure;
use crate::output::line;
use crate::peers::Peers;

pub(super) async fn show_profile(peers: &Peers, person: &Person) -> Result<(), Failure> {
    heading("One person: what is known, and the events behind it");
    let known = &person.profile;
    line(&format!(
        "person {} with {} linked subjects, lifecycle `{}`",
        person.subject, known.members, known.lifecycle
    ));
    if let Some(rfm) = &known.rfm {
        let money: Vec<String> = rfm
            .monetary
            .iter()
            .map(|money| format!("{} {}", money.currency, Micros(money.micros)))
            .collect();
        line(&format!(
            "last order {} days ago, {} orders, {} (scores R{} F{} M{})",
            rfm.recency_days,
            rfm.frequency,
            money.join(", "),
            rfm.recency_score,
            rfm.frequency_score,
            rfm.monetary_score
        ));
    }
    show_forecast(known);
    let events = own_events(peers, person).await?;
    for tag in known.tags.iter().take(5) {
        line(&format!(
            "  tag {:<24} weight {:>6.2}",
            tag.name, tag.weight
        ));
        for id in tag.evidence.iter().take(2) {
            let told = events.iter().find(|(event_id, _)| event_id == id);
            line(&format!(
                "      because of {}",
                told.map_or(id.as_str(), |(_, told)| told.as_str())
            ));
        }
    }
    if let Some(emotion) = &known.emotion {
        line(&format!(
            "  emotion {} (valence {:+.2}, arousal {:.2})",
            emotion.label, emotion.valence, emotion.arousal
        ));
    }
    Ok(())
}

/// Says what the person is expected to buy, and from what that is told.
fn show_forecast(known: &profile::Profile) {
    let Some(told) = &known.forecast else {
        line(&format!(
            "no forecast: {}",
            known.no_forecast().as_str_name()
        ));
        return;
    };
    let money = told.value.as_ref().map_or("–".to_owned(), |value| {
        // A forecast is no amount of money to the last micro.
        format!("{} {:.2}", value.currency, value.micros as f64 / 1e6)
    });
    line(&format!(
        "within {} days: {:.1} more purchase days worth {money}, still a customer with {}",
        told.horizon_days,
        told.purchases,
        told.alive
            .map_or("–".to_owned(), |alive| format!("{:.0} %", alive * 100.0))
    ));
    line(&format!(
        "  because of {} repeat days over {} days, {} days after the first ({})",
        told.repeat_days, told.span_days, told.age_days, told.model_version
    ));
}

/// Returns the id and a sentence of every event of a person, as the log tells them.
async fn own_events(peers: &Peers, person: &Person) -> Result<Vec<(String, String)>, Failure> {
    let mut cursors: Vec<u32> = vec![person.subject.partition(), person.other.partition()];
    cursors.dedup();
    let cursors = cursors
        .into_iter()
        .map(|partition| profile::PartitionCursor {
            partition,
            after_sequence: 0,
        });
    let request = profile::TailEventsRequest {
        cursors: cursors.collect(),
        types: Vec::new(),
        follow: false,
    };
    let mut client = EventServiceClient::new(peers.profile.clone());
    let mut tail = client
        .tail_events(request)
        .await
        .map_err(failed("tail"))?
        .into_inner();
    let mut told = Vec::new();
    while let Some(frame) = tail.message().await.map_err(failed("tail"))? {
        for event in frame.batch.into_iter().flat_map(|batch| batch.events) {
            let own = SubjectId::parse(&event.subject_id);
            if own == Ok(person.subject) || own == Ok(person.other) {
                let day = (event.occurred_at_ms - person.profile.as_of_ms) / 86_400_000;
                let told_as = format!("{} (day {day}, event {})", event.r#type, event.event_id);
                told.push((event.event_id, told_as));
            }
        }
    }
    Ok(told)
}

pub(super) async fn recommend(
    peers: &Peers,
    subject: SubjectId,
) -> Result<recommend::RecommendResponse, Failure> {
    let request = recommend::RecommendRequest {
        subject_id: subject.to_vec(),
        page_size: 5,
        placement: PLACEMENT.to_owned(),
        ..Default::default()
    };
    let mut client = RecommendServiceClient::new(peers.recommend.clone());
    Ok(client
        .recommend(request)
        .await
        .map_err(failed("recommend"))?
        .into_inner())
}

pub(super) async fn show_recommendations(peers: &Peers, person: &Person) -> Result<(), Failure> {
    heading("What to show this person now, and why");
    let answer = recommend(peers, person.subject).await?;
    for (place, one) in answer.items.iter().enumerate() {
        let title = one.item.as_ref().map_or("?", |item| item.title.as_str());
        let why = one
            .reasons
            .first()
            .map_or("", |reason| reason.text.as_str());
        line(&format!("  {}. {title}  – {why}", place + 1));
    }
    line(&format!(
        "model {}, decision {}",
        answer.model_version,
        hex(&answer.decision_id)
    ));
    show_model(peers).await
}

/// Says how the served model was chosen.
async fn show_model(peers: &Peers) -> Result<(), Failure> {
    let mut client = ModelServiceClient::new(peers.recommend.clone());
    let answer = client.get_model(recommend::GetModelRequest {}).await;
    let model = answer.map_err(failed("model"))?.into_inner().model;
    let Some(model) = model else { return Ok(()) };
    if let (Some(ndcg), Some(plain)) = (model.ndcg, model.plain_ndcg) {
        line(&format!(
            "it is {}, the best on what training held out of {} histories: NDCG@20 {ndcg:.4}, plain \
             neighbours {plain:.4}",
            model.algorithm, model.judged_persons
        ));
    }
    Ok(())
}

pub(super) async fn decide(
    peers: &Peers,
    subject: SubjectId,
    request_id: &str,
) -> Result<ads::DecideResponse, Failure> {
    let request = ads::DecideRequest {
        request_id: request_id.to_owned(),
        subject_id: subject.to_vec(),
        placement: PLACEMENT.to_owned(),
        explain: true,
        ..Default::default()
    };
    let mut client = DecisionServiceClient::new(peers.ads.clone());
    Ok(client
        .decide(request)
        .await
        .map_err(failed("decide"))?
        .into_inner())
}

pub(super) async fn show_ad(peers: &Peers, person: &Person) -> Result<(), Failure> {
    heading("Which ad won, at what price, and why the others lost");
    let answer = decide(peers, person.subject, "tour-ad").await?;
    match &answer.winner {
        Some(winner) => {
            let headline = winner
                .creative
                .as_ref()
                .map_or("", |creative| creative.headline.as_str());
            line(&format!(
                "won: {} of {} at {} CNY a click – “{headline}”",
                winner.line_item_id,
                winner.campaign_id,
                Micros(winner.price_micros)
            ));
        }
        None => line("no ad fits"),
    }
    for one in &answer.considered {
        line(&format!(
            "  {:<20} {:<10} eCPM {:>8}  {}",
            one.line_item_id,
            one.outcome,
            Micros(one.ecpm_micros).to_string(),
            one.text
        ));
    }
    Ok(())
}

pub(super) async fn show_case(peers: &Peers, person: &Person) -> Result<(), Failure> {
    heading("An angry message finds the right agent");
    line(&format!("customer: {ANGRY}"));
    let request = care::OpenCaseRequest {
        request_id: "tour-case".to_owned(),
        subject_id: person.subject.to_vec(),
        channel: Channel::Wechat as i32,
        text: ANGRY.to_owned(),
    };
    let mut client = CaseServiceClient::new(peers.care.clone());
    let opened = client
        .open_case(request)
        .await
        .map_err(failed("open case"))?
        .into_inner();
    if let Some(analysis) = &opened.analysis {
        line(&format!(
            "language {}, intent {} ({:.0} %), emotion {} ({:.0} %), because of {}",
            analysis.language,
            analysis.intent,
            analysis.intent_probability * 100.0,
            analysis.emotion,
            analysis.emotion_probability * 100.0,
            analysis.evidence.join("、")
        ));
    }
    if let Some(route) = &opened.route {
        let agent = if route.agent_id.is_empty() {
            "nobody yet"
        } else {
            &route.agent_id
        };
        line(&format!("goes to {agent}: {}", route.reasons.join("; ")));
        for rejected in &route.rejected {
            line(&format!("  not {}: {}", rejected.agent_id, rejected.reason));
        }
    }
    Ok(())
}
