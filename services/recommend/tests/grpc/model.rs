//! Models: training, idempotency, one at a time, damage.

use rapport_api::recommend::v1::{GetModelRequest, TrainModelRequest};
use rapport_api::r#type::v1::Degraded;
use rapport_store::lease;
use tonic::Code;

use crate::support::{
    BOTH, NOW, bad_fields, buyers, eventually, ids, item, purchase, reason, spawn, subject, view,
};

#[tokio::test(flavor = "multi_thread")]
async fn a_training_counts_those_who_permit_it_and_happens_once_per_request() {
    let (running, kept) = spawn().await;
    buyers(&running, &kept).await;
    let stranger = kept.log.did(subject(90), "view_item", NOW.0, &view("mug"));
    running.has(stranger).await;
    assert_eq!(running.loaded().await, None);
    let model = running.train("t-1").await.unwrap();
    assert_eq!(
        (model.persons, model.items),
        (6, 2),
        "the lamp has no neighbour"
    );
    assert_eq!(model.trained_at_ms, NOW.0);
    let file = std::fs::read(kept.model_file(1)).unwrap();
    assert_eq!(model.size_bytes, file.len() as u64);
    let choice = (model.algorithm.as_str(), model.judged_persons, model.ndcg);
    assert_eq!(choice, ("item-knn", 0, None), "six persons judge nothing");
    kept.clock.advance(1_000);
    assert_eq!(
        running.train("t-1").await.unwrap(),
        model,
        "the answer of then"
    );
    assert_eq!(
        running.loaded().await.as_deref(),
        Some("item-item-00000001")
    );
    assert_eq!(
        running.train("t-2").await.unwrap().version,
        "item-item-00000002"
    );
    assert_eq!(
        running.loaded().await.as_deref(),
        Some("item-item-00000002")
    );
    let request_id = String::new();
    let status = running
        .models()
        .train_model(TrainModelRequest { request_id })
        .await;
    assert_eq!(bad_fields(&status.unwrap_err()), ["request_id"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_model_says_how_it_was_chosen() {
    const GOODS: [[&str; 4]; 2] = [
        ["mug", "cup", "pot", "tea"],
        ["lamp", "bulb", "cord", "plug"],
    ];
    let (running, kept) = spawn().await;
    let people: Vec<_> = (1..=60).map(subject).collect();
    running.grant(&kept, &people, &BOTH).await;
    let mut last = Vec::new();
    for (at, person) in people.iter().enumerate() {
        let taste = GOODS[at % 2];
        let three = [
            taste[at / 2 % 4],
            taste[(at / 2 + 1) % 4],
            taste[(at / 2 + 2) % 4],
        ];
        let order = purchase(&three);
        last.push(kept.log.did(*person, "purchase", NOW.0, &order));
    }
    for place in last {
        running.has(place).await;
    }
    let model = running.train("t").await.unwrap();
    assert_eq!((model.persons, model.judged_persons), (60, 60));
    let (ndcg, plain) = (model.ndcg.unwrap(), model.plain_ndcg.unwrap());
    // Whoever likes mugs has one good of the same taste held out and another to be mistaken for it.
    assert!(plain > 0.5 && ndcg >= plain && ndcg <= 1.0, "{model:?}");
    let served = running.models().get_model(GetModelRequest {}).await;
    assert_eq!(served.unwrap().into_inner().model, Some(model));
}

#[tokio::test(flavor = "multi_thread")]
async fn with_nobody_to_learn_from_the_old_model_stays() {
    let (running, kept) = spawn().await;
    running
        .has(kept.log.did(subject(1), "view_item", NOW.0, &view("mug")))
        .await;
    let status = running.train("t").await.unwrap_err();
    assert_eq!(
        (status.code(), reason(&status).as_str()),
        (Code::FailedPrecondition, "TRAINING_EMPTY")
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn one_training_at_a_time_across_replicas() {
    let (running, kept) = spawn().await;
    buyers(&running, &kept).await;
    let db = kept.db.open().await;
    let other = lease::acquire(&db, "training", "another replica", NOW, 60_000).await;
    let other = other.unwrap().unwrap();
    let status = running.train("t").await.unwrap_err();
    assert_eq!(
        (status.code(), reason(&status).as_str()),
        (Code::Aborted, "TRAINING_RUNNING")
    );
    assert!(lease::release(&db, &other).await.unwrap());
    // Nothing was recorded for the refused call: the same request may try again.
    assert_eq!(
        running.train("t").await.unwrap().version,
        "item-item-00000001"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_model_is_refused_and_an_older_one_or_popularity_serves() {
    let (mut running, kept) = spawn().await;
    running
        .upsert(
            "shelf",
            ["mug", "saucer", "lamp"].map(|id| item(id, "")).to_vec(),
        )
        .await;
    buyers(&running, &kept).await;
    running.train("t-1").await.unwrap();
    running.train("t-2").await.unwrap();
    let damage = |version| {
        let path = kept.model_file(version);
        let mut file = std::fs::read(&path).unwrap();
        let middle = file.len() / 2;
        file[middle] ^= 1;
        std::fs::write(path, file).unwrap();
    };
    running.stop().await;
    damage(2);
    running = kept.start().await;
    assert_eq!(
        running.loaded().await.as_deref(),
        Some("item-item-00000001")
    );
    running.stop().await;
    damage(1);
    running = kept.start().await;
    running.knows(1).await;
    assert_eq!(running.loaded().await, None);
    let answer = running.ask(subject(6)).await;
    assert_eq!(answer.degraded(), Degraded::NoModel);
    assert_eq!(answer.model_version, "");
    assert_eq!(
        ids(&answer),
        ["mug", "saucer"],
        "popular ones, without the lamp that was bought"
    );
    assert_eq!(
        running.train("t-3").await.unwrap().version,
        "item-item-00000003"
    );
    assert_eq!(
        running.ask(subject(6)).await.degraded(),
        Degraded::Unspecified
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn old_models_are_forgotten() {
    let (running, kept) = spawn().await;
    buyers(&running, &kept).await;
    for n in 0..6 {
        running.train(&format!("t-{n}")).await.unwrap();
    }
    let kept_files: Vec<_> = (1..=6).filter(|n| kept.model_file(*n).exists()).collect();
    assert_eq!(kept_files, [3, 4, 5, 6]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_events_train_the_first_model_and_age_the_next() {
    let (running, kept) = spawn().await;
    let people: Vec<_> = (1..=100).map(subject).collect();
    running.grant(&kept, &people, &BOTH).await;
    for n in 0..1_000 {
        let seen = view(&format!("item-{}", n % 7));
        kept.log
            .did(people[n % 100], "view_item", NOW.0 + n as i64, &seen);
    }
    let first = eventually(|| running.loaded(), Option::is_some).await;
    assert_eq!(first.as_deref(), Some("item-item-00000001"));
    kept.clock.advance(10 * 60_000);
    kept.log
        .did(people[0], "view_item", NOW.0, &view("item-new"));
    let next = |loaded: &Option<String>| loaded.as_deref() == Some("item-item-00000002");
    eventually(|| running.loaded(), next).await;
}
