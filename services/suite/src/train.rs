//! `rapport train`: fits the text models that care loads, from CSV files of a team's own.

use std::path::{Path, PathBuf};

use rapport_text::{Algorithm, TextClassifier, TrainOptions};

use crate::failure::Failure;
use crate::import::open_csv;
use crate::output;
use crate::progress::say;

/// Rows of one training file.
const ROWS_MAX: usize = 2_000_000;

/// What `rapport train` takes.
#[derive(Debug, Clone, clap::Args)]
pub struct TrainArgs {
    /// CSV with the columns `text,label`, labelled by intent, such as `refund`. `.gz` by name.
    #[arg(long, required_unless_present = "emotion")]
    pub intent: Option<PathBuf>,
    /// CSV with the columns `text,label`, labelled by emotion, such as `anger`. `.gz` by name.
    #[arg(long)]
    pub emotion: Option<PathBuf>,
    /// Folder where care looks for its models.
    #[arg(long, default_value = "data/care")]
    pub out: PathBuf,
    /// The same seed and rows give the same model.
    #[arg(long, default_value_t = 0)]
    pub seed: u64,
    /// Searches for the best model, which takes minutes, instead of fitting the plain linear one.
    #[arg(long)]
    pub auto: bool,
    /// Print one JSON object per model instead of a table.
    #[arg(long)]
    pub json: bool,
}

/// What came of one training.
#[derive(Debug, serde::Serialize)]
struct Trained {
    model: String,
    rows: usize,
    labels: usize,
    /// On rows held out of the training, never on others.
    validated_accuracy: f64,
    validated_macro_f1: f64,
    bytes: u64,
}

/// Fits and saves the models.
///
/// # Errors
/// [`Failure::Usage`] with file, line and column of a wrong row; nothing is written then.
pub fn run(args: TrainArgs) -> Result<(), Failure> {
    let files = [
        ("intent.model", &args.intent),
        ("emotion.model", &args.emotion),
    ];
    let mut sets = Vec::new();
    for (name, file) in files {
        if let Some(file) = file {
            sets.push((name, read(file)?));
        }
    }
    // Both are trained before either is written: what is wrong with one leaves the other as it was.
    let mut models = Vec::new();
    for (name, rows) in sets {
        say(&format!("training {name} on {} rows", rows.len()));
        let algorithm = if args.auto {
            Algorithm::Auto
        } else {
            Algorithm::Linear
        };
        let options = TrainOptions {
            seed: args.seed,
            algorithm,
            ..TrainOptions::default()
        };
        let trained = TextClassifier::train_reported(&rows, &options);
        let trained = trained.map_err(|error| Failure::Usage(format!("{name}: {error}")))?;
        models.push((name, trained));
    }
    std::fs::create_dir_all(&args.out)?;
    for (name, (model, report)) in models {
        let path = args.out.join(name);
        model
            .save(&path)
            .map_err(|error| Failure::Failed(format!("{}: {error}", path.display())))?;
        let trained = Trained {
            model: path.display().to_string(),
            rows: report.rows,
            labels: model.labels().len(),
            validated_accuracy: report.validated_accuracy,
            validated_macro_f1: report.validated_macro_f1,
            bytes: std::fs::metadata(&path)?.len(),
        };
        output::print(&trained, args.json);
    }
    Ok(())
}

fn read(path: &Path) -> Result<Vec<(String, String)>, Failure> {
    let mut rows = Vec::new();
    for record in open_csv(path, &["text", "label"])? {
        let (line, fields) = record?;
        let [text, label] = &fields[..] else {
            return Err(Failure::Usage(format!(
                "{}, line {line}: has too few columns",
                path.display()
            )));
        };
        let label = label.trim();
        if label.is_empty() {
            return Err(Failure::Usage(format!(
                "{}, line {line}, column 2 (label): is empty; nothing was trained",
                path.display()
            )));
        }
        rows.push((text.clone(), label.to_owned()));
        if rows.len() > ROWS_MAX {
            return Err(Failure::Usage(format!(
                "{}: has more than {ROWS_MAX} rows",
                path.display()
            )));
        }
    }
    Ok(rows)
}
