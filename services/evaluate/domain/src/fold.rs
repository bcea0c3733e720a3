//! From subjects to people: what every per-subject state must be able to do.

use std::collections::BTreeMap;

use rapport_types::SubjectId;

/// State that two subjects of one person may be folded into.
///
/// Must be associative and commutative, with the default as its neutral element: then merging and
/// splitting people changes only the graph, never a state, and no order of events is special.
pub trait Merge {
    /// Takes all that `other` holds.
    fn merge(&mut self, other: &Self);
}

/// Folds per-subject states into one state per person.
///
/// * `person_of` names the subject that stands for the person (the anchor of the graph view).
/// * Returns people in the order of that subject, so the same input gives the same bytes.
/// * Cost: `O(n log p)` for `n` subjects of `p` people.
pub fn by_person<S: Merge + Default>(
    states: impl IntoIterator<Item = (SubjectId, S)>,
    person_of: impl Fn(SubjectId) -> SubjectId,
) -> BTreeMap<SubjectId, S> {
    let mut people: BTreeMap<SubjectId, S> = BTreeMap::new();
    for (subject, state) in states {
        people.entry(person_of(subject)).or_default().merge(&state);
    }
    people
}
