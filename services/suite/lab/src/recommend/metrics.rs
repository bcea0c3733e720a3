//! From scores to the metrics of one user's list, ties always against us, and of all lists together.

use std::cmp::Ordering;

use recommend_domain::{ItemIdx, discount, ideal_gain};

use super::data::{Query, Training};

/// What a masked item scores: below everything.
pub(crate) const MASKED: f32 = f32::NEG_INFINITY;

/// How one user was served.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Judged {
    /// Held-out items among the first k, over all held-out items.
    pub(crate) recall: f64,
    /// Discounted gain over that of the best list.
    pub(crate) ndcg: f64,
    /// 1 if any held-out item is among the first k, else 0.
    pub(crate) hit: f64,
    /// The list, best first, equal scores by item.
    pub(crate) shown: Vec<u32>,
}

/// Puts into `top` all unmasked items that score at least as well as the k-th best, best first, equal
/// ones by index; `k > 0`. Cost: one pass, and sorting of a few times k unless very many are equal.
pub(crate) fn gather(scores: &[f32], k: usize, top: &mut Vec<(f32, u32)>) {
    top.clear();
    let (mut floor, mut room) = (f32::NEG_INFINITY, 4 * k + 64);
    for (item, score) in scores.iter().enumerate() {
        if *score >= floor && *score > MASKED {
            top.push((*score, item as u32));
            if top.len() >= room {
                floor = cut(top, k);
                room = room.max(2 * top.len());
            }
        }
    }
    cut(top, k);
    top.sort_unstable_by(best_first);
}

/// Keeps what scores at least as well as the k-th best, and returns that score.
fn cut(top: &mut Vec<(f32, u32)>, k: usize) -> f32 {
    if top.len() <= k {
        return f32::NEG_INFINITY;
    }
    let floor = top.select_nth_unstable_by(k - 1, best_first).1.0;
    top.retain(|(score, _)| *score >= floor);
    floor
}

fn best_first(a: &(f32, u32), b: &(f32, u32)) -> Ordering {
    b.0.total_cmp(&a.0).then_with(|| a.1.cmp(&b.1))
}

/// Moves what is held out behind its equals in a list best first: ties go against us, as in [`judge`].
pub(crate) fn put_held_last(top: &mut [(f32, u32)], query: &Query) {
    for equals in top.chunk_by_mut(|a, b| a.0 == b.0) {
        equals.sort_by_key(|(_, item)| (query.held.binary_search(&ItemIdx(*item)).is_ok(), *item));
    }
}

/// Judges one user's scores, in which the user's own items are [`MASKED`].
///
/// The rank of a held-out item is 1 + the other items that score at least as well + the held-out
/// items before it: a tie with an item that is not held out is lost.
pub(crate) fn judge(scores: &[f32], query: &Query, k: usize, top: &mut Vec<(f32, u32)>) -> Judged {
    gather(scores, k, top);
    let is_held = |item: u32| query.held.binary_search(&ItemIdx(item)).is_ok();
    let (mut others, mut held, mut hits, mut gain) = (0, 0, 0usize, 0.0);
    for equals in top.chunk_by(|a, b| a.0 == b.0) {
        let held_here = equals.iter().filter(|(_, item)| is_held(*item)).count();
        others += equals.len() - held_here;
        for _ in 0..held_here {
            held += 1;
            let rank = others + held;
            if rank <= k {
                hits += 1;
                gain += discount(rank);
            }
        }
    }
    Judged {
        recall: hits as f64 / query.held_count as f64,
        ndcg: gain / ideal_gain(query.held_count, k),
        hit: f64::from(u8::from(hits > 0)),
        shown: top.iter().take(k).map(|(_, item)| *item).collect(),
    }
}

/// Judges a list that is an order already, without ties.
pub(crate) fn judge_list(list: &[u32], query: &Query, k: usize) -> Judged {
    let (mut hits, mut gain) = (0usize, 0.0);
    for (at, item) in list.iter().take(k).enumerate() {
        if query.held.binary_search(&ItemIdx(*item)).is_ok() {
            hits += 1;
            gain += discount(at + 1);
        }
    }
    Judged {
        recall: hits as f64 / query.held_count as f64,
        ndcg: gain / ideal_gain(query.held_count, k),
        hit: f64::from(u8::from(hits > 0)),
        shown: list.iter().take(k).copied().collect(),
    }
}

/// What lists are compared by, beyond hits.
#[derive(Debug)]
pub(crate) struct Variety {
    users: usize,
    /// Users by item.
    starts: Vec<usize>,
    users_of: Vec<u32>,
}

impl Variety {
    pub(crate) fn new(training: &Training) -> Self {
        let mut starts = vec![0];
        for count in training.item_counts() {
            starts.push(starts[starts.len() - 1] + count as usize);
        }
        let mut next = starts.clone();
        let mut users_of = vec![0; starts[starts.len() - 1]];
        for (user, history) in training.histories.iter().enumerate() {
            for item in history {
                users_of[next[item.at()]] = user as u32;
                next[item.at()] += 1;
            }
        }
        Self {
            users: training.histories.len(),
            starts,
            users_of,
        }
    }

    fn users_of(&self, item: u32) -> &[u32] {
        &self.users_of[self.starts[item as usize]..self.starts[item as usize + 1]]
    }

    /// Returns the share of the items that any list shows.
    pub(crate) fn coverage<'a>(&self, lists: impl Iterator<Item = &'a [u32]>) -> f64 {
        let mut shown = vec![false; self.starts.len() - 1];
        lists
            .flatten()
            .for_each(|item| shown[*item as usize] = true);
        shown.iter().filter(|shown| **shown).count() as f64 / shown.len() as f64
    }

    /// Returns 1 minus the mean cosine over all pairs of the list's items, each the vector of its
    /// users; NaN for less than two items. `sums`, one per user, is all zero before and after.
    ///
    /// The pairs need not be walked: with unit vectors v, the sum over pairs is (|sum of v|² - n) / 2.
    pub(crate) fn diversity(&self, list: &[u32], sums: &mut Vec<f64>) -> f64 {
        sums.resize(self.users, 0.0);
        for item in list {
            let users = self.users_of(*item);
            let length = 1.0 / (users.len() as f64).sqrt();
            users.iter().for_each(|user| sums[*user as usize] += length);
        }
        let mut square = 0.0;
        for user in list.iter().flat_map(|item| self.users_of(*item)) {
            let sum = std::mem::take(&mut sums[*user as usize]);
            square += sum * sum;
        }
        let n = list.len() as f64;
        if list.len() < 2 {
            f64::NAN
        } else {
            1.0 - (square - n) / (n * (n - 1.0))
        }
    }

    /// Returns the cosines of all pairs of a list, row by row, 1 on the diagonal. Cost: for each item a
    /// merge with every other.
    pub(crate) fn likeness(&self, list: &[u32]) -> Vec<f32> {
        let n = list.len();
        let mut all = vec![1.0; n * n];
        for a in 0..n {
            for b in 0..a {
                let (x, y) = (self.users_of(list[a]), self.users_of(list[b]));
                let cosine = shared(x, y) as f32 / ((x.len() * y.len()) as f32).sqrt();
                all[a * n + b] = cosine;
                all[b * n + a] = cosine;
            }
        }
        all
    }

    /// Returns the mean surprise of the list's items in bits, -log2 of their share of users.
    pub(crate) fn novelty(&self, list: &[u32]) -> f64 {
        let bits = |item: &u32| -libm::log2(self.users_of(*item).len() as f64 / self.users as f64);
        list.iter().map(bits).sum::<f64>() / list.len() as f64
    }
}

/// How many two ascending lists share; the shorter one is looked up in the longer.
fn shared(a: &[u32], b: &[u32]) -> usize {
    let (few, mut many) = if a.len() < b.len() { (a, b) } else { (b, a) };
    let mut count = 0;
    for user in few {
        let at = many.partition_point(|other| other < user);
        count += usize::from(many.get(at) == Some(user));
        many = &many[at..];
    }
    count
}
