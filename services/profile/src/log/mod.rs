//! The event log: append, hub, tail. Knows partitions, sequences and bytes; knows no profile.
//!
//! An event is encoded once, by the request that brings it, but for its sequence and its receipt
//! time, which the group committer adds. The same bytes go to disk and to every reader.
//!
//! The keeper moves old runs from rows to sealed segments in the object store, takes erased subjects out
//! of these and forgets what nobody may need again. Readers ask the [`Disk`] and do not notice.

mod batch;
mod committer;
mod dedup;
mod disk;
mod hub;
mod keeper;
mod prepared;
mod recent;
mod redact;
mod segment;
mod segments;
mod tail;

pub use batch::{EncodedBatch, STORED_BYTES_MAX, StoredBatch};
pub use committer::{AppendError, Committer, CommitterOptions, Protection};
pub use dedup::{DEDUP_HORIZON_DAYS, Entry, dedup_key};
pub use disk::Disk;
pub use hub::Hub;
pub use keeper::{ERASURE_GRACE_MS, Erasures, KeepError, Keeper, KeeperOptions, Kept};
pub use prepared::{Appended, Prepared};
pub use redact::TOMBSTONE_TYPE;
pub use segment::Damage;
pub use segments::{SegmentError, Segments};
pub use tail::{Cursor, Tail, TailError, TailFilter, TailFrame, TailItem};
