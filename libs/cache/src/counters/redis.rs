//! Counters in Redis: one short-lived key per window, all of one partition under one hash tag, beside
//! the mark that they are complete.

use std::fmt::Write as _;
use std::sync::LazyLock;

use async_trait::async_trait;
use rapport_types::{PARTITIONS, UnixMillis, partition_of};
use redis::Script;

use super::{
    Cap, Counter, Counters, REBUILD_TTL_MS, Reservation, check, checked, checked_read,
    checked_rebuild, window,
};
use crate::{CacheError, Redis};

/// Keys outlive their window by this: a replica whose clock is late still finds its count.
const GRACE_MS: i64 = 60_000;

/// The first key is the mark. `ARGV` per other key: the cap's maximum, the count elsewhere, the key's
/// time to live. Tests every cap before it adds to any. Returns the index of the refusing cap from 1,
/// 0, or -1 for incomplete, and its count.
static RESERVE: LazyLock<Script> = LazyLock::new(|| {
    Script::new(
        r"if redis.call('EXISTS', KEYS[1]) == 0 then return {-1, 0} end
        for i = 2, #KEYS do
            local count = tonumber(redis.call('GET', KEYS[i]) or '0') + tonumber(ARGV[3 * i - 4])
            if count >= tonumber(ARGV[3 * i - 5]) then return {i - 1, count} end
        end
        for i = 2, #KEYS do
            redis.call('INCR', KEYS[i])
            redis.call('PEXPIRE', KEYS[i], ARGV[3 * i - 3])
        end
        return {0, 0}",
    )
});

/// The first key is the mark. `ARGV`: what to add, the time to live. Never below 0 nor above what a
/// count can hold.
static ADD: LazyLock<Script> = LazyLock::new(|| {
    Script::new(
        r"if redis.call('EXISTS', KEYS[1]) == 0 then return 0 end
        local count = tonumber(redis.call('GET', KEYS[2]) or '0') + tonumber(ARGV[1])
        count = math.max(0, math.min(count, 4294967295))
        redis.call('SET', KEYS[2], string.format('%.0f', count), 'PX', ARGV[2])
        return count",
    )
});

/// Keys: the mark, the token. `ARGV`: the token, its time to live.
static BEGIN: LazyLock<Script> = LazyLock::new(|| {
    Script::new(
        r"if redis.call('EXISTS', KEYS[1]) == 1 then return 0 end
        if redis.call('SET', KEYS[2], ARGV[1], 'NX', 'PX', ARGV[2]) then return 1 end
        return 0",
    )
});

/// Keys: the token, the counters. `ARGV`: the token, its time to live, then a count and a time to
/// live per counter. The token goes with everything else that is lost, so nothing half counted can
/// be marked as complete.
static REBUILD: LazyLock<Script> = LazyLock::new(|| {
    Script::new(
        r"if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
        redis.call('PEXPIRE', KEYS[1], ARGV[2])
        for i = 2, #KEYS do
            redis.call('SET', KEYS[i], ARGV[2 * i - 1], 'PX', ARGV[2 * i])
        end
        return 1",
    )
});

/// Keys: the token, the mark. `ARGV`: the token.
static END: LazyLock<Script> = LazyLock::new(|| {
    Script::new(
        r"if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
        redis.call('SET', KEYS[2], '1')
        redis.call('DEL', KEYS[1])
        return 1",
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

    /// `ads:n:{p17}:0a1b…:campaign/42:86400000:19675`. The owner is in hex: a brace in it would end
    /// the hash tag, and with it part the owner's counters from each other and from the mark.
    fn name(&self, counter: &Counter<'_>, at: UnixMillis) -> String {
        let mut name = self.beside(partition_of(counter.key), "");
        for byte in counter.key {
            write!(name, "{byte:02x}").expect("a String takes any text");
        }
        let number = window(counter.window_ms, at).number;
        write!(name, ":{}:{}:{number}", counter.name, counter.window_ms)
            .expect("a String takes any text");
        name
    }

    /// Returns the key that says that a partition is complete.
    fn mark(&self, partition: u32) -> String {
        self.beside(partition, "complete")
    }

    /// Returns the key that says who rebuilds a partition.
    fn token(&self, partition: u32) -> String {
        self.beside(partition, "rebuild")
    }

    fn beside(&self, partition: u32, name: &str) -> String {
        format!("{}:n:{{p{partition}}}:{name}", self.redis.namespace())
    }

    async fn ask(&self, script: &mut redis::ScriptInvocation<'_>) -> Result<bool, CacheError> {
        let answer: i64 = self.redis.invoke(script).await?;
        Ok(answer == 1)
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
        let mut script = RESERVE.key(self.mark(partition_of(key)));
        for (counter, cap) in counters.iter().zip(caps) {
            script.key(self.name(counter, now));
            script
                .arg(cap.max)
                .arg(cap.elsewhere)
                .arg(lives_ms(cap.window_ms, now));
        }
        let (refused, count): (i64, u64) = self.redis.invoke(&script).await?;
        match refused {
            0 => Ok(Reservation::Reserved),
            1.. => Ok(Reservation::Refused {
                cap: refused as usize - 1,
                count: u32::try_from(count).unwrap_or(u32::MAX),
            }),
            _ => Err(CacheError::Incomplete),
        }
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
        let mut script = ADD.key(self.mark(partition_of(counter.key)));
        script.key(self.name(&counter, at));
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
        let mut partitions: Vec<u32> = counters.iter().map(|it| partition_of(it.key)).collect();
        partitions.sort_unstable();
        partitions.dedup();
        let mut command = redis::cmd("MGET");
        for partition in &partitions {
            command.arg(self.mark(*partition));
        }
        for counter in counters {
            command.arg(self.name(counter, now));
        }
        let mut marks: Vec<Option<u32>> = self.redis.query(&command).await?;
        let counts = marks.split_off(partitions.len().min(marks.len()));
        if marks.contains(&None) {
            return Err(CacheError::Incomplete);
        }
        Ok(counts.into_iter().map(Option::unwrap_or_default).collect())
    }

    async fn incomplete(&self) -> Result<Vec<u32>, CacheError> {
        let mut command = redis::cmd("MGET");
        for partition in 0..PARTITIONS {
            command.arg(self.mark(partition));
        }
        let marks: Vec<Option<u32>> = self.redis.query(&command).await?;
        let absent = |(partition, mark): (u32, Option<u32>)| mark.is_none().then_some(partition);
        Ok((0..PARTITIONS).zip(marks).filter_map(absent).collect())
    }

    async fn begin_rebuild(&self, partition: u32, token: &str) -> Result<bool, CacheError> {
        let mut script = BEGIN.key(self.mark(partition));
        script.key(self.token(partition));
        self.ask(script.arg(token).arg(REBUILD_TTL_MS)).await
    }

    async fn rebuild(
        &self,
        partition: u32,
        token: &str,
        now: UnixMillis,
        counts: &[(Counter<'_>, u32)],
    ) -> Result<bool, CacheError> {
        checked_rebuild(partition, counts)?;
        let mut script = REBUILD.key(self.token(partition));
        script.arg(token).arg(REBUILD_TTL_MS);
        for (counter, count) in counts {
            script.key(self.name(counter, now));
            script.arg(*count).arg(lives_ms(counter.window_ms, now));
        }
        self.ask(&mut script).await
    }

    async fn end_rebuild(&self, partition: u32, token: &str) -> Result<bool, CacheError> {
        let mut script = END.key(self.token(partition));
        script.key(self.mark(partition));
        self.ask(script.arg(token)).await
    }
}
