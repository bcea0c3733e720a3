//! Starting with what cannot work: one sentence that says what to do, and an exit code.

use std::path::Path;
use std::process::{Command, Stdio};

use rapport_profile::keyring::Keyring;
use rapport_store::testing::Engine;

use crate::support::Home;

/// Runs the binary and returns its exit code and the last line of what it said.
fn run(url: &str, folder: &Path) -> (i32, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_rapport-profile"))
        .args([
            "--database-url",
            url,
            "--listen",
            "127.0.0.1:0",
            "--log",
            "off",
        ])
        .arg("--keyring")
        .arg(folder.join("keyring"))
        .arg("--data")
        .arg(folder.join("data"))
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(said.lines().count(), 1, "one sentence: {said}");
    (output.status.code().unwrap(), said.trim_end().to_owned())
}

#[track_caller]
fn check((code, said): (i32, String), expected: i32, words: &[&str]) {
    assert_eq!(code, expected, "{said}");
    for word in words {
        assert!(said.contains(word), "{said}");
    }
}

#[test]
fn what_is_missing_is_named_with_what_to_do() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    let file = |name: &str| format!("sqlite://{}/{name}", path.display());
    check(
        run(&file("a.db"), path),
        2,
        &["keyring", "rapport keyring create"],
    );
    Keyring::create(&path.join("keyring")).unwrap();
    check(
        run(&file("missing/a.db"), path),
        1,
        &["PROFILE_DATABASE_URL"],
    );
    check(
        run("mysql://x", path),
        2,
        &["postgres or sqlite", "PROFILE_DATABASE_URL"],
    );
    let secret = "postgres://app:geheim@127.0.0.1:1/none";
    let (code, said) = run(secret, path);
    assert!(!said.contains("geheim"), "{said}");
    check((code, said), 1, &["unavailable", "PROFILE_DATABASE_URL"]);
    std::fs::write(path.join("data"), "a file").unwrap();
    check(run(&file("a.db"), path), 2, &["PROFILE_DATA"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_process_on_the_same_files_refuses_to_start() {
    let service = Home::new(Engine::Sqlite).await.serve(&[]).await;
    let (url, folder) = (
        service.home.db.url().to_owned(),
        service.home.folder.path().to_owned(),
    );
    let second = tokio::task::spawn_blocking(move || run(&url, &folder))
        .await
        .unwrap();
    check(second, 1, &["already runs", "PROFILE_DATA"]);
    assert_ne!(service.address.port(), 0);
}
