//! Holding items out of histories, and what a list that finds them again is worth.

use rapport_math::Rng;

use crate::items::ItemIdx;

/// Streams of the seed.
const STREAM_ITEMS: u64 = 0x6974_656d;
const STREAM_PERSONS: u64 = 0x7573_6572;

/// What was taken from one person, to be found again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HeldOut {
    /// The place of the person's history.
    pub person: usize,
    /// The items, ascending; at least one.
    pub items: Vec<ItemIdx>,
}

/// Takes one of `one_in` (at least 1) of every person's items out of their history, one at least; a
/// history of less than two items stays whole.
///
/// * Returns what was taken from at most `persons_max` of them, drawn by seed, in order of person. The
///   others' items are out as well: nobody's history may tell of more than another's.
/// * Same histories and seed, same items, whatever the order within a history says of time.
pub fn hold_out(
    histories: &mut [Vec<ItemIdx>],
    one_in: usize,
    persons_max: usize,
    seed: u64,
) -> Vec<HeldOut> {
    let rng = Rng::seeded(seed);
    let mut all = Vec::new();
    for (person, history) in histories.iter_mut().enumerate() {
        if history.len() < 2 {
            continue;
        }
        let mut places: Vec<usize> = (0..history.len()).collect();
        let mut own = rng.fork(STREAM_ITEMS).fork(person as u64);
        own.shuffle(&mut places);
        places.truncate((history.len() / one_in.max(1)).max(1));
        let mut items: Vec<ItemIdx> = places.iter().map(|place| history[*place]).collect();
        items.sort_unstable();
        history.retain(|item| items.binary_search(item).is_err());
        all.push(HeldOut { person, items });
    }
    rng.fork(STREAM_PERSONS).shuffle(&mut all);
    all.truncate(persons_max);
    all.sort_unstable_by_key(|held| held.person);
    all
}

/// Returns what a hit at a rank, from 1, gains: `1 / log2(rank + 1)`.
/// Source: Järvelin and Kekäläinen, TOIS 20(4), 2002, section 2.2, with base 2.
#[must_use]
pub fn discount(rank: usize) -> f64 {
    1.0 / libm::log2(rank as f64 + 1.0)
}

/// Returns the gain of the best list of `k` places when so many items are held out: what a gain is
/// divided by. 0 for none.
#[must_use]
pub fn ideal_gain(held: usize, k: usize) -> f64 {
    (1..=k.min(held)).map(discount).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_is_held_out_of_whoever_has_two_items() {
        let whole: Vec<Vec<ItemIdx>> = [0u32, 1, 2, 9, 35]
            .iter()
            .map(|items| (0..*items).map(ItemIdx).collect())
            .collect();
        let mut known = whole.clone();
        let held = hold_out(&mut known, 10, 100, 7);
        let counts: Vec<_> = held.iter().map(|it| (it.person, it.items.len())).collect();
        assert_eq!(counts, [(2, 1), (3, 1), (4, 3)]);
        for it in &held {
            let mut both = [it.items.clone(), known[it.person].clone()].concat();
            both.sort_unstable();
            assert_eq!(both, whole[it.person]);
            assert!(known[it.person].is_sorted() && it.items.is_sorted());
        }
        assert_eq!((known[0].len(), known[1].len()), (0, 1));
        let mut again = whole.clone();
        assert_eq!(hold_out(&mut again, 10, 100, 7), held);
        // Fewer judges: the same items, and a person who does not judge loses theirs all the same.
        let mut fewer = whole;
        let some = hold_out(&mut fewer, 10, 2, 7);
        assert_eq!((some.len(), &fewer), (2, &known));
        assert!(some.iter().all(|it| held.contains(it)));
    }

    #[test]
    fn gains_match_values_worked_by_hand() {
        assert_eq!((discount(1), discount(3)), (1.0, 0.5));
        assert_eq!((ideal_gain(0, 5), ideal_gain(1, 5)), (0.0, 1.0));
        assert!((ideal_gain(3, 2) - (1.0 + 1.0 / libm::log2(3.0))).abs() < 1e-15);
        assert!((ideal_gain(3, 9) - (1.5 + 1.0 / libm::log2(3.0))).abs() < 1e-15);
    }
}
