//! Visits as one flat array: what every session model learns from.

use crate::items::ItemIdx;

/// Most visits that are kept; of more the newest.
pub const SESSIONS_MAX: usize = 50_000_000;
/// Most clicks that are kept; of more those of the newest visits. Places of clicks fit 32 bits.
pub const CLICKS_MAX: usize = 1 << 31;
/// Most clicks of one visit that are kept; of more the newest. Bounds what a bot costs.
pub const SESSION_CLICKS_MAX: usize = 1_000;

/// Visits, oldest first, each a list of clicked items, oldest first, with repeats.
///
/// Memory: 4 bytes a click and 8 a visit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sessions {
    starts: Vec<usize>,
    clicks: Vec<u32>,
    items: usize,
}

impl Sessions {
    /// Takes visits, oldest first, over a catalogue of `items`.
    ///
    /// Clicks beyond the catalogue and visits without clicks are left out, and so are the
    /// oldest above [`SESSIONS_MAX`] and [`CLICKS_MAX`].
    #[must_use]
    pub fn new<'a>(sessions: impl Iterator<Item = &'a [ItemIdx]>, items: usize) -> Self {
        let (mut starts, mut clicks) = (vec![0], Vec::new());
        for session in sessions {
            let before = clicks.len();
            let newest = &session[session.len().saturating_sub(SESSION_CLICKS_MAX)..];
            clicks.extend(
                newest
                    .iter()
                    .filter(|item| item.at() < items)
                    .map(|item| item.0),
            );
            if clicks.len() > before {
                starts.push(clicks.len());
            }
        }
        let too_far = |start: &usize| clicks.len() - start > CLICKS_MAX;
        let excess = starts.partition_point(too_far);
        let excess = excess.max((starts.len() - 1).saturating_sub(SESSIONS_MAX));
        if excess > 0 {
            let cut = starts[excess];
            clicks.drain(..cut);
            starts.drain(..excess);
            starts.iter_mut().for_each(|start| *start -= cut);
        }
        Self {
            starts,
            clicks,
            items,
        }
    }

    /// Returns how many items the catalogue has.
    #[must_use]
    pub fn items(&self) -> usize {
        self.items
    }

    /// Returns how many visits there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.starts.len() - 1
    }

    /// Returns whether there is no visit.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Returns how many clicks there are.
    #[must_use]
    pub fn clicks(&self) -> usize {
        self.clicks.len()
    }

    /// Returns the visits, oldest first.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &[u32]> + Clone {
        self.starts
            .windows(2)
            .map(|ends| &self.clicks[ends[0]..ends[1]])
    }

    /// Returns where each visit begins in one array of all clicks, and where the last one ends.
    pub(crate) fn starts(&self) -> &[usize] {
        &self.starts
    }

    /// Returns all clicks, visit after visit.
    pub(crate) fn all_clicks(&self) -> &[u32] {
        &self.clicks
    }
}

/// Returns how old a visit is as a share of the log, 0 for the newest, below 1 for the oldest. Visits
/// are counted, not hours, so that files whose times are mere positions have ages too.
pub(crate) fn age(at: usize, sessions: usize) -> f32 {
    (sessions - 1 - at) as f32 / sessions as f32
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) fn sessions(rows: &[&[u32]], items: usize) -> Sessions {
        let rows: Vec<Vec<ItemIdx>> = rows.iter().map(|row| prefix(row)).collect();
        Sessions::new(rows.iter().map(Vec::as_slice), items)
    }

    pub(crate) fn prefix(items: &[u32]) -> Vec<ItemIdx> {
        items.iter().map(|item| ItemIdx(*item)).collect()
    }

    #[test]
    fn strange_clicks_and_empty_visits_are_left_out() {
        let found = sessions(&[&[0, 9, 0], &[], &[7], &[2]], 3);
        assert_eq!(found.iter().collect::<Vec<_>>(), [&[0, 0][..], &[2]]);
        assert_eq!((found.len(), found.clicks(), found.items()), (2, 3, 3));
        assert_eq!((age(1, 2), age(0, 2)), (0.0, 0.5));
        let bot = vec![ItemIdx(1); SESSION_CLICKS_MAX + 5];
        assert_eq!(
            Sessions::new([bot.as_slice()].into_iter(), 3).clicks(),
            SESSION_CLICKS_MAX
        );
    }
}
