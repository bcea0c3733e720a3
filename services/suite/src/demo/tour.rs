//! The guided tour: what a newcomer sees of a month in the town.

mod measures;
mod person;
mod withdrawal;

use std::path::Path;
use std::time::{Duration, Instant};

use rapport_api::evaluate::v1 as evaluate;
use rapport_api::evaluate::v1::report_service_client::ReportServiceClient;
use rapport_api::profile::v1 as profile;
use rapport_api::profile::v1::profile_service_client::ProfileServiceClient;
use rapport_town::Town;
use rapport_types::{ManualClock, SubjectId};

use super::driver::{Driver, Lived};
use super::setup;
use crate::failure::Failure;
use crate::house::House;
use crate::output::line;
use crate::peers::Peers;
use measures::{show_measures, write_reports};
use person::{show_ad, show_case, show_profile, show_recommendations};
use withdrawal::show_withdrawal;

/// What an unhappy customer writes.
const ANGRY: &str = "我等了两个星期，包裹还没到！客服也没人理我，太过分了，我要退款！";
/// Longest wait for a projection or a view to follow.
const PATIENCE: Duration = Duration::from_secs(10);
/// Pause between two looks.
const LOOK_AGAIN: Duration = Duration::from_millis(10);

/// Lives the month and shows what came of it.
///
/// # Errors
/// [`Failure`] of the first call that fails.
pub(super) async fn guide(
    house: &House,
    town: &mut Town,
    clock: &ManualClock,
    report: &Path,
) -> Result<(), Failure> {
    let peers = house.peers();
    heading("A town of shoppers lives through a month");
    setup::set_up(peers, town).await?;
    let mut driver = Driver::new(peers, Some(clock));
    let began = Instant::now();
    let lived = driver.live(town).await?;
    show_lived(town, &lived, began.elapsed());
    settle(peers).await?;
    setup::train_recommender(peers, "last").await?;
    setup::train_value(peers).await?;
    let person = pick(peers, town, &driver).await?;
    show_profile(peers, &person).await?;
    show_recommendations(peers, &person).await?;
    show_ad(peers, &person).await?;
    show_case(peers, &person).await?;
    show_withdrawal(peers, &person).await?;
    show_measures(peers, town).await?;
    write_reports(peers, report).await
}

fn heading(text: &str) {
    line("");
    line(&format!(
        "── {text} {}",
        "─".repeat(72_usize.saturating_sub(text.chars().count()))
    ));
}

fn show_lived(town: &Town, lived: &Lived, took: Duration) {
    line(&format!(
        "{} shoppers, {} days, {} visits, {} events on disk ({} refused for want of consent), \
         {} ads, {} messages, {} devices linked; lived in {:.1} s",
        town.shoppers().len(),
        town.config().days,
        lived.visits,
        lived.events,
        lived.refused,
        lived.ads_shown,
        lived.cases,
        lived.links,
        took.as_secs_f64()
    ));
}

/// Waits until evaluate has seen the whole log, as the report of the last day shows.
async fn settle(peers: &Peers) -> Result<(), Failure> {
    let mut client = ReportServiceClient::new(peers.evaluate.clone());
    let began = Instant::now();
    let mut before = None;
    while began.elapsed() < PATIENCE {
        let request = evaluate::GetDailySeriesRequest { period: None };
        let days = client
            .get_daily_series(request)
            .await
            .map_err(failed("daily series"))?
            .into_inner();
        let orders: u64 = days.days.iter().map(|day| day.orders).sum();
        if before == Some(orders) && orders > 0 {
            return Ok(());
        }
        before = Some(orders);
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
    Ok(())
}

/// One person of the tour: a device, and another device of the same person.
struct Person {
    subject: SubjectId,
    other: SubjectId,
    profile: profile::Profile,
}

/// Picks the person with the most orders among those who have two devices and allow everything.
async fn pick(peers: &Peers, town: &Town, driver: &Driver<'_>) -> Result<Person, Failure> {
    let mut client = ProfileServiceClient::new(peers.profile.clone());
    let mut best: Option<Person> = None;
    for shopper in town
        .shoppers()
        .iter()
        .filter(|shopper| shopper.devices == 2)
    {
        let device = |number| driver.subject(&town.device(shopper.index, number));
        let (Some(subject), Some(other)) = (device(0), device(1)) else {
            continue;
        };
        let wanted = [
            rapport_types::Purpose::Personalise,
            rapport_types::Purpose::Advertise,
            rapport_types::Purpose::Emotion,
            rapport_types::Purpose::Measure,
        ];
        if shopper.revokes.is_some()
            || wanted
                .iter()
                .any(|purpose| !shopper.grants.contains(*purpose))
        {
            continue;
        }
        let request = profile::GetProfileRequest {
            subject_id: subject.to_vec(),
            as_of_ms: 0,
        };
        let Ok(answer) = client.get_profile(request).await else {
            continue;
        };
        let Some(found) = answer.into_inner().profile else {
            continue;
        };
        let orders =
            |profile: &profile::Profile| profile.rfm.as_ref().map_or(0, |rfm| rfm.frequency);
        let better = best
            .as_ref()
            .is_none_or(|best| orders(&found) > orders(&best.profile));
        if found.members > 1 && better {
            best = Some(Person {
                subject,
                other,
                profile: found,
            });
        }
    }
    best.ok_or_else(|| {
        Failure::Failed("the town is too small for the tour: use --shoppers 300 or more".to_owned())
    })
}

fn failed(what: &'static str) -> impl Fn(tonic::Status) -> Failure {
    move |status| Failure::of_call("the server", what, &status)
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
