//! Partitions in Redis: one hash each, state and offset inside it, so that nothing can part them.

use std::sync::LazyLock;

use async_trait::async_trait;
use redis::Script;

use super::{
    Change, CommitError, Page, PartitionId, PartitionStates, Position, check_commit, check_id,
    check_keys,
};
use crate::{CacheError, Redis};

// Fields: `e` the epoch, `o` the offset, and `s` before each key of the state. One Redis key for
// all three, because a failover, an eviction or an expiry takes a key whole.
const EPOCH: &str = "e";
const OFFSET: &str = "o";

/// Fields that Redis looks at for one page.
const PAGE_FIELDS: u32 = 500;

/// What the scripts answer first.
const DONE: i64 = 0;
const FENCED: i64 = 1;
const MISMATCH: i64 = 2;

/// `ARGV`: the epoch. Returns the verdict, and the higher epoch or the offset.
static CLAIM: LazyLock<Script> = LazyLock::new(|| {
    Script::new(
        r"local epoch = redis.call('HGET', KEYS[1], 'e') or '0'
        if tonumber(epoch) > tonumber(ARGV[1]) then return {1, epoch} end
        redis.call('HSET', KEYS[1], 'e', ARGV[1])
        return {0, redis.call('HGET', KEYS[1], 'o') or '0'}",
    )
});

/// `ARGV`: epoch, expected offset, new offset, how many pairs to set, the pairs, what to delete.
/// Offsets are compared as text. Every check comes before the first write, and Redis refuses a
/// script for want of memory only at its first write, so it is all or nothing.
static COMMIT: LazyLock<Script> = LazyLock::new(|| {
    Script::new(
        r"local epoch = redis.call('HGET', KEYS[1], 'e') or '0'
        if tonumber(epoch) > tonumber(ARGV[1]) then return {1, epoch} end
        local offset = redis.call('HGET', KEYS[1], 'o') or '0'
        if offset ~= ARGV[2] then return {2, offset} end
        redis.call('HSET', KEYS[1], 'e', ARGV[1], 'o', ARGV[3])
        local deletes = 5 + 2 * tonumber(ARGV[4])
        for i = 5, deletes - 2, 2 do
            redis.call('HSET', KEYS[1], ARGV[i], ARGV[i + 1])
        end
        for i = deletes, #ARGV do
            redis.call('HDEL', KEYS[1], ARGV[i])
        end
        return {0, ARGV[3]}",
    )
});

/// `ARGV`: the epoch.
static RESET: LazyLock<Script> = LazyLock::new(|| {
    Script::new(
        r"local epoch = redis.call('HGET', KEYS[1], 'e') or '0'
        if tonumber(epoch) > tonumber(ARGV[1]) then return {1, epoch} end
        redis.call('UNLINK', KEYS[1])
        redis.call('HSET', KEYS[1], 'e', ARGV[1])
        return {0, ARGV[1]}",
    )
});

/// [`PartitionStates`] in Redis, single or cluster.
#[derive(Debug, Clone)]
pub struct RedisStates {
    redis: Redis,
}

impl RedisStates {
    /// Keeps partitions in `redis`, below its namespace.
    #[must_use]
    pub fn new(redis: Redis) -> Self {
        Self { redis }
    }

    /// `recommend:timelines:v3:{p17}`.
    fn name(&self, id: PartitionId<'_>) -> Result<String, CacheError> {
        check_id(id)?;
        let PartitionId {
            projection,
            version,
            partition,
        } = id;
        Ok(format!(
            "{}:{projection}:v{version}:{{p{partition}}}",
            self.redis.namespace()
        ))
    }
}

fn field(key: &[u8]) -> Vec<u8> {
    [b"s", key].concat()
}

fn verdict((verdict, number): (i64, i64)) -> Result<i64, CommitError> {
    match verdict {
        DONE => Ok(number),
        FENCED => Err(CommitError::Fenced { current: number }),
        MISMATCH => Err(CommitError::OffsetMismatch { actual: number }),
        other => Err(CacheError::Protocol(format!("verdict {other}").into()).into()),
    }
}

#[async_trait]
impl PartitionStates for RedisStates {
    async fn claim(&self, id: PartitionId<'_>, epoch: i64) -> Result<Position, CommitError> {
        let mut script = CLAIM.key(self.name(id)?);
        script.arg(epoch);
        let offset = verdict(self.redis.invoke(&script).await?)?;
        Ok(Position { epoch, offset })
    }

    async fn position(&self, id: PartitionId<'_>) -> Result<Position, CacheError> {
        let mut command = redis::cmd("HMGET");
        command.arg(self.name(id)?).arg(EPOCH).arg(OFFSET);
        let (epoch, offset): (Option<i64>, Option<i64>) = self.redis.query(&command).await?;
        Ok(Position {
            epoch: epoch.unwrap_or(0),
            offset: offset.unwrap_or(0),
        })
    }

    async fn get_many(
        &self,
        id: PartitionId<'_>,
        keys: &[&[u8]],
    ) -> Result<Vec<Option<Vec<u8>>>, CacheError> {
        check_keys(keys)?;
        let name = self.name(id)?;
        if keys.is_empty() {
            return Ok(Vec::new());
        }
        let mut command = redis::cmd("HMGET");
        command.arg(name);
        for key in keys {
            command.arg(field(key));
        }
        self.redis.query(&command).await
    }

    async fn commit(
        &self,
        id: PartitionId<'_>,
        epoch: i64,
        expected_offset: i64,
        new_offset: i64,
        changes: &[Change],
    ) -> Result<(), CommitError> {
        check_commit(id, expected_offset, new_offset, changes)?;
        // The last change of a key wins, as it does in the twin: sets and deletes are sent apart.
        let mut last = std::collections::HashMap::with_capacity(changes.len());
        for (key, value) in changes {
            last.insert(key, value);
        }
        let mut script = COMMIT.key(self.name(id)?);
        let sets = last.values().filter(|value| value.is_some()).count();
        script
            .arg(epoch)
            .arg(expected_offset)
            .arg(new_offset)
            .arg(sets);
        for (key, value) in &last {
            if let Some(value) = value {
                script.arg(field(key)).arg(value.as_slice());
            }
        }
        for (key, value) in &last {
            if value.is_none() {
                script.arg(field(key));
            }
        }
        verdict(self.redis.invoke(&script).await?)?;
        Ok(())
    }

    async fn page(&self, id: PartitionId<'_>, from: u64) -> Result<Page, CacheError> {
        let mut command = redis::cmd("HSCAN");
        command.arg(self.name(id)?).arg(from);
        command.arg("COUNT").arg(PAGE_FIELDS);
        let (next, fields): (u64, Vec<(Vec<u8>, Vec<u8>)>) = self.redis.query(&command).await?;
        let key =
            |(field, value): (Vec<u8>, Vec<u8>)| Some((field.strip_prefix(b"s")?.to_vec(), value));
        Ok(Page {
            values: fields.into_iter().filter_map(key).collect(),
            next: (next != 0).then_some(next),
        })
    }

    async fn reset(&self, id: PartitionId<'_>, epoch: i64) -> Result<(), CommitError> {
        let mut script = RESET.key(self.name(id)?);
        script.arg(epoch);
        verdict(self.redis.invoke(&script).await?)?;
        Ok(())
    }

    async fn clear(&self, id: PartitionId<'_>) -> Result<(), CacheError> {
        let mut command = redis::cmd("UNLINK");
        command.arg(self.name(id)?);
        let _existed: i64 = self.redis.query(&command).await?;
        Ok(())
    }
}
