//! The identity graph: subjects, links between them, and the persons that the links make.
//!
//! Links are records that are only ever added or cancelled; persons are computed from what is left.
//! So an unlink is exact: nothing remembers a link that was cancelled. Storage is the service's.

mod components;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use rapport_types::{SubjectId, UnixMillis};

/// Subjects of one person. The next link that would pass it is refused.
pub const PERSON_MEMBERS_MAX: usize = 64;
/// Standing links of one person: enough for every pair of 64 to be linked by two devices' sign-ins.
pub const LINKS_PER_PERSON_MAX: usize = 4_096;

/// The identifier of a link: what an unlink names.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LinkId(pub [u8; 16]);

impl fmt::Display for LinkId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for LinkId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "LinkId({self})")
    }
}

/// A subject with the time it was first seen. Orders by creation, then id: the first is an anchor.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Member {
    /// When the subject was made.
    pub created_at: UnixMillis,
    /// The subject.
    pub subject: SubjectId,
}

/// One piece of evidence that two subjects are one person.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Link {
    /// Its identifier.
    pub id: LinkId,
    /// One side; which side is which means nothing.
    pub left: Member,
    /// The other side.
    pub right: Member,
    /// Why they are one, such as `sign_in`.
    pub evidence: String,
    /// When the link was made.
    pub at: UnixMillis,
}

/// The record that cancels one link.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unlink {
    /// The link.
    pub link_id: LinkId,
    /// Why it was wrong.
    pub evidence: String,
    /// When.
    pub at: UnixMillis,
}

/// A person: a component of the graph, members in creation order. Never empty.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Person {
    members: Vec<Member>,
}

impl Person {
    /// Returns the person of a subject without links: the subject alone.
    #[must_use]
    pub fn single(member: Member) -> Self {
        Self {
            members: vec![member],
        }
    }

    /// Returns the earliest-created member, which stands for the person. A link may change it.
    #[must_use]
    pub fn anchor(&self) -> SubjectId {
        self.members[0].subject
    }

    /// Returns the members in creation order, 1 to [`PERSON_MEMBERS_MAX`].
    #[must_use]
    pub fn members(&self) -> &[Member] {
        &self.members
    }

    /// Returns the members' ids in creation order.
    pub fn subjects(&self) -> impl Iterator<Item = SubjectId> + '_ {
        self.members.iter().map(|member| member.subject)
    }
}

/// What a link or unlink does: the persons it touches, before and after.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// The graph version after it; the present one if nothing changes.
    pub graph_version: u64,
    /// Whether the record was new. A replay is not an error and changes nothing.
    pub recorded: bool,
    /// The persons touched as they were, in order of their anchors' creation. One or two.
    pub before: Vec<Person>,
    /// The same subjects as they are afterwards, in the same order. One or two.
    pub after: Vec<Person>,
}

/// Why a graph refuses.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum GraphError {
    /// The person would have more than [`PERSON_MEMBERS_MAX`] members.
    #[error("the person would have {0} members, at most {PERSON_MEMBERS_MAX} are allowed")]
    PersonTooLarge(usize),
    /// The person would have more than [`LINKS_PER_PERSON_MAX`] standing links.
    #[error("the person already has {LINKS_PER_PERSON_MAX} links")]
    TooManyLinks,
    /// Both sides are the same subject.
    #[error("a subject cannot be linked to itself")]
    SelfLink,
    /// The id names another link already.
    #[error("link {0} already exists with other content")]
    LinkIdReused(LinkId),
    /// No such link.
    #[error("link {0} does not exist")]
    LinkNotFound(LinkId),
}

/// The identity graph in memory: all of it, or the part that holds the subjects at hand.
///
/// Subjects without links take no room. Every operation costs the size of the persons it touches.
#[derive(Debug, Clone, Default)]
pub struct Graph {
    version: u64,
    links: BTreeMap<LinkId, Link>,
    cancelled: BTreeMap<LinkId, Unlink>,
    created: BTreeMap<SubjectId, UnixMillis>,
    adjacent: BTreeMap<SubjectId, BTreeSet<(SubjectId, LinkId)>>,
}

impl Graph {
    /// Rebuilds a graph from its records, as stored: links first, then unlinks, at `version`.
    ///
    /// # Errors
    /// As [`Self::link`] and [`Self::unlink`] for the unlinks' links; cancelled links count against
    /// no maximum, so what was accepted once is accepted again.
    pub fn from_records(
        version: u64,
        links: impl IntoIterator<Item = Link>,
        unlinks: impl IntoIterator<Item = Unlink>,
    ) -> Result<Self, GraphError> {
        let cancelled: BTreeMap<LinkId, Unlink> = unlinks
            .into_iter()
            .map(|unlink| (unlink.link_id, unlink))
            .collect();
        let mut graph = Self::default();
        for link in links {
            if cancelled.contains_key(&link.id) {
                graph.links.insert(link.id, link);
            } else {
                graph.link(link)?;
            }
        }
        if let Some(missing) = cancelled.keys().find(|id| !graph.links.contains_key(id)) {
            return Err(GraphError::LinkNotFound(*missing));
        }
        graph.cancelled = cancelled;
        graph.version = version;
        Ok(graph)
    }

    /// Returns the number of links and unlinks that were ever recorded.
    #[must_use]
    pub fn version(&self) -> u64 {
        self.version
    }

    /// Returns the person of a subject, `None` if it has no standing link (it is then a person alone).
    #[must_use]
    pub fn person(&self, subject: SubjectId) -> Option<Person> {
        self.adjacent
            .contains_key(&subject)
            .then(|| self.component(subject))
    }

    /// Returns every person of two or more members, in order of the anchors' creation.
    #[must_use]
    pub fn persons(&self) -> Vec<Person> {
        let mut seen = BTreeSet::new();
        let mut persons = Vec::new();
        for &subject in self.adjacent.keys() {
            if !seen.contains(&subject) {
                let person = self.component(subject);
                seen.extend(person.subjects());
                persons.push(person);
            }
        }
        persons.sort_by_key(|person| person.members[0]);
        persons
    }

    /// Returns a link by id, and the record that cancelled it if there is one.
    #[must_use]
    pub fn find(&self, id: LinkId) -> Option<(&Link, Option<&Unlink>)> {
        self.links
            .get(&id)
            .map(|link| (link, self.cancelled.get(&id)))
    }

    /// Returns the standing links between a person's members, in id order.
    #[must_use]
    pub fn links_of(&self, person: &Person) -> Vec<&Link> {
        let touching = person
            .subjects()
            .filter_map(|subject| self.adjacent.get(&subject))
            .flatten();
        let ids: BTreeSet<LinkId> = touching.map(|(_, id)| *id).collect();
        ids.iter().filter_map(|id| self.links.get(id)).collect()
    }
}
