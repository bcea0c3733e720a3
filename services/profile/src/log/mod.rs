//! The event log: append, hub, tail. Knows partitions, sequences and bytes; knows no profile.
//!
//! An event is encoded once, by the request that brings it, but for its sequence and its receipt
//! time, which the group committer adds. The same bytes go to disk and to every reader.

mod batch;
mod committer;
mod dedup;
mod hub;
mod prepared;
mod tail;

pub use batch::{STORED_BYTES_MAX, StoredBatch};
pub use committer::{AppendError, Committer, CommitterOptions, Protection};
pub use dedup::{DEDUP_HORIZON_DAYS, Entry, dedup_key};
pub use hub::Hub;
pub use prepared::{Appended, Prepared};
pub use tail::{Cursor, Tail, TailError, TailFilter, TailItem};
