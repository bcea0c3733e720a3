//! A real shop's invoices become events, profiles, recommendations and a revenue report.
#![expect(clippy::unwrap_used, reason = "tests")]

use std::path::Path;
use std::process::{Command, Output};

use rapport_api::evaluate::v1 as evaluate;
use rapport_api::evaluate::v1::report_service_client::ReportServiceClient;
use rapport_api::profile::v1 as profile;
use rapport_api::profile::v1::profile_service_client::ProfileServiceClient;
use rapport_api::profile::v1::subject_service_client::SubjectServiceClient;
use rapport_api::recommend::v1 as recommend;
use rapport_api::recommend::v1::model_service_client::ModelServiceClient;
use rapport_api::recommend::v1::recommend_service_client::RecommendServiceClient;
use rapport_rpc::{ClientConfig, connect};
use rapport_stories::{Launch, Process, binary, real_data};

const HEADER: &str = "invoice,item,description,quantity,timestamp,unit_price,customer,country\n";

async fn serve(folder: &Path) -> Process {
    let launch = Launch::new("rapport", folder)
        .arg("serve")
        .arg("--data")
        .arg(folder.join("data"));
    launch.start("").await.unwrap()
}

fn import(server: &Process, file: &Path) -> Output {
    Command::new(binary("rapport"))
        .args([
            "import",
            "online-retail",
            "--grant",
            "personalise,measure",
            "--evidence",
            "story",
            "--json",
        ])
        .args(["--server", server.url()])
        .arg(file)
        .output()
        .unwrap()
}

fn summary(output: &Output) -> serde_json::Value {
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    serde_json::from_slice(&output.stdout).unwrap()
}

#[tokio::test]
async fn a_small_shop_is_imported_exactly_and_only_once() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("shop.csv");
    let lines = [
        "1,TEA,GREEN TEA,6,2010-12-01 08:26:00,2.55,17850.0,UK",
        "1,CUP,TEA CUP,2,2010-12-01 08:26:00,3.39,17850.0,UK",
        "1,CUP,TEA CUP,2,2010-12-01 08:26:00,3.39,17850.0,UK",
        "C2,TEA,GREEN TEA,-1,2010-12-02 09:00:00,2.55,17850.0,UK",
        "3,CUP,,-5,2010-12-03 09:00:00,0.0,,UK",
        "A4,B,Adjust bad debt,1,2010-12-04 09:00:00,-10.50,,UK",
    ];
    std::fs::write(&file, format!("{HEADER}{}\n", lines.join("\n"))).unwrap();
    let server = serve(folder.path()).await;
    let first = summary(&import(&server, &file));
    assert_eq!(
        (first["lines"].as_u64(), first["accepted"].as_u64()),
        (Some(6), Some(6))
    );
    assert_eq!(
        (first["subjects"].as_u64(), first["consents"].as_u64()),
        (Some(3), Some(3))
    );
    let again = summary(&import(&server, &file));
    assert_eq!(
        (again["accepted"].as_u64(), again["duplicate"].as_u64()),
        (Some(0), Some(6))
    );
    let net = 15_300_000 + 2 * 6_780_000 - 2_550_000 - 10_500_000;
    assert_eq!(net_micros(&server, net).await, net);
    server.stop().await.unwrap();
}

#[tokio::test]
async fn a_wrong_line_is_named_and_nothing_is_sent() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("shop.csv");
    let lines = "1,TEA,GREEN TEA,6,2010-12-01 08:26:00,2.55,17850.0,UK\n\
                 2,TEA,GREEN TEA,six,2010-12-01 08:26:00,2.55,17850.0,UK\n";
    std::fs::write(&file, format!("{HEADER}{lines}")).unwrap();
    let server = serve(folder.path()).await;
    let output = import(&server, &file);
    assert_eq!(output.status.code(), Some(2));
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(
        said.contains("shop.csv, line 3, column 4 (quantity): `six` is not a whole number"),
        "{said}"
    );
    assert!(said.contains("nothing was sent"), "{said}");
    let channel = connect(&ClientConfig::new(server.url())).unwrap();
    let mut events = profile::event_service_client::EventServiceClient::new(channel);
    let ends = events
        .get_log_positions(profile::GetLogPositionsRequest {})
        .await
        .unwrap()
        .into_inner();
    assert!(ends.ends.iter().all(|end| end.after_sequence == 0));
}

#[tokio::test]
async fn nobody_answering_is_exit_code_three() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("shop.csv");
    std::fs::write(
        &file,
        format!("{HEADER}1,TEA,T,6,2010-12-01 08:26:00,2.55,1,UK\n"),
    )
    .unwrap();
    let output = Command::new(binary("rapport"))
        .args(["import", "online-retail", "--server", "127.0.0.1:1"])
        .arg(&file)
        .output()
        .unwrap();
    assert_eq!(
        output.status.code(),
        Some(3),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
}

/// The real file is not part of the project: the test runs where it lies beside the repository.
#[tokio::test]
async fn half_a_million_real_lines_give_the_known_truth() {
    let Some(file) = real_data("shop/online_retail.csv.gz") else {
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let server = serve(folder.path()).await;
    let done = summary(&import(&server, &file));
    assert_eq!(done["lines"].as_u64(), Some(541_909));
    assert_eq!(done["accepted"].as_u64(), Some(541_909));
    assert_eq!(done["subjects"].as_u64(), Some(4_372 + 3_710));
    let as_of_ms = done["last_event_ms"].as_i64().unwrap();
    // Known as GBP 9,747,747.93; some prices have tenths of a penny.
    let net = 9_747_747_934_000;
    assert_eq!(net_micros(&server, net).await, net);

    let channel = connect(&ClientConfig::new(server.url())).unwrap();
    let request = profile::SummariseProfilesRequest { as_of_ms };
    let mut profiles = ProfileServiceClient::new(channel.clone());
    let stages = profiles
        .summarise_profiles(request)
        .await
        .unwrap()
        .into_inner();
    // Invoices of nothing but written-off stock are nobody's behaviour.
    assert!(
        (4_372..=4_372 + 3_710).contains(&stages.persons),
        "{stages:?}"
    );
    assert!(stages.stages.len() > 2, "{stages:?}");

    let identifier = profile::Identifier {
        kind: profile::IdentifierKind::Login as i32,
        value: "14911".to_owned(),
    };
    let request = profile::ResolveSubjectRequest {
        identifier: Some(identifier),
    };
    let mut subjects = SubjectServiceClient::new(channel.clone());
    let subject_id = subjects
        .resolve_subject(request)
        .await
        .unwrap()
        .into_inner()
        .subject_id;
    let request = profile::GetProfileRequest {
        subject_id: subject_id.clone(),
        as_of_ms,
    };
    let known = profiles
        .get_profile(request)
        .await
        .unwrap()
        .into_inner()
        .profile
        .unwrap();
    assert!(known.rfm.unwrap().frequency > 100, "14911 bought often");

    let mut models = ModelServiceClient::new(channel.clone());
    let request = recommend::TrainModelRequest {
        request_id: "story".to_owned(),
    };
    models.train_model(request).await.unwrap();
    let mut recommender = RecommendServiceClient::new(channel);
    let request = recommend::RecommendRequest {
        subject_id,
        page_size: 10,
        ..Default::default()
    };
    let shown = recommender.recommend(request).await.unwrap().into_inner();
    assert_eq!(shown.items.len(), 10);
    assert!(shown.items.iter().all(|one| !one.reasons.is_empty()));
    let request = recommend::ListBoughtTogetherRequest {
        item_id: "85123A".to_owned(),
        page_size: 5,
    };
    let together = recommender
        .list_bought_together(request)
        .await
        .unwrap()
        .into_inner();
    assert!(together.items.iter().all(|one| one.lift > 1.0) && !together.items.is_empty());
    server.stop().await.unwrap();
}

/// Returns purchases less refunds plus adjustments in GBP, once they are what is expected or a minute
/// has passed: evaluate follows the log a little behind.
async fn net_micros(server: &Process, expected: i64) -> i64 {
    let channel = connect(&ClientConfig::new(server.url())).unwrap();
    let mut reports = ReportServiceClient::new(channel);
    let mut net = 0;
    for _ in 0..120 {
        let request = evaluate::GetDailySeriesRequest { period: None };
        let series = reports
            .get_daily_series(request)
            .await
            .unwrap()
            .into_inner();
        let total = series.totals.iter().find(|total| total.currency == "GBP");
        net = total.map_or(0, |total| {
            total.purchases_micros - total.refunds_micros + total.adjustments_micros
        });
        if net == expected {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(500)).await;
    }
    net
}
