//! What a link and an unlink do to the components of the graph.

use std::collections::BTreeSet;

use rapport_types::{SubjectId, UnixMillis};

use super::{
    Change, Graph, GraphError, LINKS_PER_PERSON_MAX, Link, LinkId, Member, PERSON_MEMBERS_MAX,
    Person, Unlink,
};

impl Graph {
    /// Records a link. The same link again changes nothing, even if it was cancelled meanwhile.
    ///
    /// # Errors
    /// [`GraphError::SelfLink`], [`GraphError::LinkIdReused`], [`GraphError::PersonTooLarge`],
    /// [`GraphError::TooManyLinks`]; the graph is then unchanged.
    pub fn link(&mut self, link: Link) -> Result<Change, GraphError> {
        let change = self.preview_link(&link)?;
        if change.recorded {
            self.connect(&link);
            self.links.insert(link.id, link);
            self.version = change.graph_version;
        }
        Ok(change)
    }

    /// Records that a link was wrong. The same unlink again changes nothing.
    ///
    /// # Errors
    /// [`GraphError::LinkNotFound`]; the graph is then unchanged.
    pub fn unlink(&mut self, unlink: Unlink) -> Result<Change, GraphError> {
        let change = self.preview_unlink(unlink.link_id)?;
        if change.recorded {
            let (left, right) = self.sides(unlink.link_id)?;
            self.disconnect(left, right, unlink.link_id);
            self.cancelled.insert(unlink.link_id, unlink);
            self.version = change.graph_version;
        }
        Ok(change)
    }

    /// Computes what [`Self::link`] would do, without doing it.
    ///
    /// # Errors
    /// As [`Self::link`].
    pub fn preview_link(&self, link: &Link) -> Result<Change, GraphError> {
        if link.left.subject == link.right.subject {
            return Err(GraphError::SelfLink);
        }
        let before = self.persons_of(&[link.left, link.right]);
        if let Some(present) = self.links.get(&link.id) {
            let same = present == link;
            return same
                .then(|| self.unchanged(before))
                .ok_or(GraphError::LinkIdReused(link.id));
        }
        let mut members: Vec<Member> = before
            .iter()
            .flat_map(|person| person.members.clone())
            .collect();
        members.sort_unstable();
        if members.len() > PERSON_MEMBERS_MAX {
            return Err(GraphError::PersonTooLarge(members.len()));
        }
        let standing: usize = before
            .iter()
            .map(|person| self.links_of(person).len())
            .sum();
        if standing >= LINKS_PER_PERSON_MAX {
            return Err(GraphError::TooManyLinks);
        }
        Ok(Change {
            graph_version: self.version + 1,
            recorded: true,
            before,
            after: vec![Person { members }],
        })
    }

    /// Computes what [`Self::unlink`] would do, without doing it.
    ///
    /// # Errors
    /// As [`Self::unlink`].
    pub fn preview_unlink(&self, id: LinkId) -> Result<Change, GraphError> {
        let (left, right) = self.sides(id)?;
        let before = self.persons_of(&[left, right]);
        if self.cancelled.contains_key(&id) {
            return Ok(self.unchanged(before));
        }
        let mut after = vec![
            self.component_without(left, id),
            self.component_without(right, id),
        ];
        after.sort_by_key(|person| person.members[0]);
        after.dedup();
        Ok(Change {
            graph_version: self.version + 1,
            recorded: true,
            before,
            after,
        })
    }

    /// Returns the whole component of a subject that the graph knows.
    pub(super) fn component(&self, subject: SubjectId) -> Person {
        let created_at = self
            .created
            .get(&subject)
            .copied()
            .unwrap_or(UnixMillis(i64::MAX));
        self.reach(
            Member {
                created_at,
                subject,
            },
            None,
        )
    }

    fn component_without(&self, from: Member, cut: LinkId) -> Person {
        self.reach(from, Some(cut))
    }

    /// Walks the standing links from one member. The walk ends: a component is at most 64 subjects.
    fn reach(&self, from: Member, cut: Option<LinkId>) -> Person {
        let mut members = BTreeSet::from([from]);
        let mut open = vec![from.subject];
        while let Some(subject) = open.pop() {
            for &(next, id) in self.adjacent.get(&subject).into_iter().flatten() {
                let created_at = self.created[&next]; // every subject with a link has a creation time
                let member = Member {
                    created_at,
                    subject: next,
                };
                if Some(id) != cut && members.insert(member) {
                    open.push(next);
                }
            }
        }
        Person {
            members: members.into_iter().collect(),
        }
    }

    /// Returns the distinct persons of two members. The graph's creation time wins over a claimed one.
    fn persons_of(&self, ends: &[Member; 2]) -> Vec<Person> {
        let known = |member: &Member| {
            let created_at = self
                .created
                .get(&member.subject)
                .copied()
                .unwrap_or(member.created_at);
            self.reach(
                Member {
                    created_at,
                    subject: member.subject,
                },
                None,
            )
        };
        let mut persons: Vec<Person> = ends.iter().map(known).collect();
        persons.sort_by_key(|person| person.members[0]);
        persons.dedup();
        persons
    }

    fn unchanged(&self, persons: Vec<Person>) -> Change {
        Change {
            graph_version: self.version,
            recorded: false,
            after: persons.clone(),
            before: persons,
        }
    }

    fn sides(&self, id: LinkId) -> Result<(Member, Member), GraphError> {
        let link = self.links.get(&id).ok_or(GraphError::LinkNotFound(id))?;
        Ok((link.left, link.right))
    }

    fn connect(&mut self, link: &Link) {
        for (from, to) in [(link.left, link.right), (link.right, link.left)] {
            self.created.entry(from.subject).or_insert(from.created_at);
            self.adjacent
                .entry(from.subject)
                .or_default()
                .insert((to.subject, link.id));
        }
    }

    /// Takes a link out, and subjects that have no other: single subjects take no room.
    fn disconnect(&mut self, left: Member, right: Member, id: LinkId) {
        for (from, to) in [(left.subject, right.subject), (right.subject, left.subject)] {
            let Some(neighbours) = self.adjacent.get_mut(&from) else {
                continue;
            };
            neighbours.remove(&(to, id));
            if neighbours.is_empty() {
                self.adjacent.remove(&from);
                self.created.remove(&from);
            }
        }
    }
}
