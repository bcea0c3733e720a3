//! The classifier from the outside: what it learns, what it refuses, that it repeats itself.

use super::*;
use rapport_model_file::{HEADER_BYTES, LoadError, Refusal};

/// Rows of a small shop desk in two languages, enough to validate on.
fn rows() -> Vec<(String, String)> {
    let templates = [
        (
            "where",
            [
                "where is my {}",
                "has my {} been sent",
                "track the {}",
                "我的{}到哪里了",
                "{}什么时候发货",
                "查一下{}的物流",
            ],
        ),
        (
            "refund",
            [
                "refund the {}",
                "money back for my {}",
                "return this {}",
                "我要退{}",
                "{}退款",
                "把{}的钱退给我",
            ],
        ),
        (
            "praise",
            [
                "love the {}",
                "great {} thanks",
                "the {} is perfect",
                "{}很好谢谢",
                "喜欢这个{}",
                "{}太棒了",
            ],
        ),
        (
            "price",
            [
                "how much is the {}",
                "price of the {}",
                "is the {} on sale",
                "{}多少钱",
                "{}有优惠吗",
                "{}价格",
            ],
        ),
    ];
    let things = [
        "parcel", "order", "shoes", "coat", "phone", "lamp", "书", "衣服", "手机", "杯子",
    ];
    let mut rows = Vec::new();
    for (label, texts) in templates {
        for text in texts {
            rows.extend(
                things
                    .iter()
                    .map(|thing| (text.replace("{}", thing), label.to_owned())),
            );
        }
    }
    rows
}

fn trained(algorithm: Algorithm, threads: Option<usize>) -> TextClassifier {
    let threads = threads.and_then(std::num::NonZeroUsize::new);
    let options = TrainOptions {
        algorithm,
        threads,
        ..TrainOptions::default()
    };
    TextClassifier::train(&rows(), &options).unwrap()
}

#[test]
fn learns_both_languages_without_being_told_which() {
    let model = trained(Algorithm::Auto, None);
    for (text, label) in [
        ("where is my blue coat?", "where"),
        ("Refund the broken lamp please", "refund"),
        ("我的蓝色衣服到哪里了", "where"),
        ("我要退手机", "refund"),
        ("这个书多少钱", "price"),
        ("ＨＯＷ ＭＵＣＨ is it", "price"),
    ] {
        let prediction = model.predict(text);
        assert_eq!(prediction.label, label, "{text}: {prediction:?}");
    }
}

#[test]
fn probabilities_are_a_ranked_distribution() {
    let model = trained(Algorithm::Auto, None);
    for text in ["where is my coat", "", "\u{0}", "完全无关的话题", "zzzz"] {
        let prediction = model.predict(text);
        let total: f64 = prediction
            .ranked
            .iter()
            .map(|(_, probability)| probability)
            .sum();
        assert!((total - 1.0).abs() < 1e-5, "{text:?}");
        assert!(prediction.ranked.is_sorted_by(|a, b| a.1 >= b.1));
        assert_eq!(
            prediction.ranked[0],
            (prediction.label, prediction.probability)
        );
    }
}

#[test]
fn same_bytes_for_any_number_of_threads() {
    for algorithm in Algorithm::ALL {
        let one = trained(algorithm, Some(1)).to_bytes();
        assert_eq!(one, trained(algorithm, Some(3)).to_bytes(), "{algorithm:?}");
    }
}

#[test]
fn two_labels_need_one_machine() {
    let rows: Vec<_> = rows()
        .into_iter()
        .filter(|r| r.1 == "praise" || r.1 == "refund")
        .collect();
    let model = TextClassifier::train(&rows, &TrainOptions::default()).unwrap();
    assert_eq!(model.predict("refund the phone").label, "refund");
    assert_eq!(model.predict("great phone thanks").label, "praise");
    assert!(!model.predict("anything at all").out_of_scope);
}

#[test]
fn text_unlike_any_label_is_out_of_scope() {
    let model = trained(Algorithm::Linear, None);
    assert!(model.predict("quantum chromodynamics lattice").out_of_scope);
    assert!(!model.predict("where is my parcel").out_of_scope);
}

#[test]
fn a_telling_word_among_strange_ones_is_less_at_home() {
    let model = trained(Algorithm::Auto, None);
    let at_home = |text: &str| model.predict(text).confidence;
    assert!(at_home("refund the parcel") > at_home("refund lattice chromodynamics quark"));
    assert!(at_home("我要退手机") > at_home("手机量子色动力学"));
}

#[test]
fn reasons_are_words_of_the_text() {
    let model = trained(Algorithm::Auto, None);
    let reasons = model.why("please refund my coat", 3);
    assert!(reasons.len() <= 3 && reasons.is_sorted_by(|a, b| a.weight >= b.weight));
    assert!(
        reasons
            .iter()
            .any(|reason| reason.feature.contains("refund")),
        "{reasons:?}"
    );
    assert!(
        model
            .why("我要退手机", 5)
            .iter()
            .any(|reason| reason.feature.contains('退'))
    );
    assert!(model.why("", 5).is_empty());
}

#[test]
fn baselines_do_what_they_say() {
    let mut rows = rows();
    rows.push(("price price".to_owned(), "price".to_owned()));
    let options = TrainOptions {
        algorithm: Algorithm::Majority,
        ..TrainOptions::default()
    };
    let model = TextClassifier::train(&rows, &options).unwrap();
    let prediction = model.predict("where is my coat");
    assert_eq!(prediction.label, "price");
    assert!((prediction.probability - 61.0 / 241.0).abs() < 1e-5);
    let bayes = trained(Algorithm::NaiveBayes, None);
    assert_eq!(bayes.predict("money back for my coat").label, "refund");
}

#[test]
fn rows_that_teach_nothing_are_refused() {
    let row = |text: &str, label: &str| (text.to_owned(), label.to_owned());
    let train = |rows: &[(String, String)]| {
        TextClassifier::train(rows, &TrainOptions::default())
            .map(|_| ())
            .unwrap_err()
    };
    assert_eq!(train(&[]), TrainError::NoRows);
    assert_eq!(
        train(&[row("a", "x"), row("b", "x")]),
        TrainError::OneLabel("x".to_owned())
    );
    assert_eq!(
        train(&[row("a", "x"), row("b", "")]),
        TrainError::BadLabel { row: 1, bytes: 0 }
    );
    let many: Vec<_> = (0..=crate::LABELS_MAX)
        .map(|n| row("a", &n.to_string()))
        .collect();
    assert_eq!(
        train(&many),
        TrainError::TooManyLabels(crate::LABELS_MAX + 1)
    );
}

#[test]
fn a_handful_of_rows_is_enough_to_start() {
    let rows = [("yes", "good"), ("no", "bad"), ("", "bad")];
    let rows = rows.map(|(text, label)| (text.to_owned(), label.to_owned()));
    let model = TextClassifier::train(&rows, &TrainOptions::default()).unwrap();
    assert_eq!(model.predict("yes").label, "good");
}

#[test]
fn a_file_gives_back_the_same_model() {
    for algorithm in Algorithm::ALL {
        let model = trained(algorithm, None);
        let read = TextClassifier::from_bytes(&model.to_bytes()).unwrap();
        assert_eq!(read.to_bytes(), model.to_bytes());
        assert_eq!(read.predict("我要退手机"), model.predict("我要退手机"));
    }
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("intent.model");
    let model = trained(Algorithm::Linear, None);
    model.save(&path).unwrap();
    assert_eq!(
        TextClassifier::load(&path).unwrap().to_bytes(),
        model.to_bytes()
    );
    let absent = TextClassifier::load(&folder.path().join("absent"));
    assert!(matches!(absent, Err(LoadError::Io(_))));
}

#[test]
fn every_damaged_file_is_refused() {
    let good = trained(Algorithm::Auto, None).to_bytes();
    // A prime stride visits every field of the header and a fair sample of the body.
    let places = (0..HEADER_BYTES)
        .chain((HEADER_BYTES..good.len()).step_by(997))
        .chain([good.len() - 1]);
    for place in places {
        let mut bad = good.clone();
        bad[place] ^= 1 << (place % 8);
        assert!(
            TextClassifier::from_bytes(&bad).is_err(),
            "flipped a bit of byte {place}"
        );
    }
    for length in [0, 7, 8, 51, 52, good.len() / 2, good.len() - 1] {
        assert!(
            TextClassifier::from_bytes(&good[..length]).is_err(),
            "cut to {length}"
        );
    }
    let longer = [&good[..], &[0]].concat();
    let why = |file: &[u8]| TextClassifier::from_bytes(file).unwrap_err().why;
    assert!(matches!(why(&longer), Refusal::WrongLength { .. }));
    let mut other = good;
    for version in [4, 9] {
        other[8] = version;
        assert_eq!(why(&other), Refusal::OtherVersion(version.into()));
    }
}

#[test]
fn a_topic_of_features_that_are_not_there_is_refused() {
    let model = trained(Algorithm::Linear, None);
    let features = model.vocabulary.len() as u32;
    for columns in [[0, features], [3, 3], [4, 3]] {
        let mut bad = model.clone();
        bad.typical.as_mut().unwrap().topics[1] = crate::topic::Topic {
            columns: columns.to_vec(),
            weights: vec![0.6, 0.8],
        };
        let why = TextClassifier::from_bytes(&bad.to_bytes()).unwrap_err().why;
        assert_eq!(why, Refusal::BadField("features of a topic"), "{columns:?}");
    }
}
