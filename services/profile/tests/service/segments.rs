//! Sealing: rows become segments, readers do not notice, and no crash loses or doubles an event.

use std::sync::Arc;

use proptest::prelude::*;
use proptest::test_runner::{Config as ProptestConfig, TestRunner};
use rapport_profile::log::{Keeper, KeeperOptions, Kept};
use rapport_profile::store::segment;
use rapport_store::store_contract;
use rapport_store::testing::Engine;
use rapport_types::{Clock, ManualClock, SubjectId, UnixMillis};

use crate::support::{DAY_MS, START};
use crate::vault::{Erased, PARTITIONS, Vault, open, options, segments};

store_contract!(
    open,
    [
        old_runs_move_to_segments_and_readers_do_not_notice,
        few_rows_are_sealed_once_they_are_old,
        files_that_nobody_knows_are_swept,
        rows_that_a_segment_covers_are_read_once_and_then_deleted,
        a_damaged_segment_is_refused_by_name,
        a_segment_that_is_gone_is_refused_by_name,
        rows_with_a_gap_stay_where_they_are,
        only_one_keeper_at_a_time,
        a_keeper_that_was_overtaken_records_nothing,
    ]
);

const SOMEBODY: SubjectId = SubjectId::new([7; 16]);

async fn old_runs_move_to_segments_and_readers_do_not_notice(mut log: Vault) {
    log.fill(60).await;
    log.restart().await;
    let kept = log.keep(options()).await;
    assert!(kept.sealed >= 8, "{kept:?}");
    assert_eq!(kept.sealed, log.recorded().await.len() as u64);
    assert_eq!(kept.sealed, log.files().len() as u64);
    for sealed in segment::sealed(&log.db).await.unwrap() {
        if let Some(serial) = log.serial.get(&sealed.partition) {
            assert!(sealed.sealed > 200, "most of it is in segments");
            let mut next = sealed.sealed + 1;
            for (first, last) in log.rows(sealed.partition).await {
                assert_eq!(first, next);
                next = last + 1;
            }
            assert_eq!(next, serial.len() as u64 + 1);
        }
    }
    log.assert_serial(7).await;
    assert_eq!(log.keep(options()).await, Kept::default(), "nothing is due");
    log.fill(3).await;
    log.assert_serial(50).await;
}

async fn few_rows_are_sealed_once_they_are_old(mut log: Vault) {
    log.fill(2).await;
    let mut keeper = log.keeper(options());
    assert_eq!(keeper.round().await.unwrap().sealed, 0);
    log.clock.advance(7 * DAY_MS - 1);
    assert_eq!(keeper.round().await.unwrap().sealed, 0);
    log.clock.advance(1);
    assert_eq!(keeper.round().await.unwrap().sealed, 2);
    for partition in PARTITIONS {
        assert_eq!(log.rows(partition).await, []);
    }
    log.restart().await;
    log.assert_serial(1).await;
    log.fill(1).await;
    log.assert_serial(1).await;
}

async fn files_that_nobody_knows_are_swept(mut log: Vault) {
    log.fill(20).await;
    let kept = log.keep(options()).await;
    let known = log.files();
    // What a crash between a file and its record leaves: another name, the same run.
    let name = known[0].to_str().unwrap().to_owned();
    let (place, rest) = name.split_once(".1.").unwrap();
    let orphan = format!("{place}.1.{}.seg", rest.len());
    std::fs::copy(&known[0], &orphan).unwrap();
    // A later keeper's, and somebody else's file.
    let later = format!("{place}.999.0.seg");
    std::fs::copy(&known[0], &later).unwrap();
    let foreign = known[0].with_file_name("notes.txt");
    std::fs::write(&foreign, "not ours").unwrap();
    let swept = log.keep(options()).await;
    assert_eq!((swept.swept, swept.sealed), (1, 0), "{orphan}");
    let mut left = known;
    left.extend([later.into(), foreign]);
    left.sort();
    assert_eq!(log.files(), left);
    assert!(kept.sealed > 0);
    log.restart().await;
    log.assert_serial(9).await;
}

async fn rows_that_a_segment_covers_are_read_once_and_then_deleted(mut log: Vault) {
    log.fill(20).await;
    let before = segment::read(&log.db, 3, 1, 100).await.unwrap();
    log.keep(options()).await;
    let sealed = segment::sealed(&log.db).await.unwrap()[3].sealed;
    let covered: Vec<_> = before
        .into_iter()
        .filter(|batch| batch.last_sequence <= sealed)
        .collect();
    // All of them, then half: a crash in the middle of the deletion, which begins with the oldest.
    log.put_back(&covered).await;
    log.restart().await;
    log.assert_serial(1).await;
    segment::clear(&log.db, 3, covered[covered.len() / 2].last_sequence)
        .await
        .unwrap();
    log.assert_serial(1).await;
    let kept = log.keep(options()).await;
    assert_eq!(kept.sealed, 0, "what is sealed is not sealed again");
    assert_eq!(log.rows(3).await[0].0, sealed + 1);
    log.assert_serial(1).await;
}

async fn a_damaged_segment_is_refused_by_name(mut log: Vault) {
    log.fill(20).await;
    log.keep(options()).await;
    log.restart().await;
    let file = log.files()[0].clone();
    let name = file.file_name().unwrap().to_str().unwrap().to_owned();
    let whole = std::fs::read(&file).unwrap();
    let other = std::fs::read(&log.files()[1]).unwrap();
    let damage = [
        ("a flipped bit in a block", flipped(&whole, whole.len() - 3)),
        ("a flipped bit in the header", flipped(&whole, 20)),
        ("cut off", whole[..whole.len() - 1].to_vec()),
        ("empty", Vec::new()),
        ("another segment", other),
    ];
    for (what, bytes) in damage {
        std::fs::write(&file, bytes).unwrap();
        let error = log.read(3, 0).await.expect_err(what).to_string();
        assert!(
            error.contains(&name) && error.contains("damaged"),
            "{what}: {error}"
        );
    }
    std::fs::write(&file, &whole).unwrap();
    log.assert_serial(10).await;
}

fn flipped(bytes: &[u8], at: usize) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    bytes[at] ^= 1;
    bytes
}

async fn a_segment_that_is_gone_is_refused_by_name(mut log: Vault) {
    log.fill(20).await;
    log.keep(options()).await;
    log.restart().await;
    let file = log.files()[0].clone();
    let name = file.file_name().unwrap().to_str().unwrap();
    std::fs::remove_file(&file).unwrap();
    let error = log.read(3, 0).await.unwrap_err().to_string();
    assert!(
        error.contains(name) && error.contains("not there"),
        "{error}"
    );
}

async fn rows_with_a_gap_stay_where_they_are(mut log: Vault) {
    log.fill(20).await;
    let lost = segment::read(&log.db, 3, 1, 50).await.unwrap();
    segment::clear(&log.db, 3, 50).await.unwrap();
    log.put_back(&lost[..4]).await;
    let before = log.rows(3).await;
    let kept = log.keep(options()).await;
    assert_eq!(
        log.rows(3).await,
        before,
        "the damaged partition is left alone"
    );
    assert!(kept.sealed > 0, "the other one is sealed");
    log.restart().await;
    let error = log.read(3, 0).await.unwrap_err().to_string();
    assert_eq!(error, "partition 3 lost sequence 21");
}

/// A keeper of another replica, with a clock and connections of its own.
async fn replica(log: &Vault, ahead_ms: i64) -> Keeper {
    let db = log.database.open().await;
    let segments = segments(&db, log.folder.path()).await;
    let clock: Arc<dyn Clock> = Arc::new(ManualClock::at(UnixMillis(START.0 + ahead_ms)));
    Keeper::new(db, segments, Arc::new(Erased::default()), clock, options())
}

async fn only_one_keeper_at_a_time(mut log: Vault) {
    let mut keepers = Vec::new();
    for _ in 0..3 {
        keepers.push(replica(&log, 0).await);
    }
    let mut sealed = 0;
    for _ in 0..3 {
        log.fill(20).await;
        let rounds = keepers.into_iter().map(|mut keeper| {
            tokio::spawn(async move {
                let kept = keeper.round().await;
                (keeper, kept)
            })
        });
        let rounds: Vec<_> = rounds.collect();
        keepers = Vec::new();
        for round in rounds {
            let (keeper, kept) = round.await.unwrap();
            // On SQLite, where one process keeps, all go by one name and overtake each other: whoever was
            // overtaken says so and has recorded nothing.
            sealed += kept.map_or(0, |kept| kept.sealed);
            keepers.push(keeper);
        }
    }
    let recorded = log.recorded().await;
    assert!(recorded.len() as u64 >= sealed && sealed > 0);
    for pair in recorded.windows(2) {
        let follows = pair[1].first_sequence == pair[0].last_sequence + 1;
        assert!(
            follows || pair[1].partition != pair[0].partition,
            "each run once"
        );
    }
    log.restart().await;
    log.assert_serial(11).await;
}

async fn a_keeper_that_was_overtaken_records_nothing(mut log: Vault) {
    let mut first = replica(&log, 0).await;
    assert_eq!(first.round().await.unwrap(), Kept::default());
    log.fill(20).await;
    // Its clock is ahead by more than the lease lasts: to it, the first one is dead.
    let mut second = replica(&log, 60_000).await;
    let sealed = second.round().await.unwrap().sealed;
    assert!(sealed > 0);
    log.fill(20).await;
    let overtaken = first.round().await;
    assert!(overtaken.is_err() || overtaken.unwrap().sealed == 0);
    assert_eq!(log.recorded().await.len() as u64, sealed);
    let again = second.round().await.unwrap();
    assert!(again.sealed > 0);
    log.restart().await;
    log.assert_serial(11).await;
}

/// What may happen to a log between two looks at it.
#[derive(Debug, Clone)]
enum Step {
    /// A commit of so many events.
    Append(usize, u8),
    /// A round of a keeper that seals by so many bytes.
    Keep(u64),
    /// Memory is lost.
    Restart,
    /// The last deletion of rows did not come.
    PutBack,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        5 => (0..2_usize, 1..30_u8).prop_map(|(at, count)| Step::Append(at, count)),
        2 => (1_000..20_000_u64).prop_map(Step::Keep),
        1 => Just(Step::Restart),
        1 => Just(Step::PutBack),
    ];
    prop::collection::vec(step, 1..25)
}

#[test]
fn a_tail_over_any_mix_of_segments_rows_and_memory_is_the_serial_log() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let mut runner = TestRunner::new(ProptestConfig::with_cases(24));
    let outcome = runner.run(&(steps(), 1..9_usize), |(steps, step)| {
        runtime.block_on(lives(steps, step));
        Ok(())
    });
    outcome.unwrap();
}

async fn lives(steps: Vec<Step>, every: usize) {
    let mut log = open(Engine::Sqlite).await;
    let mut before = Vec::new();
    for step in steps {
        match step {
            Step::Append(at, count) => {
                log.append(PARTITIONS[at], SOMEBODY, usize::from(count))
                    .await;
            }
            Step::Keep(segment_bytes) => {
                before = segment::read(&log.db, 3, 1, u64::from(u32::MAX))
                    .await
                    .unwrap();
                let options = KeeperOptions {
                    segment_bytes,
                    ..options()
                };
                log.keep(options).await;
            }
            Step::Restart => log.restart().await,
            Step::PutBack => {
                let sealed = segment::sealed(&log.db).await.unwrap()[3].sealed;
                let rows = log.rows(3).await;
                before.retain(|batch| {
                    batch.last_sequence <= sealed
                        && !rows.iter().any(|row| row.0 == batch.first_sequence)
                });
                log.put_back(&before).await;
            }
        }
    }
    log.assert_serial(every).await;
}
