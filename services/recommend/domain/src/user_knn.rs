//! User-user neighbours: what people with the same items have besides. Works where items are many and
//! people few, the other way round than item-item. Nothing is trained but counts.

use crate::incidence::{Incidence, keep_first};
use crate::items::ItemIdx;

/// Most neighbours that one answer listens to.
pub const USER_NEIGHBOURS_MAX: usize = 2_000;

/// How people are compared.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct UserUserOptions {
    /// Neighbours listened to, 1 to [`USER_NEIGHBOURS_MAX`].
    pub neighbours: usize,
    /// Newest items read per person, 2 to [`crate::HISTORY_ITEMS_MAX`].
    pub history_max: usize,
    /// How little a popular item says about two people who share it, and how much it is held back as
    /// a candidate: it counts `people^-damping`, `[0, 1]`.
    pub popularity_damping: f32,
    /// How much a person with many items is held back as a neighbour: `items^-damping`, `[0, 1]`.
    pub activity_damping: f32,
}

/// Chosen as those of [`crate::ItemItemOptions`] were, inside the same two training files. The best
/// of each differ (dampings 0.3 and 0.5, 0.4 and 0.8); these are within 0.6 % of both.
impl Default for UserUserOptions {
    fn default() -> Self {
        Self {
            neighbours: 200,
            history_max: 500,
            popularity_damping: 0.3,
            activity_damping: 0.6,
        }
    }
}

/// Everybody's items, both ways, with the weights that comparing takes.
#[derive(Debug)]
pub struct UserUserModel {
    incidence: Incidence,
    /// `people^-popularity_damping` per item.
    item_weights: Vec<f32>,
    /// `items^-activity_damping` per person.
    user_weights: Vec<f32>,
    neighbours: usize,
}

/// What one thread needs to answer; reusable, all zero between answers.
#[derive(Debug, Default)]
pub struct UserUserScratch {
    shared: Vec<f32>,
    neighbours: Vec<(f32, u32)>,
}

impl UserUserModel {
    /// Takes histories folded by person, each oldest first; duplicates in one count once. Options out
    /// of range are clamped. Cost: linear in the histories.
    #[must_use]
    pub fn train<'a>(
        histories: impl Iterator<Item = &'a [ItemIdx]>,
        options: &UserUserOptions,
    ) -> Self {
        let history_max = options.history_max.clamp(2, crate::HISTORY_ITEMS_MAX);
        let incidence = Incidence::new(histories, history_max);
        let damped = |count: usize, damping: f32| (count as f32).powf(-damping.clamp(0.0, 1.0));
        Self {
            item_weights: (0..incidence.items())
                .map(|item| {
                    let people = incidence.item_groups(item).len().max(1);
                    damped(people, options.popularity_damping)
                })
                .collect(),
            user_weights: (0..incidence.groups())
                .map(|user| damped(incidence.group(user).len(), options.activity_damping))
                .collect(),
            neighbours: options.neighbours.clamp(1, USER_NEIGHBOURS_MAX),
            incidence,
        }
    }

    /// Adds to `scores` (by item index) what the nearest people of a history have: the similarity of
    /// each, `a_v * sum of w_i over the shared items`, times `w_j`, with `w = people^-popularity` and
    /// `a = items^-activity`. Equal neighbours are taken by index. Items beyond `scores` are skipped.
    ///
    /// The person whose history it is may be among them, and then adds only to what they have.
    /// Cost: the people of every item in the history, then the items of the neighbours.
    /// Source: Verstrepen and Goethals, "Unifying nearest neighbors collaborative filtering", RecSys
    /// 2014, section 3.
    pub fn score_into(
        &self,
        history: &[ItemIdx],
        scratch: &mut UserUserScratch,
        scores: &mut [f32],
    ) {
        let UserUserScratch { shared, neighbours } = scratch;
        shared.resize(self.incidence.groups(), 0.0);
        neighbours.clear();
        for item in history {
            let Some(weight) = self.item_weights.get(item.at()) else {
                continue;
            };
            for user in self.incidence.item_groups(item.at()) {
                let sum = &mut shared[*user as usize];
                if *sum == 0.0 {
                    neighbours.push((0.0, *user));
                }
                *sum += weight;
            }
        }
        for (similarity, user) in neighbours.iter_mut() {
            let sum = std::mem::take(&mut shared[*user as usize]);
            *similarity = sum * self.user_weights[*user as usize];
        }
        keep_first(neighbours, self.neighbours, |a, b| {
            b.0.total_cmp(&a.0).then_with(|| a.1.cmp(&b.1))
        });
        for (similarity, user) in neighbours.iter() {
            for item in self.incidence.group(*user as usize) {
                if let Some(score) = scores.get_mut(*item as usize) {
                    *score += similarity * self.item_weights[*item as usize];
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn scores(rows: &[Vec<u32>], history: &[u32], options: &UserUserOptions) -> Vec<f32> {
        let rows: Vec<Vec<ItemIdx>> = rows
            .iter()
            .map(|row| row.iter().map(|item| ItemIdx(*item)).collect())
            .collect();
        let model = UserUserModel::train(rows.iter().map(Vec::as_slice), options);
        let history: Vec<ItemIdx> = history.iter().map(|item| ItemIdx(*item)).collect();
        let (mut scratch, mut scores) = (UserUserScratch::default(), vec![0.0; 5]);
        model.score_into(&history, &mut scratch, &mut scores);
        assert!(scratch.shared.iter().all(|sum| *sum == 0.0));
        scores
    }

    const PLAIN: UserUserOptions = UserUserOptions {
        neighbours: 10,
        history_max: 10,
        popularity_damping: 0.0,
        activity_damping: 0.0,
    };

    #[test]
    fn scores_match_values_worked_by_hand() {
        let rows = [vec![0, 1, 2], vec![0, 3], vec![4]];
        // Shares two items with the first person, one with the second, none with the third.
        assert_eq!(scores(&rows, &[0, 1], &PLAIN), [3.0, 2.0, 2.0, 1.0, 0.0]);
        let one = UserUserOptions {
            neighbours: 1,
            ..PLAIN
        };
        assert_eq!(scores(&rows, &[0, 1], &one), [2.0, 2.0, 2.0, 0.0, 0.0]);
        let active = UserUserOptions {
            activity_damping: 1.0,
            ..PLAIN
        };
        let found = scores(&rows, &[0, 1], &active);
        assert!((found[2] - 2.0 / 3.0).abs() < 1e-6 && (found[3] - 0.5).abs() < 1e-6);
        let popular = UserUserOptions {
            popularity_damping: 1.0,
            ..PLAIN
        };
        let found = scores(&rows, &[0, 1], &popular);
        // Item 0 is had by two: it counts a half, both as evidence and as a candidate.
        assert!((found[2] - 1.5).abs() < 1e-6 && (found[0] - (1.5 + 0.5) / 2.0).abs() < 1e-6);
        assert_eq!(scores(&rows, &[9], &PLAIN), [0.0; 5]);
    }

    proptest! {
        #[test]
        fn more_neighbours_never_lower_a_score(
            rows in prop::collection::vec(prop::collection::vec(0u32..5, 1..5), 1..20),
            history in prop::collection::vec(0u32..5, 0..4),
            neighbours in 1usize..10,
        ) {
            let few = scores(&rows, &history, &UserUserOptions { neighbours, ..PLAIN });
            let all = scores(&rows, &history, &UserUserOptions { neighbours: 20, ..PLAIN });
            prop_assert!(few.iter().zip(&all).all(|(few, all)| few <= all));
        }
    }
}
