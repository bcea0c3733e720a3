//! A model is served when it is there, swapped when it changes, and kept when its file is damaged.

use rapport_text::TrainOptions;

use super::*;

fn write(path: &Path, rows: &[(&str, &str)]) {
    let rows: Vec<(String, String)> = (0..8)
        .flat_map(|n| {
            rows.iter()
                .map(move |(text, label)| (format!("{text} {n}"), (*label).to_owned()))
        })
        .collect();
    TextClassifier::train(&rows, &TrainOptions::default())
        .unwrap()
        .save(path)
        .unwrap();
}

#[test]
fn a_damaged_file_is_refused_and_the_model_before_it_serves_on() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("intent.model");
    let models = Models::default();
    let mut loader = Loader::open(folder.path(), models.clone());
    assert_eq!(models.now().version, "rules-1+rules-1");

    write(
        &path,
        &[("quibble frob", "gift_wrap"), ("plonk zork", "loyalty")],
    );
    loader.look();
    let first = models.now().version.clone();
    assert!(
        first.starts_with("intent-") && first.ends_with("+rules-1"),
        "{first}"
    );
    assert!(models.now().models.intent.is_some());

    let mut damaged = std::fs::read(&path).unwrap();
    damaged.truncate(damaged.len() - 1);
    std::fs::write(&path, damaged).unwrap();
    loader.look();
    assert_eq!(models.now().version, first);

    std::fs::remove_file(&path).unwrap();
    loader.look();
    assert_eq!(models.now().version, first, "being replaced");

    write(
        &path,
        &[
            ("quibble frob", "gift_wrap"),
            ("plonk zork", "insurance_of_goods"),
        ],
    );
    loader.look();
    assert_ne!(models.now().version, first);
    let serving = models.now();
    let intent = serving.models.intent.as_ref().unwrap();
    assert_eq!(intent.predict("plonk zork 3").label, "insurance_of_goods");
}
