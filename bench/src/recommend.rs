//! `Recommend` at a steady 1,000 calls a second over a history of a million interactions.

use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rapport_api::recommend::v1::TrainModelRequest;
use rapport_api::recommend::v1::model_service_client::ModelServiceClient;
use rapport_rpc::{ClientConfig, connect};
use serde_json::json;
use tonic::Code;

use crate::server::{Server, load, rapport};

/// Size of the made history, about that of Gowalla's training set.
const PEOPLE: u32 = 29_858;
const ITEMS: u64 = 40_981;
const VIEWS_PER_PERSON: u64 = 27;
/// How often the training is asked for while another runs, and how long between.
const TRAIN_ATTEMPTS_MAX: u32 = 600;
const TRAIN_PAUSE: Duration = Duration::from_secs(1);

pub(crate) async fn run(gowalla: Option<&Path>, seconds: u64) -> io::Result<()> {
    let folder = tempfile::tempdir()?;
    let server = Server::embedded(folder.path(), &[]).await?;
    let (history, what) = history(gowalla, folder.path())?;
    let imported = import(&server, &history).await?;
    server.caught_up().await?;
    train(server.process.url()).await?;
    let before = server.cpu_seconds();
    let people = PEOPLE.to_string();
    let duration = format!("{seconds}s");
    let arguments = [
        "recommend",
        "--rate",
        "1000",
        "--prefix",
        "",
        "--subjects",
        &people,
        "--duration",
        &duration,
        "--warm-up",
        "5s",
    ];
    let mut measured = load(server.process.url(), &arguments).await?;
    measured["name"] = json!(format!("recommend at 1,000/s, {what}"));
    measured["import"] = json!(imported);
    measured["server_cpu_seconds"] = json!(server.cpu_seconds() - before);
    measured["server_resident_bytes"] = json!(server.resident_bytes().0);
    crate::print(&measured)?;
    server.process.stop().await
}

/// Brings a history in by the backfill lane and returns what the importer said.
pub(crate) async fn import(server: &Server, history: &Path) -> io::Result<String> {
    let mapping = Path::new(env!("CARGO_MANIFEST_DIR")).join("gowalla.toml");
    let arguments = [
        "import",
        "csv",
        "--mapping",
        &mapping.display().to_string(),
        &history.display().to_string(),
        "--grant",
        "personalise,measure",
        "--evidence",
        "bench",
        "--server",
        server.process.url(),
        "--json",
    ];
    let said = rapport(arguments.map(str::to_owned).to_vec()).await?;
    Ok(said.trim().to_owned())
}

/// Returns the file of the history, and what it is.
pub(crate) fn history(
    gowalla: Option<&Path>,
    folder: &Path,
) -> io::Result<(PathBuf, &'static str)> {
    if let Some(file) = gowalla {
        return Ok((file.to_path_buf(), "Gowalla"));
    }
    let path = folder.join("history.csv");
    let mut file = io::BufWriter::new(std::fs::File::create(&path)?);
    writeln!(file, "user,item")?;
    for person in 0..u64::from(PEOPLE) {
        for view in 0..VIEWS_PER_PERSON {
            // Squaring a uniform draw makes some items far more popular than others.
            let draw = mixed(person * VIEWS_PER_PERSON + view);
            let share = (draw >> 11) as f64 / (1_u64 << 53) as f64;
            let item = (share * share * ITEMS as f64) as u64;
            writeln!(file, "{person},{item}")?;
        }
    }
    file.flush()?;
    Ok((path, "a made history of the size of Gowalla"))
}

/// Trains on the whole history. A training that the service began by itself may have missed its end, so
/// that one is waited for and another follows.
async fn train(url: &str) -> io::Result<()> {
    let channel = connect(&ClientConfig::new(url)).map_err(io::Error::other)?;
    let mut client = ModelServiceClient::new(channel);
    for _ in 0..TRAIN_ATTEMPTS_MAX {
        let request = TrainModelRequest {
            request_id: "bench".to_owned(),
        };
        match client.train_model(request).await {
            Err(status) if status.code() == Code::Aborted => tokio::time::sleep(TRAIN_PAUSE).await,
            answer => return answer.map(drop).map_err(io::Error::other),
        }
    }
    Err(io::Error::other("another training did not end"))
}

/// Scatters a counter over all 64-bit numbers: the finaliser of SplitMix64.
fn mixed(number: u64) -> u64 {
    let mut x = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
    x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}
