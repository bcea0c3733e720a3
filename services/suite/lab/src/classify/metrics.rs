//! What the answers of a classifier are worth: accuracy, F1, recall, and how well it rejects.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use super::data::Labelled;
use crate::resample::intervals;
use crate::row::Row;

/// What a classifier said about one text.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Said<'a> {
    /// The most likely label.
    pub(crate) label: &'a str,
    /// Whether it says that no label fits.
    pub(crate) rejects: bool,
    /// How much at home the text is; low where no label fits.
    pub(crate) confidence: f64,
}

/// True and said label of every row, as numbers; the rejected label is one more.
struct Pairs<'a> {
    labels: Vec<&'a str>,
    rows: Vec<(u32, u32)>,
}

impl<'a> Pairs<'a> {
    fn new(test: &'a [Labelled], said: &[Said<'a>], rejected: Option<&'a str>) -> Self {
        let spoken = |said: &Said<'a>| match rejected {
            Some(rejected) if said.rejects => rejected,
            Some(_) | None => said.label,
        };
        let both = || {
            test.iter()
                .map(|(_, label)| label.as_str())
                .zip(said.iter().map(spoken))
        };
        let mut labels: Vec<&str> = both().flat_map(|(truth, said)| [truth, said]).collect();
        labels.sort_unstable();
        labels.dedup();
        let index = |label: &str| labels.partition_point(|other| *other < label) as u32;
        let rows = both()
            .map(|(truth, said)| (index(truth), index(said)))
            .collect();
        Self { labels, rows }
    }

    /// Returns accuracy and macro-F1 of the drawn rows. F1 is averaged over the labels that occur, as
    /// truth or as answer.
    fn accuracy_and_f1(&self, drawn: impl Iterator<Item = usize>) -> [f64; 2] {
        // Per label: times true, times said, times both.
        let mut counts = vec![[0u32; 3]; self.labels.len()];
        let (mut right, mut rows) = (0u32, 0u32);
        for row in drawn {
            let (truth, said) = self.rows[row];
            let hit = u32::from(truth == said);
            counts[truth as usize][0] += 1;
            counts[said as usize][1] += 1;
            counts[truth as usize][2] += hit;
            right += hit;
            rows += 1;
        }
        let occurring = counts.iter().filter(|[truth, said, _]| truth + said > 0);
        let (sum, labels) = occurring.fold((0.0, 0.0), |(sum, labels), [truth, said, hit]| {
            (
                sum + 2.0 * f64::from(*hit) / f64::from(truth + said),
                labels + 1.0,
            )
        });
        [f64::from(right) / f64::from(rows), sum / labels]
    }

    fn recall_by_label(&self) -> Map<String, Value> {
        let mut counts: BTreeMap<u32, (u32, u32)> = BTreeMap::new();
        for (truth, said) in &self.rows {
            let (rows, hits) = counts.entry(*truth).or_default();
            *rows += 1;
            *hits += u32::from(truth == said);
        }
        let recall = |(label, (rows, hits)): (&u32, &(u32, u32))| {
            (
                self.labels[*label as usize].to_owned(),
                Value::from(f64::from(*hits) / f64::from(*rows)),
            )
        };
        counts.iter().map(recall).collect()
    }
}

/// Puts every metric of the answers into a row.
pub(crate) fn put_metrics(
    row: &mut Row,
    test: &[Labelled],
    said: &[Said<'_>],
    rejected: Option<&str>,
    seed: u64,
) {
    let pairs = Pairs::new(test, said, rejected);
    let [accuracy, f1] = pairs.accuracy_and_f1(0..test.len());
    let found = intervals(test.len(), seed, |drawn| {
        pairs.accuracy_and_f1(drawn.iter().map(|row| *row as usize))
    });
    row.metric("accuracy", Some(accuracy), found[0]);
    row.metric("macro_f1", Some(f1), found[1]);
    row.put("recall_by_label", pairs.recall_by_label());
    if let Some(rejected) = rejected {
        put_scope_metrics(row, &pairs, said, rejected, seed);
    }
}

fn put_scope_metrics(
    row: &mut Row,
    pairs: &Pairs<'_>,
    said: &[Said<'_>],
    rejected: &str,
    seed: u64,
) {
    let outside: Vec<bool> = pairs
        .rows
        .iter()
        .map(|(truth, _)| pairs.labels[*truth as usize] == rejected)
        .collect();
    let shares = |drawn: &mut dyn Iterator<Item = usize>| {
        let [mut inside, mut right, mut out, mut caught, mut thrown] = [0.0; 5];
        for row in drawn {
            let rejects = f64::from(u8::from(said[row].rejects));
            thrown += rejects;
            if outside[row] {
                out += 1.0;
                caught += rejects;
            } else {
                inside += 1.0;
                right += f64::from(u8::from(pairs.rows[row].0 == pairs.rows[row].1));
            }
        }
        [right / inside, caught / out, caught / thrown] // undefined ones are NaN
    };
    let order = ascending(said);
    let points = shares(&mut (0..said.len()));
    let area = auroc(&order, said, &outside, &vec![1; said.len()]);
    let found = intervals(said.len(), seed, |drawn| {
        let [accuracy, recall, precision] = shares(&mut drawn.iter().map(|row| *row as usize));
        let mut times = vec![0u32; said.len()];
        drawn.iter().for_each(|row| times[*row as usize] += 1);
        [
            accuracy,
            recall,
            precision,
            auroc(&order, said, &outside, &times),
        ]
    });
    row.metric("in_scope_accuracy", Some(points[0]), found[0]);
    row.metric("oos_recall", Some(points[1]), found[1]);
    row.metric("oos_precision", Some(points[2]), found[2]);
    row.metric("oos_auroc", Some(area), found[3]);
}

/// Returns the rows by rising confidence.
fn ascending(said: &[Said<'_>]) -> Vec<usize> {
    let mut order: Vec<usize> = (0..said.len()).collect();
    order.sort_by(|a, b| {
        said[*a]
            .confidence
            .total_cmp(&said[*b].confidence)
            .then(a.cmp(b))
    });
    order
}

/// Returns the probability that a text out of scope is less at home than one in scope, ties a half;
/// row `i` counts `times[i]` times. NaN if either kind is missing.
fn auroc(order: &[usize], said: &[Said<'_>], outside: &[bool], times: &[u32]) -> f64 {
    let (mut below, mut area, mut insiders) = (0.0, 0.0, 0.0);
    for equals in order.chunk_by(|a, b| said[*a].confidence == said[*b].confidence) {
        let (mut out, mut inside) = (0.0, 0.0);
        for row in equals {
            *(if outside[*row] { &mut out } else { &mut inside }) += f64::from(times[*row]);
        }
        area += inside * (below + 0.5 * out);
        below += out;
        insiders += inside;
    }
    area / (below * insiders)
}

#[cfg(test)]
pub(crate) fn auroc_of(said: &[Said<'_>], outside: &[bool]) -> f64 {
    auroc(&ascending(said), said, outside, &vec![1; said.len()])
}
