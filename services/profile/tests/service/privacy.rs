//! No personal text on disk: a scan of every byte for canaries, and the control that finds them.

use std::path::Path;

use rapport_api::event::v1 as events;
use rapport_api::profile::v1 as pb;
use rapport_store::testing::Engine;
use rapport_types::Purpose;

use crate::support::{Home, Service, any, emotion, event, identifier, login_of, register, search};

/// Texts that exist nowhere but in what is sent here.
const CANARIES: [&str; 6] = [
    "canary-login-7f3a",
    "canary.mail.7f3a@example.com",
    "13912345678",
    "canary query oolong 7f3a",
    "Canary Name 7f3a",
    "canary-feeling-7f3a",
];

async fn live(service: &Service) {
    let [login, mail, phone, query, name, feeling] = CANARIES;
    let subject = service.subject(login).await;
    service.grant(subject, Purpose::Personalise).await;
    service.grant(subject, Purpose::Emotion).await;
    let personal = events::SignUpPersonal {
        name: name.to_owned(),
        phone: phone.to_owned(),
        email: mail.to_owned(),
    };
    let by = |kind, value: &str, id: &str| pb::NewEvent {
        identifier: Some(identifier(kind, value)),
        personal: Some(any("SignUpPersonal", &personal)),
        ..event(id, "SignUp", &events::SignUp::default())
    };
    let sent = vec![
        search("e-1", subject, query),
        emotion("e-2", subject, feeling),
        by(pb::IdentifierKind::Phone, phone, "e-3"),
        by(pb::IdentifierKind::Email, mail, "e-4"),
    ];
    service.live(sent).await;
    let import = pb::ImportConsentRequest {
        request_id: "r-1".to_owned(),
        identifiers: vec![
            identifier(pb::IdentifierKind::Phone, phone),
            login_of(login),
        ],
        registers: vec![register(
            Purpose::Measure,
            rapport_types::ConsentState::Granted,
        )],
        evidence: "form".to_owned(),
    };
    service.consents().import_consent(import).await.unwrap();
    let profile = service.profile_of(subject).await.unwrap();
    assert!(
        profile.tags.iter().any(|tag| tag.name == "keyword:oolong"),
        "it is live"
    );
}

/// Returns the canaries found in any file below `folder`, in any of four spellings.
fn scan(folder: &Path) -> Vec<(String, &'static str)> {
    let mut hits = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            hits.extend(scan(&path));
            continue;
        }
        let bytes = std::fs::read(&path).unwrap();
        for canary in CANARIES {
            let found = spellings(canary).iter().any(|spelling| {
                bytes
                    .windows(spelling.len())
                    .any(|window| window == spelling)
            });
            if found {
                hits.push((path.display().to_string(), canary));
            }
        }
    }
    hits
}

fn spellings(text: &str) -> [Vec<u8>; 4] {
    let hex: String = text.bytes().map(|byte| format!("{byte:02x}")).collect();
    let utf16 = text.encode_utf16().flat_map(u16::to_le_bytes).collect();
    [
        text.as_bytes().to_vec(),
        text.to_lowercase().into_bytes(),
        hex.into_bytes(),
        utf16,
    ]
}

fn database_folder(home: &Home) -> &Path {
    let path = home.db.url().strip_prefix("sqlite://").unwrap();
    Path::new(path).parent().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn no_personal_text_is_on_disk() {
    let service = Home::new(Engine::Sqlite).await.serve(&[]).await;
    live(&service).await;
    let home = &service.home;
    let mut hits = scan(database_folder(home));
    hits.extend(scan(home.folder.path()));
    assert_eq!(hits, [], "while live, with the write-ahead log");
    // Draining folds the write-ahead logs into the files.
    let home = service.stop().await;
    let mut hits = scan(database_folder(&home));
    hits.extend(scan(home.folder.path()));
    assert_eq!(hits, [], "afterwards");
}

/// The negative control: without sealing, the same scan finds what was said.
#[tokio::test(flavor = "multi_thread")]
async fn without_sealing_the_scan_finds_it() {
    let home = Home::new(Engine::Sqlite).await;
    let service = home.serve(&["--without", "sealing"]).await;
    let subject = service.subject(CANARIES[0]).await;
    service
        .live(vec![search("e-1", subject, CANARIES[3])])
        .await;
    let home = service.stop().await;
    let hits = scan(database_folder(&home));
    assert!(
        hits.iter().any(|(_, canary)| *canary == CANARIES[3]),
        "{hits:?}"
    );
}
