//! One life: an anonymous browser becomes a person of three subjects, is served as one, withdraws
//! consent on the second device, is unlinked exactly, then erased. Five processes, real binaries.
#![expect(clippy::unwrap_used, reason = "tests")]

mod life;

use life::{CANARIES, Life};
use rapport_stories::scan;

#[tokio::test]
async fn one_person_from_first_look_to_erasure() {
    let mut life = Life::begin(&[]).await;
    life.browses_anonymously().await;
    life.signs_in_and_is_linked_to_a_second_device().await;
    life.is_recommended_to_as_one_person().await;
    life.is_capped_as_one_person().await;
    life.is_assigned_as_one_person().await;
    life.writes_to_customer_service().await;
    life.withdraws_on_one_device_and_turns_non_personal_on_the_other()
        .await;
    life.is_unlinked_exactly().await;
    life.is_erased().await;
    let folder = life.end().await;
    let hits = scan(folder.path(), &CANARIES);
    assert!(hits.is_empty(), "personal text in the clear: {hits:?}");
}

/// The same search of every byte finds the canaries where nothing is sealed: so it can find them.
#[tokio::test]
async fn without_sealing_the_scan_finds_what_was_written() {
    let mut life = Life::begin(&["--without", "sealing"]).await;
    life.browses_anonymously().await;
    let folder = life.end().await;
    assert!(!scan(folder.path(), &CANARIES).is_empty());
}
