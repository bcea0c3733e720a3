//! The calls that README prints, run as printed against a real server.
#![expect(clippy::unwrap_used, reason = "tests")]

use std::path::{Path, PathBuf};
use std::process::Command;

use rapport_stories::Launch;
use serde_json::Value;

/// What README's shell block begins with, and where it says the server is.
const BEGIN: &str = "PATH=$PWD/.tools/bin:$PATH; ";
const PRINTED: &str = "S=127.0.0.1:7700";

/// The printed calls in order, each with one thing of its answer: where it stands in the JSON, and what.
const CALLS: [(&str, &str, Expected); 9] = [
    ("CatalogService/UpsertItems", "/upserted", Expected::Is("2")),
    (
        "SubjectService/ResolveSubject",
        "/subjectId",
        Expected::BytesInBase64(16),
    ),
    (
        "ConsentService/SetConsent",
        "/controlSequence",
        Expected::Something,
    ),
    (
        "EventService/CollectEvents",
        "/results/0/outcome",
        Expected::Is("EVENT_OUTCOME_ACCEPTED"),
    ),
    (
        "ProfileService/GetProfile",
        "/profile/members",
        Expected::Is("1"),
    ),
    (
        "RecommendService/Recommend",
        "/decisionId",
        Expected::BytesInBase64(16),
    ),
    (
        "DecisionService/Decide",
        "/decisionId",
        Expected::BytesInBase64(16),
    ),
    (
        "CaseService/OpenCase",
        "/analysis/intent",
        Expected::Is("refund"),
    ),
    ("ReportService/RenderReport", "/html", Expected::Something),
];

#[derive(Debug, Clone, Copy)]
enum Expected {
    Is(&'static str),
    BytesInBase64(usize),
    Something,
}

fn root() -> PathBuf {
    let own = Path::new(env!("CARGO_MANIFEST_DIR"));
    own.parent().unwrap().to_owned()
}

/// Returns the lines of README's block of calls.
fn printed() -> Vec<String> {
    let readme = std::fs::read_to_string(root().join("README.md")).unwrap();
    let blocks = readme.split("```sh\n").skip(1);
    let mut blocks = blocks.map(|block| block.split("```").next().unwrap());
    let block = blocks.find(|block| block.starts_with(BEGIN)).unwrap();
    block.lines().map(str::to_owned).collect()
}

/// Runs the lines in one shell, as a reader would, from the root of the repository; returns what each
/// printed. Every line must succeed, in each command of its pipe.
fn run(lines: &[String], folder: &Path) -> Vec<String> {
    let mut script = "set -o pipefail\n".to_owned();
    for (number, line) in lines.iter().enumerate() {
        let file = folder.join(number.to_string());
        let file = file.display();
        script += &format!("{{ {line}\n}} >'{file}' || exit {}\n", number + 1);
    }
    let mut shell = Command::new("bash");
    let output = shell.arg("-c").arg(&script).current_dir(root()).output();
    let output = output.unwrap();
    assert!(
        output.status.success(),
        "line {:?} of the block: {}",
        output.status.code(),
        String::from_utf8_lossy(&output.stderr)
    );
    let read = |number: usize| std::fs::read_to_string(folder.join(number.to_string())).unwrap();
    (0..lines.len()).map(read).collect()
}

#[tokio::test]
async fn the_calls_of_the_readme_work_as_printed_in_order() {
    let folder = tempfile::tempdir().unwrap();
    let server = Launch::new("rapport", folder.path()).arg("serve");
    let server = server.arg("--data").arg(folder.path().join("data"));
    let server = server.start("").await.unwrap();
    let mut lines = printed();
    assert!(lines[0].contains(PRINTED), "{}", lines[0]);
    let address = server.url().strip_prefix("http://").unwrap().to_owned();
    lines[0] = lines[0].replace(PRINTED, &format!("S={address}"));
    let calls = lines.iter().filter(|line| line.starts_with("grpcurl "));
    assert_eq!(calls.count(), 10, "ten calls, as README says");

    let answers = folder.path().join("answers");
    std::fs::create_dir(&answers).unwrap();
    let asked = lines.clone();
    let said = tokio::task::spawn_blocking(move || run(&asked, &answers));
    let said = said.await.unwrap();
    let mut answered = lines.iter().zip(&said);
    let (_, services) = answered
        .find(|(line, _)| line.ends_with("$S list"))
        .unwrap();
    for (method, _, _) in CALLS {
        let (service, _) = method.split_once('/').unwrap();
        assert!(services.contains(service), "{service}: {services}");
    }
    for (method, pointer, expected) in CALLS {
        let (_, answer) = answered
            .find(|(line, _)| line.starts_with("grpcurl ") && line.ends_with(method))
            .unwrap_or_else(|| panic!("README does not call {method} in its place"));
        let answer: Value = serde_json::from_str(answer).unwrap();
        check(method, &answer, pointer, expected);
    }
    server.stop().await.unwrap();
}

fn check(method: &str, answer: &Value, pointer: &str, expected: Expected) {
    let place = answer.pointer(pointer);
    let place = place.unwrap_or_else(|| panic!("{method} answers no {pointer}: {answer}"));
    let text = place
        .as_str()
        .map_or_else(|| place.to_string(), str::to_owned);
    match expected {
        Expected::Is(value) => assert_eq!(text, value, "{method} {pointer}"),
        Expected::BytesInBase64(bytes) => {
            assert_eq!(
                text.len(),
                bytes.div_ceil(3) * 4,
                "{method} {pointer}: {text}"
            );
        }
        Expected::Something => assert!(!text.is_empty(), "{method} {pointer}"),
    }
}
