//! Objects appear whole or not at all, under names that cannot leave their directory.
#![expect(clippy::unwrap_used, reason = "tests")]

use std::io;

use proptest::prelude::*;
use rapport_store::objects::{self, ObjectError, ObjectStore};

fn store() -> (ObjectStore, tempfile::TempDir) {
    let folder = tempfile::tempdir().unwrap();
    (
        ObjectStore::open(folder.path().join("objects")).unwrap(),
        folder,
    )
}

#[tokio::test]
async fn an_object_is_read_back_replaced_and_deleted() {
    let (store, _folder) = store();
    let name = "profile/segments/v1/17/000042";
    assert_eq!(store.get(name, 10).await.unwrap(), None);
    store.put(name, b"one".to_vec()).await.unwrap();
    store.put(name, b"two".to_vec()).await.unwrap();
    assert_eq!(store.get(name, 10).await.unwrap().unwrap(), b"two");
    assert!(store.delete(name).await.unwrap());
    assert!(!store.delete(name).await.unwrap());
    assert_eq!(store.get(name, 10).await.unwrap(), None);
}

#[tokio::test]
async fn a_failed_write_leaves_the_former_object_and_no_rubbish() {
    let (store, folder) = store();
    store.put("model/a", b"good".to_vec()).await.unwrap();
    let failed = store
        .put_with("model/a", |file| {
            file.write_all(b"half")?;
            Err(io::Error::other("the disk is full"))
        })
        .await;
    assert!(
        matches!(failed, Err(ObjectError::Unavailable(_))),
        "{failed:?}"
    );
    assert_eq!(store.get("model/a", 10).await.unwrap().unwrap(), b"good");
    let files = std::fs::read_dir(folder.path().join("objects/model"))
        .unwrap()
        .count();
    assert_eq!(files, 1);
}

#[tokio::test]
async fn a_part_of_an_object_is_read_as_far_as_it_goes() {
    let (store, _folder) = store();
    store.put("log/a", b"0123456789".to_vec()).await.unwrap();
    for (offset, length, expected) in [
        (0, 4, Some("0123")),
        (4, 3, Some("456")),
        (8, 5, Some("89")),
        (10, 1, Some("")),
        (99, 1, Some("")),
    ] {
        let part = store.get_range("log/a", offset, length).await.unwrap();
        assert_eq!(part.as_deref(), expected.map(str::as_bytes), "{offset}");
    }
    for absent in ["log/b", "log"] {
        assert_eq!(store.get_range(absent, 0, 1).await.unwrap(), None);
    }
    let refused = store.get_range("../a", 0, 1).await;
    assert!(matches!(refused, Err(ObjectError::InvalidName(_))));
}

#[tokio::test]
async fn an_object_above_the_limit_is_not_read() {
    let (store, _folder) = store();
    store.put("big", vec![0; 11]).await.unwrap();
    assert!(matches!(
        store.get("big", 10).await,
        Err(ObjectError::TooLarge { .. })
    ));
    assert_eq!(store.get("big", 11).await.unwrap().unwrap().len(), 11);
}

#[tokio::test]
async fn names_are_listed_sorted_by_prefix_and_page() {
    let (store, folder) = store();
    for name in ["b/2", "a/1", "b/10", "b/sub/x", "bb"] {
        store.put(name, Vec::new()).await.unwrap();
    }
    // What a crash in the middle of a write leaves.
    std::fs::write(folder.path().join("objects/b/.part-0000"), b"half").unwrap();
    assert_eq!(
        store.list("", None).await.unwrap(),
        ["a/1", "b/10", "b/2", "b/sub/x", "bb"]
    );
    assert_eq!(
        store.list("b/", None).await.unwrap(),
        ["b/10", "b/2", "b/sub/x"]
    );
    assert_eq!(
        store.list("b", None).await.unwrap(),
        ["b/10", "b/2", "b/sub/x", "bb"]
    );
    assert_eq!(store.list("b/1", None).await.unwrap(), ["b/10"]);
    assert_eq!(
        store.list("b/", Some("b/10")).await.unwrap(),
        ["b/2", "b/sub/x"]
    );
    assert!(store.list("none/", None).await.unwrap().is_empty());
    assert!(matches!(
        store.list("../", None).await,
        Err(ObjectError::InvalidName(_))
    ));
}

#[tokio::test]
async fn concurrent_writers_of_one_name_never_mix() {
    let (store, _folder) = store();
    let tasks: Vec<_> = (0..16_u8)
        .map(|number| {
            let store = store.clone();
            tokio::spawn(async move { store.put("same", vec![number; 100_000]).await })
        })
        .collect();
    for task in tasks {
        task.await.unwrap().unwrap();
    }
    let bytes = store.get("same", 100_000).await.unwrap().unwrap();
    assert_eq!(bytes.len(), 100_000);
    assert!(bytes.iter().all(|byte| *byte == bytes[0]));
}

#[test]
fn only_plain_names_are_names() {
    let (store, _folder) = store();
    let long_segment = "x".repeat(objects::SEGMENT_BYTES_MAX + 1);
    let long_name = ["x"; objects::NAME_BYTES_MAX].join("/");
    for bad in [
        "",
        "/",
        "/a",
        "a/",
        "a//b",
        ".",
        "..",
        "a/../b",
        ".hidden",
        "a/.part-1",
        "a b",
        "a\\b",
        "a\0b",
        "é",
        "C:a",
        &long_segment,
        &long_name,
    ] {
        assert!(
            matches!(store.path(bad), Err(ObjectError::InvalidName(_))),
            "{bad:?}"
        );
    }
    for good in ["a", "A-z_0.9", "date=2026-11-22/part-0.parquet"] {
        assert!(store.path(good).is_ok(), "{good:?}");
    }
}

proptest! {
    #[test]
    fn no_name_leaves_the_directory(name in "[a-zA-Z0-9./_\\\\ -]{0,40}") {
        let folder = std::env::temp_dir();
        let store = ObjectStore::open(&folder).unwrap();
        if let Ok(path) = store.path(&name) {
            prop_assert!(path.starts_with(&folder));
            let strange = |part: std::path::Component<'_>| matches!(part, std::path::Component::ParentDir);
            prop_assert!(!path.components().any(strange));
        }
    }
}
