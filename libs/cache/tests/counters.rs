//! The counters' contract, on the twin, on Redis and on Redis Cluster.
#![expect(clippy::unwrap_used, reason = "tests")]

use std::sync::Arc;

use rapport_cache::{
    CAPS_MAX, CacheError, Cap, Counter, Counters, MemoryCounters, READ_MAX, RedisCounters,
    Reservation, testing,
};
use rapport_types::{UnixMillis, partition_of};

type Subject = Arc<dyn Counters>;

async fn complete(counters: impl Counters + 'static) -> Subject {
    testing::complete(&counters).await;
    Arc::new(counters)
}

fn on_url(url: &str) -> RedisCounters {
    RedisCounters::new(testing::open(url))
}

macro_rules! contract {
    ([$($test:ident),+ $(,)?]) => {
        mod in_memory { $(
            #[tokio::test(flavor = "multi_thread")]
            async fn $test() {
                super::$test(super::complete(super::MemoryCounters::default()).await).await
            }
        )+ }
        mod on_redis { $(
            #[tokio::test(flavor = "multi_thread")]
            async fn $test() {
                let counters = super::on_url(&super::testing::redis_url());
                super::$test(super::complete(counters).await).await
            }
        )+ }
        mod on_cluster { $(
            #[tokio::test(flavor = "multi_thread")]
            async fn $test() {
                let counters = super::on_url(&super::testing::redis_cluster_url());
                super::$test(super::complete(counters).await).await
            }
        )+ }
    };
}

contract!([
    a_cap_holds_to_the_last_one,
    a_refusal_adds_to_no_counter,
    what_is_counted_elsewhere_counts,
    a_new_window_starts_at_zero,
    keys_and_windows_are_independent,
    a_reservation_can_be_given_back,
    an_ended_window_is_not_rebuilt,
    concurrent_reservations_never_pass_the_cap,
    bad_calls_are_refused,
    a_complete_partition_cannot_be_rebuilt,
]);

const DAY: i64 = 86_400_000;
const HOUR: i64 = 3_600_000;
/// Ten in the morning, UTC.
const NOW: UnixMillis = UnixMillis(19_675 * DAY + 10 * HOUR);
const ANNA: &[u8] = b"anna\x00}\xff";

fn cap(name: &str, window_ms: i64, max: u32) -> Cap<'_> {
    Cap {
        name,
        window_ms,
        max,
        elsewhere: 0,
    }
}

fn counter<'a>(name: &'a str, window_ms: i64) -> Counter<'a> {
    Counter {
        key: ANNA,
        name,
        window_ms,
    }
}

async fn a_cap_holds_to_the_last_one(counters: Subject) {
    let caps = [cap("c/1", DAY, 3)];
    for _ in 0..3 {
        assert_eq!(
            counters.reserve(ANNA, NOW, &caps).await.unwrap(),
            Reservation::Reserved
        );
    }
    let refused = counters.reserve(ANNA, NOW, &caps).await.unwrap();
    assert_eq!(refused, Reservation::Refused { cap: 0, count: 3 });
    assert_eq!(
        counters.read(&[counter("c/1", DAY)], NOW).await.unwrap(),
        [3]
    );
    let never = counters
        .reserve(ANNA, NOW, &[cap("c/2", DAY, 0)])
        .await
        .unwrap();
    assert_eq!(never, Reservation::Refused { cap: 0, count: 0 });
    assert_eq!(
        counters.reserve(ANNA, NOW, &[]).await.unwrap(),
        Reservation::Reserved
    );
}

async fn a_refusal_adds_to_no_counter(counters: Subject) {
    let caps = [
        cap("day", DAY, 10),
        cap("hour", HOUR, 1),
        cap("week", 7 * DAY, 10),
    ];
    assert_eq!(
        counters.reserve(ANNA, NOW, &caps).await.unwrap(),
        Reservation::Reserved
    );
    let refused = counters.reserve(ANNA, NOW, &caps).await.unwrap();
    assert_eq!(refused, Reservation::Refused { cap: 1, count: 1 });
    let all = [
        counter("day", DAY),
        counter("hour", HOUR),
        counter("week", 7 * DAY),
    ];
    assert_eq!(counters.read(&all, NOW).await.unwrap(), [1, 1, 1]);
}

async fn what_is_counted_elsewhere_counts(counters: Subject) {
    let caps = [Cap {
        elsewhere: 2,
        ..cap("c/1", DAY, 3)
    }];
    assert_eq!(
        counters.reserve(ANNA, NOW, &caps).await.unwrap(),
        Reservation::Reserved
    );
    let refused = counters.reserve(ANNA, NOW, &caps).await.unwrap();
    assert_eq!(refused, Reservation::Refused { cap: 0, count: 3 });
    assert_eq!(
        counters.read(&[counter("c/1", DAY)], NOW).await.unwrap(),
        [1]
    );
}

async fn a_new_window_starts_at_zero(counters: Subject) {
    let caps = [cap("c/1", DAY, 1)];
    counters.reserve(ANNA, NOW, &caps).await.unwrap();
    let last = NOW.plus(14 * HOUR - 1);
    let refused = counters.reserve(ANNA, last, &caps).await.unwrap();
    assert_eq!(refused, Reservation::Refused { cap: 0, count: 1 });
    let tomorrow = last.plus(1);
    assert_eq!(
        counters
            .read(&[counter("c/1", DAY)], tomorrow)
            .await
            .unwrap(),
        [0]
    );
    let again = counters.reserve(ANNA, tomorrow, &caps).await.unwrap();
    assert_eq!(again, Reservation::Reserved);
}

async fn keys_and_windows_are_independent(counters: Subject) {
    counters
        .reserve(ANNA, NOW, &[cap("c/1", DAY, 1)])
        .await
        .unwrap();
    for (key, caps) in [
        (b"bert".as_slice(), cap("c/1", DAY, 1)),
        (ANNA, cap("c/1", HOUR, 1)),
        (ANNA, cap("c/2", DAY, 1)),
    ] {
        let reserved = counters.reserve(key, NOW, &[caps]).await.unwrap();
        assert_eq!(reserved, Reservation::Reserved, "{key:?} {caps:?}");
    }
    // In the order asked for, over several owners, which a cluster keeps apart.
    let bert = Counter {
        key: b"bert",
        ..counter("c/1", DAY)
    };
    let asked = [bert, counter("none", DAY), counter("c/1", HOUR)];
    assert_eq!(counters.read(&asked, NOW).await.unwrap(), [1, 0, 1]);
    assert!(counters.read(&[], NOW).await.unwrap().is_empty());
}

async fn a_reservation_can_be_given_back(counters: Subject) {
    let caps = [cap("c/1", DAY, 1)];
    counters.reserve(ANNA, NOW, &caps).await.unwrap();
    let back = counter("c/1", DAY);
    assert_eq!(counters.add(back, NOW, NOW.plus(5), -1).await.unwrap(), 0);
    assert_eq!(
        counters.reserve(ANNA, NOW, &caps).await.unwrap(),
        Reservation::Reserved
    );
    // Never below zero, however often it is given back.
    assert_eq!(counters.add(back, NOW, NOW, -7).await.unwrap(), 0);
    assert_eq!(counters.add(back, NOW, NOW, 2).await.unwrap(), 2);
    assert_eq!(counters.read(&[back], NOW).await.unwrap(), [2]);
}

async fn an_ended_window_is_not_rebuilt(counters: Subject) {
    let hour = counter("c/1", HOUR);
    let before = NOW.plus(-1);
    assert_eq!(counters.add(hour, before, NOW, 1).await.unwrap(), 0);
    assert_eq!(counters.add(hour, before, before, 1).await.unwrap(), 1);
    assert_eq!(counters.read(&[hour], NOW).await.unwrap(), [0]);
}

async fn concurrent_reservations_never_pass_the_cap(counters: Subject) {
    let tasks: Vec<_> = (0..100)
        .map(|_| {
            let counters = Arc::clone(&counters);
            tokio::spawn(async move {
                counters
                    .reserve(ANNA, NOW, &[cap("day", DAY, 10), cap("hour", HOUR, 7)])
                    .await
            })
        })
        .collect();
    let mut reserved = 0;
    for task in tasks {
        reserved += i32::from(task.await.unwrap().unwrap() == Reservation::Reserved);
    }
    assert_eq!(reserved, 7);
    let both = [counter("day", DAY), counter("hour", HOUR)];
    assert_eq!(counters.read(&both, NOW).await.unwrap(), [7, 7]);
}

async fn bad_calls_are_refused(counters: Subject) {
    let many: Vec<String> = (0..=CAPS_MAX).map(|number| format!("c/{number}")).collect();
    let too_many: Vec<_> = many.iter().map(|name| cap(name, DAY, 1)).collect();
    let long = "x".repeat(129);
    for (key, caps, part) in [
        (ANNA, too_many.as_slice(), "caps"),
        (ANNA, &[cap("twice", DAY, 1), cap("twice", DAY, 2)], "caps"),
        (b"".as_slice(), &[cap("c", DAY, 1)], "key"),
        (ANNA, &[cap("", DAY, 1)], "name"),
        (ANNA, &[cap(&long, DAY, 1)], "name"),
        (ANNA, &[cap("c", 0, 1)], "window_ms"),
    ] {
        let refused = counters.reserve(key, NOW, caps).await.unwrap_err();
        assert!(
            matches!(refused, CacheError::Invalid(named) if named == part),
            "{refused:?}"
        );
    }
    let read = vec![counter("c", DAY); READ_MAX + 1];
    assert!(matches!(
        counters.read(&read, NOW).await,
        Err(CacheError::Invalid("counters"))
    ));
}

/// Redis forgets a window by itself, soon after it ended.
#[tokio::test]
async fn redis_keys_expire() {
    let redis = testing::open(&testing::redis_url());
    let counters = RedisCounters::new(redis);
    testing::complete(&counters).await;
    counters
        .reserve(b"expires", NOW, &[cap("c/1", HOUR, 1)])
        .await
        .unwrap();
    let client = redis::Client::open(testing::redis_url()).unwrap();
    let mut link = client.get_multiplexed_async_connection().await.unwrap();
    // "expires" in hex.
    let pattern = "test-*:n:{p*}:65787069726573:c/1:*";
    let names: Vec<String> = redis::cmd("KEYS")
        .arg(pattern)
        .query_async(&mut link)
        .await
        .unwrap();
    assert!(!names.is_empty());
    for name in names {
        let left: i64 = redis::cmd("PTTL")
            .arg(name)
            .query_async(&mut link)
            .await
            .unwrap();
        assert!((1..=HOUR + 60_000).contains(&left), "{left}");
    }
}

/// The twin drops ended windows before it refuses for want of room.
#[tokio::test]
async fn memory_is_bounded_by_live_windows() {
    let counters = MemoryCounters::default();
    testing::complete(&counters).await;
    for hour in 0..50 {
        for owner in 0..1_000_u32 {
            let key = owner.to_be_bytes();
            let name = format!("c/{hour}");
            let now = NOW.plus(hour * HOUR);
            counters
                .reserve(&key, now, &[cap(&name, HOUR, 1)])
                .await
                .unwrap();
        }
    }
    assert!(counters.len() <= 64 * 1_024, "{}", counters.len());
}

async fn a_complete_partition_cannot_be_rebuilt(counters: Subject) {
    let partition = partition_of(ANNA);
    assert!(counters.incomplete().await.unwrap().is_empty());
    assert!(!counters.begin_rebuild(partition, "t").await.unwrap());
    let day = counter("c/1", DAY);
    assert!(
        !counters
            .rebuild(partition, "t", NOW, &[(day, 9)])
            .await
            .unwrap()
    );
    assert!(!counters.end_rebuild(partition, "t").await.unwrap());
    assert_eq!(counters.read(&[day], NOW).await.unwrap(), [0]);
    let elsewhere = (partition + 1) % 64;
    let refused = counters.rebuild(elsewhere, "t", NOW, &[(day, 9)]).await;
    assert!(matches!(refused, Err(CacheError::Invalid("partition"))));
}

/// What is incomplete reserves nothing and is read by nobody, until it was counted again.
async fn incomplete_counters_count_as_at_the_cap(counters: &dyn Counters) {
    let (partition, day) = (partition_of(ANNA), counter("c/1", DAY));
    let caps = [cap("c/1", DAY, 3)];
    let incomplete = |answer: Result<(), CacheError>| matches!(answer, Err(CacheError::Incomplete));
    assert!(incomplete(
        counters.reserve(ANNA, NOW, &caps).await.map(drop)
    ));
    assert!(incomplete(counters.read(&[day], NOW).await.map(drop)));
    assert_eq!(counters.add(day, NOW, NOW, -1).await.unwrap(), 0);
    assert!(counters.incomplete().await.unwrap().contains(&partition));
    assert!(counters.begin_rebuild(partition, "t1").await.unwrap());
    assert!(
        !counters
            .rebuild(partition, "t0", NOW, &[(day, 9)])
            .await
            .unwrap()
    );
    // Again and again is once: a rebuild that was killed half way is begun anew.
    for _ in 0..2 {
        assert!(
            counters
                .rebuild(partition, "t1", NOW, &[(day, 2)])
                .await
                .unwrap()
        );
    }
    assert!(
        incomplete(counters.reserve(ANNA, NOW, &caps).await.map(drop)),
        "not ended yet"
    );
    assert!(!counters.end_rebuild(partition, "t0").await.unwrap());
    assert!(counters.end_rebuild(partition, "t1").await.unwrap());
    let reserved = counters.reserve(ANNA, NOW, &caps).await.unwrap();
    assert_eq!(reserved, Reservation::Reserved);
    let refused = counters.reserve(ANNA, NOW, &caps).await.unwrap();
    assert_eq!(refused, Reservation::Refused { cap: 0, count: 3 });
    assert_eq!(counters.incomplete().await.unwrap().len(), 63);
}

#[tokio::test]
async fn a_new_store_is_incomplete_until_it_was_rebuilt() {
    incomplete_counters_count_as_at_the_cap(&MemoryCounters::default()).await;
    incomplete_counters_count_as_at_the_cap(&on_url(&testing::redis_url())).await;
    incomplete_counters_count_as_at_the_cap(&on_url(&testing::redis_cluster_url())).await;
}

/// Counters go with their mark; a rebuild that lost both ends nothing.
#[tokio::test]
async fn an_emptied_redis_is_incomplete_at_once() {
    let server = testing::OwnRedis::start();
    let counters = on_url(&server.url());
    incomplete_counters_count_as_at_the_cap(&counters).await;
    server.flush_all();
    let reserved = counters.reserve(ANNA, NOW, &[cap("c/1", DAY, 3)]).await;
    assert!(
        matches!(reserved, Err(CacheError::Incomplete)),
        "{reserved:?}"
    );
    let partition = partition_of(ANNA);
    assert!(counters.begin_rebuild(partition, "t2").await.unwrap());
    server.flush_all();
    assert!(!counters.end_rebuild(partition, "t2").await.unwrap());
    incomplete_counters_count_as_at_the_cap(&counters).await;
}
