//! Experiments: their life, assignment, and whether the analysis finds a known effect.

use rapport_api::evaluate::v1::{
    AnalyzeExperimentRequest, AnalyzeExperimentResponse, ExperimentState, GetAssignmentsRequest,
    ListExperimentsRequest, Metric, Variant,
};
use rapport_api::r#type::v1::ConsentState::{Granted, Revoked};
use rapport_math::{Rng, assigned_arm};
use rapport_types::SubjectId;
use tonic::Code;
use tonic_types::StatusExt as _;

use crate::support::{
    DAY_MS, NOW, World, fields, purchase, reason, recommendation, subject, to_state, upsert,
};

const VARIANTS: [&str; 2] = ["control", "bold"];

fn variant_of(anchor: SubjectId) -> &'static str {
    VARIANTS[assigned_arm("checkout", anchor.as_bytes(), [5_000, 5_000])]
}

async fn analysis(world: &mut World, metric: Metric) -> AnalyzeExperimentResponse {
    world.settle().await;
    let request = AnalyzeExperimentRequest {
        key: "checkout".to_owned(),
        metric: metric.into(),
    };
    let answer = world.experiments.analyze_experiment(request).await;
    answer.unwrap().into_inner()
}

#[tokio::test]
async fn malformed_requests_name_every_bad_field() {
    let mut world = World::embedded().await;
    let mut request = upsert("", &"k".repeat(65));
    let experiment = request.experiment.as_mut().unwrap();
    experiment.hypothesis.clear();
    experiment.variants[0].share = 0;
    let status = world
        .experiments
        .upsert_experiment(request)
        .await
        .unwrap_err();
    assert_eq!(
        (status.code(), reason(&status).as_str()),
        (Code::InvalidArgument, "INVALID_REQUEST")
    );
    let expected = [
        "request_id",
        "experiment.key",
        "experiment.hypothesis",
        "experiment.variants[0].share",
        "experiment.variants",
    ];
    assert_eq!(fields(&status), expected);
    let request = to_state("r", "", ExperimentState::Draft);
    let status = world
        .experiments
        .set_experiment_state(request)
        .await
        .unwrap_err();
    assert_eq!(fields(&status), ["key", "state"]);
    let request = ListExperimentsRequest {
        state: 9,
        page_size: -1,
        page_token: "2.a".to_owned(),
    };
    let status = world
        .experiments
        .list_experiments(request)
        .await
        .unwrap_err();
    assert_eq!(fields(&status), ["state", "page_size", "page_token"]);
    let request = AnalyzeExperimentRequest::default();
    let status = world
        .experiments
        .analyze_experiment(request)
        .await
        .unwrap_err();
    assert_eq!(fields(&status), ["key", "metric"]);
    let request = GetAssignmentsRequest {
        subject_id: vec![1],
    };
    let status = world
        .experiments
        .get_assignments(request)
        .await
        .unwrap_err();
    assert_eq!(fields(&status), ["subject_id"]);
}

#[tokio::test]
async fn an_experiment_is_written_started_and_stopped_once() {
    let mut world = World::embedded().await;
    world.running("checkout").await;
    let client = &mut world.experiments;
    let status = client
        .upsert_experiment(upsert("again", "checkout"))
        .await
        .unwrap_err();
    assert_eq!(
        (status.code(), reason(&status).as_str()),
        (Code::FailedPrecondition, "STATE_FORBIDS")
    );
    world.ground.clock.advance(1_000);
    let stop = to_state("stop", "checkout", ExperimentState::Stopped);
    let stopped = client
        .set_experiment_state(stop.clone())
        .await
        .unwrap()
        .into_inner();
    let experiment = stopped.experiment.clone().unwrap();
    assert_eq!(experiment.state(), ExperimentState::Stopped);
    assert_eq!(
        (experiment.started_at_ms, experiment.stopped_at_ms),
        (NOW, NOW + 1_000)
    );
    world.ground.clock.advance(1_000);
    let replay = client
        .set_experiment_state(stop)
        .await
        .unwrap()
        .into_inner();
    assert_eq!(replay, stopped, "the same request id is the same answer");
    let restart = to_state("restart", "checkout", ExperimentState::Running);
    let status = client.set_experiment_state(restart).await.unwrap_err();
    assert_eq!(reason(&status), "STATE_FORBIDS");
    let reused = to_state("stop", "other", ExperimentState::Stopped);
    let status = client.set_experiment_state(reused).await.unwrap_err();
    assert_eq!(
        (status.code(), reason(&status).as_str()),
        (Code::AlreadyExists, "REQUEST_ID_REUSED")
    );
    let unknown = to_state("unknown", "other", ExperimentState::Running);
    let status = client.set_experiment_state(unknown).await.unwrap_err();
    assert_eq!(
        (status.code(), reason(&status).as_str()),
        (Code::NotFound, "EXPERIMENT_NOT_FOUND")
    );
    let resource = status.get_details_resource_info().unwrap();
    assert_eq!(
        (
            resource.resource_type.as_str(),
            resource.resource_name.as_str()
        ),
        ("experiment", "other")
    );
}

#[tokio::test]
async fn pages_go_through_every_experiment_once() {
    let mut world = World::embedded().await;
    for key in ["e", "a", "d", "b", "c"] {
        let request = upsert(key, key);
        world.experiments.upsert_experiment(request).await.unwrap();
    }
    let (mut keys, mut page_token) = (Vec::new(), String::new());
    loop {
        let request = ListExperimentsRequest {
            page_size: 2,
            page_token,
            ..Default::default()
        };
        let page = world
            .experiments
            .list_experiments(request)
            .await
            .unwrap()
            .into_inner();
        keys.extend(
            page.experiments
                .into_iter()
                .map(|experiment| experiment.key),
        );
        page_token = page.next_page_token;
        if page_token.is_empty() {
            break;
        }
    }
    assert_eq!(keys, ["a", "b", "c", "d", "e"]);
}

#[tokio::test]
async fn a_person_keeps_one_variant_and_without_consent_gets_the_control() {
    let mut world = World::embedded().await;
    world.running("checkout").await;
    // Somebody whose own hash says bold, linked to an anchor whose hash says control.
    let bold = (0..)
        .map(subject)
        .find(|s| variant_of(*s) == "bold")
        .unwrap();
    let control = (0..)
        .map(subject)
        .find(|s| variant_of(*s) == "control")
        .unwrap();
    let assigned = async |world: &mut World, subject: SubjectId| {
        world.settle().await;
        let request = GetAssignmentsRequest {
            subject_id: subject.to_vec(),
        };
        let answer = world.experiments.get_assignments(request).await.unwrap();
        let mut found = answer.into_inner().assignments;
        assert_eq!(found.len(), 1);
        let found = found.remove(0);
        (found.variant, found.reason)
    };
    let expected = |variant: &str, reason: &str| (variant.to_owned(), reason.to_owned());
    assert_eq!(
        assigned(&mut world, bold).await,
        expected("control", "CONSENT")
    );
    world.consent(&[bold, control], Granted);
    assert_eq!(assigned(&mut world, bold).await, expected("bold", "SPLIT"));
    world.link(&[control, bold], 1);
    assert_eq!(
        assigned(&mut world, bold).await,
        expected("control", "SPLIT")
    );
    world.consent(&[control, bold], Revoked);
    assert_eq!(
        assigned(&mut world, bold).await,
        expected("control", "CONSENT")
    );
    let stop = to_state("stop", "checkout", ExperimentState::Stopped);
    world.experiments.set_experiment_state(stop).await.unwrap();
    let request = GetAssignmentsRequest {
        subject_id: bold.to_vec(),
    };
    let answer = world.experiments.get_assignments(request).await.unwrap();
    assert!(answer.into_inner().assignments.is_empty());
}

#[tokio::test]
async fn an_analysis_needs_an_experiment() {
    let mut world = World::embedded().await;
    let request = AnalyzeExperimentRequest {
        key: "nothing".to_owned(),
        metric: Metric::Revenue.into(),
    };
    let status = world
        .experiments
        .analyze_experiment(request)
        .await
        .unwrap_err();
    assert_eq!(
        (status.code(), reason(&status).as_str()),
        (Code::NotFound, "EXPERIMENT_NOT_FOUND")
    );
}

/// 400 people, of whom one in five buys under the control and one in two under the bold variant.
#[tokio::test]
async fn four_hundred_people_show_the_effect_that_they_were_given() {
    const PEOPLE: u32 = 400;
    const TRUTH: f64 = 0.5 - 0.2;
    let mut world = World::embedded().await;
    world.running("checkout").await;
    let subjects: Vec<SubjectId> = (0..PEOPLE).map(subject).collect();
    world.consent(&subjects, Granted);
    let mut rng = Rng::seeded(41);
    for (n, person) in subjects.iter().enumerate() {
        let variant = variant_of(*person);
        world.event(
            Some(*person),
            recommendation(NOW, n as u64 + 1, Some(variant)),
        );
        let buys = rng.chance(if variant == "bold" { 0.5 } else { 0.2 });
        if buys {
            world.event(
                Some(*person),
                purchase(NOW + 60_000, &format!("o{n}"), 2_000),
            );
        }
    }
    let found = analysis(&mut world, Metric::Conversion).await;
    assert_eq!(
        found.arms.iter().map(|arm| arm.persons).sum::<u64>(),
        u64::from(PEOPLE)
    );
    assert!(found.srm_p > 0.01, "{}", found.srm_p);
    let bold = &found.arms[1];
    assert_eq!(
        (found.arms[0].variant.as_str(), bold.variant.as_str()),
        ("control", "bold")
    );
    assert_eq!(found.arms[0].effect, None);
    let (low, high) = (bold.ci_low.unwrap(), bold.ci_high.unwrap());
    assert!(
        low < TRUTH && TRUTH < high,
        "{low} to {high} misses {TRUTH}"
    );
    assert!(bold.sequential_low.unwrap() < low && high < bold.sequential_high.unwrap());
    assert!(bold.p.unwrap() < 1e-6);
    assert_eq!((found.verdict.as_str(), found.crossovers), ("BETTER", 0));
    assert_eq!(found.events_behind, 0);
    // Every order is 20 pounds, so revenue says the same in pounds.
    let revenue = analysis(&mut world, Metric::Revenue).await;
    let effect = revenue.arms[1].effect.unwrap();
    assert!(
        (effect - 20.0 * bold.effect.unwrap()).abs() < 1e-9,
        "{effect}"
    );
}

#[tokio::test]
async fn who_revokes_links_or_is_erased_leaves_the_numbers() {
    let mut world = World::embedded().await;
    world.running("checkout").await;
    let [a, b, c, d] = [subject(1), subject(2), subject(3), subject(4)];
    world.consent(&[a, b, c, d], Granted);
    for (n, (person, variant)) in [(a, "control"), (b, "bold"), (c, "bold"), (d, "bold")]
        .into_iter()
        .enumerate()
    {
        let at = NOW + n as i64;
        world.event(
            Some(person),
            recommendation(at, n as u64 + 1, Some(variant)),
        );
        world.event(Some(person), purchase(NOW + DAY_MS, &format!("o{n}"), 100));
    }
    let counted = |found: &AnalyzeExperimentResponse| -> Vec<u64> {
        found.arms.iter().map(|arm| arm.persons).collect()
    };
    let found = analysis(&mut world, Metric::Conversion).await;
    assert_eq!(
        (counted(&found), found.crossovers, found.graph_version),
        (vec![1, 3], 0, 0)
    );
    world.consent(&[d], Revoked);
    let found = analysis(&mut world, Metric::Conversion).await;
    assert_eq!(counted(&found), [1, 2]);
    // The two devices met both variants; the control was first.
    world.link(&[b, a], 1);
    let found = analysis(&mut world, Metric::Conversion).await;
    assert_eq!(
        (counted(&found), found.crossovers, found.graph_version),
        (vec![1, 1], 1, 1)
    );
    assert!(
        found
            .warnings
            .iter()
            .any(|text| text.contains("more than one variant"))
    );
    world.erase(c, 2);
    let found = analysis(&mut world, Metric::Conversion).await;
    assert_eq!((counted(&found), found.graph_version), (vec![1, 0], 2));
    assert_eq!(found.verdict, "WAIT");
}

#[tokio::test]
async fn shares_that_are_not_everybody_are_refused() {
    let mut world = World::embedded().await;
    let mut request = upsert("r", "checkout");
    let experiment = request.experiment.as_mut().unwrap();
    experiment.variants.push(Variant {
        key: "shy".to_owned(),
        share: 1,
    });
    let status = world
        .experiments
        .upsert_experiment(request)
        .await
        .unwrap_err();
    assert_eq!(fields(&status), ["experiment.variants"]);
    let bad = status.get_details_bad_request().unwrap();
    assert_eq!(
        bad.field_violations[0].description,
        "shares sum to 10001, not to 10000"
    );
}
