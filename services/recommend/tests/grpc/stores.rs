//! The same service on Postgres, and with its timelines in Redis.

use rapport_api::r#type::v1::Degraded;
use rapport_store::testing::Engine;

use crate::support::{BOTH, Kept, NOW, buyers, ids, item, purchase, subject, view};

async fn learns_and_serves(kept: &Kept) {
    let running = kept.start().await;
    running
        .upsert(
            "shelf",
            ["mug", "saucer", "lamp"]
                .map(|id| item(id, "home"))
                .to_vec(),
        )
        .await;
    running.recommend.progress().wait_caught_up().await;
    buyers(&running, kept).await;
    assert_eq!(running.train("t").await.unwrap().persons, 6);
    let newcomer = subject(50);
    running.grant(kept, &[newcomer], &BOTH).await;
    running
        .has(kept.log.did(newcomer, "view_item", NOW.0, &view("mug")))
        .await;
    let answer = running.ask(newcomer).await;
    assert_eq!(ids(&answer)[0], "saucer");
    assert_eq!(answer.items[0].reasons[0].code, "SIMILAR_TO");
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn timelines_in_postgres() {
    learns_and_serves(&Kept::new(Engine::Postgres).await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn timelines_in_redis_are_learned_from_the_log() {
    let mut kept = Kept::new(Engine::Sqlite).await;
    kept.redis = Some(rapport_cache::testing::redis_url());
    learns_and_serves(&kept).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn timelines_in_redis_are_learned_after_the_log_forgot_them() {
    let mut kept = Kept::new(Engine::Sqlite).await;
    kept.redis = Some(rapport_cache::testing::redis_url());
    let running = kept.start().await;
    running.recommend.progress().wait_caught_up().await;
    buyers(&running, &kept).await;
    // Stopping writes snapshots, and what these have the log need not keep.
    running.stop().await;
    kept.log.expire_all();
    let running = kept.start().await;
    let newcomer = subject(50);
    running.grant(&kept, &[newcomer], &BOTH).await;
    let order = purchase(&["mug"]);
    running
        .has(kept.log.did(newcomer, "purchase", NOW.0, &order))
        .await;
    let model = running.train("t").await.unwrap();
    assert_eq!(model.persons, 7, "the six of before, and who came since");
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_its_redis_the_service_answers_with_popular_items() {
    let mut kept = Kept::new(Engine::Sqlite).await;
    kept.redis = Some("redis://127.0.0.1:9".to_owned());
    let running = kept.start().await;
    running.upsert("shelf", vec![item("mug", "home")]).await;
    running.grant(&kept, &[subject(1)], &BOTH).await;
    let answer = running.ask(subject(1)).await;
    assert_eq!(answer.degraded(), Degraded::Dependency);
    assert_eq!(ids(&answer), ["mug"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_write_is_seen_by_the_other_replica() {
    let kept = Kept::new(Engine::Postgres).await;
    let (writer, reader) = (kept.start().await, kept.start().await);
    writer.upsert("shelf", vec![item("mug", "home")]).await;
    let seen = |answer: &rapport_api::recommend::v1::RecommendResponse| ids(answer) == ["mug"];
    crate::support::eventually(|| reader.ask(subject(1)), seen).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn timelines_come_back_after_redis_lost_everything() {
    let server = rapport_cache::testing::OwnRedis::start();
    let mut kept = Kept::new(Engine::Sqlite).await;
    kept.redis = Some(server.url());
    let running = kept.start().await;
    let shelf = ["mug", "saucer", "lamp"].map(|id| item(id, "home"));
    running.upsert("shelf", shelf.to_vec()).await;
    running.recommend.progress().wait_caught_up().await;
    buyers(&running, &kept).await;
    running.train("t").await.unwrap();
    let person = subject(50);
    running.grant(&kept, &[person], &BOTH).await;
    running
        .has(kept.log.did(person, "view_item", NOW.0, &view("mug")))
        .await;
    assert_eq!(
        running.ask(person).await.items[0].reasons[0].code,
        "SIMILAR_TO"
    );
    server.flush_all();
    // Nothing new happens, and yet the timeline is read from the log again.
    let knows = |answer: &rapport_api::recommend::v1::RecommendResponse| {
        let reasons = answer.items.first().map(|it| it.reasons.as_slice());
        reasons
            .unwrap_or_default()
            .iter()
            .any(|it| it.code == "SIMILAR_TO")
    };
    crate::support::eventually(|| running.ask(person), knows).await;
    // And it is fresh: what happens now is in it.
    running
        .has(kept.log.did(person, "view_item", NOW.0, &view("saucer")))
        .await;
    let answer = running.ask(person).await;
    assert!(!ids(&answer).contains(&"saucer"), "seen a moment ago");
    running.stop().await;
}
