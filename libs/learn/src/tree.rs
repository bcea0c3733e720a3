//! One regression tree on the gradients of the log-loss, grown leaf by leaf from histograms.

use rayon::prelude::*;

use crate::binned::{Binned, BinnedColumn};

/// A set of bins.
pub(crate) type Mask = [u64; 4];

/// Cells above which histograms of different columns are summed side by side.
const PARALLEL_CELLS: usize = 1 << 16;
/// Extra curvature in the mean of a category by which categories are ordered: rare ones stay in the
/// middle.
const ORDER_PRIOR: f64 = 2.0;
/// Categories above which grouping them costs [`GROUP_L2`] more penalty: so many orders fit noise.
const FEW_CATEGORIES: usize = 4;
const GROUP_L2: f64 = 10.0;
/// Curvature below this is what subtracting histograms leaves behind: an empty bin.
const EMPTY: f64 = 1e-7;
/// Gains below this are rounding.
const GAIN_MIN: f64 = 1e-9;

/// How trees grow.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Growth {
    pub(crate) leaves_max: usize,
    /// Shrinkage of leaf values.
    pub(crate) rate: f64,
    /// L2 penalty of leaf values.
    pub(crate) l2: f64,
    /// Least sum of curvatures in a leaf.
    pub(crate) hessian_min: f64,
}

/// A node of a tree in bins: a split, or a leaf where `left` is 0.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct BinNode {
    pub(crate) column: usize,
    /// Bins that go left.
    pub(crate) mask: Mask,
    pub(crate) left: usize,
    pub(crate) right: usize,
    /// What a leaf adds to the logit.
    pub(crate) value: f64,
    /// Training rows that came by.
    pub(crate) cover: f64,
}

/// Sums of gradients and curvatures.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
struct Sums {
    gradient: f64,
    hessian: f64,
}

impl Sums {
    fn add(&mut self, other: Self) {
        self.gradient += other.gradient;
        self.hessian += other.hessian;
    }

    fn without(self, other: Self) -> Self {
        Self {
            gradient: self.gradient - other.gradient,
            hessian: self.hessian - other.hessian,
        }
    }

    fn score(self, l2: f64) -> f64 {
        self.gradient * self.gradient / (self.hessian + l2)
    }
}

/// The best split of a leaf.
#[derive(Debug, Clone, Copy)]
struct Split {
    gain: f64,
    column: usize,
    mask: Mask,
}

/// A leaf that may still be split.
struct Open {
    node: usize,
    /// Its rows, as a range of the row list.
    from: usize,
    to: usize,
    sums: Sums,
    histogram: Vec<Sums>,
    best: Option<Split>,
}

/// Grows a tree; see [`grow`].
struct Grower<'a> {
    data: &'a Binned,
    columns: &'a [usize],
    /// Where each of `columns` begins in a histogram.
    offsets: Vec<usize>,
    slopes: &'a [[f64; 2]],
    growth: Growth,
}

/// Grows one tree, the leaf with the largest gain first.
///
/// * `rows`: the rows to learn from, reordered; `columns`: the columns that may split.
/// * `slopes`: gradient and curvature of every row's loss.
/// * Splits: second-order gain `G²/(H + l2)` of the parts over the whole; missing numbers go where they
///   gain most; categories are put in order of their mean gradient and cut, which finds the best of all
///   groupings (Fisher, "On grouping for maximum homogeneity", JASA 1958).
/// * Equal gains: the first column, the lowest bin.
/// * Cost: `rows · columns · log2(leaves)` additions at most half of which are done, the others being
///   subtractions of histograms; memory: `leaves · columns · 255` pairs of numbers.
/// * Source: Chen and Guestrin, "XGBoost", KDD 2016; Ke et al., "LightGBM", NeurIPS 2017.
pub(crate) fn grow(
    data: &Binned,
    rows: &mut [u32],
    columns: &[usize],
    slopes: &[[f64; 2]],
    growth: Growth,
) -> Vec<BinNode> {
    let mut offsets = vec![0];
    for column in columns {
        offsets.push(offsets[offsets.len() - 1] + data.columns[*column].count);
    }
    let grower = Grower {
        data,
        columns,
        offsets,
        slopes,
        growth,
    };
    let mut nodes = vec![grower.leaf(Sums::default(), 0)];
    let mut open = vec![grower.open(0, 0, rows, None)];
    nodes[0] = grower.leaf(open[0].sums, rows.len());
    let mut aside = Vec::new();
    while open.len() < growth.leaves_max {
        let Some(at) = widest(&open) else { break };
        let Some(split) = open[at].best else { break };
        let parent = open.swap_remove(at);
        let middle = parent.from
            + partition(
                &mut rows[parent.from..parent.to],
                &data.columns[split.column],
                &split.mask,
                &mut aside,
            );
        let places = [nodes.len(), nodes.len() + 1];
        let ranges = [(parent.from, middle), (middle, parent.to)];
        let small = usize::from(middle - parent.from > parent.to - middle);
        let first = ranges[small];
        let smaller = grower.open(places[small], first.0, &rows[first.0..first.1], None);
        let rest = subtract(parent.histogram, &smaller.histogram);
        let second = ranges[1 - small];
        let larger = grower.open(
            places[1 - small],
            second.0,
            &rows[second.0..second.1],
            Some(rest),
        );
        let mut pair = [smaller, larger];
        pair.sort_by_key(|leaf| leaf.node);
        for leaf in &pair {
            nodes.push(grower.leaf(leaf.sums, leaf.to - leaf.from));
        }
        let node = &mut nodes[parent.node];
        (node.column, node.mask) = (split.column, split.mask);
        (node.left, node.right) = (places[0], places[1]);
        open.extend(pair);
    }
    nodes
}

/// Returns the open leaf with the largest gain, the oldest of equals.
fn widest(open: &[Open]) -> Option<usize> {
    let mut best: Option<usize> = None;
    let key = |at: usize| open[at].best.map_or(0.0, |split| split.gain);
    for at in 0..open.len() {
        let better = best.is_none_or(|best| {
            key(at) > key(best) || (key(at) == key(best) && open[at].node < open[best].node)
        });
        if better {
            best = Some(at);
        }
    }
    best
}

/// Moves the rows whose bin is in the mask to the front, both sides in their order; returns how many.
fn partition(rows: &mut [u32], column: &BinnedColumn, mask: &Mask, aside: &mut Vec<u32>) -> usize {
    aside.clear();
    let mut left = 0;
    for at in 0..rows.len() {
        let row = rows[at];
        if holds(mask, column.bins[row as usize]) {
            rows[left] = row;
            left += 1;
        } else {
            aside.push(row);
        }
    }
    rows[left..].copy_from_slice(aside);
    left
}

/// Tells whether a bin is in a set.
pub(crate) fn holds(mask: &Mask, bin: u8) -> bool {
    mask[usize::from(bin >> 6)] >> (bin & 63) & 1 == 1
}

fn put(mask: &mut Mask, bin: usize) {
    mask[bin >> 6] |= 1 << (bin & 63);
}

fn subtract(mut from: Vec<Sums>, what: &[Sums]) -> Vec<Sums> {
    for (all, part) in from.iter_mut().zip(what) {
        *all = all.without(*part);
    }
    from
}

impl Grower<'_> {
    fn leaf(&self, sums: Sums, rows: usize) -> BinNode {
        BinNode {
            column: 0,
            mask: [0; 4],
            left: 0,
            right: 0,
            value: -sums.gradient / (sums.hessian + self.growth.l2) * self.growth.rate,
            cover: rows as f64,
        }
    }

    /// Opens a leaf: its histogram, unless it is known, and its best split.
    fn open(&self, node: usize, from: usize, rows: &[u32], known: Option<Vec<Sums>>) -> Open {
        let mut sums = Sums::default();
        for row in rows {
            let [gradient, hessian] = self.slopes[*row as usize];
            sums.add(Sums { gradient, hessian });
        }
        let histogram = known.unwrap_or_else(|| self.histogram(rows));
        let best = if sums.hessian >= 2.0 * self.growth.hessian_min {
            self.best_split(&histogram, sums)
        } else {
            None
        };
        Open {
            node,
            from,
            to: from + rows.len(),
            sums,
            histogram,
            best,
        }
    }

    /// Sums gradients and curvatures per column and bin; one column is always summed by one thread.
    fn histogram(&self, rows: &[u32]) -> Vec<Sums> {
        let mut all = vec![Sums::default(); self.offsets[self.columns.len()]];
        let slopes: Vec<[f64; 2]> = rows.iter().map(|row| self.slopes[*row as usize]).collect();
        let fill = |column: usize, sums: &mut [Sums]| {
            let bins = &self.data.columns[column].bins;
            for (row, [gradient, hessian]) in rows.iter().zip(&slopes) {
                let sums = &mut sums[usize::from(bins[*row as usize])];
                sums.gradient += gradient;
                sums.hessian += hessian;
            }
        };
        let mut parts = Vec::with_capacity(self.columns.len());
        let mut rest = all.as_mut_slice();
        for column in self.columns {
            let (part, after) = rest.split_at_mut(self.data.columns[*column].count);
            parts.push((*column, part));
            rest = after;
        }
        if rows.len() * self.columns.len() > PARALLEL_CELLS {
            parts
                .into_par_iter()
                .for_each(|(column, sums)| fill(column, sums));
        } else {
            parts
                .into_iter()
                .for_each(|(column, sums)| fill(column, sums));
        }
        all
    }

    fn best_split(&self, histogram: &[Sums], total: Sums) -> Option<Split> {
        let mut best: Option<Split> = None;
        for (at, column) in self.columns.iter().enumerate() {
            let sums = &histogram[self.offsets[at]..self.offsets[at + 1]];
            let found = match self.data.columns[*column].cuts {
                Some(_) => self.split_numbers(*column, sums, total),
                None => self.split_categories(*column, sums, total),
            };
            if let Some(found) = found
                && best.is_none_or(|best| found.gain > best.gain)
            {
                best = Some(found);
            }
        }
        best.filter(|split| split.gain > GAIN_MIN)
    }

    /// Returns the gain of a split, `None` where a side is too light.
    fn gain(&self, left: Sums, total: Sums, l2: f64) -> Option<f64> {
        let right = total.without(left);
        let least = self.growth.hessian_min;
        (left.hessian >= least && right.hessian >= least)
            .then(|| left.score(l2) + right.score(l2) - total.score(l2))
    }

    fn split_numbers(&self, column: usize, sums: &[Sums], total: Sums) -> Option<Split> {
        let missing = sums[0];
        let l2 = self.growth.l2;
        // The last bin that goes left, and whether missing cells go with it.
        let mut best: Option<(f64, usize, bool)> = None;
        let mut left = Sums::default();
        for (bin, one) in sums.iter().enumerate().skip(1) {
            if one.hessian <= EMPTY {
                continue;
            }
            left.add(*one);
            let mut with_missing = left;
            with_missing.add(missing);
            for (side, missing_left) in [(left, false), (with_missing, true)] {
                if let Some(gain) = self.gain(side, total, l2)
                    && best.is_none_or(|best| gain > best.0)
                {
                    // Nothing is missing here: whoever comes later goes with the larger side.
                    let larger = 2.0 * left.hessian > total.hessian;
                    let unknown = missing.hessian <= EMPTY;
                    best = Some((gain, bin, if unknown { larger } else { missing_left }));
                }
            }
        }
        let (gain, bin, missing_left) = best?;
        let mut mask = [0; 4];
        (1..=bin).for_each(|bin| put(&mut mask, bin));
        if missing_left {
            put(&mut mask, 0);
        }
        Some(Split { gain, column, mask })
    }

    fn split_categories(&self, column: usize, sums: &[Sums], total: Sums) -> Option<Split> {
        let mut present: Vec<(f64, usize)> = sums
            .iter()
            .enumerate()
            .filter(|(_, one)| one.hessian > EMPTY)
            .map(|(code, one)| (one.gradient / (one.hessian + ORDER_PRIOR), code))
            .collect();
        present.sort_unstable_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
        let grouped = if present.len() > FEW_CATEGORIES {
            GROUP_L2
        } else {
            0.0
        };
        let l2 = self.growth.l2 + grouped;
        let mut best: Option<(f64, usize, f64)> = None;
        let mut left = Sums::default();
        for (count, (_, code)) in present.iter().enumerate() {
            left.add(sums[*code]);
            if let Some(gain) = self.gain(left, total, l2)
                && best.is_none_or(|best| gain > best.0)
            {
                best = Some((gain, count + 1, left.hessian));
            }
        }
        let (gain, count, hessian) = best?;
        let mut mask = [0; 4];
        present[..count]
            .iter()
            .for_each(|(_, code)| put(&mut mask, *code));
        // Categories that are absent here go with the larger side.
        if 2.0 * hessian > total.hessian {
            let absent = sums
                .iter()
                .enumerate()
                .filter(|(_, one)| one.hessian <= EMPTY);
            absent.for_each(|(code, _)| put(&mut mask, code));
        }
        Some(Split { gain, column, mask })
    }
}
