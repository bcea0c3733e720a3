//! What is written is what is read; whatever else is read is refused.

use super::*;
use crate::options::TrainOptions;
use crate::table::Table;
use proptest::prelude::*;
use rapport_model_file::Refusal;
use std::sync::OnceLock;

/// Training takes a moment: the laws below share one model of each kind.
fn once(algorithm: Algorithm) -> Vec<u8> {
    static FILES: OnceLock<[Vec<u8>; 2]> = OnceLock::new();
    let files = FILES.get_or_init(|| {
        [Algorithm::Logistic, Algorithm::Trees].map(|algorithm| trained(algorithm).to_bytes())
    });
    files[usize::from(algorithm == Algorithm::Trees)].clone()
}

fn trained(algorithm: Algorithm) -> Model {
    let mut table = Table::new(&["x", "plan", "id", "one", "since"]).unwrap();
    let mut labels = Vec::new();
    for row in 0..240u32 {
        let x = (row * 37) % 101;
        let plan = ["basic", "pro", "", "专业"][(row % 4) as usize];
        let x_text = if row % 11 == 0 {
            String::new()
        } else {
            x.to_string()
        };
        table
            .push(&[
                x_text.as_str(),
                plan,
                &format!("u{row}"),
                "k",
                &format!("2024-{:02}-01", row * 5 % 12 + 1),
            ])
            .unwrap();
        labels.push((x > 50) != (row % 7 == 0));
    }
    let options = TrainOptions {
        algorithm,
        ..TrainOptions::default()
    };
    Model::train(&table, &labels, &options).unwrap().0
}

#[test]
fn a_model_survives_its_file() {
    for algorithm in Algorithm::ALL {
        let model = trained(algorithm);
        let again = Model::from_bytes(&model.to_bytes()).unwrap();
        assert_eq!(again, model);
        let row = again.schema().encode_row(&["73", "专业", "2024-03-01"]);
        assert!(row[2] > 0.0);
        assert_eq!(again.logit(&row).to_bits(), model.logit(&row).to_bits());
    }
    let trees = trained(Algorithm::Trees);
    assert!(trees.trees.is_some() && trees.logistic.is_none());
}

#[test]
fn other_files_are_refused() {
    let good = trained(Algorithm::Trees).to_bytes();
    let refused = |file: &[u8]| Model::from_bytes(file).unwrap_err().why;
    assert_eq!(refused(b"hello"), Refusal::NotAModel);
    assert!(matches!(
        refused(&good[..good.len() - 1]),
        Refusal::WrongLength { .. }
    ));
    let mut other = good.clone();
    other[8] = 9;
    assert_eq!(refused(&other), Refusal::OtherVersion(9));
    let large = vec![0; MODEL_BYTES_MAX + 1];
    assert_eq!(refused(&large), Refusal::TooLarge(large.len() as u64));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn a_changed_byte_is_noticed(place in 0usize..1_000_000, change in 1u8..=255) {
        let mut file = once(Algorithm::Logistic);
        let place = place % file.len();
        file[place] ^= change;
        prop_assert!(Model::from_bytes(&file).is_err());
    }

    #[test]
    fn a_faulty_writer_cannot_make_answers_panic(place in 0usize..1_000_000, change in 1u8..=255) {
        let file = once(Algorithm::Trees);
        let mut body = FORMAT.open(&file).unwrap().to_vec();
        let place = place % body.len();
        body[place] ^= change;
        if let Ok(model) = Model::from_bytes(&FORMAT.seal(&body)) {
            let cells = vec!["pro"; model.schema().names().len()];
            let row = model.schema().encode_row(&cells);
            let _ = model.logit(&row);
            let _ = model.reasons(&row);
        }
    }
}
