//! Counters in Redis: one short-lived key per window, all of one owner under one hash tag.

use std::fmt::Write as _;
use std::sync::LazyLock;

use async_trait::async_trait;
use rapport_types::UnixMillis;
use redis::Script;

use super::{Cap, Counter, Counters, Reservation, check, checked, checked_read, window};
use crate::{CacheError, Redis};

/// Keys outlive their window by this: a replica whose clock is late still finds its count.
const GRACE_MS: i64 = 60_000;

/// `ARGV` per key: the cap's maximum, the count elsewhere, the key's time to live. Tests every cap
/// before it adds to any. Returns the index of the refusing cap from 1, or 0, and its count.
static RESERVE: LazyLock<Script> = LazyLock::new(|| {
    Script::new(
        r"for i, key in ipairs(KEYS) do
            local count = tonumber(redis.call('GET', key) or '0') + tonumber(ARGV[3 * i - 1])
            if count >= tonumber(ARGV[3 * i - 2]) then return {i, count} end
        end
        for i, key in ipairs(KEYS) do
            redis.call('INCR', key)
            redis.call('PEXPIRE', key, ARGV[3 * i])
        end
        return {0, 0}",
    )
});

/// `ARGV`: what to add, the time to live. Never below 0 nor above what a count can hold.
static ADD: LazyLock<Script> = LazyLock::new(|| {
    Script::new(
        r"local count = tonumber(redis.call('GET', KEYS[1]) or '0') + tonumber(ARGV[1])
        count = math.max(0, math.min(count, 4294967295))
        redis.call('SET', KEYS[1], string.format('%.0f', count), 'PX', ARGV[2])
        return count",
    )
});

/// [`Counters`] in Redis, single or cluster.
#[derive(Debug, Clone)]
pub struct RedisCounters {
    redis: Redis,
}

impl RedisCounters {
    /// Keeps counters in `redis`, below its namespace.
    #[must_use]
    pub fn new(redis: Redis) -> Self {
        Self { redis }
    }

    /// `ads:n:{0a1b…}:campaign/42:86400000:19675`. The owner is in hex: a brace in it would move
    /// the hash tag, and with it the owner's counters to different nodes.
    fn name(&self, counter: &Counter<'_>, at: UnixMillis) -> String {
        let mut name = format!("{}:n:{{", self.redis.namespace());
        for byte in counter.key {
            write!(name, "{byte:02x}").expect("a String takes any text");
        }
        let number = window(counter.window_ms, at).number;
        write!(name, "}}:{}:{}:{number}", counter.name, counter.window_ms)
            .expect("a String takes any text");
        name
    }
}

/// Returns the time to live of a key written now, relative: Redis has a clock of its own.
fn lives_ms(window_ms: i64, now: UnixMillis) -> i64 {
    window(window_ms, now).left_ms.saturating_add(GRACE_MS)
}

#[async_trait]
impl Counters for RedisCounters {
    async fn reserve(
        &self,
        key: &[u8],
        now: UnixMillis,
        caps: &[Cap<'_>],
    ) -> Result<Reservation, CacheError> {
        let counters = checked(key, caps)?;
        if counters.is_empty() {
            return Ok(Reservation::Reserved);
        }
        let mut script = RESERVE.prepare_invoke();
        for (counter, cap) in counters.iter().zip(caps) {
            script.key(self.name(counter, now));
            script
                .arg(cap.max)
                .arg(cap.elsewhere)
                .arg(lives_ms(cap.window_ms, now));
        }
        let (refused, count): (usize, u64) = self.redis.invoke(&script).await?;
        Ok(match refused.checked_sub(1) {
            None => Reservation::Reserved,
            Some(cap) => Reservation::Refused {
                cap,
                count: u32::try_from(count).unwrap_or(u32::MAX),
            },
        })
    }

    async fn add(
        &self,
        counter: Counter<'_>,
        at: UnixMillis,
        now: UnixMillis,
        delta: i32,
    ) -> Result<u32, CacheError> {
        check(&counter)?;
        if window(counter.window_ms, at).number != window(counter.window_ms, now).number {
            return Ok(0);
        }
        let mut script = ADD.key(self.name(&counter, at));
        script.arg(delta).arg(lives_ms(counter.window_ms, now));
        self.redis.invoke(&script).await
    }

    async fn read(
        &self,
        counters: &[Counter<'_>],
        now: UnixMillis,
    ) -> Result<Vec<u32>, CacheError> {
        checked_read(counters)?;
        if counters.is_empty() {
            return Ok(Vec::new());
        }
        let mut command = redis::cmd("MGET");
        for counter in counters {
            command.arg(self.name(counter, now));
        }
        let counts: Vec<Option<u32>> = self.redis.query(&command).await?;
        Ok(counts.into_iter().map(Option::unwrap_or_default).collect())
    }
}
