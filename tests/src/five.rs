//! The five services as five processes that know each other, in a folder of their own.

use std::io;
use std::path::Path;
use std::process::Command;

use tempfile::TempDir;

use crate::process::{Launch, Process, binary};

/// The services, in the order in which they are started.
pub const SERVICES: [&str; 5] = ["profile", "evaluate", "recommend", "ads", "care"];

/// Five running processes.
#[derive(Debug)]
pub struct Five {
    /// Profile.
    pub profile: Process,
    /// Evaluate.
    pub evaluate: Process,
    /// Recommend.
    pub recommend: Process,
    /// Ads.
    pub ads: Process,
    /// Care.
    pub care: Process,
    folder: TempDir,
}

impl Five {
    /// Starts the five on SQLite below `folder`, each after those that it calls. `adjust` gets each
    /// service's name with what is about to be started.
    ///
    /// # Errors
    /// When one does not serve, with its log.
    pub async fn start(
        folder: TempDir,
        adjust: impl Fn(&str, Launch) -> Launch,
    ) -> io::Result<Self> {
        let keyring = folder.path().join("keyring");
        let mut create = Command::new(binary("rapport"));
        let made = create.args(["keyring", "create"]).arg(&keyring).status()?;
        if !made.success() {
            return Err(io::Error::other("the keyring was not made"));
        }
        let profile = launch(folder.path(), "profile")?.env("PROFILE_KEYRING", keyring);
        let profile = adjust("profile", profile).start("").await?;
        let neighbour = |name: &str| {
            let variable = format!("{}_PROFILE_URL", name.to_uppercase());
            io::Result::Ok(launch(folder.path(), name)?.env(&variable, profile.url()))
        };
        let evaluate = adjust("evaluate", neighbour("evaluate")?).start("").await?;
        let measured = |name: &str| {
            let variable = format!("{}_EVALUATE_URL", name.to_uppercase());
            io::Result::Ok(neighbour(name)?.env(&variable, evaluate.url()))
        };
        Ok(Self {
            recommend: adjust("recommend", measured("recommend")?)
                .start("")
                .await?,
            ads: adjust("ads", measured("ads")?).start("").await?,
            care: adjust("care", neighbour("care")?).start("").await?,
            evaluate,
            profile,
            folder,
        })
    }

    /// Returns the folder of all databases, models and logs.
    #[must_use]
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Stops the processes, those first that need the others; returns what they left on disk.
    ///
    /// # Errors
    /// When one does not end well, with its log.
    pub async fn stop(self) -> io::Result<TempDir> {
        let before_profile = [self.recommend, self.ads, self.care, self.evaluate];
        for process in before_profile.into_iter().chain([self.profile]) {
            process.stop().await?;
        }
        Ok(self.folder)
    }
}

fn launch(folder: &Path, name: &str) -> io::Result<Launch> {
    let own = folder.join(name);
    std::fs::create_dir_all(&own)?;
    let prefix = name.to_uppercase();
    let database = format!("sqlite://{}", own.join("database.sqlite").display());
    Ok(Launch::new(&format!("rapport-{name}"), folder)
        .env(&format!("{prefix}_DATABASE_URL"), database)
        .env(&format!("{prefix}_DATA"), own))
}
