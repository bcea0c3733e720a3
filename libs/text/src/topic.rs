//! What each label's texts have most of: its few heaviest features. A text of a topic near by shares
//! these with the label and little else, so what a label knows of a text beyond them tells more than
//! they do, as the likelihood ratios of Ren et al. (NeurIPS 2019) leave out what the commonest words
//! alone explain.

use rayon::prelude::*;

use crate::vocabulary::Rows;

/// Most features of one topic. Any number from 16 to 64 tells unknown texts as well.
pub(crate) const TOPIC_FEATURES_MAX: usize = 32;

/// The heaviest features of one label.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Topic {
    /// Ascending, at most [`TOPIC_FEATURES_MAX`].
    pub(crate) columns: Vec<u32>,
    /// How much of each the label's rows have together, scaled to length 1; as many as columns.
    pub(crate) weights: Vec<f32>,
}

impl Topic {
    /// Finds the topic of every label: of the sum of its rows (Rocchio's centroid) the largest cells,
    /// ties by column. Labels are tasks and each adds up its rows in their order, so any number of
    /// threads gives the same topics. Cost: `O(entries · log entries)`.
    pub(crate) fn learn(rows: &Rows, labels: &[u32], classes: usize) -> Vec<Self> {
        let mut members = vec![Vec::new(); classes];
        for (row, label) in labels.iter().enumerate() {
            members[*label as usize].push(row);
        }
        let topics = members.par_iter().map(|members| {
            let cells = members.iter().flat_map(|row| {
                let (columns, values) = rows.row(*row);
                columns.iter().copied().zip(values.iter().copied())
            });
            Self::of(cells.collect())
        });
        topics.collect()
    }

    fn of(mut cells: Vec<(u32, f32)>) -> Self {
        cells.sort_by_key(|cell| cell.0);
        let mut sums: Vec<(u32, f32)> = cells
            .chunk_by(|a, b| a.0 == b.0)
            .map(|same| (same[0].0, same.iter().map(|cell| cell.1).sum()))
            .collect();
        sums.sort_by(|a, b| b.1.total_cmp(&a.1).then_with(|| a.0.cmp(&b.0)));
        sums.truncate(TOPIC_FEATURES_MAX);
        sums.sort_by_key(|sum| sum.0);
        let length = sums.iter().map(|sum| sum.1 * sum.1).sum::<f32>().sqrt();
        let scale = if length > 0.0 { 1.0 / length } else { 0.0 };
        Self {
            columns: sums.iter().map(|sum| sum.0).collect(),
            weights: sums.iter().map(|sum| sum.1 * scale).collect(),
        }
    }

    /// Returns the cosine of the topic to a row of length 1, in `[0, 1]`; columns ascend. 0 for a row of
    /// nothing.
    pub(crate) fn cosine(&self, columns: &[u32], values: &[f32]) -> f32 {
        let mut sum = 0.0;
        for (column, weight) in self.columns.iter().zip(&self.weights) {
            if let Ok(place) = columns.binary_search(column) {
                sum += weight * values[place];
            }
        }
        sum
    }
}

#[cfg(test)]
mod tests {
    use super::{TOPIC_FEATURES_MAX, Topic};
    use crate::vocabulary::Rows;
    use proptest::prelude::*;

    #[test]
    fn topic_and_cosine_match_values_worked_by_hand() {
        // Label 0 adds up to (0.6, 1.6, 1), whose length is √(0.36 + 2.56 + 1) = 1.979899.
        let rows = Rows::from_rows(&[&[(0, 0.6), (4, 0.8)], &[(7, 1.0)], &[(4, 0.8), (9, 1.0)]]);
        let topics = Topic::learn(&rows, &[0, 1, 0], 3);
        assert_eq!(topics[0].columns, [0, 4, 9]);
        for (weight, expected) in topics[0]
            .weights
            .iter()
            .zip([0.303_046, 0.808_122, 0.505_076])
        {
            assert!((weight - expected).abs() < 1e-6, "{topics:?}");
        }
        // 0.6 · 0.808122 + 0.8 · 0.505076
        let cosine = topics[0].cosine(&[3, 4, 9], &[0.0, 0.6, 0.8]);
        assert!((cosine - 0.888_934).abs() < 1e-6, "{cosine}");
        assert_eq!(topics[1].columns, [7]);
        assert!(
            topics[2].columns.is_empty(),
            "a label without rows has no topic"
        );
        assert_eq!(topics[0].cosine(&[], &[]).to_bits(), 0f32.to_bits());
    }

    #[test]
    fn of_equal_features_the_first_are_kept() {
        let more = TOPIC_FEATURES_MAX as u32 + 8;
        let even: Vec<(u32, f32)> = (0..more).map(|column| (column, 0.1)).collect();
        let heavy: Vec<(u32, f32)> = vec![(more - 1, 0.2)];
        let topics = Topic::learn(&Rows::from_rows(&[&even, &heavy]), &[0, 0], 1);
        let first = 0..TOPIC_FEATURES_MAX as u32 - 1;
        assert!(
            topics[0]
                .columns
                .iter()
                .copied()
                .eq(first.chain([more - 1]))
        );
    }

    proptest! {
        #[test]
        fn cosines_to_rows_of_length_one_stay_between_nought_and_one(
            rows in prop::collection::vec(prop::collection::btree_map(0u32..90, 0.01f32..1.0, 1..60), 1..9),
        ) {
            let rows: Vec<Vec<(u32, f32)>> = rows
                .into_iter()
                .map(|row| {
                    let length = row.values().map(|value| value * value).sum::<f32>().sqrt();
                    row.into_iter().map(|(column, value)| (column, value / length)).collect()
                })
                .collect();
            let borrowed: Vec<&[(u32, f32)]> = rows.iter().map(Vec::as_slice).collect();
            let rows = Rows::from_rows(&borrowed);
            let labels: Vec<u32> = (0..rows.len() as u32).map(|row| row % 2).collect();
            for topic in Topic::learn(&rows, &labels, 2) {
                prop_assert!(topic.columns.len() <= TOPIC_FEATURES_MAX);
                prop_assert!(topic.columns.is_sorted_by(|a, b| a < b));
                for row in 0..rows.len() {
                    let (columns, values) = rows.row(row);
                    prop_assert!((0.0..=1.0 + 1e-5).contains(&topic.cosine(columns, values)));
                }
            }
        }
    }
}
