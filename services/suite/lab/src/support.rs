//! What the tests of several tasks share: flags, jobs, files.

use std::path::PathBuf;

use tempfile::TempDir;

use crate::args::{CommonArgs, Task};
use crate::conduct::Job;

/// The common flags as they are when none is given, but for JSON.
pub(crate) fn common() -> CommonArgs {
    CommonArgs {
        json: true,
        seed: 0,
        threads: None,
        algorithm: Vec::new(),
        budget_cpu_seconds: 600.0,
        save: None,
        limit: None,
        drop_overlap: false,
    }
}

/// What a child is asked when nothing is chosen and nothing saved.
pub(crate) fn job(task: Task, algorithm: &str) -> Job {
    Job {
        task,
        algorithm: algorithm.to_owned(),
        validate: false,
        save: None,
    }
}

pub(crate) fn put(folder: &TempDir, name: &str, text: &str) -> PathBuf {
    let path = folder.path().join(name);
    std::fs::write(&path, text).unwrap();
    path
}
