//! Models of a team's own: trained, saved, and read by the server that finds them.

use std::fmt::Write as _;

use rapport_api::care::v1 as care;
use rapport_api::care::v1::case_service_client::CaseServiceClient;
use rapport_api::profile::v1 as profile;
use rapport_api::profile::v1::subject_service_client::SubjectServiceClient;

use crate::support::{Served, json, run, text};

/// Labels that no model of the suite has, so that whoever says one has read this file.
const LABELS: [(&str, &str); 2] = [
    ("parcel_is_late", "my parcel has not come"),
    ("wants_gift_wrap", "please wrap it as a gift"),
];

fn rows() -> String {
    let mut file = "text,label\n".to_owned();
    for number in 0..40 {
        for (label, said) in LABELS {
            writeln!(file, "{said} order {number},{label}").unwrap();
        }
    }
    file
}

#[tokio::test]
async fn a_trained_model_is_what_the_server_reads_messages_with() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("intents.csv");
    std::fs::write(&file, rows()).unwrap();
    let out = folder.path().join("data/care");
    let (file, out) = (file.to_str().unwrap(), out.to_str().unwrap());
    let arguments = ["train", "--intent", file, "--out", out, "--json"];
    let trained = json(&run(&arguments));
    assert_eq!(trained["rows"], 80, "{trained}");
    assert_eq!(trained["labels"], 2, "{trained}");
    assert!(
        trained["validated_accuracy"].as_f64().unwrap() > 0.9,
        "{trained}"
    );

    let served = Served::start(folder.path());
    let request = profile::ResolveSubjectRequest {
        identifier: Some(profile::Identifier {
            kind: profile::IdentifierKind::Device as i32,
            value: "phone".to_owned(),
        }),
    };
    let mut subjects = SubjectServiceClient::new(served.channel());
    let resolved = subjects.resolve_subject(request).await.unwrap();
    let subject_id = resolved.into_inner().subject_id;
    let mut cases = CaseServiceClient::new(served.channel());
    for (label, said) in LABELS {
        let request = care::OpenCaseRequest {
            request_id: label.to_owned(),
            subject_id: subject_id.clone(),
            text: said.to_owned(),
            ..Default::default()
        };
        let opened = cases.open_case(request).await.unwrap().into_inner();
        assert_eq!(opened.analysis.unwrap().intent, label);
    }
}

#[test]
fn a_row_without_label_is_named_by_its_true_line_and_nothing_is_trained() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("intents.csv");
    // The first row takes lines 2 and 3.
    std::fs::write(&file, "text,label\n\"late\nagain\",late\nlost,\n").unwrap();
    let out = folder.path().join("models");
    let (file, out_text) = (file.to_str().unwrap(), out.to_str().unwrap());
    let output = run(&["train", "--intent", file, "--out", out_text]);
    let said = text(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{said}");
    assert!(
        said.contains("intents.csv, line 4, column 2 (label): is empty"),
        "{said}"
    );
    assert!(!out.exists(), "{said}");
}

#[test]
fn a_file_that_teaches_nothing_leaves_the_other_unwritten() {
    let folder = tempfile::tempdir().unwrap();
    let (good, bad) = (
        folder.path().join("good.csv"),
        folder.path().join("bad.csv"),
    );
    std::fs::write(&good, rows()).unwrap();
    // Blanks around a label do not make another.
    std::fs::write(&bad, "text,label\nlost,late\nagain, late \n").unwrap();
    let out = folder.path().join("models");
    let [good, bad, out_text] = [&good, &bad, &out].map(|path| path.to_str().unwrap());
    let output = run(&[
        "train",
        "--intent",
        good,
        "--emotion",
        bad,
        "--out",
        out_text,
    ]);
    let said = text(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{said}");
    assert!(
        said.contains("emotion.model: every row has the label"),
        "{said}"
    );
    assert!(!out.exists(), "{said}");
}
