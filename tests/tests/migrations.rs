#![expect(clippy::unwrap_used, reason = "tests")]
//! Migrations are append only: what a database somewhere has applied is never edited, whichever service it
//! belongs to. `migrations.sha256` pins them all; `sha256sum --check` reads it too.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use sha2::{Digest as _, Sha256};

const PINNED: &str = include_str!("migrations.sha256");

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .unwrap()
        .to_path_buf()
}

/// Hash by path of every migration in the tree.
fn present() -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    for service in fs::read_dir(root().join("services")).unwrap() {
        let migrations = service.unwrap().path().join("migrations");
        let Ok(folders) = fs::read_dir(migrations) else {
            continue;
        };
        for folder in folders {
            for file in fs::read_dir(folder.unwrap().path()).unwrap() {
                let file = file.unwrap().path();
                let name = file.strip_prefix(root()).unwrap().display().to_string();
                found.insert(name, hash(&fs::read(file).unwrap()));
            }
        }
    }
    found
}

fn hash(bytes: &[u8]) -> String {
    let digest = Sha256::digest(bytes);
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[test]
fn no_migration_of_any_service_is_edited_or_removed() {
    let pinned: BTreeMap<String, String> = PINNED
        .lines()
        .map(|line| line.split_once("  ").unwrap())
        .map(|(hash, name)| (name.to_owned(), hash.to_owned()))
        .collect();
    let present = present();
    let wrong: Vec<_> = pinned
        .iter()
        .filter(|(name, hash)| present.get(*name) != Some(hash))
        .map(|(name, _)| name)
        .collect();
    assert!(wrong.is_empty(), "edited or removed: {wrong:?}");
    let new: Vec<_> = present
        .iter()
        .filter(|(name, _)| !pinned.contains_key(*name))
        .map(|(name, hash)| format!("{hash}  {name}"))
        .collect();
    assert!(new.is_empty(), "add to migrations.sha256: {new:#?}");
}
