//! Erased people leave the decisions: within two minutes, and at the latest with the next start.
//!
//! Nothing reads an erased subject from the moment that the view of people says so. Their rows follow
//! here; every replica does it, and doing it twice changes nothing.

use std::collections::BTreeSet;
use std::time::Duration;

use rapport_flow::{ControlChange, People};
use rapport_store::{Db, StoreError};
use rapport_types::SubjectId;
use tokio::sync::broadcast::error::RecvError;
use tokio::time::{MissedTickBehavior, interval};

use crate::store::erased::{self, Named};

/// How often the erased are forgotten, each between one and two of these after its erasure: what was
/// on its way then, on replicas whose view is up to five seconds old, is on disk by that time.
const FORGET_EVERY: Duration = Duration::from_secs(60);
/// Most erased subjects that wait; beyond it every stored subject is looked at.
const WAITING_MAX: usize = 10_000;

/// Who is to be forgotten.
#[derive(Debug, Default, PartialEq, Eq)]
struct Whom {
    /// Whether erasures may have been missed: every stored subject is looked at.
    everybody: bool,
    subjects: BTreeSet<SubjectId>,
}

impl Whom {
    fn add(&mut self, subjects: impl IntoIterator<Item = SubjectId>) {
        self.subjects.extend(subjects);
        if self.subjects.len() > WAITING_MAX {
            self.add_everybody();
        }
    }

    fn add_everybody(&mut self) {
        self.everybody = true;
        self.subjects.clear();
    }

    fn merge(&mut self, other: Self) {
        self.add(other.subjects);
        if other.everybody {
            self.add_everybody();
        }
    }

    async fn forget(&self, db: &Db, people: &People) -> Result<u64, StoreError> {
        if self.everybody {
            return forget_all(db, people).await;
        }
        let mut forgotten = 0;
        for subject in &self.subjects {
            forgotten += erased::forget(db, *subject).await?;
        }
        Ok(forgotten)
    }
}

/// Takes the erased out of the decisions as they are erased, for ever. Looks at every stored subject
/// first, and whenever it missed changes.
pub async fn forget_for_ever(db: Db, people: People) {
    people.wait_ready().await;
    let mut changes = people.subscribe();
    let mut ticks = interval(FORGET_EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    // Erased before the last tick, and since.
    let (mut due, mut fresh) = (Whom::default(), Whom::default());
    due.add_everybody();
    loop {
        tokio::select! {
            change = changes.recv() => match change {
                Ok(ControlChange::Erased(subjects)) => fresh.add(subjects.iter().copied()),
                Ok(ControlChange::Consent(_) | ControlChange::Persons(_)) => {}
                Ok(ControlChange::Reloaded) | Err(RecvError::Lagged(_)) => fresh.add_everybody(),
                Err(RecvError::Closed) => return,
            },
            _ = ticks.tick() => {
                let now = std::mem::replace(&mut due, std::mem::take(&mut fresh));
                if let Err(error) = now.forget(&db, &people).await {
                    let error = &error as &dyn std::error::Error;
                    tracing::warn!(error, "the erased are not forgotten, will try again");
                    due.merge(now);
                }
            }
        }
    }
}

/// Takes every erased subject out of the decisions that name it, and returns out of how many. Reads
/// every subject that is stored.
///
/// # Errors
/// [`StoreError`].
pub async fn forget_all(db: &Db, people: &People) -> Result<u64, StoreError> {
    let mut forgotten = 0;
    for why in [Named::ShownTo, Named::CountedOn] {
        let mut after = None;
        loop {
            let page = erased::named(db, why, after).await?;
            for subject in page.iter().filter(|subject| people.is_erased(**subject)) {
                forgotten += erased::forget(db, *subject).await?;
            }
            after = page.last().copied();
            if page.len() < erased::PAGE_SUBJECTS {
                break;
            }
        }
    }
    Ok(forgotten)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn subject(n: usize) -> SubjectId {
        let mut bytes = [0; 16];
        bytes[..8].copy_from_slice(&n.to_be_bytes());
        SubjectId::new(bytes)
    }

    #[test]
    fn who_is_to_be_forgotten_is_never_lost_and_never_too_many() {
        let mut whom = Whom::default();
        whom.add((0..WAITING_MAX).map(subject));
        assert_eq!((whom.everybody, whom.subjects.len()), (false, WAITING_MAX));
        let mut later = Whom::default();
        later.add([subject(1), subject(WAITING_MAX)]);
        whom.merge(later);
        assert_eq!((whom.everybody, whom.subjects.len()), (true, 0));
        let mut other = Whom::default();
        other.add([subject(1)]);
        other.merge(whom);
        assert!(other.everybody);
    }
}
