//! What may be used of a person, and how often they see an ad.

use rapport_ads::store::erased::{self, Named};
use rapport_api::ads::v1::*;
use rapport_api::evaluate::v1::{Experiment, ExperimentState, Variant};
use rapport_api::event::v1::{AgeBand, OrderLine, Purchase, SignUp};
use rapport_api::r#type::v1::Degraded;
use rapport_types::{Purpose, SubjectId};

use crate::support::{Replica, World, line_item, outcome, subject, winner};

fn for_tea_lovers() -> LineItem {
    let mut personal = line_item("personal", 9_000_000, 1_000_000);
    personal.targeting = Some(Targeting {
        interests: vec!["category:tea".to_owned()],
        ..Targeting::default()
    });
    personal
}

async fn sign_up(world: &World, replica: &Replica, who: SubjectId, age_band: AgeBand) {
    let event = SignUp {
        age_band: age_band.into(),
        ..SignUp::default()
    };
    world.log.did(who, "sign_up", 0, &event);
    let line = OrderLine {
        category: "tea".to_owned(),
        ..OrderLine::default()
    };
    let bought = Purchase {
        lines: vec![line],
        ..Purchase::default()
    };
    let (_, sequence) = world.log.did(who, "purchase", 0, &bought);
    replica
        .ads
        .progress()
        .wait_for(who.partition(), sequence)
        .await;
}

#[tokio::test]
async fn only_adults_who_consented_are_targeted() {
    let world = World::new().await;
    let replica = world.start().await;
    let clients = &replica.clients;
    clients.put_campaign("c").await;
    clients
        .put(line_item("plain", 1_000_000, 1_000_000))
        .await
        .unwrap();
    clients.put(for_tea_lovers()).await.unwrap();
    for (n, age_band) in [
        (1, AgeBand::Adult),
        (2, AgeBand::Minor),
        (3, AgeBand::Unspecified),
    ] {
        let who = subject(n);
        sign_up(&world, &replica, who, age_band).await;
        let decision = clients.home(Some(who)).await;
        assert_eq!(
            (winner(&decision), decision.degraded()),
            ("plain", Degraded::Consent)
        );
        assert_eq!(outcome(&decision, "personal"), "CONSENT");

        world.grant(&replica, who, &[Purpose::Advertise]).await;
        let decision = clients.home(Some(who)).await;
        let expected = if age_band == AgeBand::Adult {
            "personal"
        } else {
            "plain"
        };
        assert_eq!(
            (winner(&decision), decision.degraded()),
            (expected, Degraded::Unspecified)
        );

        world.revoke(&replica, who, &[Purpose::Advertise]).await;
        let decision = clients.home(Some(who)).await;
        assert_eq!(
            (winner(&decision), decision.degraded()),
            ("plain", Degraded::Consent)
        );
    }
    let decision = clients.home(None).await;
    assert_eq!(
        (winner(&decision), decision.degraded()),
        ("plain", Degraded::Unspecified)
    );
}

#[tokio::test]
async fn a_decision_names_its_subject_under_measure_and_an_impression_under_advertise() {
    let world = World::new().await;
    let replica = world.start().await;
    let clients = &replica.clients;
    clients.put_campaign("c").await;
    clients
        .put(line_item("li", 1_000_000, 1_000_000))
        .await
        .unwrap();
    world.grant(&replica, subject(1), &[Purpose::Measure]).await;
    world
        .grant(&replica, subject(2), &[Purpose::Advertise])
        .await;
    for n in [1, 2] {
        let decision = clients.home(Some(subject(n))).await;
        clients
            .record(&decision.decision_id, AdEventKind::Impression)
            .await
            .unwrap();
    }
    replica.ads.drain().await;
    let subjects = |message| {
        let events = world.log.records(message).into_iter();
        let mut subjects: Vec<_> = events.map(|event| event.subject_id.to_vec()).collect();
        subjects.sort_unstable();
        subjects
    };
    assert_eq!(subjects("AdDecided"), [Vec::new(), subject(1).to_vec()]);
    assert_eq!(subjects("AdImpression"), [Vec::new(), subject(2).to_vec()]);
}

#[tokio::test]
async fn a_cap_holds_over_all_devices_and_over_a_restart() {
    let world = World::new().await;
    let replica = world.start().await;
    let (phone, laptop) = (subject(1), subject(2));
    let mut capped = line_item("capped", 9_000_000, 1_000_000);
    capped.caps = vec![FrequencyCap {
        impressions_max: 3,
        window_hours: 24,
    }];
    replica.clients.put_campaign("c").await;
    replica.clients.put(capped).await.unwrap();
    replica
        .clients
        .put(line_item("plain", 1_000_000, 1_000_000))
        .await
        .unwrap();
    for who in [phone, laptop] {
        world.grant(&replica, who, &[Purpose::Advertise]).await;
        assert_eq!(winner(&replica.clients.home(Some(who)).await), "capped");
    }
    world.link(&replica, &[phone, laptop]).await;
    // One seen on each: a third is left for the person.
    assert_eq!(winner(&replica.clients.home(Some(laptop)).await), "capped");
    for who in [phone, laptop] {
        let decision = replica.clients.home(Some(who)).await;
        assert_eq!(
            (winner(&decision), outcome(&decision, "capped")),
            ("plain", "FREQUENCY")
        );
    }
    assert_eq!(
        winner(&replica.clients.home(None).await),
        "capped",
        "nobody in particular"
    );

    replica.ads.drain().await;
    let replica = world.start().await;
    assert_eq!(winner(&replica.clients.home(Some(phone)).await), "plain");
    world.clock.advance(24 * 3_600_000);
    assert_eq!(
        winner(&replica.clients.home(Some(phone)).await),
        "capped",
        "the next day"
    );
}

#[tokio::test]
async fn the_holdout_sees_no_ads_and_only_the_measured_are_held_out() {
    let world = World::new().await;
    let replica = world.start().await;
    replica.clients.put_campaign("c").await;
    replica
        .clients
        .put(line_item("li", 1_000_000, 1_000_000))
        .await
        .unwrap();
    let variant = |key: &str, share| Variant {
        key: key.to_owned(),
        share,
    };
    replica.ads.experiments().set(vec![Experiment {
        key: "ads-holdout".to_owned(),
        state: ExperimentState::Running.into(),
        variants: vec![variant("control", 0), variant("holdout", 10_000)],
        ..Experiment::default()
    }]);
    let who = subject(1);
    assert_eq!(winner(&replica.clients.home(Some(who)).await), "li");
    world.grant(&replica, who, &[Purpose::Measure]).await;
    let decision = replica.clients.home(Some(who)).await;
    assert_eq!(
        (winner(&decision), outcome(&decision, "li")),
        ("", "HOLDOUT")
    );
    assert_eq!(decision.arms[0].variant, "holdout");
    assert_eq!(winner(&replica.clients.home(None).await), "li");
}

#[tokio::test]
async fn an_erased_person_is_taken_out_of_the_decisions() {
    let world = World::new().await;
    let replica = world.start().await;
    let mut capped = line_item("capped", 9_000_000, 1_000_000);
    capped.caps = vec![FrequencyCap {
        impressions_max: 3,
        window_hours: 24,
    }];
    replica.clients.put_campaign("c").await;
    replica.clients.put(capped).await.unwrap();
    for n in [1, 2] {
        world
            .grant(&replica, subject(n), &[Purpose::Advertise])
            .await;
        let decision = replica.clients.home(Some(subject(n))).await;
        assert_eq!(winner(&decision), "capped");
    }
    assert_eq!(replica.ads.forget_erased().await.unwrap(), 0);
    world.erase(&replica, subject(1)).await;
    assert_eq!(replica.ads.forget_erased().await.unwrap(), 1);
    let db = world.db.open().await;
    for why in [Named::ShownTo, Named::CountedOn] {
        let named = erased::named(&db, why, None).await.unwrap();
        assert_eq!(named, [subject(2)]);
    }
}
