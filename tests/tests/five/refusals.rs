//! A service that cannot start says why in one sentence, on standard error.

use std::process::{Command, Stdio};

use rapport_stories::{SERVICES, binary};

/// Starts a service with one setting and returns its exit code and what it said.
fn refused(service: &str, name: &str, value: &str) -> (Option<i32>, String) {
    let folder = tempfile::tempdir().unwrap();
    let keyring = folder.path().join("keyring");
    let mut create = Command::new(binary("rapport"));
    let made = create.args(["keyring", "create"]).arg(&keyring).output();
    assert!(made.unwrap().status.success());
    let output = Command::new(binary(&format!("rapport-{service}")))
        .current_dir(folder.path())
        .env("PROFILE_KEYRING", &keyring)
        .env(name, value)
        .env("RAPPORT_LISTEN", "127.0.0.1:0")
        .stdin(Stdio::null())
        .output()
        .unwrap();
    (
        output.status.code(),
        String::from_utf8(output.stderr).unwrap(),
    )
}

#[test]
fn a_database_that_cannot_be_is_refused_in_one_sentence_that_says_what_to_check() {
    for service in SERVICES {
        let variable = format!("{}_DATABASE_URL", service.to_uppercase());
        let (code, said) = refused(service, &variable, "mysql://shop:s3cret@nowhere/shop");
        assert_eq!(code, Some(2), "{service}: {said}");
        assert!(said.starts_with(&format!("rapport-{service}: ")), "{said}");
        assert!(said.contains(&variable), "{said}");
        assert_eq!(said.lines().count(), 1, "{said}");
        assert!(!said.contains("s3cret"), "{said}");
    }
}

#[test]
fn a_database_that_is_away_is_no_mistake_of_the_settings() {
    for service in SERVICES {
        let variable = format!("{}_DATABASE_URL", service.to_uppercase());
        let (code, said) = refused(
            service,
            &variable,
            "postgres://shop:s3cret@127.0.0.1:1/shop",
        );
        assert_eq!(code, Some(1), "{service}: {said}");
        assert!(said.contains(&variable), "{said}");
        assert_eq!(said.lines().count(), 1, "{said}");
        assert!(!said.contains("s3cret"), "{said}");
    }
}
