//! Searching every byte that a story left on disk.

use std::path::{Path, PathBuf};

/// A canary that was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hit {
    /// The file.
    pub file: PathBuf,
    /// The canary.
    pub canary: String,
}

/// Returns every file below `folder` that holds one of `canaries`: as UTF-8, UTF-16 or hexadecimal.
///
/// # Panics
/// When a file cannot be read.
#[must_use]
pub fn scan(folder: &Path, canaries: &[&str]) -> Vec<Hit> {
    let forms: Vec<(&str, Vec<Vec<u8>>)> = canaries
        .iter()
        .map(|canary| (*canary, forms_of(canary)))
        .collect();
    let mut hits = Vec::new();
    let mut folders = vec![folder.to_path_buf()];
    while let Some(folder) = folders.pop() {
        let entries = std::fs::read_dir(&folder).expect("a story's folder can be listed");
        for entry in entries {
            let path = entry.expect("a story's folder can be listed").path();
            if path.is_dir() {
                folders.push(path);
                continue;
            }
            let bytes = std::fs::read(&path).expect("a story's file can be read");
            for (canary, forms) in &forms {
                if forms.iter().any(|form| contains(&bytes, form)) {
                    hits.push(Hit {
                        file: path.clone(),
                        canary: (*canary).to_owned(),
                    });
                }
            }
        }
    }
    hits
}

fn forms_of(canary: &str) -> Vec<Vec<u8>> {
    let hex: String = canary.bytes().map(|byte| format!("{byte:02x}")).collect();
    let utf16 = canary.encode_utf16().flat_map(u16::to_le_bytes).collect();
    vec![
        canary.as_bytes().to_vec(),
        hex.clone().into_bytes(),
        hex.to_uppercase().into_bytes(),
        utf16,
    ]
}

fn contains(bytes: &[u8], form: &[u8]) -> bool {
    bytes.windows(form.len()).any(|window| window == form)
}
