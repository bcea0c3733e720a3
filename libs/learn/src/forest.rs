//! Boosted trees as they answer: on encoded rows, without bins.

use crate::binned::Binned;
use crate::shap;
use crate::tree::{BinNode, Mask, holds};

/// A grown model: the logit is `base` plus the value of the leaf that each tree leads to.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Forest {
    pub(crate) base: f64,
    pub(crate) trees: Vec<Tree>,
}

/// Nodes, parents before children; the first is the root.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Tree {
    pub(crate) nodes: Vec<Node>,
    /// The mean of the leaves' values over the training rows.
    pub(crate) mean: f64,
}

/// One node.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Node {
    pub(crate) column: u32,
    pub(crate) rule: Rule,
    pub(crate) left: u32,
    pub(crate) right: u32,
    /// Training rows that came by.
    pub(crate) cover: f64,
}

/// What a node does with a row.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Rule {
    /// Adds this to the logit.
    Leaf(f64),
    /// Numbers up to `cut` go left; missing ones where they did best.
    Below { cut: f64, missing_left: bool },
    /// Categories of the set go left.
    Among(Mask),
}

impl Node {
    /// Tells whether a cell goes left.
    pub(crate) fn goes_left(&self, cell: f64) -> bool {
        match &self.rule {
            Rule::Leaf(_) => false,
            Rule::Below { missing_left, .. } if cell.is_nan() => *missing_left,
            Rule::Below { cut, .. } => cell <= *cut,
            Rule::Among(mask) => holds(mask, cell as u8),
        }
    }
}

impl Tree {
    /// Translates a tree in bins.
    pub(crate) fn new(nodes: &[BinNode], data: &Binned) -> Self {
        let translate = |node: &BinNode| Node {
            column: node.column as u32,
            rule: rule(node, data),
            left: node.left as u32,
            right: node.right as u32,
            cover: node.cover,
        };
        Self::of(nodes.iter().map(translate).collect())
    }

    /// Returns the tree of its nodes, with its mean.
    pub(crate) fn of(nodes: Vec<Node>) -> Self {
        let (mut sum, mut rows) = (0.0, 0.0);
        for node in &nodes {
            if let Rule::Leaf(value) = node.rule {
                sum += value * node.cover;
                rows += node.cover;
            }
        }
        let mean = if rows > 0.0 { sum / rows } else { 0.0 };
        Self { nodes, mean }
    }

    fn value(&self, row: &[f64]) -> f64 {
        let mut at = 0;
        loop {
            let node = &self.nodes[at];
            if let Rule::Leaf(value) = node.rule {
                return value;
            }
            let left = node.goes_left(row[node.column as usize]);
            at = if left { node.left } else { node.right } as usize;
        }
    }
}

fn rule(node: &BinNode, data: &Binned) -> Rule {
    if node.left == 0 {
        return Rule::Leaf(node.value);
    }
    let Some(cuts) = &data.columns[node.column].cuts else {
        return Rule::Among(node.mask);
    };
    let last = (1..=cuts.len() + 1)
        .rev()
        .find(|bin| holds(&node.mask, *bin as u8));
    // The last bin has no upper end: all numbers go left, missing cells right.
    let cut = last.and_then(|bin| cuts.get(bin - 1)).copied();
    Rule::Below {
        cut: cut.unwrap_or(f64::MAX),
        missing_left: holds(&node.mask, 0),
    }
}

impl Forest {
    /// Returns the logit of an encoded row. Cost: one path per tree.
    pub(crate) fn logit(&self, row: &[f64]) -> f64 {
        self.base + self.trees.iter().map(|tree| tree.value(row)).sum::<f64>()
    }

    /// Returns the mean logit over the training rows, what contributions are measured from.
    pub(crate) fn mean(&self) -> f64 {
        self.base + self.trees.iter().map(|tree| tree.mean).sum::<f64>()
    }

    /// Adds `share` times each column's Shapley value; they and [`Forest::mean`] sum to the logit.
    pub(crate) fn explain(&self, row: &[f64], share: f64, contributions: &mut [f64]) {
        for tree in &self.trees {
            shap::add(tree, row, share, contributions);
        }
    }
}
