//! Rows as trees see them while they grow: at most 255 bins per column, one byte per cell.

use rayon::prelude::*;

use crate::schema::{Frame, Kind, Schema};

/// Bins of numbers; bin 0 holds missing cells.
const NUMBER_BINS: usize = 254;

/// Binned rows, by column. Memory: one byte per cell.
#[derive(Debug)]
pub(crate) struct Binned {
    pub(crate) columns: Vec<BinnedColumn>,
    pub(crate) rows: usize,
}

/// One column.
#[derive(Debug)]
pub(crate) struct BinnedColumn {
    pub(crate) bins: Vec<u8>,
    /// Bins that may occur: 0 to `count - 1`.
    pub(crate) count: usize,
    /// For numbers the upper ends of bins 1 to `count - 2`, rising; `None` for categories, whose bins
    /// are their codes.
    pub(crate) cuts: Option<Vec<f64>>,
}

impl Binned {
    /// Bins every row; cuts are quantiles of all of them. Cost: one sort per column of numbers.
    pub(crate) fn new(schema: &Schema, frame: &Frame) -> Self {
        let columns = schema.columns.par_iter().zip(&frame.columns);
        let columns = columns.map(|(column, cells)| match &column.kind {
            Kind::Number | Kind::Date => {
                let cuts = cuts(cells);
                let bin = |cell: &f64| match cell.is_nan() {
                    true => 0,
                    false => 1 + cuts.partition_point(|cut| cut < cell) as u8,
                };
                BinnedColumn {
                    bins: cells.iter().map(bin).collect(),
                    count: cuts.len() + 2,
                    cuts: Some(cuts),
                }
            }
            Kind::Category(_) => BinnedColumn {
                bins: cells.iter().map(|code| *code as u8).collect(),
                count: column.kind.codes(),
                cuts: None,
            },
        });
        Self {
            columns: columns.collect(),
            rows: frame.rows,
        }
    }
}

/// Returns where numbers are cut: half way between neighbours, between every two if they are few, else
/// into bins of about equally many rows.
fn cuts(cells: &[f64]) -> Vec<f64> {
    let mut sorted: Vec<f64> = cells
        .iter()
        .copied()
        .filter(|cell| !cell.is_nan())
        .collect();
    sorted.sort_unstable_by(f64::total_cmp);
    let mut distinct = sorted.clone();
    distinct.dedup();
    if distinct.len() <= NUMBER_BINS {
        return distinct
            .windows(2)
            .map(|pair| between(pair[0], pair[1]))
            .collect();
    }
    let mut cuts: Vec<f64> = Vec::with_capacity(NUMBER_BINS);
    for bin in 1..NUMBER_BINS {
        let below = sorted[bin * sorted.len() / NUMBER_BINS - 1];
        // The next larger number, past all rows equal to this one.
        let next = sorted.partition_point(|cell| *cell <= below);
        let Some(above) = sorted.get(next) else {
            break;
        };
        let cut = between(below, *above);
        if cuts.last().is_none_or(|last| *last < cut) {
            cuts.push(cut);
        }
    }
    cuts
}

/// Returns a number `x` with `low <= x < high`, half way where floating point has one.
fn between(low: f64, high: f64) -> f64 {
    let middle = low / 2.0 + high / 2.0;
    if middle >= low && middle < high {
        middle
    } else {
        low
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn few_numbers_are_all_told_apart() {
        assert_eq!(cuts(&[3.0, 1.0, f64::NAN, 1.0, 2.0]), [1.5, 2.5]);
        assert_eq!(cuts(&[f64::NAN]), []);
        let next = 1.0f64.next_up();
        assert_eq!(cuts(&[1.0, next]), [1.0]);
    }

    #[test]
    fn many_numbers_share_bins_evenly() {
        let cells: Vec<f64> = (0..10_000).map(|cell| f64::from(cell % 5_000)).collect();
        let cuts = cuts(&cells);
        assert_eq!(cuts.len(), NUMBER_BINS - 1);
        assert!(cuts.is_sorted_by(|a, b| a < b));
        let below = |cut: f64| cells.iter().filter(|cell| **cell <= cut).count();
        for pair in cuts.windows(2) {
            assert!((below(pair[1]) - below(pair[0])).abs_diff(39) <= 3);
        }
    }
}
