//! Who is whom, what they allow, and who was erased: one view in memory, fed by the control
//! partition. Rules of linking and of consent writes are profile's; here records are only applied.

mod apply;
mod follow;
mod snapshot;
#[cfg(test)]
mod tests;
mod world;

use std::ops::Deref;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use arc_swap::ArcSwap;
use rapport_types::{Purpose, PurposeSet, SubjectId};
use tokio::sync::{broadcast, watch};
use tokio::time::Instant;

pub use apply::ControlError;
pub use snapshot::Snapshot;
use world::{Entry, World};

/// A view that was not confirmed for this long permits nothing.
pub const STALE_AFTER: Duration = Duration::from_secs(5);
/// Changes that a slow subscriber may fall behind before it is told that it missed some.
const CHANGES_WAITING_MAX: usize = 1_024;

/// What the view answers about one purpose.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Consent {
    /// Permitted.
    Granted,
    /// Never asked, withdrawn, or erased.
    Refused,
    /// The view was not confirmed for [`STALE_AFTER`]: treat as refused, say so in `degraded`.
    Stale,
}

impl Consent {
    /// Returns whether the data may be used.
    #[must_use]
    pub fn is_granted(self) -> bool {
        self == Self::Granted
    }
}

/// The subjects of one person, in creation order: a slice of 1 to 64.
#[derive(Debug, Clone)]
pub struct Members(Inner);

#[derive(Debug, Clone)]
enum Inner {
    One(SubjectId),
    Many(Arc<Person>),
}

impl Deref for Members {
    type Target = [SubjectId];

    fn deref(&self) -> &[SubjectId] {
        match &self.0 {
            Inner::One(subject) => std::slice::from_ref(subject),
            Inner::Many(person) => &person.members,
        }
    }
}

/// A person of two or more subjects. Single ones are not stored.
#[derive(Debug, PartialEq, Eq)]
struct Person {
    anchor: SubjectId,
    members: Box<[SubjectId]>,
}

/// A person at one graph version.
#[derive(Debug, Clone)]
pub struct PersonView {
    /// The earliest-created member, which stands for the person. May change: do not store it.
    pub anchor: SubjectId,
    /// The members in creation order.
    pub members: Members,
    /// The version of the graph.
    pub graph_version: u64,
}

/// What changed, sent after it holds: for dropping what was computed before.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ControlChange {
    /// Registers of these subjects were written.
    Consent(Arc<[SubjectId]>),
    /// These subjects now form other persons.
    Persons(Arc<[SubjectId]>),
    /// These subjects are gone.
    Erased(Arc<[SubjectId]>),
    /// The whole view was replaced.
    Reloaded,
}

/// The view. Cloning shares it. Every read is a look-up in memory and awaits nothing.
///
/// It starts empty and stale; either [`People::follow`] feeds it from profile, or its owner does by
/// [`People::load`], [`People::apply_control`] and [`People::heartbeat`].
#[derive(Debug, Clone)]
pub struct People(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    world: ArcSwap<World>,
    /// Serialises writers; readers never take it.
    writer: Mutex<Writer>,
    born: Instant,
    /// Milliseconds from `born` to the last confirmation, plus 1; 0 before the first.
    confirmed: AtomicU64,
    ready: watch::Sender<bool>,
    changes: broadcast::Sender<ControlChange>,
}

#[derive(Debug, Default)]
struct Writer {
    loaded: bool,
    /// The last control sequence that was applied.
    sequence: u64,
}

impl Default for People {
    fn default() -> Self {
        Self::new()
    }
}

impl People {
    /// Returns an empty view, stale until it is loaded and confirmed.
    #[must_use]
    pub fn new() -> Self {
        Self(Arc::new(Shared {
            world: ArcSwap::from_pointee(World::default()),
            writer: Mutex::default(),
            born: Instant::now(),
            confirmed: AtomicU64::new(0),
            ready: watch::Sender::new(false),
            changes: broadcast::Sender::new(CHANGES_WAITING_MAX),
        }))
    }

    /// Returns the subjects of the person that `subject` belongs to: itself alone if it was never
    /// linked or is unknown.
    #[must_use]
    pub fn members(&self, subject: SubjectId) -> Members {
        let person = self.world().get(subject).and_then(|entry| entry.person);
        Members(person.map_or(Inner::One(subject), Inner::Many))
    }

    /// Returns the earliest-created member of the subject's person.
    #[must_use]
    pub fn anchor(&self, subject: SubjectId) -> SubjectId {
        let person = self.world().get(subject).and_then(|entry| entry.person);
        person.map_or(subject, |person| person.anchor)
    }

    /// Returns the subject's person.
    #[must_use]
    pub fn person_view(&self, subject: SubjectId) -> PersonView {
        let world = self.world();
        let graph_version = world.graph_version();
        match world.get(subject).and_then(|entry| entry.person) {
            Some(person) => PersonView {
                anchor: person.anchor,
                members: Members(Inner::Many(person)),
                graph_version,
            },
            None => PersonView {
                anchor: subject,
                members: Members(Inner::One(subject)),
                graph_version,
            },
        }
    }

    /// Returns whether the person permits a purpose: the strongest register over its members, of
    /// which only a grant permits. `service` is always permitted, also by a stale view.
    #[must_use]
    pub fn consent(&self, subject: SubjectId, purpose: Purpose) -> Consent {
        if purpose == Purpose::Service {
            Consent::Granted
        } else if self.is_stale() {
            Consent::Stale
        } else if self.world().permitted(subject).contains(purpose) {
            Consent::Granted
        } else {
            Consent::Refused
        }
    }

    /// Returns every purpose that the person permits now; only `service` from a stale view.
    #[must_use]
    pub fn admitted(&self, subject: SubjectId) -> PurposeSet {
        let permitted = if self.is_stale() {
            PurposeSet::default()
        } else {
            self.world().permitted(subject)
        };
        permitted.with(Purpose::Service)
    }

    /// Returns whether the subject was erased: answer as if it had never been.
    #[must_use]
    pub fn is_erased(&self, subject: SubjectId) -> bool {
        self.world().get(subject).is_some_and(|entry| entry.erased)
    }

    /// Returns the version of the identity graph: how many links and unlinks it has seen.
    #[must_use]
    pub fn graph_version(&self) -> u64 {
        self.world().graph_version()
    }

    /// Returns the last control sequence that was applied.
    #[must_use]
    pub fn control_sequence(&self) -> u64 {
        self.writer().sequence
    }

    /// Returns the time since the view was last known to be complete; `None` before the first time.
    #[must_use]
    pub fn age(&self) -> Option<Duration> {
        let confirmed = self.0.confirmed.load(Ordering::Acquire).checked_sub(1)?;
        let now = Instant::now().saturating_duration_since(self.0.born);
        Some(now.saturating_sub(Duration::from_millis(confirmed)))
    }

    /// Returns whether the view is too old to permit anything.
    #[must_use]
    pub fn is_stale(&self) -> bool {
        self.age().is_none_or(|age| age > STALE_AFTER)
    }

    /// Waits until the view has been complete once. For start-up and readiness.
    pub async fn wait_ready(&self) {
        // The sender lives as long as `self`, so the only error cannot happen.
        let _ = self.0.ready.subscribe().wait_for(|ready| *ready).await;
    }

    /// Subscribes to changes. A receiver that lags must drop everything it derived from the view.
    #[must_use]
    pub fn subscribe(&self) -> broadcast::Receiver<ControlChange> {
        self.0.changes.subscribe()
    }

    /// Confirms that the view holds everything committed until now. Ignored before [`People::load`].
    pub fn heartbeat(&self) {
        self.heartbeat_at(Instant::now());
    }

    /// As [`People::heartbeat`], for a confirmation that arrived at `received`.
    pub(crate) fn heartbeat_at(&self, received: Instant) {
        if !self.writer().loaded {
            return;
        }
        let since_birth = received.saturating_duration_since(self.0.born).as_millis();
        let stamp = u64::try_from(since_birth).unwrap_or(u64::MAX - 1) + 1;
        self.0.confirmed.fetch_max(stamp, Ordering::AcqRel);
        self.0
            .ready
            .send_if_modified(|ready| !std::mem::replace(ready, true));
    }

    fn world(&self) -> arc_swap::Guard<Arc<World>> {
        self.0.world.load()
    }

    fn writer(&self) -> std::sync::MutexGuard<'_, Writer> {
        // A writer that panicked left whole entries behind; the view then ages and fails closed.
        self.0
            .writer
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    fn announce(&self, change: ControlChange) {
        // Nobody listening is fine.
        let _ = self.0.changes.send(change);
    }
}
