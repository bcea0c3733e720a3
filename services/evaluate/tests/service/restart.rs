//! What a restart keeps: nothing is counted twice, nothing is lost.

use rapport_api::evaluate::v1::{GetDailySeriesRequest, GetDailySeriesResponse};
use rapport_api::r#type::v1::ConsentState::Granted;
use rapport_store::testing::Engine;

use crate::support::{Ground, NOW, World, purchase, subject};

async fn series(world: &mut World) -> GetDailySeriesResponse {
    world.settle().await;
    let request = GetDailySeriesRequest::default();
    world
        .reports
        .get_daily_series(request)
        .await
        .unwrap()
        .into_inner()
}

async fn counts_go_on_where_they_were(engine: Engine) {
    let mut world = Ground::new(engine).await.start().await;
    for n in 0..20 {
        world.consent(&[subject(n)], Granted);
        world.event(Some(subject(n)), purchase(NOW, &format!("o{n}"), 100));
    }
    let before = series(&mut world).await;
    assert_eq!((before.days[0].orders, before.days[0].active), (20, 20));
    world.running("checkout").await;
    let mut world = world.stop().await.start().await;
    assert_eq!(series(&mut world).await, before);
    world.event(Some(subject(0)), purchase(NOW, "more", 100));
    let after = series(&mut world).await;
    assert_eq!((after.days[0].orders, after.days[0].active), (21, 20));
    assert_eq!(after.days[0].revenue_micros, 21_000_000);
    assert!(!world.evaluate.is_broken());
    world.stop().await;
}

#[tokio::test]
async fn counts_go_on_where_they_were_on_sqlite() {
    counts_go_on_where_they_were(Engine::Sqlite).await;
}

#[tokio::test]
async fn counts_go_on_where_they_were_on_postgres() {
    counts_go_on_where_they_were(Engine::Postgres).await;
}

/// The log forgets what every reader has in a snapshot: without them nothing could be counted again.
async fn lost_states_are_made_up_from_snapshots(engine: Engine) {
    let mut world = Ground::new(engine).await.start().await;
    for n in 0..6 {
        world.consent(&[subject(n)], Granted);
        world.event(Some(subject(n)), purchase(NOW, &format!("o{n}"), 100));
    }
    let before = series(&mut world).await;
    assert_eq!((before.days[0].orders, before.days[0].active), (6, 6));
    let ground = world.stop().await;
    let held = ground.log.readers();
    assert_eq!(held.len(), 2, "{held:?}");
    ground.lose_states().await;
    ground.log.expire_all();
    let mut world = ground.start().await;
    assert_eq!(series(&mut world).await, before);
    assert!(!world.evaluate.is_broken());
    world.stop().await;
}

#[tokio::test]
async fn lost_states_are_made_up_from_snapshots_on_sqlite() {
    lost_states_are_made_up_from_snapshots(Engine::Sqlite).await;
}

#[tokio::test]
async fn lost_states_are_made_up_from_snapshots_on_postgres() {
    lost_states_are_made_up_from_snapshots(Engine::Postgres).await;
}
