//! The trained models as files: loaded at start, looked at again every few seconds, swapped whole.
//! A file that is damaged is refused and the model before it keeps serving.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use arc_swap::ArcSwap;
use care_domain::{MessageModels, TextClassifier};
use ring::digest;
use tokio::time::MissedTickBehavior;

/// How often files are looked at.
const LOOK_EVERY: Duration = Duration::from_secs(3);
/// What answers where no model is loaded.
pub const RULES_VERSION: &str = "rules-1";

/// The models that serve now. Cloning shares them.
#[derive(Debug, Clone, Default)]
pub struct Models(Arc<ArcSwap<Serving>>);

/// One set of models and what they are called.
#[derive(Debug)]
pub struct Serving {
    /// The models.
    pub models: MessageModels,
    /// The name of the set, such as `intent-1a2b3c4d+rules-1`.
    pub version: String,
}

impl Default for Serving {
    fn default() -> Self {
        let version = format!("{RULES_VERSION}+{RULES_VERSION}");
        Self {
            models: MessageModels::default(),
            version,
        }
    }
}

impl Models {
    /// Returns the models that serve now.
    #[must_use]
    pub fn now(&self) -> arc_swap::Guard<Arc<Serving>> {
        self.0.load()
    }
}

/// Looks at the files and swaps the models.
#[derive(Debug)]
pub struct Loader {
    intent: File,
    emotion: File,
    models: Models,
}

impl Loader {
    /// Returns a loader of `intent.model` and `emotion.model` in `folder` that has looked once. Files
    /// that are missing or damaged leave the word rules in charge.
    #[must_use]
    pub fn open(folder: &Path, models: Models) -> Self {
        let mut loader = Self {
            intent: File::new(folder, "intent"),
            emotion: File::new(folder, "emotion"),
            models,
        };
        loader.look();
        loader
    }

    /// Loads what changed. Reads files: not for a runtime's own threads.
    pub fn look(&mut self) {
        let changed = [self.intent.look(), self.emotion.look()];
        if changed.contains(&true) {
            let serving = Serving {
                version: format!("{}+{}", self.intent.version(), self.emotion.version()),
                models: MessageModels {
                    intent: self.intent.model(),
                    emotion: self.emotion.model(),
                },
            };
            tracing::info!(version = serving.version, "models serve");
            self.models.0.store(Arc::new(serving));
        }
    }

    /// Looks every few seconds, for ever.
    pub async fn run(self) {
        let mut ticks = tokio::time::interval(LOOK_EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut loader = self;
        loop {
            ticks.tick().await;
            let looked = tokio::task::spawn_blocking(move || {
                loader.look();
                loader
            });
            match looked.await {
                Ok(same) => loader = same,
                Err(error) => {
                    tracing::error!(%error, "models are no longer looked at");
                    return;
                }
            }
        }
    }
}

/// One file, as it was last seen.
#[derive(Debug)]
struct File {
    name: &'static str,
    path: PathBuf,
    /// Time and length when it was last read; the same ones mean that nothing changed.
    seen: Option<(SystemTime, u64)>,
    loaded: Option<(String, Arc<TextClassifier>)>,
}

impl File {
    fn new(folder: &Path, name: &'static str) -> Self {
        let path = folder.join(format!("{name}.model"));
        Self {
            name,
            path,
            seen: None,
            loaded: None,
        }
    }

    /// Loads the file if it changed; returns whether another model serves now.
    fn look(&mut self) -> bool {
        // A file that is not there, or is being replaced, changes nothing.
        let Ok(metadata) = std::fs::metadata(&self.path) else {
            return false;
        };
        let stamp = metadata.modified().ok().map(|at| (at, metadata.len()));
        if stamp.is_none() || stamp == self.seen {
            return false;
        }
        self.seen = stamp;
        match self.read() {
            Ok(Some(loaded)) => {
                self.loaded = Some(loaded);
                true
            }
            Ok(None) => false,
            Err(why) => {
                tracing::error!(model = self.name, why, "a model file is refused");
                false
            }
        }
    }

    /// Reads the file, `None` if it is the model that serves already.
    fn read(&self) -> Result<Option<(String, Arc<TextClassifier>)>, String> {
        let bytes = std::fs::read(&self.path).map_err(|error| error.to_string())?;
        let sum = digest::digest(&digest::SHA256, &bytes);
        let version = format!("{}-{}", self.name, crate::error::hex(&sum.as_ref()[..4]));
        if version == self.version() {
            return Ok(None);
        }
        let model = TextClassifier::from_bytes(&bytes).map_err(|error| error.to_string())?;
        Ok(Some((version, Arc::new(model))))
    }

    fn version(&self) -> &str {
        self.loaded
            .as_ref()
            .map_or(RULES_VERSION, |(version, _)| version)
    }

    fn model(&self) -> Option<Arc<TextClassifier>> {
        self.loaded.as_ref().map(|(_, model)| Arc::clone(model))
    }
}

#[cfg(test)]
mod tests;
