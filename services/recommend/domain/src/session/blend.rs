//! Several session models as one.

use super::{SessionModel, SessionScores, SessionScratch, SessionWhy, recent_distinct};
use crate::items::ItemIdx;

/// Most models that are blended.
pub const BLEND_PARTS_MAX: usize = 8;

/// What the items of the visit itself count in a blend.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct BlendOptions {
    /// What the last item's own score is multiplied by, `>= 0`.
    pub repeat: f32,
    /// What the scores of the visit's earlier items are multiplied by, `>= 0`.
    pub revisit: f32,
}

impl Default for BlendOptions {
    fn default() -> Self {
        Self {
            repeat: 1.0,
            revisit: 1.0,
        }
    }
}

/// Models whose scores, each scaled to sum to 1 over the catalogue, are added by weight: a mixture of
/// what each believes comes next.
///
/// * Cost and memory: those of its parts. A part that says nothing leaves its share to the others.
/// * Source: the linear opinion pool, Genest and Zidek, Statistical Science 1(1), 1986, section 3.
#[derive(Debug)]
pub struct BlendModel {
    parts: Vec<(f32, Box<dyn SessionModel>)>,
    options: BlendOptions,
    items: usize,
}

impl BlendModel {
    /// Blends models over one catalogue of `items`; parts beyond [`BLEND_PARTS_MAX`] and those without
    /// a positive weight are left out.
    #[must_use]
    pub fn new(
        parts: Vec<(f32, Box<dyn SessionModel>)>,
        options: &BlendOptions,
        items: usize,
    ) -> Self {
        let mut parts = parts;
        parts.retain(|(weight, _)| weight.is_finite() && *weight > 0.0);
        parts.truncate(BLEND_PARTS_MAX);
        Self {
            parts,
            options: BlendOptions {
                repeat: options.repeat.max(0.0),
                revisit: options.revisit.max(0.0),
            },
            items,
        }
    }
}

impl SessionModel for BlendModel {
    fn score(&self, prefix: &[ItemIdx], scratch: &mut SessionScratch, scores: &mut SessionScores) {
        scores.reset(self.items);
        let mut part = std::mem::take(&mut scratch.part);
        for (weight, model) in &self.parts {
            model.score(prefix, scratch, &mut part);
            let total = part.total();
            if total > 0.0 {
                for (item, score) in part.iter() {
                    // A share too small for a float must not count as unscored.
                    scores.add(item, (weight * (score / total)).max(f32::MIN_POSITIVE));
                }
            }
        }
        scratch.part = part;
        for (recency, item) in recent_distinct(prefix, usize::MAX, self.items) {
            let factor = if recency == 0 {
                self.options.repeat
            } else {
                self.options.revisit
            };
            scores.scale(item, factor);
        }
    }

    /// Returns the reason of the part that gives the item the largest share.
    fn why(
        &self,
        prefix: &[ItemIdx],
        item: ItemIdx,
        scratch: &mut SessionScratch,
    ) -> Option<SessionWhy> {
        let mut part = std::mem::take(&mut scratch.part);
        let mut best: Option<(f32, &dyn SessionModel)> = None;
        for (weight, model) in &self.parts {
            model.score(prefix, scratch, &mut part);
            let total = part.total();
            let share = weight * part.get(item) / total.max(f32::MIN_POSITIVE);
            if share > best.map_or(0.0, |(best, _)| best) {
                best = Some((share, model.as_ref()));
            }
        }
        scratch.part = part;
        best.and_then(|(_, model)| model.why(prefix, item, scratch))
    }
}

#[cfg(test)]
mod tests {
    use super::super::sessions::tests::{prefix, sessions};
    use super::super::{MarkovModel, MarkovOptions, SessionPopularity};
    use super::*;

    #[test]
    fn shares_are_mixed_and_the_visits_items_weighed() {
        // Popularity 3, 2, 1 of 6; after item 1 came 0 and 2, once each.
        let log = sessions(&[&[1, 0], &[1, 2, 0], &[0]], 3);
        let parts = |first: f32, second: f32| -> Vec<(f32, Box<dyn SessionModel>)> {
            vec![
                (first, Box::new(SessionPopularity::train(&log, 0.0))),
                (
                    second,
                    Box::new(MarkovModel::train(&log, &MarkovOptions::default())),
                ),
            ]
        };
        let options = BlendOptions {
            repeat: 0.5,
            revisit: 2.0,
        };
        let blend = BlendModel::new(parts(0.6, 0.4), &options, 3);
        let (mut scratch, mut scores) = (SessionScratch::default(), SessionScores::default());
        blend.score(&prefix(&[2, 1]), &mut scratch, &mut scores);
        let found: Vec<f32> = (0..3).map(|item| scores.get(ItemIdx(item))).collect();
        let expected = [
            0.6 * 0.5 + 0.4 * 0.5,
            0.5 * 0.6 / 3.0,
            2.0 * (0.6 / 6.0 + 0.4 * 0.5),
        ];
        for (found, expected) in found.iter().zip(expected) {
            assert!(
                (found - expected).abs() < 1e-6,
                "{found} instead of {expected}"
            );
        }
        let mut why = |item: u32| blend.why(&prefix(&[1]), ItemIdx(item), &mut scratch);
        assert_eq!(
            why(2).unwrap().because_of,
            Some(ItemIdx(1)),
            "the chain gives it more"
        );
        assert_eq!(why(0).unwrap().because_of, None, "popularity gives it more");
        // One part alone keeps its order, and a blend of nothing says nothing.
        let alone = BlendModel::new(parts(0.0, 1.0), &BlendOptions::default(), 3);
        alone.score(&prefix(&[1]), &mut scratch, &mut scores);
        assert_eq!(scores.iter().collect::<Vec<_>>(), [(0, 0.5), (2, 0.5)]);
        BlendModel::new(vec![], &options, 3).score(&prefix(&[1]), &mut scratch, &mut scores);
        assert_eq!(scores.iter().count(), 0);
    }
}
