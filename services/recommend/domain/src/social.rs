//! What friends have: a recommender for people with friends and little or no history of their own.

use crate::incidence::Rows;
use crate::items::ItemIdx;

/// Most friends of one person that are listened to.
pub const FRIENDS_MAX: usize = 1_000;

/// How friends are listened to.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct SocialOptions {
    /// How little a friend with many items says about each: they count `items^-damping`, `[0, 1]`.
    pub activity_damping: f32,
    /// How much a popular item is held back: `people^-damping`, `[0, 1]`.
    pub popularity_damping: f32,
}

impl Default for SocialOptions {
    /// The dampings of [`crate::UserUserOptions`]: a friend is a neighbour that nobody had to find.
    fn default() -> Self {
        Self {
            activity_damping: 0.6,
            popularity_damping: 0.3,
        }
    }
}

/// Everybody's items with their weights. Memory: 4 bytes per pair, 4 per person and per item.
#[derive(Debug, Clone, Default)]
pub struct SocialModel {
    histories: Rows<u32>,
    user_weights: Vec<f32>,
    item_weights: Vec<f32>,
}

impl SocialModel {
    /// Takes histories in the order that friends are numbered by. Options out of range are clamped.
    /// Cost: linear in the histories.
    #[must_use]
    pub fn train<'a>(
        histories: impl Iterator<Item = &'a [ItemIdx]>,
        options: &SocialOptions,
    ) -> Self {
        let mut model = Self::default();
        let mut people: Vec<u32> = Vec::new();
        let damped = |count: u32, by: f32| (count.max(1) as f32).powf(-by.clamp(0.0, 1.0));
        let mut own = Vec::new();
        for history in histories {
            own.clear();
            own.extend(history.iter().map(|item| item.0));
            own.sort_unstable();
            own.dedup();
            for item in &own {
                if people.len() <= *item as usize {
                    people.resize(*item as usize + 1, 0);
                }
                people[*item as usize] += 1;
            }
            model
                .user_weights
                .push(damped(own.len() as u32, options.activity_damping));
            model.histories.push(own.iter().copied());
        }
        let weight = |count: &u32| damped(*count, options.popularity_damping);
        model.item_weights = people.iter().map(weight).collect();
        model
    }

    /// Adds to `scores` (by item index) what friends have: each item the sum of its friends' weights
    /// times its own. The first [`FRIENDS_MAX`] friends count, unknown ones are skipped.
    ///
    /// Cost: the items of the friends. Source: the neighbourhood part of Jamali and Ester, "Using a
    /// trust network to improve top-N recommendation", RecSys 2009, section 4, with every friend at the
    /// same trust.
    pub fn score_into(&self, friends: &[u32], scores: &mut [f32]) {
        for friend in friends.iter().take(FRIENDS_MAX) {
            let Some(weight) = self.user_weights.get(*friend as usize) else {
                continue;
            };
            for item in self.histories.row(ItemIdx(*friend)) {
                if let Some(score) = scores.get_mut(*item as usize) {
                    *score += weight * self.item_weights[*item as usize];
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn train(rows: &[Vec<u32>], options: &SocialOptions) -> SocialModel {
        let rows: Vec<Vec<ItemIdx>> = rows
            .iter()
            .map(|row| row.iter().map(|item| ItemIdx(*item)).collect())
            .collect();
        SocialModel::train(rows.iter().map(Vec::as_slice), options)
    }

    #[test]
    fn scores_match_values_worked_by_hand() {
        let options = SocialOptions {
            activity_damping: 1.0,
            popularity_damping: 0.5,
        };
        let model = train(&[vec![0, 1, 1], vec![1], vec![]], &options);
        let mut scores = [0.0; 3];
        model.score_into(&[0, 1, 2, 9], &mut scores);
        // Item 0: 1/2 of the first friend; item 1: 1/2 and 1, over sqrt 2.
        assert!((scores[0] - 0.5).abs() < 1e-6 && (scores[1] - 1.5 / 2.0f32.sqrt()).abs() < 1e-6);
        assert_eq!(scores[2], 0.0);
    }

    proptest! {
        #[test]
        fn another_friend_never_lowers_a_score(
            rows in prop::collection::vec(prop::collection::vec(0u32..6, 0..5), 1..8),
            friends in prop::collection::vec(0u32..9, 1..6),
        ) {
            let model = train(&rows, &SocialOptions::default());
            let of = |friends: &[u32]| {
                let mut scores = [0.0; 6];
                model.score_into(friends, &mut scores);
                scores
            };
            let (fewer, all) = (of(&friends[1..]), of(&friends));
            prop_assert!(fewer.iter().zip(&all).all(|(fewer, all)| *fewer <= all + 1e-6));
        }
    }
}
