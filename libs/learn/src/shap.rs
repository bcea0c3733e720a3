//! Why a tree says what it says: exact Shapley values of its columns.

use crate::forest::{Node, Rule, Tree};

/// A column on the path from the root, merged with its earlier occurrences.
#[derive(Debug, Clone, Copy)]
struct Step {
    /// `None` for the root.
    column: Option<u32>,
    /// Share of the rows that follow this path where the column is unknown.
    unknown: f64,
    /// 1 where the row itself follows this path, else 0.
    known: f64,
    /// Weight of the subsets of a size equal to the place of this step.
    weight: f64,
}

/// Adds `share` times the Shapley value of every column for one row.
///
/// The game: a set of columns is worth the value of the tree where splits on the others are replaced by
/// the mean over both sides, weighted by the training rows that took them. The values sum to the tree's
/// value minus its mean.
/// * Cost: `leaves · depth²`; memory: `depth²`.
/// * Source: Lundberg et al., "From local explanations to global understanding with explainable AI for
///   trees", Nature Machine Intelligence 2020, algorithm 2 (TreeSHAP, path dependent).
pub(crate) fn add(tree: &Tree, row: &[f64], share: f64, contributions: &mut [f64]) {
    let root = Step {
        column: None,
        unknown: 1.0,
        known: 1.0,
        weight: 0.0,
    };
    descend(tree, row, share, contributions, 0, &[], root);
}

fn descend(
    tree: &Tree,
    row: &[f64],
    share: f64,
    contributions: &mut [f64],
    at: usize,
    path: &[Step],
    step: Step,
) {
    let mut path = path.to_vec();
    extend(&mut path, step);
    let node = &tree.nodes[at];
    if let Rule::Leaf(value) = node.rule {
        for (place, step) in path.iter().enumerate() {
            if let Some(column) = step.column {
                let weight = without_sum(&path, place);
                contributions[column as usize] +=
                    share * value * weight * (step.known - step.unknown);
            }
        }
        return;
    }
    let mut before = (1.0, 1.0);
    let seen = path
        .iter()
        .position(|step| step.column == Some(node.column));
    if let Some(place) = seen {
        before = (path[place].unknown, path[place].known);
        unwind(&mut path, place);
    }
    let left = node.goes_left(row[node.column as usize]);
    for (child, followed) in [(node.left, left), (node.right, !left)] {
        let step = Step {
            column: Some(node.column),
            unknown: before.0 * share_of(tree, node, child),
            known: if followed { before.1 } else { 0.0 },
            weight: 0.0,
        };
        descend(tree, row, share, contributions, child as usize, &path, step);
    }
}

/// Returns the share of a node's training rows that went to a child.
fn share_of(tree: &Tree, node: &Node, child: u32) -> f64 {
    let both = tree.nodes[node.left as usize].cover + tree.nodes[node.right as usize].cover;
    tree.nodes[child as usize].cover / both
}

/// Appends a step: every subset of the path so far goes on without it and with it.
fn extend(path: &mut Vec<Step>, mut step: Step) {
    let length = path.len();
    step.weight = if length == 0 { 1.0 } else { 0.0 };
    path.push(step);
    let all = (length + 1) as f64;
    for at in (0..length).rev() {
        let weight = path[at].weight;
        path[at + 1].weight += step.known * weight * (at + 1) as f64 / all;
        path[at].weight = step.unknown * weight * (length - at) as f64 / all;
    }
}

/// Takes a step out of the path again.
fn unwind(path: &mut Vec<Step>, place: usize) {
    let last = path.len() - 1;
    let Step { unknown, known, .. } = path[place];
    let mut carry = path[last].weight;
    let all = path.len() as f64;
    for at in (0..last).rev() {
        if known == 0.0 {
            path[at].weight = path[at].weight * all / (unknown * (last - at) as f64);
        } else {
            let weight = path[at].weight;
            path[at].weight = carry * all / ((at + 1) as f64 * known);
            carry = weight - path[at].weight * unknown * (last - at) as f64 / all;
        }
    }
    for at in place..last {
        let next = path[at + 1];
        (path[at].column, path[at].unknown, path[at].known) =
            (next.column, next.unknown, next.known);
    }
    path.pop();
}

/// Returns the sum of the weights that [`unwind`] would leave, without taking the step out.
fn without_sum(path: &[Step], place: usize) -> f64 {
    let last = path.len() - 1;
    let Step { unknown, known, .. } = path[place];
    let mut carry = path[last].weight;
    let all = path.len() as f64;
    let mut sum = 0.0;
    for at in (0..last).rev() {
        if known == 0.0 {
            sum += path[at].weight * all / (unknown * (last - at) as f64);
        } else {
            let weight = carry * all / ((at + 1) as f64 * known);
            sum += weight;
            carry = path[at].weight - weight * unknown * (last - at) as f64 / all;
        }
    }
    sum
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use rapport_math::Rng;

    fn leaf(value: f64, cover: f64) -> Node {
        Node {
            column: 0,
            rule: Rule::Leaf(value),
            left: 0,
            right: 0,
            cover,
        }
    }

    fn split(column: u32, cut: f64, children: [u32; 2], cover: f64) -> Node {
        Node {
            column,
            rule: Rule::Below {
                cut,
                missing_left: true,
            },
            left: children[0],
            right: children[1],
            cover,
        }
    }

    /// The worth of a set of known columns, by the definition.
    fn worth(tree: &Tree, row: &[f64], known: u32, at: usize) -> f64 {
        let node = &tree.nodes[at];
        if let Rule::Leaf(value) = node.rule {
            return value;
        }
        let of = |child: u32| worth(tree, row, known, child as usize);
        if known >> node.column & 1 == 1 {
            let left = node.goes_left(row[node.column as usize]);
            return of(if left { node.left } else { node.right });
        }
        of(node.left) * share_of(tree, node, node.left)
            + of(node.right) * share_of(tree, node, node.right)
    }

    fn by_definition(tree: &Tree, row: &[f64]) -> Vec<f64> {
        let n = row.len();
        let factorial = |k: usize| (1..=k).map(|k| k as f64).product::<f64>();
        let value = |column: usize| {
            let sets = (0..1u32 << n).filter(|set| set >> column & 1 == 0);
            sets.map(|set| {
                let size = set.count_ones() as usize;
                let weight = factorial(size) * factorial(n - size - 1) / factorial(n);
                weight * (worth(tree, row, set | 1 << column, 0) - worth(tree, row, set, 0))
            })
            .sum()
        };
        (0..n).map(value).collect()
    }

    #[test]
    fn one_and_two_columns_by_hand() {
        // One split, 30 rows of 40 left: known 4, unknown 4·3/4 - 8·1/4 = 1.
        let tree = Tree::of(vec![
            split(0, 0.0, [1, 2], 40.0),
            leaf(4.0, 30.0),
            leaf(-8.0, 10.0),
        ]);
        let mut found = [0.0];
        add(&tree, &[-1.0], 1.0, &mut found);
        assert!((found[0] - 3.0).abs() < 1e-12 && (tree.mean - 1.0).abs() < 1e-12);
        // An "and" of two halves: 4 where both are on, worth 1 unknown, 2 with either, 4 with both.
        let tree = Tree::of(vec![
            split(0, 0.0, [1, 2], 4.0),
            leaf(0.0, 2.0),
            split(1, 0.0, [3, 4], 2.0),
            leaf(0.0, 1.0),
            leaf(4.0, 1.0),
        ]);
        let mut found = [0.0; 2];
        add(&tree, &[1.0, 1.0], 1.0, &mut found);
        assert!((found[0] - 1.5).abs() < 1e-12 && (found[1] - 1.5).abs() < 1e-12);
    }

    /// A random tree over four columns, which may split on one twice.
    fn random_tree(rng: &mut Rng, leaves: usize) -> Tree {
        let mut nodes = vec![leaf(rng.normal(), 64.0)];
        for _ in 1..leaves {
            let open: Vec<usize> = (0..nodes.len())
                .filter(|at| matches!(nodes[*at].rule, Rule::Leaf(_)) && nodes[*at].cover > 1.0)
                .collect();
            let at = open[rng.below(open.len() as u64) as usize];
            let cover = nodes[at].cover;
            let next = nodes.len() as u32;
            nodes[at] = split(rng.below(4) as u32, rng.normal(), [next, next + 1], cover);
            let part = cover * rng.range(0.1, 0.9);
            nodes.push(leaf(rng.normal(), part));
            nodes.push(leaf(rng.normal(), cover - part));
        }
        Tree::of(nodes)
    }

    proptest! {
        #[test]
        fn equals_the_definition(seed in 0u64..10_000, leaves in 1usize..12) {
            let mut rng = Rng::seeded(seed);
            let tree = random_tree(&mut rng, leaves);
            let row: Vec<f64> = (0..4).map(|_| rng.normal()).collect();
            let mut found = vec![0.0; 4];
            add(&tree, &row, 1.0, &mut found);
            for (found, expected) in found.iter().zip(by_definition(&tree, &row)) {
                prop_assert!((found - expected).abs() < 1e-9, "{} {}", found, expected);
            }
        }
    }
}
