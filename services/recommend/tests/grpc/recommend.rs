//! What is shown: consent, reasons, freshness, folding, decisions, experiments.

use rapport_api::evaluate::v1::{Experiment, ExperimentState, Variant};
use rapport_api::recommend::v1::{
    GetTimelineRequest, ListBoughtTogetherRequest, ListSimilarItemsRequest, RecommendRequest,
};
use rapport_api::r#type::v1::Degraded;
use rapport_types::Purpose;
use tonic::Code;
use tonic_types::StatusExt as _;

use crate::support::{
    BOTH, Kept, NOW, Running, bad_fields, buyers, bytes, codes, dead_channel, eventually, ids,
    item, purchase, reason, spawn, subject, view,
};
use rapport_store::testing::Engine;

const SHELF: [&str; 4] = ["mug", "saucer", "lamp", "rug"];

async fn stocked() -> (Running, Kept) {
    let (running, kept) = spawn().await;
    running
        .upsert("shelf", SHELF.iter().map(|id| item(id, "home")).collect())
        .await;
    (running, kept)
}

fn timeline_of(n: u8) -> GetTimelineRequest {
    GetTimelineRequest {
        subject_id: subject(n).to_vec(),
        page_size: 0,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn malformed_requests_name_every_bad_field() {
    let (running, _kept) = spawn().await;
    let request = RecommendRequest {
        subject_id: vec![1; 15],
        page_size: -1,
        placement: "x".repeat(65),
        category: "tea//green".to_owned(),
        exclude_item_ids: vec!["mug".to_owned(), String::new()],
    };
    let status = running.recommender().recommend(request).await.unwrap_err();
    assert_eq!(reason(&status), "INVALID_REQUEST");
    let expected = [
        "subject_id",
        "page_size",
        "placement",
        "exclude_item_ids[1]",
        "category",
    ];
    assert_eq!(bad_fields(&status), expected);
    let request = ListSimilarItemsRequest {
        item_id: "\n".to_owned(),
        page_size: -1,
    };
    let status = running
        .recommender()
        .list_similar_items(request)
        .await
        .unwrap_err();
    assert_eq!(bad_fields(&status), ["item_id", "page_size"]);
    let status = running
        .recommender()
        .get_timeline(GetTimelineRequest::default())
        .await;
    assert_eq!(bad_fields(&status.unwrap_err()), ["subject_id"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn without_consent_popular_items_and_no_data() {
    let (running, kept) = stocked().await;
    buyers(&running, &kept).await;
    running.train("t").await.unwrap();
    let stranger = subject(77);
    running
        .has(kept.log.did(stranger, "view_item", NOW.0, &view("mug")))
        .await;
    let answer = eventually(
        || running.ask(stranger),
        |answer| ids(answer).first() == Some(&"mug"),
    )
    .await;
    assert_eq!(answer.degraded(), Degraded::Consent);
    assert_eq!(
        ids(&answer).len(),
        SHELF.len(),
        "what was seen is not hidden: nobody looked"
    );
    assert!(
        codes(&answer)
            .iter()
            .all(|code| ["POPULAR", "EXPLORED"].contains(code))
    );
    let status = running
        .recommender()
        .get_timeline(timeline_of(77))
        .await
        .unwrap_err();
    assert_eq!(status.code(), Code::PermissionDenied);
    let info = status.get_details_error_info().unwrap();
    assert_eq!(
        (info.reason.as_str(), &*info.metadata["purpose"]),
        ("CONSENT_MISSING", "personalise")
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn consent_that_nobody_can_tell_is_refused() {
    let kept = Kept::new(Engine::Sqlite).await;
    let running = kept.start_with(dead_channel()).await;
    let answer = running.ask(subject(1)).await;
    assert_eq!(answer.degraded(), Degraded::StaleConsent);
    let status = running
        .recommender()
        .get_timeline(timeline_of(1))
        .await
        .unwrap_err();
    assert_eq!(
        (status.code(), reason(&status).as_str()),
        (Code::Unavailable, "CONSENT_VIEW_STALE")
    );
    assert!(status.get_details_retry_info().is_some());
    let status = running.train("t").await.unwrap_err();
    assert_eq!(reason(&status), "CONSENT_VIEW_STALE");
}

#[tokio::test(flavor = "multi_thread")]
async fn every_item_has_a_reason_and_the_model_names_the_neighbour() {
    let (running, kept) = stocked().await;
    buyers(&running, &kept).await;
    running.train("t").await.unwrap();
    let newcomer = subject(50);
    running.grant(&kept, &[newcomer], &BOTH).await;
    running
        .has(kept.log.did(newcomer, "view_item", NOW.0, &view("mug")))
        .await;
    let answer = running.ask(newcomer).await;
    assert_eq!(answer.degraded(), Degraded::Unspecified);
    assert_eq!(answer.model_version, "item-item-00000001");
    assert_eq!(ids(&answer)[0], "saucer");
    assert!(!ids(&answer).contains(&"mug"), "what was seen is hidden");
    assert!(answer.items.iter().all(|item| !item.reasons.is_empty()));
    let first = &answer.items[0].reasons[0];
    assert_eq!(
        (first.code.as_str(), first.reference.as_str()),
        ("SIMILAR_TO", "mug")
    );
    assert_eq!(first.text, "people who like The mug like this too");
    let shown = answer.items[0].item.clone().unwrap();
    assert_eq!(shown, item("saucer", "home"));
}

#[tokio::test(flavor = "multi_thread")]
async fn neighbours_and_companions_of_an_item() {
    let (running, kept) = stocked().await;
    buyers(&running, &kept).await;
    let request = |item_id: &str| ListSimilarItemsRequest {
        item_id: item_id.to_owned(),
        page_size: 1,
    };
    let mut client = running.recommender();
    // Before the first training the category stands in.
    let before = client
        .list_similar_items(request("mug"))
        .await
        .unwrap()
        .into_inner();
    assert_eq!(before.items[0].reasons[0].code, "POPULAR_IN_CATEGORY");
    running.train("t").await.unwrap();
    let similar = client
        .list_similar_items(request("mug"))
        .await
        .unwrap()
        .into_inner();
    assert_eq!(similar.items[0].item.as_ref().unwrap().item_id, "saucer");
    assert_eq!(similar.items[0].reasons[0].code, "SIMILAR_TO");
    let together = ListBoughtTogetherRequest {
        item_id: "mug".to_owned(),
        page_size: 5,
    };
    let together = client
        .list_bought_together(together)
        .await
        .unwrap()
        .into_inner()
        .items;
    assert_eq!(together.len(), 1);
    let saucer = &together[0];
    // Five of six orders hold both: confidence 5/5, lift 1 / (5/6).
    assert_eq!(
        (saucer.orders, saucer.confidence, saucer.lift),
        (5, 1.0, 1.2)
    );
    let status = client
        .list_similar_items(request("ghost"))
        .await
        .unwrap_err();
    assert_eq!(reason(&status), "ITEM_NOT_FOUND");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_somebody_does_counts_and_is_listed_newest_first() {
    let (running, kept) = stocked().await;
    let person = subject(9);
    running.grant(&kept, &[person], &BOTH).await;
    for seen in SHELF {
        kept.log.did(person, "view_item", NOW.0, &view(seen));
        eventually(
            || running.ask(person),
            |answer| !ids(answer).contains(&seen),
        )
        .await;
    }
    let answer = running
        .recommender()
        .get_timeline(timeline_of(9))
        .await
        .unwrap()
        .into_inner();
    let seen: Vec<_> = answer
        .entries
        .iter()
        .map(|entry| entry.item_id.as_str())
        .collect();
    assert_eq!(seen, ["rug", "lamp", "saucer", "mug"], "newest first");
    assert!(answer.entries.iter().all(|entry| entry.kind == "view"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_person_is_the_sum_of_its_subjects_until_it_is_erased() {
    let (running, kept) = stocked().await;
    let (phone, laptop) = (subject(1), subject(2));
    running.grant(&kept, &[phone], &BOTH).await;
    running
        .has(kept.log.did(phone, "view_item", NOW.0, &view("mug")))
        .await;
    running
        .has(
            kept.log
                .did(laptop, "purchase", NOW.0 + 1, &purchase(&["rug"])),
        )
        .await;
    assert_eq!(running.ask(laptop).await.degraded(), Degraded::Consent);
    running.knows(kept.log.link(&[phone, laptop])).await;
    for subject in [phone, laptop] {
        let answer = running.ask(subject).await;
        assert_eq!(answer.degraded(), Degraded::NoModel);
        let mut shown = ids(&answer);
        shown.sort_unstable();
        assert_eq!(shown, ["lamp", "saucer"]);
    }
    let entries = running
        .recommender()
        .get_timeline(timeline_of(1))
        .await
        .unwrap();
    let entries = entries.into_inner().entries;
    let kinds: Vec<_> = entries.iter().map(|entry| entry.kind.as_str()).collect();
    assert_eq!(kinds, ["purchase", "view"]);
    running.knows(kept.log.erase(phone)).await;
    assert_eq!(running.ask(phone).await.degraded(), Degraded::Consent);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_decision_tells_the_log_what_was_and_what_could_have_been_shown() {
    let (running, kept) = spawn().await;
    let many: Vec<_> = (0..80)
        .map(|n| item(&format!("item-{n:02}"), "home"))
        .collect();
    running.upsert("shelf", many).await;
    let (measured, unmeasured) = (subject(1), subject(2));
    running.grant(&kept, &[measured], &BOTH).await;
    running
        .grant(&kept, &[unmeasured], &[Purpose::Personalise])
        .await;
    let request = RecommendRequest {
        subject_id: measured.to_vec(),
        placement: "home".to_owned(),
        page_size: 5,
        ..RecommendRequest::default()
    };
    let answer = running
        .recommender()
        .recommend(request)
        .await
        .unwrap()
        .into_inner();
    let other = running.ask(unmeasured).await;
    running.recommend.flush().await;
    let decisions = kept.log.decisions();
    let of = |id: &[u8]| {
        let found = decisions
            .iter()
            .find(|(_, it)| it.header.as_ref().unwrap().decision_id == id);
        found.cloned().unwrap()
    };
    let (subject_id, decided) = of(&answer.decision_id);
    assert_eq!(subject_id, measured.to_vec());
    assert_eq!(
        of(&other.decision_id).0,
        Vec::<u8>::new(),
        "not measured, not named"
    );
    assert_eq!(decided.placement, "home");
    let header = decided.header.unwrap();
    assert_eq!((header.number, header.degraded()), (1, Degraded::NoModel));
    assert_eq!(decided.candidates.len(), 50);
    let shown: Vec<_> = decided.candidates.iter().filter(|it| it.shown).collect();
    assert_eq!(
        shown.iter().map(|it| it.id.as_str()).collect::<Vec<_>>(),
        ids(&answer)
    );
    assert!(shown.iter().all(|it| !it.reason.is_empty()));
    let sum: f64 = decided.candidates.iter().map(|it| it.propensity).sum();
    assert!((sum - 5.0).abs() < 1e-9, "{sum}");
    assert!(
        running.ask(measured).await.decision_id.is_empty(),
        "a drained outbox takes none"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn same_events_seed_and_clock_give_the_same_bytes() {
    let mut answers = Vec::new();
    for _run in 0..2 {
        let (running, kept) = stocked().await;
        buyers(&running, &kept).await;
        running.train("t").await.unwrap();
        eventually(
            || running.ask(subject(99)),
            |it| ids(it).first() == Some(&"mug"),
        )
        .await;
        running.stop().await;
        let again = kept.start().await;
        again.knows(1).await;
        let mut bodies = Vec::new();
        for n in 1..=6 {
            bodies.push(bytes(&again.ask(subject(n)).await));
        }
        answers.push((bodies, std::fs::read(kept.model_file(1)).unwrap()));
    }
    assert!(
        answers[0] == answers[1],
        "answers and model files are equal"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_catalogue_items_of_events_are_shown_by_id() {
    let (running, kept) = spawn().await;
    let person = subject(3);
    running.grant(&kept, &[person], &BOTH).await;
    running
        .has(kept.log.did(subject(4), "view_item", NOW.0, &view("ghost")))
        .await;
    let answer = eventually(|| running.ask(person), |answer| !answer.items.is_empty()).await;
    let ghost = answer.items[0].item.clone().unwrap();
    assert_eq!(
        (
            ghost.item_id.as_str(),
            ghost.title.as_str(),
            ghost.available
        ),
        ("ghost", "", true)
    );
    running.upsert("shelf", vec![item("mug", "home")]).await;
    assert_eq!(
        ids(&running.ask(person).await),
        ["mug"],
        "a shop sells what it lists"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn filters_hold_and_what_is_sold_out_is_not_shown() {
    let (running, _kept) = spawn().await;
    let mut sold_out = item("tea", "tea/green");
    sold_out.available = false;
    let items = vec![
        sold_out,
        item("matcha", "tea/green"),
        item("pot", "tea"),
        item("rug", "home"),
    ];
    running.upsert("shelf", items).await;
    let ask = |category: &str, excluded: &[&str]| RecommendRequest {
        subject_id: subject(1).to_vec(),
        category: category.to_owned(),
        exclude_item_ids: excluded.iter().map(|id| (*id).to_owned()).collect(),
        ..RecommendRequest::default()
    };
    let mut client = running.recommender();
    for (request, expected) in [
        (ask("", &[]), vec!["matcha", "pot", "rug"]),
        (ask("tea", &[]), vec!["matcha", "pot"]),
        (ask("tea/green", &[]), vec!["matcha"]),
        (ask("tea", &["pot", "unknown"]), vec!["matcha"]),
        (ask("toys", &[]), vec![]),
    ] {
        let answer = client.recommend(request).await.unwrap().into_inner();
        let mut found = ids(&answer);
        found.sort_unstable();
        assert_eq!(found, expected);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_experiment_changes_the_answer_of_those_who_are_measured() {
    let (running, kept) = stocked().await;
    buyers(&running, &kept).await;
    running.train("t").await.unwrap();
    let variant = |key: &str, share| Variant {
        key: key.to_owned(),
        share,
    };
    kept.log.set_experiments(vec![Experiment {
        key: "recommend_ranking".to_owned(),
        state: ExperimentState::Running.into(),
        variants: vec![variant("control", 0), variant("popular", 10_000)],
        ..Experiment::default()
    }]);
    let unmeasured = subject(60);
    running
        .grant(&kept, &[unmeasured], &[Purpose::Personalise])
        .await;
    let view = kept.log.did(unmeasured, "view_item", NOW.0, &view("mug"));
    running.has(view).await;
    let buyer = subject(1);
    let answer = eventually(|| running.ask(buyer), |answer| !answer.arms.is_empty()).await;
    let arm = &answer.arms[0];
    assert_eq!(
        (arm.experiment.as_str(), arm.variant.as_str()),
        ("recommend_ranking", "popular")
    );
    assert!(!codes(&answer).contains(&"SIMILAR_TO"));
    let shown = ids(&answer);
    assert!(!shown.is_empty() && !shown.contains(&"mug"), "bought");
    let answer = running.ask(unmeasured).await;
    assert_eq!(answer.arms, []);
    assert!(codes(&answer).contains(&"SIMILAR_TO"), "the control");
}
