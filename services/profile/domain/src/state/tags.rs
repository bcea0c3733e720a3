//! Interest tags: a fading weight, a count, and the events behind it.

use std::collections::BTreeMap;

use rapport_types::UnixMillis;
use serde::{Deserialize, Serialize};

use super::usage::named;
use crate::decay::Decayed;
use crate::event::{ProfileEvent, TagKind};

/// Event ids kept behind each tag: the latest ones.
pub const EVIDENCE_MAX: usize = 5;
/// Tags of a kind that one subject keeps. The next one evicts the lightest.
pub const TAGS_PER_KIND_MAX: usize = 200;
/// Tags of a kind that a subject may have stated or hidden; further statements are not taken.
const STATED_PER_KIND_MAX: usize = 200;

/// One tag.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Tag {
    pub(crate) weight: Decayed,
    pub(crate) count: u64,
    pub(crate) last: UnixMillis,
    /// The latest events, newest first, ties by id.
    pub(crate) evidence: Vec<(UnixMillis, String)>,
}

/// The tags of one kind, and what the subject said about them: `(when, keep)`, the latest wins.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct KindTags {
    learnt: BTreeMap<String, Tag>,
    stated: BTreeMap<String, (UnixMillis, bool)>,
}

/// All tags of a subject.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Tags(BTreeMap<TagKind, KindTags>);

impl Tag {
    fn cite(&mut self, at: UnixMillis, event_id: &str) {
        let newest_first =
            |entry: &(UnixMillis, String)| (at, event_id) < (entry.0, entry.1.as_str());
        let place = self.evidence.partition_point(newest_first);
        let repeated = self
            .evidence
            .get(place)
            .is_some_and(|entry| entry.0 == at && entry.1 == event_id);
        if place < EVIDENCE_MAX && !repeated {
            self.evidence.insert(place, (at, event_id.to_owned()));
            self.evidence.truncate(EVIDENCE_MAX);
        }
    }

    fn merge(&mut self, other: &Self) {
        self.weight.merge(&other.weight);
        self.count = self.count.saturating_add(other.count);
        self.last = self.last.max(other.last);
        for (at, event_id) in &other.evidence {
            self.cite(*at, event_id);
        }
    }
}

impl Tags {
    /// Adds weight to a tag, unless its name is empty or too long, or the subject hid it.
    pub(super) fn learn(
        &mut self,
        kind: TagKind,
        name: &str,
        weight: f64,
        event: &ProfileEvent<'_>,
    ) {
        if !named(name) {
            return;
        }
        let tags = self.0.entry(kind).or_default();
        if tags.hidden(name) {
            return;
        }
        if !tags.learnt.contains_key(name) {
            if tags.learnt.len() >= TAGS_PER_KIND_MAX {
                tags.evict_lightest(kind, event.occurred_at);
            }
            let fresh = Tag {
                last: event.occurred_at,
                ..Tag::default()
            };
            tags.learnt.insert(name.to_owned(), fresh);
        }
        if let Some(tag) = tags.learnt.get_mut(name) {
            tag.weight
                .add(event.occurred_at, weight, kind.half_life_ms());
            tag.count = tag.count.saturating_add(1);
            tag.last = tag.last.max(event.occurred_at);
            tag.cite(event.occurred_at, event.event_id);
        }
    }

    /// Records what the subject said about a tag; returns whether that is what now holds.
    pub(super) fn state(&mut self, kind: TagKind, name: &str, keep: bool, at: UnixMillis) -> bool {
        let tags = self.0.entry(kind).or_default();
        let room = tags.stated.contains_key(name) || tags.stated.len() < STATED_PER_KIND_MAX;
        if !named(name) || !room {
            return false;
        }
        let said = tags.stated.entry(name.to_owned()).or_insert((at, keep));
        *said = (*said).max((at, keep));
        *said == (at, keep)
    }

    pub(super) fn merge(&mut self, other: &Self) {
        for (kind, theirs) in &other.0 {
            let mine = self.0.entry(*kind).or_default();
            for (name, said) in &theirs.stated {
                let entry = mine.stated.entry(name.clone()).or_insert(*said);
                *entry = (*entry).max(*said);
            }
            for (name, tag) in &theirs.learnt {
                let fresh = || Tag {
                    last: tag.last,
                    ..Tag::default()
                };
                mine.learnt
                    .entry(name.clone())
                    .or_insert_with(fresh)
                    .merge(tag);
            }
        }
    }

    /// Returns every tag that the subject did not hide, with whether it stated it itself.
    pub(crate) fn visible(&self) -> impl Iterator<Item = (TagKind, &str, &Tag, bool)> {
        self.0.iter().flat_map(|(kind, tags)| {
            let shown = tags.learnt.iter().filter(|(name, _)| !tags.hidden(name));
            shown.map(|(name, tag)| (*kind, name.as_str(), tag, tags.stated.contains_key(name)))
        })
    }
}

impl KindTags {
    fn hidden(&self, name: &str) -> bool {
        self.stated.get(name).is_some_and(|(_, keep)| !keep)
    }

    /// Drops the tag of least weight at `at`, ties by name. Stated tags go last.
    fn evict_lightest(&mut self, kind: TagKind, at: UnixMillis) {
        let weighed = self.learnt.iter().map(|(name, tag)| {
            let weight = tag.weight.value(at.max(tag.last), kind.half_life_ms());
            (self.stated.contains_key(name), weight, name)
        });
        let lightest = weighed.min_by(|left, right| {
            left.0
                .cmp(&right.0)
                .then(left.1.total_cmp(&right.1))
                .then(left.2.cmp(right.2))
        });
        if let Some(name) = lightest.map(|(_, _, name)| name.clone()) {
            self.learnt.remove(&name);
        }
    }
}
