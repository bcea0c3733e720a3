//! A withdrawn consent, and how fast each service turns non-personal.

use std::time::{Duration, Instant};

use rapport_api::care::v1 as care;
use rapport_api::care::v1::case_service_client::CaseServiceClient;
use rapport_api::evaluate::v1 as evaluate;
use rapport_api::evaluate::v1::experiment_service_client::ExperimentServiceClient;
use rapport_api::event::v1::ConsentRegister;
use rapport_api::profile::v1 as profile;
use rapport_api::profile::v1::consent_service_client::ConsentServiceClient;
use rapport_api::profile::v1::profile_service_client::ProfileServiceClient;
use rapport_api::r#type::v1::{ConsentState, Degraded, Purpose};

use super::person::{decide, recommend};
use super::{ANGRY, LOOK_AGAIN, PATIENCE, Person, failed, heading};
use crate::failure::Failure;
use crate::output::line;
use crate::peers::Peers;

pub(super) async fn show_withdrawal(peers: &Peers, person: &Person) -> Result<(), Failure> {
    heading("Consent withdrawn on one device: everything turns non-personal on the other");
    let revoked = |purpose: Purpose| ConsentRegister {
        purpose: purpose as i32,
        state: ConsentState::Revoked as i32,
    };
    let request = profile::SetConsentRequest {
        request_id: "tour-withdrawal".to_owned(),
        subject_id: person.other.to_vec(),
        registers: [
            Purpose::Personalise,
            Purpose::Advertise,
            Purpose::Emotion,
            Purpose::Measure,
        ]
        .map(revoked)
        .to_vec(),
        evidence: "the tour".to_owned(),
        imported: false,
    };
    let began = Instant::now();
    let mut client = ConsentServiceClient::new(peers.profile.clone());
    client
        .set_consent(request)
        .await
        .map_err(failed("consent"))?;
    line(&format!(
        "withdrawn on {} in {} ms",
        person.other,
        began.elapsed().as_millis()
    ));
    watch(peers, person, began).await;
    Ok(())
}

/// Looks at every service until it answers the first device without personal data.
async fn watch(peers: &Peers, person: &Person, began: Instant) {
    let report = |name: &str, turned: Option<Duration>| match turned {
        Some(after) => line(&format!(
            "  {name:<10} non-personal after {} ms",
            after.as_millis()
        )),
        None => line(&format!("  {name:<10} still personal")),
    };
    let turned = until(began, async || {
        let request = profile::GetProfileRequest {
            subject_id: person.subject.to_vec(),
            as_of_ms: 0,
        };
        ProfileServiceClient::new(peers.profile.clone())
            .get_profile(request)
            .await
            .is_err()
    });
    report("profile", turned.await);
    let turned = until(began, async || {
        recommend(peers, person.subject)
            .await
            .is_ok_and(|answer| answer.degraded == Degraded::Consent as i32)
    });
    report("recommend", turned.await);
    let mut number = 0;
    let turned = until(began, async || {
        number += 1;
        let answer = decide(peers, person.subject, &format!("tour-after-{number}")).await;
        answer.is_ok_and(|answer| answer.degraded == Degraded::Consent as i32)
    });
    report("ads", turned.await);
    let turned = until(began, async || {
        let request = care::AnalyzeTextRequest {
            subject_id: person.subject.to_vec(),
            text: ANGRY.to_owned(),
        };
        CaseServiceClient::new(peers.care.clone())
            .analyze_text(request)
            .await
            .is_err()
    });
    report("care", turned.await);
    let turned = until(began, async || {
        let request = evaluate::GetAssignmentsRequest {
            subject_id: person.subject.to_vec(),
        };
        let answer = ExperimentServiceClient::new(peers.evaluate.clone())
            .get_assignments(request)
            .await;
        answer.is_ok_and(|answer| {
            answer
                .into_inner()
                .assignments
                .iter()
                .all(|one| one.reason == "CONSENT")
        })
    });
    report("evaluate", turned.await);
}

/// Returns how long after `began` something held, `None` if it never did.
async fn until(began: Instant, mut holds: impl AsyncFnMut() -> bool) -> Option<Duration> {
    while began.elapsed() < PATIENCE {
        if holds().await {
            return Some(began.elapsed());
        }
        tokio::time::sleep(LOOK_AGAIN).await;
    }
    None
}
