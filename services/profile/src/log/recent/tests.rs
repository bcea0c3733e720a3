//! Whatever is moved, lost or read again: every key is known, once, in memory or in the tree.

use rapport_store::Db;
use rapport_store::testing::{Engine, TestDb};

use super::*;
use crate::log::dedup_key;
use crate::{POSTGRES, SQLITE};

/// So small that a few commits go through every stage.
const GATHERED: usize = 20;
const DAY: i64 = 20_000;

fn rows(commit: u64) -> Vec<(Key, Entry)> {
    (0..7)
        .map(|n| {
            let entry = Entry {
                fingerprint: [commit as u8; 16],
                partition: n,
                sequence: commit,
            };
            (dedup_key("test", &format!("{commit}-{n}")), entry)
        })
        .collect()
}

/// Writes one commit; without `commit` the transaction is given up after all statements.
async fn write(recent: &mut Recent, db: &Db, number: u64, commit: bool) {
    let rows = rows(number);
    let mut tx = db.begin().await.unwrap();
    recent.catch_up(&mut tx).await.unwrap();
    // Every third commit comes from an import.
    let new: [NewRun<'_>; 2] = match number % 3 {
        0 => [(&[], Some(DAY)), (&rows, None)],
        _ => [(&rows, Some(DAY)), (&[], None)],
    };
    recent.write(&mut tx, new).await.unwrap();
    if commit {
        tx.commit().await.unwrap();
        recent.committed();
    } else {
        tx.rollback().await.unwrap();
    }
}

/// Returns how many keys of `commits` are found, in memory or else in the tree, each as it was written.
async fn found(recent: &mut Recent, db: &Db, commits: u64) -> usize {
    let mut tx = db.begin().await.unwrap();
    recent.catch_up(&mut tx).await.unwrap();
    let mut found = 0;
    for (key, entry) in (0..commits).flat_map(rows) {
        let known = match recent.get(&key) {
            Some(known) => Some(known),
            None => log::look_up(&mut tx, &key).await.unwrap()[0],
        };
        assert!(known.is_none_or(|known| known == entry));
        found += usize::from(known.is_some());
    }
    tx.rollback().await.unwrap();
    found
}

async fn open() -> (TestDb, Db) {
    let database = TestDb::create(Engine::Sqlite).await;
    let db = database.open_migrated(&POSTGRES, &SQLITE).await;
    (database, db)
}

#[tokio::test]
async fn every_key_stays_known_through_every_stage() {
    let (_database, db) = open().await;
    let mut recent = Recent::new(GATHERED);
    for commit in 0..40 {
        write(&mut recent, &db, commit, true).await;
        assert_eq!(
            found(&mut recent, &db, commit + 1).await,
            7 * (commit as usize + 1)
        );
        assert!(
            recent.entries.len() <= 3 * GATHERED + 7,
            "memory stays bounded"
        );
    }
    let mut tx = db.begin().await.unwrap();
    let runs = dedup::runs_after(&mut tx, 0).await.unwrap().len();
    assert!(runs <= 10, "moved runs are deleted, {runs} are left");
}

#[tokio::test]
async fn a_new_process_knows_what_the_last_one_wrote() {
    let (_database, db) = open().await;
    let mut recent = Recent::new(GATHERED);
    for commit in 0..60 {
        write(&mut recent, &db, commit, true).await;
        // Killed in every stage of gathering and moving.
        if commit % 5 == 4 || commit % 7 == 6 {
            recent = Recent::new(GATHERED);
        }
        assert_eq!(
            found(&mut recent, &db, commit + 1).await,
            7 * (commit as usize + 1)
        );
    }
}

#[tokio::test]
async fn a_transaction_that_fails_changes_nothing() {
    let (_database, db) = open().await;
    let mut recent = Recent::new(GATHERED);
    for commit in 0..30 {
        write(&mut recent, &db, commit, false).await;
        assert_eq!(
            found(&mut recent, &db, commit + 1).await,
            7 * commit as usize
        );
        write(&mut recent, &db, commit, true).await;
        assert_eq!(
            found(&mut recent, &db, commit + 1).await,
            7 * (commit as usize + 1)
        );
    }
}

#[tokio::test]
async fn two_writers_know_each_others_keys() {
    let (_database, db) = open().await;
    let mut writers = [Recent::new(GATHERED), Recent::new(GATHERED)];
    for commit in 0..40_u64 {
        write(&mut writers[commit as usize % 2], &db, commit, true).await;
        for writer in &mut writers {
            assert_eq!(
                found(writer, &db, commit + 1).await,
                7 * (commit as usize + 1)
            );
        }
    }
}
