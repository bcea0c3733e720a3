//! What every service does with the log: tail it, project it, know who people are and what they
//! allow, send decisions back, and put people into experiment arms.
//!
//! No business rule lives here: what an event means is the service's [`Projection`].

mod backoff;
mod experiments;
mod origin;
mod outbox;
mod people;
mod projection;
mod tail;
#[cfg(feature = "testing")]
pub mod testing;

pub use experiments::{Arms, Experiments};
pub use outbox::{
    DecisionDraft, Delivery, DrainError, Outbox, OutboxConfig, OutboxEvent, OutboxFull, any_of,
};
pub use people::{
    Consent, ControlChange, ControlError, Members, People, PersonView, STALE_AFTER, Snapshot,
};
pub use projection::{
    CacheStates, DecodeError, KEYS_MAX, PartitionChange, Progress, Projection, ProjectionRunner,
    RunError, RunnerConfig, Running, Snapshots, SqlStates, StateChange, StateError, StatePage,
    StateStore, States, TABLES_POSTGRES, TABLES_SQLITE, WrittenSnapshot, replay,
};
pub use tail::{LogReader, TailError, TailOptions, Tailed};

/// The connection to another service: cheap to clone, connects lazily, reconnects by itself, carries
/// the token, the trace and the deadline.
pub use rapport_rpc::Channel;
