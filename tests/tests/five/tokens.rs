//! Five processes that know each other by signed tokens: with good ones everything works, with bad ones
//! each service degrades as promised and says so, and a rotated file is taken up without a restart.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::{Duration, Instant};

use rapport_api::r#type::v1::Degraded;
use rapport_rpc::token::{Claims, sign};
use rapport_stories::{Five, Launch, Process, binary, free_port};
use rapport_types::{Clock as _, Secret, SystemClock};
use tonic::Code;

use crate::visit::Visitor;

/// The scopes that the shop of these stories needs.
const SHOP_SCOPES: &str = "subjects.write,consent.write,events.read,recommend.read,ads.decide,\
                           cases.write,experiments.read";
/// The secret that all services of the second story share.
const SHARED: &str = "a shared secret of more than 32 bytes";
/// Longest wait for something that a service does by itself.
const PATIENCE: Duration = Duration::from_secs(30);
const LOOK_AGAIN: Duration = Duration::from_millis(50);

fn rapport(arguments: &[&str], paths: &[(&str, &Path)]) -> Output {
    let mut command = Command::new(binary("rapport"));
    command.args(arguments);
    for (flag, path) in paths {
        command.arg(flag).arg(path);
    }
    command.output().unwrap()
}

fn succeeds(output: &Output) {
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
}

/// Waits until `holds`; fails the test with `what` when it never does.
async fn eventually<F: Future<Output = bool>>(what: &str, mut holds: impl FnMut() -> F) {
    let began = Instant::now();
    while !holds().await {
        assert!(began.elapsed() < PATIENCE, "never came to pass: {what}");
        tokio::time::sleep(LOOK_AGAIN).await;
    }
}

async fn says(process: &Process, words: &str) {
    eventually(words, || async { process.log_text().contains(words) }).await;
}

/// Turns tokens on; every service but profile shows the token of its own file in `tokens`.
fn with_tokens(mode: &str, key: &Path, tokens: &Path) -> impl Fn(&str, Launch) -> Launch {
    move |name, launch| {
        let launch = launch
            .env("RAPPORT_AUTH", mode)
            .env("RAPPORT_AUTH_KEY_FILE", key)
            .env("RAPPORT_LOG_FORMAT", "json");
        match name {
            "profile" => launch,
            caller => launch.env("RAPPORT_PEER_TOKEN_FILE", tokens.join(caller)),
        }
    }
}

#[tokio::test]
async fn five_services_with_signed_tokens_work_from_end_to_end() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    let (private, public) = (path("private"), path("public"));
    let pair = [("--private", private.as_path()), ("--public", &public)];
    succeeds(&rapport(&["token", "key"], &pair));
    let again = rapport(&["token", "key"], &pair);
    assert_eq!(again.status.code(), Some(1), "a key is never overwritten");
    for caller in ["recommend", "ads", "care", "evaluate"] {
        let files = [("--key", private.as_path()), ("--out", &path(caller))];
        succeeds(&rapport(&["token", "sign", "--for", caller], &files));
    }
    let shop = path("shop");
    let arguments = [
        "token",
        "sign",
        "--subject",
        "shop",
        "--scopes",
        SHOP_SCOPES,
    ];
    succeeds(&rapport(
        &arguments,
        &[("--key", &private), ("--out", &shop)],
    ));

    let adjust = with_tokens("ed25519", &public, folder.path());
    let five = Five::start(tempfile::tempdir().unwrap(), adjust)
        .await
        .unwrap();
    let visitor = Visitor::of(&five, Some(&shop));
    let alice = visitor.subject("alice").await;
    visitor.grant(&alice).await;
    // Consent reaches recommend by the control partition: its token opens the snapshot and the tail.
    eventually("recommend hears of the consent", || async {
        let degraded = visitor.recommend(&alice, 3).await.unwrap();
        !matches!(degraded, Degraded::Consent | Degraded::StaleConsent)
    })
    .await;
    visitor.decide(&alice).await;
    // Care seals the message with a key that its token may ask for.
    visitor.write_to_care(&alice).await.unwrap();
    visitor.ask_for_arms(&alice).await;
    // Decisions come back to the log under the name in the sender's token.
    for (kind, source) in [
        ("recommendation_decided", "recommend"),
        ("ad_decided", "ads"),
    ] {
        eventually(kind, || async {
            visitor.sources_of(kind).await.contains(source)
        })
        .await;
    }
    let anonymous = Visitor::of(&five, None);
    let refused = anonymous.write_to_care(&alice).await.unwrap_err();
    assert_eq!(refused.code(), Code::Unauthenticated);
    for process in [&five.recommend, &five.ads, &five.care, &five.evaluate] {
        let log = process.log_text();
        assert!(!log.contains("refuses this service"), "{log}");
        for token in ["recommend", "ads", "care", "evaluate"] {
            let token = std::fs::read_to_string(path(token)).unwrap();
            assert!(!log.contains(token.trim()), "a token is in a log");
        }
    }
    five.stop().await.unwrap();
}

fn shared_token(subject: &str, scope: &str, valid_s: i64) -> String {
    let claims = Claims {
        iss: "rapport".to_owned(),
        aud: "rapport".to_owned(),
        sub: subject.to_owned(),
        exp: SystemClock.now().0 / 1_000 + valid_s,
        nbf: None,
        scope: scope.to_owned(),
    };
    let token = sign(&claims, &Secret::new(SHARED)).unwrap();
    token.expose().to_owned()
}

/// Writes good tokens for evaluate and the shop, and a bad one of each kind for the others.
fn bad_tokens(folder: &Path) -> PathBuf {
    let key = folder.join("key");
    std::fs::write(&key, SHARED).unwrap();
    let write = |name: &str, token: &str| std::fs::write(folder.join(name), token).unwrap();
    let follow = "control.read events.read events.write";
    write("evaluate", &shared_token("evaluate", follow, 600));
    write(
        "shop",
        &shared_token("shop", &SHOP_SCOPES.replace(',', " "), 600),
    );
    // Beyond the minute that clocks may differ.
    write("recommend", &shared_token("recommend", follow, -120));
    write("ads", &shared_token("ads", follow, 600));
    let foreign = Secret::new("another secret of more than 32 bytes");
    let claims = Claims {
        iss: "rapport".to_owned(),
        aud: "rapport".to_owned(),
        sub: "care".to_owned(),
        exp: SystemClock.now().0 / 1_000 + 600,
        nbf: None,
        scope: format!("{follow} keys.read"),
    };
    write("care", sign(&claims, &foreign).unwrap().expose());
    key
}

#[tokio::test]
async fn a_refused_service_degrades_says_so_and_recovers_with_a_rotated_file() {
    let tokens = tempfile::tempdir().unwrap();
    let key = bad_tokens(tokens.path());
    let adjust = with_tokens("hs256", &key, tokens.path());
    let five = Five::start(tempfile::tempdir().unwrap(), adjust)
        .await
        .unwrap();
    let visitor = Visitor::of(&five, Some(&tokens.path().join("shop")));
    let alice = visitor.subject("alice").await;
    visitor.grant(&alice).await;

    // Recommend cannot follow who permits what: it answers, for everybody.
    says(&five.recommend, "TOKEN_EXPIRED").await;
    assert_eq!(
        visitor.recommend(&alice, 3).await.unwrap(),
        Degraded::StaleConsent
    );
    // Care cannot seal a message: it refuses it rather than store it in the clear.
    says(&five.care, "TOKEN_INVALID").await;
    let refused = visitor.write_to_care(&alice).await.unwrap_err();
    assert_eq!(refused.code(), Code::Unavailable, "{refused:?}");
    // Ads lacks the scope of evaluate's experiments only: it decides without them.
    says(&five.ads, "SCOPE_MISSING").await;
    visitor.decide(&alice).await;

    for (service, channels) in [(&five.recommend, 2), (&five.care, 1), (&five.ads, 1)] {
        let log = service.log_text();
        let told = log.matches("a neighbour refuses this service").count();
        assert!((1..=channels).contains(&told), "told {told} times: {log}");
    }
    for caller in ["recommend", "care", "ads"] {
        let files = [
            ("--key", key.as_path()),
            ("--out", &tokens.path().join(caller)),
        ];
        let arguments = ["token", "sign", "--auth", "hs256", "--for", caller];
        succeeds(&rapport(&arguments, &files));
    }
    for service in [&five.recommend, &five.care, &five.ads] {
        says(
            service,
            "the token of this service has changed and was read again",
        )
        .await;
    }
    eventually("recommend knows people again", || async {
        let degraded = visitor.recommend(&alice, 3).await.unwrap();
        !matches!(degraded, Degraded::Consent | Degraded::StaleConsent)
    })
    .await;
    eventually("care seals again", || async {
        visitor.write_to_care(&alice).await.is_ok()
    })
    .await;
    says(
        &five.recommend,
        "a neighbour takes this service's token again",
    )
    .await;
    // What was decided while the log refused arrives too.
    let kind = "recommendation_decided";
    eventually(kind, || async {
        visitor.sources_of(kind).await.contains("recommend")
    })
    .await;
    five.stop().await.unwrap();
}

/// Starts `name` with tokens on and returns what it said when it ended.
fn started(name: &str, folder: &Path, peer_token: Option<&Path>) -> Output {
    let key = folder.join("key");
    std::fs::write(&key, SHARED).unwrap();
    let prefix = name.to_uppercase();
    let database = format!("sqlite://{}", folder.join(name).display());
    let mut command = Command::new(binary(&format!("rapport-{name}")));
    command
        .env("RAPPORT_LISTEN", format!("127.0.0.1:{}", free_port()))
        .env("RAPPORT_AUTH", "hs256")
        .env("RAPPORT_AUTH_KEY_FILE", key)
        .env(format!("{prefix}_DATABASE_URL"), database)
        .env(format!("{prefix}_DATA"), folder);
    if let Some(path) = peer_token {
        command.env("RAPPORT_PEER_TOKEN_FILE", path);
    }
    command.output().unwrap()
}

#[test]
fn a_service_without_a_token_to_show_refuses_to_start_and_says_what_to_do() {
    let folder = tempfile::tempdir().unwrap();
    let empty = folder.path().join("empty");
    std::fs::write(&empty, "\n").unwrap();
    let cases = [
        (None, "name its file in RAPPORT_PEER_TOKEN_FILE"),
        (Some(Path::new("/nowhere/token")), "cannot be read"),
        (
            Some(empty.as_path()),
            "holds no token: make one with `rapport token sign",
        ),
    ];
    for name in ["recommend", "ads", "care", "evaluate"] {
        for (token, words) in cases {
            let output = started(name, folder.path(), token);
            let said = String::from_utf8_lossy(&output.stderr);
            assert!(!output.status.success(), "{name}");
            assert!(said.contains(words), "{name}: {said}");
        }
    }
}

#[test]
fn a_token_that_cannot_be_made_is_refused_in_one_sentence() {
    let folder = tempfile::tempdir().unwrap();
    let key = folder.path().join("key");
    std::fs::write(&key, "too short").unwrap();
    for (arguments, code, words) in [
        (["--for", "profile"].as_slice(), 2, "calls no other service"),
        (&["--for", "ads"], 2, "must be 32 bytes in base64url"),
        (&["--for", "ads", "--auth", "hs256"], 2, "at least 32 bytes"),
        (&["--for", "ads", "--lifetime", "9999h"], 2, "at most 8784h"),
        (
            &["--subject", "x", "--scopes", "all"],
            2,
            "no method asks for the scope `all`",
        ),
        (&["--subject", "x"], 2, "--scopes"),
        (&[], 2, "required"),
    ] {
        let all = [&["token", "sign"], arguments].concat();
        let output = rapport(&all, &[("--key", &key)]);
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(code), "{arguments:?}: {said}");
        assert!(said.contains(words), "{arguments:?}: {said}");
    }
}
