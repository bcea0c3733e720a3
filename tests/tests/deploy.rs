#![expect(clippy::unwrap_used, reason = "tests")]
//! What the manifests and the binaries must agree on: variables and metric names. It reads text on
//! both sides, so that no service has to be built or started. Schema and policy of the manifests are
//! `scripts/charts`' work.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

const SERVICES: [&str; 5] = ["profile", "recommend", "ads", "care", "evaluate"];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .unwrap()
        .to_path_buf()
}

/// The text of every Rust file under `folder`, one after the other.
fn sources(folder: &Path) -> String {
    let mut text = String::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            text.push_str(&sources(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            text.push_str(&fs::read_to_string(&path).unwrap());
        }
    }
    text
}

/// The environment variables that the rendered Deployment of a service sets.
fn rendered_variables(service: &str) -> BTreeSet<String> {
    let manifest = fs::read_to_string(root().join(format!("k8s/base/{service}.yaml"))).unwrap();
    let names = manifest
        .lines()
        .filter_map(|line| line.trim().strip_prefix("- name: "));
    names
        .filter(|name| is_variable(name))
        .map(str::to_owned)
        .collect()
}

fn is_variable(name: &str) -> bool {
    name.chars()
        .all(|letter| letter.is_ascii_uppercase() || letter == '_' || letter.is_ascii_digit())
}

/// The variables that a text declares: by `env = "NAME"`, and those of a database by their prefix.
fn declared_variables(text: &str) -> BTreeSet<String> {
    let mut names: BTreeSet<String> = quoted_after(text, "env = \"").map(str::to_owned).collect();
    for prefix in quoted_after(text, "database_args!(\"") {
        names.insert(format!("{prefix}_DATABASE_URL"));
        names.insert(format!("{prefix}_DATABASE_CONNECTIONS_MAX"));
    }
    names
}

fn quoted_after<'a>(text: &'a str, start: &'a str) -> impl Iterator<Item = &'a str> {
    let rests = text.split(start).skip(1);
    rests.filter_map(|rest| Some(rest.split_once('"')?.0))
}

#[test]
fn every_rendered_variable_is_read_by_its_service() {
    let shared = declared_variables(&sources(&root().join("libs")));
    let mut unread = Vec::new();
    for service in SERVICES {
        let own = declared_variables(&sources(&root().join(format!("services/{service}/src"))));
        let rendered = rendered_variables(service);
        assert!(rendered.len() > 5, "{service} renders only {rendered:?}");
        unread.extend(
            rendered
                .into_iter()
                .filter(|name| !own.contains(name) && !shared.contains(name)),
        );
    }
    assert!(
        unread.is_empty(),
        "the chart sets variables that nothing reads: {unread:?}"
    );
}

/// Every service that calls another has a token to show, from a secret of its own, and its URL.
#[test]
fn every_caller_has_a_token_and_the_urls_of_its_neighbours() {
    for (service, neighbours) in [
        ("profile", [].as_slice()),
        ("recommend", &["PROFILE", "EVALUATE"]),
        ("ads", &["PROFILE", "EVALUATE"]),
        ("care", &["PROFILE"]),
        ("evaluate", &["PROFILE"]),
    ] {
        let rendered = rendered_variables(service);
        let token = rendered.contains("RAPPORT_PEER_TOKEN_FILE");
        assert_eq!(token, !neighbours.is_empty(), "{service}");
        let text = fs::read_to_string(root().join(format!("k8s/base/{service}.yaml"))).unwrap();
        assert_eq!(
            text.contains(&format!("- key: {service}\n")),
            token,
            "{service}"
        );
        let own = declared_variables(&sources(&root().join(format!("services/{service}/src"))));
        for neighbour in ["PROFILE", "RECOMMEND", "ADS", "CARE", "EVALUATE"] {
            let url = format!("{}_{neighbour}_URL", service.to_uppercase());
            let calls = neighbours.contains(&neighbour);
            assert_eq!(rendered.contains(&url), calls, "{url} in the chart");
            assert_eq!(own.contains(&url), calls, "{url} in the service");
        }
    }
}

/// The contract of a gRPC service is the only proof that its health name is spelled right.
#[test]
fn readiness_asks_a_service_that_has_a_contract() {
    for service in SERVICES {
        let manifest = fs::read_to_string(root().join(format!("k8s/base/{service}.yaml"))).unwrap();
        let package = format!("rapport.{service}.v1.");
        let (_, name) = manifest.split_once(&format!("service: {package}")).unwrap();
        let declaration = format!("\nservice {} {{", name.lines().next().unwrap());
        let folder = root().join(format!("proto/rapport/{service}/v1"));
        let declared = fs::read_dir(folder).unwrap().any(|entry| {
            fs::read_to_string(entry.unwrap().path())
                .unwrap()
                .contains(&declaration)
        });
        assert!(declared, "no contract has{declaration}");
    }
}

#[test]
fn the_autoscaler_asks_for_a_metric_that_exists() {
    let overlay = fs::read_to_string(root().join("k8s/overlays/ha/kustomization.yaml")).unwrap();
    let (_, metric) = overlay.split_once("metric:\n").unwrap();
    let metric = metric
        .lines()
        .next()
        .unwrap()
        .trim()
        .strip_prefix("name: ")
        .unwrap();
    let names = fs::read_to_string(root().join("libs/telemetry/src/names.rs")).unwrap();
    assert!(
        names.contains(&format!("name: \"{metric}\"")),
        "no metric is called {metric}"
    );
    let values = fs::read_to_string(root().join("helm/rapport/values.yaml")).unwrap();
    assert!(
        values.contains(&format!("inFlightMetric: {metric}")),
        "the chart names another metric"
    );
}
