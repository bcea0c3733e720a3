//! One number per hot function: a short message in Chinese and in English, told among ten labels by the
//! whole mixture. Target: one answer below 50 µs on one core, its reasons below 1 ms.

#![expect(clippy::unwrap_used, reason = "benches")]

use std::hint::black_box;

use criterion::{Criterion, criterion_group, criterion_main};
use rapport_math::Rng;
use rapport_text::{TextClassifier, TrainOptions};

const ROWS: usize = 2_000;
const LABELS: usize = 10;
/// What words and phrases are made of.
const SYLLABLES: &[&str] = &[
    "ba", "co", "del", "fi", "gor", "hu", "lem", "ni", "pra", "sto", "tu", "vex",
];
const CHARACTERS: &[&str] = &[
    "我", "要", "退", "货", "快", "递", "很", "慢", "客", "服", "发", "色", "码", "好", "差", "评",
];

/// A message of a label, even ones in English: of its twelve words half are its own, half anybody's.
fn message(rng: &mut Rng, label: usize) -> String {
    let (parts, space) = match label % 2 {
        0 => (SYLLABLES, " "),
        _ => (CHARACTERS, ""),
    };
    let mut text = String::new();
    for _ in 0..12 {
        let topic = match rng.chance(0.5) {
            true => label,
            false => rng.below(LABELS as u64) as usize,
        };
        let first = topic * 3 + rng.below(3) as usize;
        let second = first * 7 + rng.below(2) as usize;
        for at in [first, second] {
            text.push_str(parts[at % parts.len()]);
        }
        text.push_str(space);
    }
    text
}

fn classify(criterion: &mut Criterion) {
    let mut rng = Rng::seeded(1);
    let row = |at: usize| (message(&mut rng, at % LABELS), format!("{}", at % LABELS));
    let rows: Vec<(String, String)> = (0..ROWS).map(row).collect();
    let options = TrainOptions {
        budget_cpu_seconds: 20.0,
        ..TrainOptions::default()
    };
    let model = TextClassifier::train(&rows, &options).unwrap();
    for (language, (text, _)) in ["english", "chinese"].into_iter().zip(&rows) {
        criterion.bench_function(&format!("predict_{language}"), |bench| {
            bench.iter(|| model.predict(black_box(text)).out_of_scope);
        });
        criterion.bench_function(&format!("why_{language}"), |bench| {
            bench.iter(|| model.why(black_box(text), 5));
        });
    }
}

criterion_group!(benches, classify);
criterion_main!(benches);
