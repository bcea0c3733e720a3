//! Measures the classifiers on a training and a test file: accuracy, macro-F1, time and size.
//!
//! `cargo run --release -p rapport-text --example classify -- TRAIN.csv.gz TEST.csv.gz [ALGORITHM ...]`
//!
//! Columns `text,label`. The test file is read only after the model is trained.
#![expect(
    clippy::print_stdout,
    reason = "a command-line program answers on stdout"
)]

use std::collections::BTreeMap;
use std::error::Error;
use std::fs::File;
use std::io::Read;
use std::time::Instant;

use flate2::read::MultiGzDecoder;
use rapport_text::{Algorithm, TextClassifier, TrainOptions};

type Rows = Vec<(String, String)>;

fn read(path: &str) -> Result<Rows, Box<dyn Error>> {
    let file = File::open(path)?;
    let bytes: Box<dyn Read> = if path.ends_with(".gz") {
        Box::new(MultiGzDecoder::new(file))
    } else {
        Box::new(file)
    };
    let mut rows = csv::Reader::from_reader(bytes);
    let mut read = Vec::new();
    for row in rows.records() {
        let row = row?;
        read.push((row[0].to_owned(), row[1].to_owned()));
    }
    Ok(read)
}

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [train, test, names @ ..] = &arguments[..] else {
        return Err("usage: classify TRAIN TEST [majority|naive-bayes|linear|auto ...]".into());
    };
    let train = read(train)?;
    let test = read(test)?;
    let algorithms: Vec<Algorithm> = if names.is_empty() {
        Algorithm::ALL.to_vec()
    } else {
        names
            .iter()
            .filter_map(|name| Algorithm::from_name(name))
            .collect()
    };
    for algorithm in algorithms {
        measure(algorithm, &train, &test)?;
    }
    Ok(())
}

fn measure(algorithm: Algorithm, train: &Rows, test: &Rows) -> Result<(), Box<dyn Error>> {
    let started = Instant::now();
    let options = TrainOptions {
        algorithm,
        ..TrainOptions::default()
    };
    let (model, report) = TextClassifier::train_reported(train, &options)?;
    let trained = started.elapsed();
    let (mut right, mut rejected, mut likelihood) = (0usize, 0usize, 0.0);
    let mut labels: BTreeMap<&str, [f64; 3]> = BTreeMap::new();
    for (text, label) in test {
        let prediction = model.predict(text);
        let hit = prediction.label == label;
        right += usize::from(hit);
        rejected += usize::from(prediction.out_of_scope);
        likelihood += prediction.probability - f64::from(u8::from(hit));
        labels.entry(label).or_default()[0] += 1.0;
        labels
            .entry(model_label(&model, prediction.label))
            .or_default()[1] += 1.0;
        labels.entry(label).or_default()[2] += f64::from(u8::from(hit));
    }
    let f1: f64 = labels
        .values()
        .map(|[truth, said, hit]| 2.0 * hit / (truth + said))
        .sum();
    let mut passes: Vec<f64> = (0..5)
        .map(|_| microseconds_per_text(&model, test))
        .collect();
    passes.sort_by(f64::total_cmp);
    println!(
        "{}: accuracy {:.4}, macro-F1 {:.4}, {:.1} us/text, {} bytes, trained in {:.1} s, {:.3} rejected, overconfidence {:+.3}",
        algorithm.name(),
        right as f64 / test.len() as f64,
        f1 / labels.len() as f64,
        passes[2],
        model.to_bytes().len(),
        trained.as_secs_f64(),
        rejected as f64 / test.len() as f64,
        likelihood / test.len() as f64,
    );
    println!("  {report:?}");
    Ok(())
}

fn model_label<'a>(model: &'a TextClassifier, label: &str) -> &'a str {
    let place = model.labels().partition_point(|name| name.as_str() < label);
    &model.labels()[place]
}

/// Time on the processor, not on the wall: other programs of the machine do not count.
fn microseconds_per_text(model: &TextClassifier, test: &Rows) -> f64 {
    let started = cpu_nanoseconds();
    for (text, _) in test {
        std::hint::black_box(model.predict(text));
    }
    (cpu_nanoseconds() - started) / 1e3 / test.len() as f64
}

/// Reads what this thread has used of the processor, from Linux; 0 elsewhere.
fn cpu_nanoseconds() -> f64 {
    let statistics = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    statistics
        .split(' ')
        .next()
        .and_then(|first| first.parse().ok())
        .unwrap_or(0.0)
}
