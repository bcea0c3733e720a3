//! A real shop's invoices become events, profiles, recommendations and a revenue report.
#![expect(clippy::unwrap_used, reason = "tests")]

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use rapport_api::evaluate::v1 as evaluate;
use rapport_api::evaluate::v1::report_service_client::ReportServiceClient;
use rapport_api::profile::v1 as profile;
use rapport_api::profile::v1::profile_service_client::ProfileServiceClient;
use rapport_api::profile::v1::subject_service_client::SubjectServiceClient;
use rapport_api::recommend::v1 as recommend;
use rapport_api::recommend::v1::model_service_client::ModelServiceClient;
use rapport_api::recommend::v1::recommend_service_client::RecommendServiceClient;
use rapport_rpc::{Channel, ClientConfig, connect};
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

/// A shop's file and what is known to be true of it.
struct Shop {
    file: PathBuf,
    lines: u64,
    subjects: u64,
    net_micros: i64,
    /// A customer who ordered more often than this many times.
    frequent: (&'static str, u32),
    /// An item that is bought together with others.
    item: &'static str,
}

/// A file of invoices in the making, and what its lines come to.
struct Sheet {
    text: String,
    lines: u64,
    net_micros: i64,
}

/// One line of it: what it says but for description and country.
struct Sold<'a> {
    invoice: &'a str,
    item: &'a str,
    quantity: i64,
    pence: i64,
    who: &'a str,
    day: u32,
}

impl Sheet {
    fn add(&mut self, sold: &Sold) {
        let Sold {
            invoice,
            item,
            quantity,
            pence,
            who,
            day,
        } = sold;
        let (month, day) = (day / 28 % 12 + 1, day % 28 + 1);
        let (sign, pounds) = (if *pence < 0 { "-" } else { "" }, pence.abs() / 100);
        writeln!(
            self.text,
            "{invoice},{item},\"{item}, BOXED\",{quantity},2011-{month:02}-{day:02} 10:00:00,\
             {sign}{pounds}.{:02},{who},United Kingdom",
            pence.abs() % 100
        )
        .unwrap();
        self.lines += 1;
        self.net_micros += quantity * pence * 10_000;
    }
}

/// Invoices of the made-up shop.
const INVOICES: u32 = 900;

/// Returns who bought by an invoice, empty for every fifteenth.
fn buyer(number: u32) -> String {
    match number % 15 {
        14 => String::new(),
        _ => format!("{}.0", 17_000 + number % 60),
    }
}

/// Adds what follows some invoices: a refund, written-off stock, a bad debt. Returns the invoices that
/// have no customer.
fn settle(sheet: &mut Sheet, number: u32, first: &Sold) -> Vec<String> {
    let invoice = first.invoice;
    let [refund, stock, debt] = ["C", "9", "A"].map(|prefix| format!("{prefix}{invoice}"));
    if number.is_multiple_of(20) {
        sheet.add(&Sold {
            invoice: &refund,
            quantity: -1,
            ..*first
        });
    }
    if !number.is_multiple_of(50) {
        return Vec::new();
    }
    let written_off = Sold {
        invoice: &stock,
        quantity: -4,
        pence: 0,
        who: "",
        ..*first
    };
    sheet.add(&written_off);
    sheet.add(&Sold {
        invoice: &debt,
        quantity: 1,
        pence: -1_106_206,
        ..written_off
    });
    vec![stock, debt]
}

/// Writes a year of a made-up shop in the shape of the real file: a byte-order mark, quoted commas,
/// exact duplicate lines, refunds, adjustments of stock and ledger, invoices without customer.
fn made_up_shop(folder: &Path) -> Shop {
    let mut sheet = Sheet {
        text: format!("\u{feff}{HEADER}"),
        lines: 0,
        net_micros: 0,
    };
    let mut people = BTreeSet::new();
    for number in 0..INVOICES {
        let (invoice, who) = (format!("{}", 536_000 + number), buyer(number));
        // Without customer the invoice is the subject.
        people.insert(if who.is_empty() {
            invoice.clone()
        } else {
            who.clone()
        });
        // Three items that are always bought together, and one that is not.
        let kit = number * 7 % 12;
        let items = [0, 1, 2].map(|place| format!("K{kit}{place}"));
        let first = Sold {
            invoice: &invoice,
            item: &items[0],
            quantity: 3,
            pence: 255 + i64::from(kit),
            who: &who,
            day: number / 3,
        };
        for item in &items {
            sheet.add(&Sold { item, ..first });
        }
        let other = format!("S{}", number % 17);
        sheet.add(&Sold {
            item: &other,
            pence: 339,
            ..first
        });
        if number % 10 == 0 {
            // The same line twice is two sales.
            sheet.add(&first);
        }
        people.extend(settle(&mut sheet, number, &first));
    }
    let file = folder.join("made_up.csv");
    std::fs::write(&file, sheet.text).unwrap();
    Shop {
        file,
        lines: sheet.lines,
        subjects: people.len() as u64,
        net_micros: sheet.net_micros,
        frequent: ("17000", 10),
        item: "K00",
    }
}

#[tokio::test]
async fn a_made_up_year_gives_profiles_recommendations_and_the_known_truth() {
    let folder = tempfile::tempdir().unwrap();
    tell(&made_up_shop(folder.path())).await;
}

/// The real file is not part of the project: the same story is told of it where it lies beside the
/// repository, and a line says whether it was.
#[tokio::test]
async fn half_a_million_real_lines_give_the_known_truth() {
    let found = real_data("shop/online_retail.csv.gz");
    let said = match &found {
        Some(_) => "the real invoices are here: importing 541,909 lines",
        None => "the real invoices are not here: only the made-up shop was imported",
    };
    writeln!(std::io::stderr(), "{said}").unwrap();
    let Some(file) = found else { return };
    let shop = Shop {
        file,
        lines: 541_909,
        subjects: 4_372 + 3_710,
        // Known as GBP 9,747,747.93; some prices have tenths of a penny.
        net_micros: 9_747_747_934_000,
        frequent: ("14911", 100),
        item: "85123A",
    };
    tell(&shop).await;
}

/// Imports a shop, and asks everything that follows from it.
async fn tell(shop: &Shop) {
    let folder = tempfile::tempdir().unwrap();
    let server = serve(folder.path()).await;
    let done = summary(&import(&server, &shop.file));
    assert_eq!(done["lines"].as_u64(), Some(shop.lines));
    assert_eq!(done["accepted"].as_u64(), Some(shop.lines));
    assert_eq!(done["subjects"].as_u64(), Some(shop.subjects));
    let as_of_ms = done["last_event_ms"].as_i64().unwrap();
    assert_eq!(net_micros(&server, shop.net_micros).await, shop.net_micros);
    let channel = connect(&ClientConfig::new(server.url())).unwrap();
    let subject_id = profiles_follow(&channel, shop, as_of_ms).await;
    recommendations_follow(&channel, shop, subject_id).await;
    server.stop().await.unwrap();
}

/// Returns the subject of the frequent customer.
async fn profiles_follow(channel: &Channel, shop: &Shop, as_of_ms: i64) -> Vec<u8> {
    let request = profile::SummariseProfilesRequest { as_of_ms };
    let mut profiles = ProfileServiceClient::new(channel.clone());
    let stages = profiles
        .summarise_profiles(request)
        .await
        .unwrap()
        .into_inner();
    // Invoices of nothing but written-off stock are nobody's behaviour.
    let customers = shop.subjects / 2;
    assert!(
        (customers..=shop.subjects).contains(&stages.persons),
        "{stages:?}"
    );
    assert!(stages.stages.len() > 1, "{stages:?}");

    let (number, orders) = shop.frequent;
    let identifier = profile::Identifier {
        kind: profile::IdentifierKind::Login as i32,
        value: number.to_owned(),
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
    assert!(
        known.rfm.unwrap().frequency > orders,
        "{number} bought often"
    );
    subject_id
}

async fn recommendations_follow(channel: &Channel, shop: &Shop, subject_id: Vec<u8>) {
    let mut models = ModelServiceClient::new(channel.clone());
    let request = recommend::TrainModelRequest {
        request_id: "story".to_owned(),
    };
    models.train_model(request).await.unwrap();
    let mut recommender = RecommendServiceClient::new(channel.clone());
    let request = recommend::RecommendRequest {
        subject_id,
        page_size: 10,
        ..Default::default()
    };
    let shown = recommender.recommend(request).await.unwrap().into_inner();
    assert_eq!(shown.items.len(), 10);
    assert!(shown.items.iter().all(|one| !one.reasons.is_empty()));
    let request = recommend::ListBoughtTogetherRequest {
        item_id: shop.item.to_owned(),
        page_size: 5,
    };
    let together = recommender
        .list_bought_together(request)
        .await
        .unwrap()
        .into_inner();
    assert!(together.items.iter().all(|one| one.lift > 1.0) && !together.items.is_empty());
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
