//! The town's shop trains its text classifiers on what its customers have written before.

use std::path::Path;

use rapport_text::{Algorithm, TextClassifier, TrainOptions};
use rapport_town::{Language, message_templates};

use crate::failure::Failure;

/// Fillers for what templates leave open, so that training sees more than one form of each text.
const ITEMS: [&str; 3] = ["龙井茶", "linen shirt", "耳机"];
const ORDERS: [&str; 3] = ["20260301", "A-1778", "55120"];

/// Trains intent and emotion from the town's own templates and saves them where care loads them.
///
/// # Errors
/// [`Failure::Failed`] when the folder cannot be written.
pub(super) fn train_classifiers(care: &Path) -> Result<(), Failure> {
    std::fs::create_dir_all(care)?;
    let (mut intents, mut emotions) = (Vec::new(), Vec::new());
    for language in [Language::Chinese, Language::English] {
        for template in message_templates(language) {
            for (item, order) in ITEMS.into_iter().zip(ORDERS) {
                let text = template.filled(item, order);
                intents.push((text.clone(), template.intent.name().to_owned()));
                emotions.push((text, template.emotion.name().to_owned()));
            }
        }
    }
    // A few hundred rows: the plain linear model is found in a moment and is as good as any.
    let options = TrainOptions {
        algorithm: Algorithm::Linear,
        ..TrainOptions::default()
    };
    for (name, rows) in [("intent.model", intents), ("emotion.model", emotions)] {
        let model = TextClassifier::train(&rows, &options);
        let model = model.map_err(|error| Failure::Failed(format!("{name}: {error}")))?;
        let saved = model.save(&care.join(name));
        saved.map_err(|error| Failure::Failed(format!("{name}: {error}")))?;
    }
    Ok(())
}
