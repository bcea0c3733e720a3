//! Who asks: consent, subjects and what is known of them, as far as each may be used.

use std::time::Duration;

use ads_domain::{Audience, Person};
use rapport_api::r#type::v1::Degraded;
use rapport_flow::{Arms, Consent};
use rapport_types::{Purpose, SubjectId};
use tokio::time::timeout;

use super::{DecideQuery, Decider};
use crate::audience::{Facts, fold};
use crate::frequency::Counted;

/// Longest wait for what is known of a person; after it they are of unknown age.
const WAIT_MAX: Duration = Duration::from_millis(150);

/// Whoever a decision is for.
#[derive(Debug, Default)]
pub(super) struct Viewer {
    subject: Option<SubjectId>,
    /// What is known, with the `advertise` consent only.
    pub(super) facts: Option<Facts>,
    /// On whose counters ads count, with the `advertise` consent only.
    pub(super) counted: Option<Counted>,
    /// Why less is known than could be.
    pub(super) degraded: Degraded,
    /// The experiments' arms, `None` for nobody in particular.
    pub(super) arms: Option<Arms>,
    is_measured: bool,
}

impl Viewer {
    /// Returns the subject if it may be kept with the ad.
    pub(super) fn advertised_to(&self) -> Option<SubjectId> {
        self.subject.filter(|_| self.counted.is_some())
    }

    /// Returns the subject if it may be kept with the decision.
    pub(super) fn measured(&self) -> Option<SubjectId> {
        self.subject.filter(|_| self.is_measured)
    }

    pub(super) fn audience(&self) -> Audience<'_> {
        match &self.facts {
            None => Audience::NotConsented,
            Some(facts) => Audience::Consented(Person {
                age_band: facts.age_band,
                interests: &facts.interests,
                segments: &[],
                lifecycle: facts.lifecycle,
            }),
        }
    }
}

impl Decider {
    /// Finds out who asks. Never fails: what is not known in time is not used.
    pub(super) async fn viewer(&self, query: &DecideQuery) -> Viewer {
        let Some(subject) = query.subject else {
            return Viewer::default();
        };
        let is_measured = self.people.consent(subject, Purpose::Measure).is_granted();
        let person = self.people.person_view(subject);
        let mut viewer = Viewer {
            subject: Some(subject),
            arms: Some(self.experiments.arms(person.anchor, is_measured)),
            is_measured,
            ..Viewer::default()
        };
        match self.people.consent(subject, Purpose::Advertise) {
            Consent::Granted => {}
            Consent::Refused => {
                viewer.degraded = Degraded::Consent;
                return viewer;
            }
            Consent::Stale => {
                viewer.degraded = Degraded::StaleConsent;
                return viewer;
            }
        }
        let others = person
            .members
            .iter()
            .filter(|member| **member != person.anchor);
        viewer.counted = Some(Counted {
            anchor: person.anchor,
            others: others.copied().collect(),
        });
        let known = timeout(WAIT_MAX, self.audience.get_many(&person.members)).await;
        viewer.facts = Some(match known {
            Ok(Ok(known)) => fold(&known),
            Ok(Err(_)) | Err(_) => {
                tracing::warn!("what is known of a person cannot be read");
                viewer.degraded = Degraded::Dependency;
                Facts::default()
            }
        });
        viewer
    }
}
