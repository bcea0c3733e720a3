//! A Redis that is not there, hangs or is misnamed: every call ends, and says how.

use std::time::Duration;

use rapport_cache::{
    CacheError, PartitionId, PartitionStates, Redis, RedisConfig, RedisStates, testing,
};

const P1: PartitionId<'static> = PartitionId {
    projection: "p",
    version: 1,
    partition: 1,
};

#[tokio::test]
async fn both_kinds_answer() {
    for url in [testing::redis_url(), testing::redis_cluster_url()] {
        testing::open(&url).ping().await.unwrap();
    }
}

#[tokio::test]
async fn an_absent_redis_is_unavailable_and_start_up_does_not_need_it() {
    // Nobody listens on port 1.
    for url in ["redis://127.0.0.1:1", "redis-cluster://127.0.0.1:1"] {
        let redis = Redis::open(&RedisConfig::new(url, "test")).unwrap();
        let refused = redis.ping().await.unwrap_err();
        assert!(
            matches!(refused, CacheError::Unavailable(_)),
            "{url}: {refused:?}"
        );
    }
}

#[tokio::test]
async fn a_redis_that_never_answers_is_unavailable() {
    let deaf = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("redis://{}", deaf.local_addr().unwrap());
    let config = RedisConfig {
        timeout: Duration::from_millis(50),
        ..RedisConfig::new(url, "test")
    };
    let redis = Redis::open(&config).unwrap();
    let refused = RedisStates::new(redis).position(P1).await.unwrap_err();
    assert!(matches!(refused, CacheError::Unavailable(_)), "{refused:?}");
}

#[tokio::test]
async fn another_programs_key_is_a_protocol_error() {
    let url = testing::redis_url();
    let config = RedisConfig {
        timeout: Duration::from_secs(10),
        ..RedisConfig::new(url.clone(), format!("test-{}", std::process::id()))
    };
    let client = redis::Client::open(url).unwrap();
    let mut link = client.get_multiplexed_async_connection().await.unwrap();
    let name = format!("{}:p:v1:{{p1}}", config.namespace);
    let _ok: String = redis::cmd("SET")
        .arg(&name)
        .arg("text")
        .query_async(&mut link)
        .await
        .unwrap();
    let states = RedisStates::new(Redis::open(&config).unwrap());
    let refused = states.position(P1).await.unwrap_err();
    assert!(matches!(refused, CacheError::Protocol(_)), "{refused:?}");
    assert_eq!(refused.to_string(), "the cache answered unexpectedly");
}

#[tokio::test]
async fn what_cannot_be_used_is_refused_without_being_repeated() {
    for (url, namespace, part) in [
        ("http://u:hunter2@h", "test", "url"),
        ("redis-cluster://u:hunter2@h:port", "test", "url"),
        ("redis://h", "", "namespace"),
        ("redis://h", "a{b}", "namespace"),
    ] {
        let config = RedisConfig::new(url, namespace);
        assert!(!format!("{config:?}").contains("hunter2"));
        let refused = Redis::open(&config).unwrap_err();
        assert!(
            matches!(refused, CacheError::Invalid(named) if named == part),
            "{refused:?}"
        );
        assert!(!format!("{refused:?}").contains("hunter2"));
    }
}
