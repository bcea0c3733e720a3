//! A client that we did not write: Python's grpcio calls the real server by reflection alone.
#![expect(clippy::unwrap_used, reason = "tests")]

use std::path::{Path, PathBuf};
use std::process::Command;

use rapport_stories::Launch;
use serde_json::json;

fn root() -> PathBuf {
    let own = Path::new(env!("CARGO_MANIFEST_DIR"));
    own.parent().unwrap().to_owned()
}

/// Runs the client with the interpreter that `make tools` sets up, and returns what it saw.
fn client(address: &str) -> serde_json::Value {
    let python = root().join(".tools/venv/bin/python3");
    assert!(
        python.exists(),
        "{} is missing: run `make tools`",
        python.display()
    );
    let script = root().join("tests/foreign/client.py");
    let output = Command::new(python)
        .arg(script)
        .arg(address)
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    serde_json::from_slice(&output.stdout).unwrap()
}

#[tokio::test]
async fn pythons_grpcio_calls_every_service_by_reflection_alone() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    let server = Launch::new("rapport", folder.path())
        .arg("serve")
        .arg("--data");
    let server = server.arg(data).start("").await.unwrap();
    let address = server.url().strip_prefix("http://").unwrap().to_owned();
    let seen = tokio::task::spawn_blocking(move || client(&address));
    let seen = seen.await.unwrap();

    let services = seen["services"].as_array().unwrap();
    for service in [
        "rapport.profile.v1.EventService",
        "rapport.recommend.v1.RecommendService",
        "rapport.ads.v1.DecisionService",
        "rapport.care.v1.CaseService",
        "rapport.evaluate.v1.ReportService",
        "grpc.health.v1.Health",
    ] {
        assert!(
            services.contains(&json!(service)),
            "{service}: {services:?}"
        );
    }
    // One unary call per service, answered in full.
    assert_eq!(seen["subject_bytes"], 16);
    assert_eq!(seen["recommend_decision_bytes"], 16);
    assert_eq!(seen["ads_decision_bytes"], 16);
    assert_eq!(seen["case_intent"], "refund");
    assert_eq!(seen["experiments"], 0);
    assert_eq!(seen["health"], 1, "SERVING");
    // Both kinds of stream: accepted, then a duplicate; then the event, read back.
    assert_eq!(seen["outcomes"], json!([1, 2]));
    assert_eq!(seen["tailed"], json!(["python-1"]));
    assert_eq!(seen["item"], "tea");
    assert_eq!(
        seen["bad_request"],
        json!({
            "code": "INVALID_ARGUMENT",
            "reason": "INVALID_REQUEST",
            "domain": "recommend.rapport",
            "fields": ["subject_id", "page_size"],
        })
    );
    assert_eq!(seen["unknown_case"]["code"], "NOT_FOUND");
    assert_eq!(seen["unknown_case"]["reason"], "CASE_NOT_FOUND");
    server.stop().await.unwrap();
}
