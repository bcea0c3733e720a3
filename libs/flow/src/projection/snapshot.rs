//! Snapshots of a projection in an object store: what it starts from when its own store has nothing,
//! or when the log no longer has what comes next.
//!
//! Named `<service>/<projection>/v<version>/<partition>/<sequence>`. Each is one partition at one
//! sequence, is verified whole before anything of it is used, and the last few are kept: when the newest
//! is damaged an older one serves, and the tail brings what is missing.

mod format;
#[cfg(test)]
mod tests;

use std::time::Duration;

use rapport_store::objects::{ObjectError, ObjectStore};
use tokio::time::Instant;

use super::{Projection, StateError, decode};
pub(super) use format::{Header, States};

/// Most bytes of one partition's states, and of the file that holds them. A partition beyond it has no
/// snapshot: its states are read from the log.
pub(super) const BYTES_MAX: usize = 256 << 20;
/// Longest name of a service, in bytes.
const SERVICE_BYTES_MAX: usize = 32;

/// Where and how often a projection's snapshots are written.
#[derive(Debug, Clone)]
pub struct Snapshots {
    objects: ObjectStore,
    service: &'static str,
    every: Duration,
    pub(super) stop_within: Duration,
    kept: usize,
}

/// A snapshot that was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WrittenSnapshot {
    /// The partition.
    pub partition: u32,
    /// The last sequence whose effect is in it.
    pub sequence: u64,
}

impl Snapshots {
    /// How often each partition that moved is written, unless told otherwise.
    pub const EVERY: Duration = Duration::from_secs(600);
    /// How long a projection that stops may write snapshots, unless told otherwise.
    pub const STOP_WITHIN: Duration = Duration::from_secs(3);
    /// How many of each partition are kept, unless told otherwise.
    pub const KEPT: usize = 3;

    /// Keeps snapshots of `service`, such as `ads`, in an object store.
    ///
    /// # Panics
    /// When the name is not plain: a defect of the caller.
    #[must_use]
    pub fn new(objects: ObjectStore, service: &'static str) -> Self {
        assert!(
            !service.is_empty()
                && service.len() <= SERVICE_BYTES_MAX
                && service.bytes().all(|byte| byte.is_ascii_alphanumeric()),
            "a service's name is plain"
        );
        Self {
            objects,
            service,
            every: Self::EVERY,
            stop_within: Self::STOP_WITHIN,
            kept: Self::KEPT,
        }
    }

    /// Writes each partition that moved once in this time.
    #[must_use]
    pub fn every(mut self, every: Duration) -> Self {
        self.every = every;
        self
    }

    /// Gives up writing at the end after this time; what is not written is read from the log.
    #[must_use]
    pub fn stop_within(mut self, time: Duration) -> Self {
        self.stop_within = time;
        self
    }

    /// Returns when the next of `partitions` is due: they take turns, so that none waits for all.
    pub(super) fn next_at(&self, partitions: usize) -> Instant {
        let turns = u32::try_from(partitions.max(1)).unwrap_or(u32::MAX);
        Instant::now() + self.every / turns
    }

    /// Returns the name under which a projection's version reads the log.
    pub(super) fn reader<P: Projection>(&self) -> String {
        format!("{}/{}/v{}", self.service, P::NAME, P::VERSION)
    }

    /// Returns the header of a snapshot to be written.
    pub(super) fn header<P: Projection>(
        &self,
        partition: u32,
        sequence: u64,
        graph_version: u64,
    ) -> Header {
        Header {
            service: self.service.to_owned(),
            projection: P::NAME.to_owned(),
            version: P::VERSION,
            partition,
            sequence,
            graph_version,
            ..Header::default()
        }
    }

    /// Writes a partition's states and deletes all but the last few snapshots of it.
    ///
    /// # Errors
    /// [`ObjectError`]: those before are untouched.
    pub(super) async fn write(
        &self,
        header: Header,
        mut states: States,
    ) -> Result<WrittenSnapshot, ObjectError> {
        let written = WrittenSnapshot {
            partition: header.partition,
            sequence: header.sequence,
        };
        let folder = folder_of(&header);
        let name = format!("{folder}{:020}", header.sequence);
        self.objects
            .put_with(&name, move |file| {
                states.sort_unstable_by(|a, b| a.0.cmp(&b.0));
                file.write_all(&format::encode(header, &states)?)
            })
            .await?;
        let mut names = self.objects.list(&folder, None).await?;
        names.truncate(names.len().saturating_sub(self.kept));
        for old in names {
            self.objects.delete(&old).await?;
        }
        Ok(written)
    }

    /// Returns the newest snapshot of a partition beyond a sequence that can be verified, with its
    /// states sorted by key. A damaged one is named in the log and passed over.
    ///
    /// # Errors
    /// [`ObjectError`] when the object store does not answer.
    pub(super) async fn newest<P: Projection>(
        &self,
        partition: u32,
        after: u64,
    ) -> Result<Option<(Header, States)>, ObjectError> {
        let wanted = self.header::<P>(partition, 0, 0);
        let names = self.objects.list(&folder_of(&wanted), None).await?;
        for name in names.into_iter().rev() {
            let sequence = name.rsplit('/').next().and_then(|last| last.parse().ok());
            let Some(sequence) = sequence.filter(|sequence| *sequence > after) else {
                continue;
            };
            let Some(bytes) = self.objects.get(&name, BYTES_MAX as u64).await? else {
                continue;
            };
            let expected = Header {
                sequence,
                ..wanted.clone()
            };
            let decoded = tokio::task::spawn_blocking(move || format::decode(&bytes, &expected));
            match decoded.await {
                Ok(Ok(found)) => return Ok(Some(found)),
                Ok(Err(why)) => {
                    tracing::warn!(name, %why, "a snapshot is damaged, trying an older")
                }
                Err(stopped) => return Err(std::io::Error::other(stopped).into()),
            }
        }
        Ok(None)
    }

    /// Visits every state of a partition's newest verified snapshot, sorted by key: for readers of a
    /// store that cannot list its states. Returns the last sequence whose effect is in them, from which
    /// a tail goes on; 0, and no visit, without a snapshot. Who was erased since may be among them.
    ///
    /// # Errors
    /// [`StateError`] when the object store does not answer or a state does not decode.
    pub async fn for_each<P: Projection>(
        &self,
        partition: u32,
        mut visit: impl FnMut(&[u8], P::State) + Send,
    ) -> Result<u64, StateError> {
        let newest = self.newest::<P>(partition, 0).await;
        let newest = newest.map_err(|why| StateError::Store(Box::new(why)))?;
        let Some((header, states)) = newest else {
            return Ok(0);
        };
        for (key, state) in states {
            visit(&key, decode::<P>(&state)?);
        }
        Ok(header.sequence)
    }

    /// Deletes every snapshot of a version that is over.
    ///
    /// # Errors
    /// [`ObjectError`]: some may be left.
    pub(super) async fn drop_version<P: Projection>(&self) -> Result<(), ObjectError> {
        let header = self.header::<P>(0, 0, 0);
        let prefix = version_of(&header);
        loop {
            let names = self.objects.list(&prefix, None).await?;
            if names.is_empty() {
                return Ok(());
            }
            for name in names {
                self.objects.delete(&name).await?;
            }
        }
    }
}

fn version_of(header: &Header) -> String {
    format!(
        "{}/{}/v{}/",
        header.service, header.projection, header.version
    )
}

fn folder_of(header: &Header) -> String {
    format!("{}{:02}/", version_of(header), header.partition)
}
