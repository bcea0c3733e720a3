//! The timelines: what each subject did with items, bounded, folded by person at read.
//!
//! States number items by themselves, because indices belong to whoever reads: a state must not
//! depend on what else a process has seen.

use std::collections::HashMap;
use std::sync::Arc;

use rapport_api::event::v1::EventRecord;
use rapport_flow::{DecodeError, Projection};
use rapport_types::UnixMillis;
use recommend_domain::{BROWSED_MAX, DEEDS_MAX, Interaction, ItemIdx, Items, Timeline, order_key};

use super::feedback::{self, Feedback};

/// Names held before those that no interaction uses any more are dropped: twice what can be in use.
const NAMES_MAX: usize = 2 * (BROWSED_MAX + DEEDS_MAX);

/// The projection.
#[derive(Debug, Clone, Copy, Default)]
pub struct Timelines;

/// What one subject did. Its item indices are its own: read them with [`SubjectTimeline::name`].
#[derive(Debug, Clone, Default)]
pub struct SubjectTimeline {
    names: Vec<Box<str>>,
    timeline: Timeline,
}

impl SubjectTimeline {
    /// Returns the item of one of this state's indices; empty for a foreign one.
    #[must_use]
    pub fn name(&self, item: ItemIdx) -> &str {
        self.names.get(item.at()).map_or("", |name| name)
    }

    /// Returns every interaction kept.
    pub fn interactions(&self) -> impl Iterator<Item = &Interaction> {
        self.timeline.interactions()
    }

    /// Returns whether nothing is kept.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.timeline.is_empty()
    }

    /// Adds to `into` every interaction whose item `index` knows, on the numbering of `index`.
    pub fn add_to(&self, into: &mut Timeline, mut index: impl FnMut(&str) -> Option<ItemIdx>) {
        let indices: Vec<Option<ItemIdx>> = self.names.iter().map(|name| index(name)).collect();
        for interaction in self.timeline.interactions() {
            if let Some(Some(item)) = indices.get(interaction.item.at()) {
                into.insert(Interaction {
                    item: *item,
                    ..*interaction
                });
            }
        }
    }

    fn add(&mut self, feedback: &Feedback, occurred_at: UnixMillis, order: u64) {
        if self.names.len() >= NAMES_MAX {
            self.drop_unused_names();
        }
        let known = self
            .names
            .iter()
            .position(|name| **name == feedback.item_id);
        let at = known.unwrap_or_else(|| {
            self.names.push(feedback.item_id.as_str().into());
            self.names.len() - 1
        });
        self.timeline.insert(Interaction {
            item: ItemIdx(at as u32),
            kind: feedback.kind,
            occurred_at,
            weight_milli: feedback.weight_milli,
            order,
        });
    }

    fn drop_unused_names(&mut self) {
        let mut moved: HashMap<ItemIdx, ItemIdx> = HashMap::new();
        let (mut names, mut timeline) = (Vec::new(), Timeline::default());
        for interaction in self.timeline.interactions() {
            let item = *moved.entry(interaction.item).or_insert_with(|| {
                names.push(self.names[interaction.item.at()].clone());
                ItemIdx(names.len() as u32 - 1)
            });
            timeline.insert(Interaction {
                item,
                ..*interaction
            });
        }
        (self.names, self.timeline) = (names, timeline);
    }

    /// The numbering as the domain's codec reads it. Names are unique and were checked.
    fn items(&self) -> Items {
        let mut items = Items::default();
        for name in &self.names {
            items.intern(name).expect("feedback checked the id");
        }
        items
    }
}

/// Returns a person's timeline on the numbering of `index`, from its members' in any order. Items
/// that `index` does not know are left out.
#[must_use]
pub fn fold(members: &[Arc<SubjectTimeline>], index: impl Fn(&str) -> Option<ItemIdx>) -> Timeline {
    let mut folded = Timeline::default();
    members
        .iter()
        .for_each(|member| member.add_to(&mut folded, &index));
    folded
}

impl Projection for Timelines {
    const NAME: &'static str = "recommend_timelines";
    const VERSION: u32 = 1;
    const TYPES: &'static [&'static str] = feedback::TYPES;
    type State = SubjectTimeline;

    fn apply(&self, _key: &[u8], state: &mut SubjectTimeline, event: &EventRecord) {
        let occurred_at = UnixMillis(event.occurred_at_ms);
        for (line, feedback) in feedback::of(event).iter().enumerate() {
            let order = order_key(event.partition, event.sequence, line as u16);
            state.add(feedback, occurred_at, order);
        }
    }

    fn encode(state: &SubjectTimeline) -> Vec<u8> {
        state.timeline.to_bytes(&state.items())
    }

    fn decode(bytes: &[u8]) -> Result<SubjectTimeline, DecodeError> {
        let mut items = Items::default();
        let timeline = Timeline::from_bytes(bytes, &mut items)?;
        let names = items.iter().map(|(_, name)| name.into()).collect();
        Ok(SubjectTimeline { names, timeline })
    }
}
