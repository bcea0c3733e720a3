//! Customer value: a model of those who permit it, forecasts with their numbers, who may be leaving.

use std::time::Duration;

use profile_domain::clv::{ClvModel, Customer, History};
use rapport_api::event::v1 as events;
use rapport_api::profile::v1 as pb;
use rapport_profile::{error, store};
use rapport_store::{lease, on_writer, store_contract};
use rapport_types::{ConsentState, Purpose, SubjectId};
use tonic::{Code, Status};

use crate::support::{DAY_MS, START, Service, purchase, refusal, spawn, view};

store_contract!(
    spawn,
    [
        a_model_is_the_one_of_the_histories_in_the_log,
        a_forecast_says_what_it_is_told_from,
        without_consent_nothing_is_foretold_at_once,
        churners_come_by_value_in_pages,
        a_damaged_model_is_refused_and_an_older_one_serves,
        one_training_at_a_time_and_not_from_too_few,
        a_thousand_events_train_the_first_model,
    ]
);

/// Persons who bought again.
const PERSONS: usize = 40;

/// Days ago and units of the purchases of person `n`, oldest first.
fn purchases(n: usize) -> Vec<(i64, i64)> {
    let (gap, count) = (4 + n as i64 % 13, 2 + n as i64 % 4);
    let last = n as i64 * 5 % 120;
    let one = |nth: i64| (last + gap * (count - 1 - nth), 10 + n as i64 % 9 + 3 * nth);
    (0..count).map(one).collect()
}

/// What the model should learn of person `n`, at the end of the newest purchase's day, today.
fn customer(n: usize) -> Customer {
    let bought = purchases(n);
    let today = START.0.div_euclid(DAY_MS);
    let days: Vec<i64> = bought.iter().map(|(ago, _)| today - ago).collect();
    let repeats = &bought[1..];
    let spent: i64 = repeats.iter().map(|(_, units)| units).sum();
    Customer {
        history: History::of_days(&days, today).unwrap(),
        mean_spend: spent as f64 / repeats.len() as f64,
    }
}

/// Sends events older than the log takes live, and waits until profiles show them.
async fn backfill(service: &Service, events: Vec<pb::NewEvent>) {
    let request = pb::CollectEventsRequest {
        events,
        lane: events::Lane::Backfill as i32,
        import_hash: vec![7; 32],
    };
    let response = service.events().collect_events(request).await.unwrap();
    let progress = &service.profile.reader().progress;
    for result in response.into_inner().results {
        assert_eq!(result.outcome(), pb::EventOutcome::Accepted, "{result:?}");
        progress.wait_for(result.partition, result.sequence).await;
    }
}

/// A shop of [`PERSONS`] who permit it, in their order, and one who does not. The first bought on two
/// devices in turn.
async fn shop(service: &Service) -> Vec<SubjectId> {
    let (mut persons, mut sent) = (Vec::new(), Vec::new());
    for n in 0..=PERSONS {
        let subject = service.subject(&format!("s-{n}")).await;
        if n < PERSONS {
            service.grant(subject, Purpose::Personalise).await;
        }
        let bought = purchases(n).into_iter().enumerate();
        sent.extend(
            bought.map(|(nth, bought)| {
                purchase(&format!("p-{n}-{nth}"), subject, bought.0, bought.1)
            }),
        );
        persons.push(subject);
    }
    let other = service.subject("other").await;
    sent[1].subject_id = other.to_vec();
    service.link(persons[0], other).await.unwrap();
    backfill(service, sent).await;
    persons
}

async fn train(service: &Service, request_id: &str) -> Result<pb::Model, Status> {
    let request = pb::TrainModelRequest {
        request_id: request_id.to_owned(),
    };
    let response = service.models().train_model(request).await?;
    Ok(response.into_inner().model.unwrap())
}

async fn served(service: &Service) -> Option<pb::Model> {
    let response = service.models().get_model(pb::GetModelRequest {}).await;
    response.unwrap().into_inner().model
}

async fn list(
    service: &Service,
    request: pb::ListChurnersRequest,
) -> Result<pb::ListChurnersResponse, Status> {
    let response = service.profiles().list_churners(request).await?;
    Ok(response.into_inner())
}

/// Everybody below a bar, on one page.
async fn churners(service: &Service, alive_max: f64) -> Vec<pb::Churner> {
    let request = pb::ListChurnersRequest {
        alive_max,
        page_size: 500,
        ..Default::default()
    };
    let page = list(service, request).await.unwrap();
    assert_eq!(page.next_page_token, "");
    page.churners
}

fn anchors(churners: &[pb::Churner]) -> Vec<&[u8]> {
    churners.iter().map(|one| one.anchor.as_slice()).collect()
}

async fn a_model_is_the_one_of_the_histories_in_the_log(service: Service) {
    shop(&service).await;
    assert_eq!(served(&service).await, None);
    let model = train(&service, "t-1").await.unwrap();
    let told = (model.persons, model.repeaters, model.spenders);
    assert_eq!(told, (40, 40, 40), "nobody who did not permit it");
    assert_eq!(
        (model.version.as_str(), model.currency.as_str()),
        ("clv-00000001", "GBP")
    );
    let day_end = (START.0.div_euclid(DAY_MS) + 1) * DAY_MS - 1;
    assert_eq!((model.trained_at_ms, model.as_of_ms), (START.0, day_end));
    let customers: Vec<Customer> = (0..PERSONS).map(customer).collect();
    let expected = ClvModel::fit(&customers).unwrap();
    let db = service.home.db.open().await;
    let rows = store::model::newest(&db).await.unwrap();
    assert_eq!(
        rows[0].model,
        expected.to_bytes(),
        "the same numbers to the bit"
    );
    assert_eq!(
        train(&service, "t-1").await.unwrap(),
        model,
        "the answer of then"
    );
    assert_eq!(served(&service).await, Some(model));
    for n in 2..8 {
        let model = train(&service, &format!("t-{n}")).await.unwrap();
        assert_eq!(model.version, format!("clv-{n:08}"));
    }
    let rows = store::model::newest(&db).await.unwrap();
    let kept: Vec<i64> = rows.iter().map(|row| row.version).collect();
    assert_eq!(kept, [7, 6, 5, 4], "old models are forgotten");
    let bad = train(&service, "").await.unwrap_err();
    assert_eq!(refusal(&bad).1, ["request_id"]);
}

async fn a_forecast_says_what_it_is_told_from(service: Service) {
    let persons = shop(&service).await;
    let (once, never) = (
        service.subject("once").await,
        service.subject("never").await,
    );
    service.grant(once, Purpose::Personalise).await;
    service.grant(never, Purpose::Personalise).await;
    backfill(
        &service,
        vec![purchase("p-once", once, 50, 8), view("v-1", never, "tea")],
    )
    .await;
    let before = service.profile_of(persons[5]).await.unwrap();
    assert_eq!(
        (before.forecast.as_ref(), before.no_forecast()),
        (None, pb::NoForecast::NoModel)
    );
    train(&service, "t-1").await.unwrap();
    let profile = service.profile_of(never).await.unwrap();
    assert_eq!(
        (profile.forecast.as_ref(), profile.no_forecast()),
        (None, pb::NoForecast::NoPurchase)
    );
    let db = service.home.db.open().await;
    let rows = store::model::newest(&db).await.unwrap();
    let model = ClvModel::from_bytes(&rows[0].model).unwrap();
    for n in [0, 5, 17] {
        let profile = service.profile_of(persons[n]).await.unwrap();
        assert_eq!(profile.no_forecast(), pb::NoForecast::Unspecified);
        let told = profile.forecast.unwrap();
        let expected = model.forecast(&customer(n), 90.0 / 7.0, 0.0);
        assert_eq!(told.alive, Some(expected.alive.get()), "person {n}");
        assert_eq!(
            (told.purchases, told.horizon_days),
            (expected.purchases, 90)
        );
        let micros = |units: Option<f64>| units.map(|units| (units * 1e6).round() as i64);
        let paid =
            |money: &Option<rapport_api::r#type::v1::Money>| money.as_ref().map(|it| it.micros);
        assert_eq!(paid(&told.spend), micros(expected.spend));
        assert_eq!(paid(&told.value), micros(expected.value));
        assert_eq!(paid(&told.mean_spend), micros(Some(customer(n).mean_spend)));
        let (bought, repeats) = (purchases(n), purchases(n).len() as u32 - 1);
        let (first, last) = (bought[0].0 as u32, bought[repeats as usize].0 as u32);
        let days = (told.repeat_days, told.span_days, told.age_days);
        assert_eq!(days, (repeats, first - last, first));
        assert_eq!(
            (told.model_version.as_str(), told.as_of_ms),
            ("clv-00000001", START.0)
        );
    }
    let told = service.profile_of(once).await.unwrap().forecast.unwrap();
    assert_eq!(
        (told.alive, told.repeat_days, told.mean_spend),
        (None, 0, None)
    );
    assert!(told.purchases > 0.0 && told.value.is_some(), "everybody's");
}

async fn without_consent_nothing_is_foretold_at_once(service: Service) {
    let persons = shop(&service).await;
    train(&service, "t-1").await.unwrap();
    let all = churners(&service, 1.0).await;
    let [withdrawn, erased] = [0, 1].map(|at: usize| SubjectId::parse(&all[at].anchor).unwrap());
    service
        .set_consent(
            withdrawn,
            Purpose::Personalise,
            ConsentState::Revoked,
            false,
        )
        .await;
    let refused = service.profile_of(withdrawn).await.unwrap_err();
    assert_eq!(refusal(&refused).0, error::CONSENT_MISSING);
    let request = pb::ErasePersonRequest {
        request_id: "r-1".to_owned(),
        subject_id: erased.to_vec(),
    };
    service.subjects().erase_person(request).await.unwrap();
    let gone = service.profile_of(erased).await.unwrap_err();
    assert_eq!(refusal(&gone).0, error::SUBJECT_NOT_FOUND);
    assert_eq!(anchors(&churners(&service, 1.0).await), anchors(&all[2..]));
    let model = train(&service, "t-2").await.unwrap();
    assert_eq!(model.persons, 38, "nothing is learned from them either");
    assert!(!anchors(&all).contains(&persons[PERSONS].as_bytes().as_slice()));
}

async fn churners_come_by_value_in_pages(service: Service) {
    let persons = shop(&service).await;
    let none = list(&service, pb::ListChurnersRequest::default())
        .await
        .unwrap();
    let told = (
        none.no_forecast(),
        none.churners.len(),
        none.model_version.as_str(),
    );
    assert_eq!(told, (pb::NoForecast::NoModel, 0, ""));
    train(&service, "t-1").await.unwrap();
    let all = churners(&service, 0.9).await;
    let value = |one: &pb::Churner| {
        let told = one.forecast.as_ref().unwrap();
        assert!(told.alive.unwrap() < 0.9);
        told.value.as_ref().unwrap().micros
    };
    assert!(all.len() > 10 && all.is_sorted_by_key(|one| std::cmp::Reverse(value(one))));
    let mut below = Vec::new();
    for person in &persons[..PERSONS] {
        let told = service.profile_of(*person).await.unwrap();
        if told.forecast.as_ref().unwrap().alive.unwrap() < 0.9 {
            let found = all.iter().find(|one| one.anchor == told.anchor).unwrap();
            assert_eq!(
                (found.members, &found.forecast),
                (told.members, &told.forecast)
            );
            below.push(told.anchor);
        }
    }
    assert_eq!(below.len(), all.len(), "all of them, each once");
    let (mut paged, mut token) = (Vec::new(), String::new());
    loop {
        let request = pb::ListChurnersRequest {
            alive_max: 0.9,
            page_size: 7,
            page_token: token,
            ..Default::default()
        };
        let page = list(&service, request).await.unwrap();
        assert!(page.churners.len() == 7 || page.next_page_token.is_empty());
        paged.extend(page.churners);
        token = page.next_page_token;
        if token.is_empty() {
            break;
        }
    }
    assert_eq!(paged, all);
    let half = list(&service, pb::ListChurnersRequest::default())
        .await
        .unwrap();
    let alive = |one: &pb::Churner| one.forecast.as_ref().unwrap().alive.unwrap();
    assert!(half.churners.iter().all(|one| alive(one) < 0.5));
    bad_pages(&service).await;
}

async fn bad_pages(service: &Service) {
    let request = pb::ListChurnersRequest {
        as_of_ms: -1,
        alive_max: 1.5,
        page_size: -1,
        page_token: "x".to_owned(),
    };
    let bad = list(service, request).await.unwrap_err();
    assert_eq!(
        refusal(&bad).1,
        ["as_of_ms", "alive_max", "page_size", "page_token"]
    );
    let first = pb::ListChurnersRequest {
        alive_max: 0.9,
        page_size: 1,
        ..Default::default()
    };
    let page_token = list(service, first).await.unwrap().next_page_token;
    let next = |alive_max| pb::ListChurnersRequest {
        alive_max,
        page_token: page_token.clone(),
        ..Default::default()
    };
    assert!(
        list(service, next(0.0)).await.is_ok(),
        "the token knows the bar"
    );
    let other = list(service, next(0.8)).await.unwrap_err();
    assert_eq!(refusal(&other).1, ["page_token"]);
    train(service, "t-2").await.unwrap();
    let replaced = list(service, next(0.9)).await.unwrap_err();
    assert_eq!(
        refusal(&replaced).1,
        ["page_token"],
        "ranked by another model"
    );
}

async fn a_damaged_model_is_refused_and_an_older_one_serves(service: Service) {
    let persons = shop(&service).await;
    train(&service, "t-1").await.unwrap();
    train(&service, "t-2").await.unwrap();
    let mut service = service;
    for (damaged, left) in [(2, Some("clv-00000001")), (1, None)] {
        let home = service.stop().await;
        let db = home.db.open().await;
        let mut model = store::model::newest(&db)
            .await
            .unwrap()
            .remove(2 - damaged)
            .model;
        let middle = model.len() / 2;
        model[middle] ^= 1;
        on_writer!(&db, |pool| {
            let damage = sqlx::query("update model set model = $1 where version = $2");
            let damage = damage.bind(model).bind(damaged as i64);
            damage.execute(pool).await.unwrap();
        });
        db.close().await;
        service = home.serve(&[]).await;
        let version = served(&service).await.map(|model| model.version);
        assert_eq!(version.as_deref(), left);
    }
    let profile = service.profile_of(persons[3]).await.unwrap();
    assert_eq!(profile.no_forecast(), pb::NoForecast::NoModel);
    assert_eq!(
        train(&service, "t-3").await.unwrap().version,
        "clv-00000003"
    );
    let profile = service.profile_of(persons[3]).await.unwrap();
    assert_eq!(profile.forecast.unwrap().model_version, "clv-00000003");
}

async fn one_training_at_a_time_and_not_from_too_few(service: Service) {
    let refused = train(&service, "t-1").await.unwrap_err();
    let told = (refused.code(), refusal(&refused).0);
    assert_eq!(
        told,
        (Code::FailedPrecondition, error::TRAINING_EMPTY.to_owned())
    );
    shop(&service).await;
    let db = service.home.db.open().await;
    let other = lease::acquire(&db, "training", "another replica", START, 60_000).await;
    let other = other.unwrap().unwrap();
    let refused = train(&service, "t-1").await.unwrap_err();
    let told = (refused.code(), refusal(&refused).0);
    assert_eq!(told, (Code::Aborted, error::TRAINING_RUNNING.to_owned()));
    assert!(lease::release(&db, &other).await.unwrap());
    // Nothing was recorded for the refused calls: the same request may try again.
    assert_eq!(
        train(&service, "t-1").await.unwrap().version,
        "clv-00000001"
    );
}

async fn a_thousand_events_train_the_first_model(service: Service) {
    let persons = shop(&service).await;
    let seen = (0..1_000).map(|n| view(&format!("v-{n}"), persons[n % PERSONS], "tea"));
    service.live(seen.collect()).await;
    until_served(&service, "clv-00000001").await;
    service.home.clock.advance(3_600_000);
    service.live(vec![view("v-late", persons[0], "tea")]).await;
    until_served(&service, "clv-00000002").await;
}

async fn until_served(service: &Service, version: &str) {
    let trained = async {
        while served(service)
            .await
            .is_none_or(|model| model.version != version)
        {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), trained)
        .await
        .unwrap();
}
