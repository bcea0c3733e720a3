#![expect(clippy::unwrap_used, reason = "tests")]
//! The rules of the house that no single crate can hold: who may depend on whom, how long a file may
//! be, and that the documents name verbs that exist. Nothing here starts a server.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use cargo_metadata::{DependencyKind, Metadata, MetadataCommand, PackageId};

/// A file that one cannot proofread in a sitting is two files.
const FILE_LINES_MAX: usize = 500;

/// A crate whose closure holds one of these does I/O, runs on a clock of its own or speaks the wire.
const IMPURE: [&str; 12] = [
    "tokio", "tonic", "sqlx", "redis", "prost", "hyper", "mio", "socket2", "rustls", "reqwest",
    "futures", "tracing",
];

const SERVICES: [&str; 5] = ["profile", "recommend", "ads", "care", "evaluate"];

/// The floor a crate of this workspace stands on. A crate may depend on lower floors only, so two
/// crates of one floor never know each other. `None` for a crate that has no place yet.
fn floor(name: &str) -> Option<u8> {
    Some(match name {
        "rapport-types" => 0,
        "rapport-math" | "rapport-model-file" | "rapport-api" | "rapport-telemetry" => 1,
        "rapport-text" | "rapport-store" | "rapport-cache" => 2,
        "rapport-learn" | "rapport-rpc" => 3,
        "rapport-flow" | "rapport-town" => 4,
        _ if name.ends_with("-domain") => 4,
        _ if is_service(name) => 5,
        "rapport-lab" => 5,
        "rapport-suite" => 6,
        "rapport-stories" => 7,
        // Starts processes as stories do.
        "rapport-bench" => 8,
        _ => return None,
    })
}

fn is_service(name: &str) -> bool {
    name.strip_prefix("rapport-")
        .is_some_and(|service| SERVICES.contains(&service))
}

/// The crates that compute and nothing else.
fn is_pure(name: &str) -> bool {
    name.ends_with("-domain")
        || [
            "rapport-types",
            "rapport-math",
            "rapport-model-file",
            "rapport-text",
            "rapport-learn",
            "rapport-town",
        ]
        .contains(&name)
}

fn metadata() -> Metadata {
    // One platform, or cargo would fetch crates that this machine never builds.
    let platform = format!("{}-unknown-linux-gnu", std::env::consts::ARCH);
    MetadataCommand::new()
        .manifest_path(concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml"))
        .other_options([
            "--locked".to_owned(),
            "--filter-platform".to_owned(),
            platform,
        ])
        .exec()
        .unwrap()
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .unwrap()
        .to_path_buf()
}

/// Names of everything that `package` links, itself apart; dev-dependencies do not reach a build.
fn closure(metadata: &Metadata, package: &PackageId) -> BTreeSet<String> {
    let nodes: BTreeMap<_, _> = metadata
        .resolve
        .as_ref()
        .unwrap()
        .nodes
        .iter()
        .map(|node| (&node.id, node))
        .collect();
    let mut seen = BTreeSet::new();
    let mut open = vec![package];
    while let Some(id) = open.pop() {
        let linked = nodes[id].deps.iter().filter(|dep| {
            dep.dep_kinds
                .iter()
                .any(|kind| kind.kind != DependencyKind::Development)
        });
        for dep in linked {
            if seen.insert(&dep.pkg) {
                open.push(&dep.pkg);
            }
        }
    }
    seen.into_iter()
        .map(|id| metadata[id].name.to_string())
        .collect()
}

#[test]
fn pure_crates_reach_no_io() {
    let metadata = metadata();
    let mut impure = Vec::new();
    for package in metadata.workspace_packages() {
        if is_pure(&package.name) {
            let reached = closure(&metadata, &package.id);
            let found = IMPURE.iter().filter(|name| reached.contains(**name));
            impure.extend(found.map(|name| format!("{} reaches {name}", package.name)));
        }
    }
    assert!(impure.is_empty(), "{impure:#?}");
}

/// The negative control of the test above: a service does reach what a domain must not.
#[test]
fn a_service_is_seen_to_reach_io() {
    let metadata = metadata();
    let profile = metadata
        .workspace_packages()
        .into_iter()
        .find(|p| *p.name == "rapport-profile");
    let reached = closure(&metadata, &profile.unwrap().id);
    assert!(reached.contains("tokio") && reached.contains("sqlx") && reached.contains("tonic"));
}

#[test]
fn dependencies_point_down() {
    let mut wrong = Vec::new();
    for package in metadata().workspace_packages() {
        let Some(own) = floor(&package.name) else {
            wrong.push(format!(
                "{} has no floor: give it one in this file",
                package.name
            ));
            continue;
        };
        for dependency in package.dependencies.iter().filter(|dep| dep.path.is_some()) {
            // A crate that depends on itself for its tests turns on a feature of its own.
            let same_crate = dependency.name == *package.name;
            if !same_crate && floor(&dependency.name).is_none_or(|below| below >= own) {
                wrong.push(format!(
                    "{} must not depend on {}",
                    package.name, dependency.name
                ));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

/// A service calls another's client, never its code; only the suite, its laboratory included, links
/// them together.
#[test]
fn services_never_link_each_other() {
    let metadata = metadata();
    let mut wrong = Vec::new();
    for package in metadata.workspace_packages() {
        if ["rapport-suite", "rapport-lab"].contains(&package.name.as_str()) {
            continue;
        }
        let reached: BTreeSet<&str> = SERVICES
            .into_iter()
            .filter(|service| {
                let names = closure(&metadata, &package.id);
                names.contains(&format!("rapport-{service}"))
                    || names.contains(&format!("{service}-domain"))
            })
            .collect();
        let own = package
            .name
            .trim_start_matches("rapport-")
            .trim_end_matches("-domain");
        let strangers = reached.iter().filter(|service| **service != own).count();
        let allowed = usize::from(!SERVICES.contains(&own));
        if strangers > allowed {
            wrong.push(format!("{} links {reached:?}", package.name));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn every_crate_takes_the_lints_of_the_workspace() {
    let without: Vec<String> = metadata()
        .workspace_packages()
        .iter()
        .filter(|package| {
            let manifest = fs::read_to_string(&package.manifest_path).unwrap();
            !manifest.contains("[lints]\nworkspace = true")
        })
        .map(|package| package.name.to_string())
        .collect();
    assert!(
        without.is_empty(),
        "no `[lints] workspace = true` in {without:?}"
    );
}

/// Every Rust file under `folder`, build products and hidden folders apart.
fn rust_files(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy();
        if path.is_dir() && name != "target" && !name.starts_with('.') {
            rust_files(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
}

#[test]
fn files_are_short_and_say_what_lives_in_them() {
    let mut files = Vec::new();
    rust_files(&root(), &mut files);
    assert!(
        files.len() > 20,
        "the walk found only {} files",
        files.len()
    );
    let mut wrong = Vec::new();
    for path in files {
        let text = fs::read_to_string(&path).unwrap();
        let lines = text.lines().count();
        if lines > FILE_LINES_MAX {
            wrong.push(format!(
                "{}: {lines} lines, at most {FILE_LINES_MAX}",
                path.display()
            ));
        }
        // Lint expectations may stand above it.
        if !text.lines().take(6).any(|line| line.starts_with("//!")) {
            wrong.push(format!("{}: does not open with `//!`", path.display()));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

fn make_targets() -> BTreeSet<String> {
    let makefile = fs::read_to_string(root().join("Makefile")).unwrap();
    let rules = makefile
        .lines()
        .filter(|line| line.starts_with(char::is_alphabetic));
    rules
        .filter_map(|line| line.split_once(':'))
        .filter(|(_, rest)| !rest.starts_with('='))
        .map(|(target, _)| target.to_owned())
        .collect()
}

/// The words that follow `make` where a document shows it as code.
fn make_verbs(text: &str) -> BTreeSet<String> {
    let starts = text.match_indices("make ").filter(|(at, _)| {
        let before = text[..*at].chars().next_back();
        before.is_none_or(|letter| "`\n$(&; ".contains(letter)) && shown_as_code(text, *at)
    });
    let verb = |at: usize| {
        text[at + "make ".len()..]
            .chars()
            .take_while(verb_letter)
            .collect()
    };
    starts.map(|(at, _)| verb(at)).collect()
}

fn verb_letter(letter: &char) -> bool {
    letter.is_ascii_lowercase() || *letter == '-'
}

/// Whether an odd number of backticks stands before `at`: inside a span or a fence.
fn shown_as_code(text: &str, at: usize) -> bool {
    text[..at].matches('`').count() % 2 == 1
}

#[test]
fn verbs_are_found_where_they_are_shown_as_code() {
    let text = "Run `make demo`, or make tea.\n```sh\nmake helm-render\nCI=1 make ci\n```\n";
    let found: Vec<String> = make_verbs(text).into_iter().collect();
    assert_eq!(found, ["ci", "demo", "helm-render"]);
}

#[test]
fn documents_name_verbs_that_exist() {
    let targets = make_targets();
    for verb in [
        "demo", "test", "lint", "proto", "bench", "doc", "deny", "tools", "ci",
    ] {
        assert!(targets.contains(verb), "the Makefile has no {verb}");
    }
    let readme = make_verbs(&fs::read_to_string(root().join("README.md")).unwrap());
    assert!(
        readme.contains("demo") && readme.contains("test"),
        "README.md shows {readme:?}"
    );
    let unknown: Vec<_> = readme.difference(&targets).collect();
    assert!(
        unknown.is_empty(),
        "README.md names make verbs that do not exist: {unknown:?}"
    );
}

/// The tests that a row of the table of invariants names, as `path::test`.
fn named_tests(row: &str) -> Vec<(&str, &str)> {
    let spans = row.split('`').skip(1).step_by(2);
    spans.filter_map(|span| span.split_once("::")).collect()
}

/// Whether `text` has a function of that name marked as a test, given to a contract suite or a law.
fn has_test(text: &str, name: &str) -> bool {
    let function = format!("fn {name}(");
    text.lines().enumerate().any(|(at, line)| {
        let before = text.lines().take(at).collect::<Vec<_>>();
        let marked = before.iter().rev().take_while(|line| is_attribute(line));
        line.contains(&function)
            && (marked.into_iter().any(|line| line.contains("test"))
                || text.contains("proptest!") && line.starts_with("    ")
                || text.contains("store_contract!") && mentions(&before, name))
    })
}

fn is_attribute(line: &str) -> bool {
    line.trim_start().starts_with("#[")
}

/// Whether one of `lines` is an entry of a list of test names.
fn mentions(lines: &[&str], name: &str) -> bool {
    lines
        .iter()
        .any(|line| line.trim().trim_matches(['[', ']', ',']) == name)
}

#[test]
fn every_invariant_names_tests_that_exist() {
    let text = fs::read_to_string(root().join("ARCHITECTURE.md")).unwrap();
    let rows: Vec<&str> = text
        .lines()
        .filter(|line| line.starts_with("| I"))
        .collect();
    assert_eq!(rows.len(), 10, "I1 to I10");
    let mut wrong = Vec::new();
    for row in rows {
        let named = named_tests(row);
        if named.is_empty() {
            wrong.push(format!("no test is named: {row}"));
        }
        for (path, test) in named {
            let file = fs::read_to_string(root().join(path)).unwrap_or_default();
            if !has_test(&file, test) {
                wrong.push(format!("{path} has no test {test}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

/// The negative control of the test above.
#[test]
fn a_function_that_no_runner_calls_is_no_test() {
    assert!(has_test("#[test]\nfn a() {}\n", "a"));
    assert!(has_test(
        "store_contract!(\n    [\n        a,\n    ]\n);\nfn a(",
        "a"
    ));
    assert!(!has_test("fn a() {}\n", "a"));
    assert!(!has_test("store_contract!(open, [b]);\nfn a(", "a"));
    assert!(!has_test("#[test]\nfn ab() {}\n", "a"));
}
