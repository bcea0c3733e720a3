//! What leaves segments: erased subjects, and runs past their retention that no reader may need.

use std::path::Path;
use std::time::Duration;

use rapport_api::event::v1::EventRecord;
use rapport_profile::log::{ERASURE_GRACE_MS, KeeperOptions, Kept, TOMBSTONE_TYPE};
use rapport_profile::store::segment;
use rapport_store::store_contract;
use rapport_types::SubjectId;

use crate::support::{DAY_MS, START};
use crate::vault::{Vault, WEEK, open, options};

store_contract!(
    open,
    [
        erased_subjects_leave_their_segments,
        rows_of_erased_subjects_are_sealed_without_them,
        an_interrupted_rewrite_goes_on,
        a_reader_goes_on_through_a_rewrite,
        retention_forgets_old_segments,
    ]
);

const ALICE: SubjectId = SubjectId::new([
    0xa1, 7, 0x1c, 0xe0, 0xa1, 9, 0x1c, 0xe1, 0xa1, 3, 0x1c, 0xe2, 0xa1, 5, 0x1c, 0xe3,
]);
const BOB: SubjectId = SubjectId::new([
    0xb0, 0xb1, 8, 0xb0, 0xb2, 7, 0xb0, 0xb3, 6, 0xb0, 0xb4, 5, 0xb0, 0xb5, 4, 0xb0,
]);

/// Twenty commits of Alice's and Bob's events in turn, all sealed.
async fn sealed(log: &mut Vault) {
    for commit in 0..20 {
        let who = if commit % 2 == 0 { ALICE } else { BOB };
        log.append(3, who, 5).await;
        log.append(9, BOB, 5).await;
    }
    let all = KeeperOptions {
        segment_age: Duration::ZERO,
        ..options()
    };
    assert!(log.keep(all).await.sealed > 0);
    assert_eq!(log.rows(3).await, []);
}

/// Returns how often a subject's bytes stand in a file, packed or unpacked: every place where a zstd frame
/// could begin is tried, without our own reader.
fn scan(file: &Path, subject: SubjectId) -> usize {
    const FRAME: [u8; 4] = [0x28, 0xb5, 0x2f, 0xfd];
    let count = |bytes: &[u8]| {
        let windows = bytes.windows(16);
        windows
            .filter(|window| *window == subject.as_bytes())
            .count()
    };
    let bytes = std::fs::read(file).unwrap();
    let mut found = count(&bytes);
    for at in 0..bytes.len().saturating_sub(FRAME.len()) {
        if bytes[at..].starts_with(&FRAME) {
            let unpacked = zstd::stream::decode_all(&bytes[at..]).unwrap_or_default();
            found += count(&unpacked);
        }
    }
    found
}

fn scanned(log: &Vault, subject: SubjectId) -> usize {
    log.files().iter().map(|file| scan(file, subject)).sum()
}

fn assert_tombstones(events: &[EventRecord]) {
    let sequences = events.iter().map(|event| event.sequence);
    assert!(sequences.eq(1..=100), "gapless");
    for (index, event) in events.iter().enumerate() {
        let erased = (index / 5) % 2 == 0;
        assert_eq!(event.r#type == TOMBSTONE_TYPE, erased, "{index}");
        if erased {
            assert_eq!((event.received_at_ms, event.payload.len()), (START.0, 0));
            assert!(event.event_id.is_empty() && event.subject_id.is_empty());
        } else {
            assert_eq!(event.event_id, format!("p3-{index}"));
        }
    }
}

async fn erased_subjects_leave_their_segments(mut log: Vault) {
    sealed(&mut log).await;
    let before = log.recorded().await;
    log.erased.0.lock().unwrap().push((START.0 + DAY_MS, ALICE));
    let mut keeper = log.keeper(options());
    // The control: until its time has come the very same scan finds her.
    log.clock.advance(7 * DAY_MS - 3_000);
    assert_eq!(keeper.round().await.unwrap().rewritten, 0);
    assert!(scanned(&log, ALICE) >= 50);
    log.clock.advance(3_000);
    let kept = keeper.round().await.unwrap();
    assert_eq!(kept.searched, before.len() as u64);
    let of_hers = before.iter().filter(|row| row.partition == 3).count();
    assert_eq!(kept.rewritten, of_hers as u64);
    assert_eq!(scanned(&log, ALICE), 0);
    assert_eq!(scanned(&log, BOB), 150, "nobody else has gone");
    assert_eq!(log.files().len(), before.len(), "the former files are gone");
    let after = log.recorded().await;
    for (row, former) in after.iter().zip(&before) {
        assert_eq!(row.name == former.name, row.partition == 9);
        assert_eq!(row.last_received_at_ms, former.last_received_at_ms);
    }
    log.restart().await;
    assert_tombstones(&log.read(3, 0).await.unwrap());
    assert_eq!(log.read(9, 0).await.unwrap().len(), 100);
    assert_eq!(keeper.round().await.unwrap(), Kept::default(), "once");
}

async fn rows_of_erased_subjects_are_sealed_without_them(mut log: Vault) {
    for commit in 0..20 {
        let who = if commit % 2 == 0 { ALICE } else { BOB };
        log.append(3, who, 5).await;
    }
    log.erased.0.lock().unwrap().push((START.0 + 1, ALICE));
    log.clock.advance(ERASURE_GRACE_MS + 1);
    let all = KeeperOptions {
        segment_age: Duration::ZERO,
        ..options()
    };
    assert!(log.keep(all).await.sealed > 0);
    assert_eq!((scanned(&log, ALICE), scanned(&log, BOB)), (0, 50));
    log.restart().await;
    assert_tombstones(&log.read(3, 0).await.unwrap());
}

async fn an_interrupted_rewrite_goes_on(mut log: Vault) {
    sealed(&mut log).await;
    log.erased.0.lock().unwrap().push((START.0, ALICE));
    log.clock.advance(8 * DAY_MS + 1);
    let before = log.recorded().await;
    // One segment cannot be read, as if the store were away: the others wait for it.
    let first = log.files()[0].clone();
    let hidden = first.with_extension("hidden");
    std::fs::rename(&first, &hidden).unwrap();
    std::fs::create_dir(&first).unwrap();
    let kept = log.keep(options()).await;
    assert_eq!(
        kept.rewritten + 1,
        before.iter().filter(|row| row.partition == 3).count() as u64
    );
    assert!(scan(&hidden, ALICE) > 0);
    std::fs::remove_dir(&first).unwrap();
    std::fs::rename(&hidden, &first).unwrap();
    let kept = log.keep(options()).await;
    assert_eq!(
        (kept.rewritten, kept.searched),
        (1, 1),
        "only what was left"
    );
    assert_eq!(scanned(&log, ALICE), 0);
    // A crash after the record left the former file: the next keeper finds it.
    let row = &log.recorded().await[0];
    let former = log.folder.path().join(&row.name);
    let old = former.with_file_name(before[0].name.rsplit('/').next().unwrap());
    std::fs::copy(&former, &old).unwrap();
    assert_eq!(log.keep(options()).await.swept, 1);
    log.restart().await;
    assert_tombstones(&log.read(3, 0).await.unwrap());
}

/// Its process has the former file's header and blocks in memory, and the file is gone.
async fn a_reader_goes_on_through_a_rewrite(mut log: Vault) {
    sealed(&mut log).await;
    let disk = log.disk().await;
    let first = disk.read_after(3, 0).await.unwrap();
    let end = first[0].last_sequence;
    let middle = disk.read_after(3, end / 2).await.unwrap();
    assert_eq!(middle, first, "one block holds both");
    log.erased.0.lock().unwrap().push((START.0, ALICE));
    log.clock.advance(8 * DAY_MS);
    assert!(log.keep(options()).await.rewritten > 0);
    let mut sequences = Vec::new();
    let mut after = end / 2;
    while let Some(batch) = disk.read_after(3, after).await.unwrap().first() {
        let events = batch.events().unwrap();
        assert!(
            events
                .iter()
                .all(|event| event.subject_id != ALICE.to_vec())
        );
        let news = events.iter().filter(|event| event.sequence > after);
        sequences.extend(news.map(|event| event.sequence));
        after = batch.last_sequence;
    }
    assert!(sequences.into_iter().eq(end / 2 + 1..=100));
}

async fn retention_forgets_old_segments(mut log: Vault) {
    log.fill(20).await;
    log.clock.advance(20 * DAY_MS);
    log.fill(20).await;
    let for_ever = KeeperOptions {
        segment_age: WEEK,
        ..options()
    };
    let retained = KeeperOptions {
        retention: Some(Duration::from_secs(30 * 86_400)),
        ..for_ever.clone()
    };
    let kept = log.keep(for_ever).await;
    assert!(kept.sealed > 0 && kept.forgotten == 0);
    log.clock.advance(11 * DAY_MS);
    let before = log.recorded().await.len() as u64;
    let kept = log.keep(retained.clone()).await;
    assert!(kept.forgotten > 0 && kept.forgotten < before);
    let left = before + kept.sealed - kept.forgotten;
    assert_eq!(log.files().len() as u64, left);
    let sealed = segment::sealed(&log.db).await.unwrap()[3];
    assert!(sealed.low_water > 0 && sealed.low_water <= 100);
    log.restart().await;
    let expired = log.read(3, sealed.low_water - 1).await.unwrap_err();
    let mark = sealed.low_water;
    assert_eq!(
        expired.to_string(),
        format!("partition 3 keeps nothing up to sequence {mark}")
    );
    let rest = log.read(3, mark).await.unwrap();
    assert_eq!(rest.len() as u64, 200 - mark);
    assert_eq!(rest[0].sequence, mark + 1);
    assert_eq!(log.keep(retained).await, Kept::default());
}
