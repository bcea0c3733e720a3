//! Short chains: the fundamental matrix by elimination, every removal from that one inverse.

use super::{Chain, Losses};

/// Computes what each channel's removal costs. Cost: `O(states^3)`, memory `O(states^2)`.
pub(super) fn losses(chain: &Chain, channels: usize) -> Losses {
    let states = chain.ends.len();
    let visits = inverse(identity_minus_moves(chain), states);
    let expected: Vec<[f64; 2]> = visits
        .chunks(states)
        .map(|row| {
            row.iter()
                .zip(&chain.ends)
                .fold([0.0; 2], |sum, (visits, end)| {
                    [sum[0] + visits * end[0], sum[1] + visits * end[1]]
                })
        })
        .collect();
    let lost = (0..channels).map(|channel| {
        let removed: Vec<usize> = (1..states)
            .filter(|&state| chain.channel[state] == Some(channel))
            .collect();
        let arrivals = first_arrivals(&visits, states, &removed);
        removed
            .iter()
            .zip(&arrivals)
            .fold([0.0; 2], |sum, (&state, arrival)| {
                [
                    sum[0] + arrival * expected[state][0],
                    sum[1] + arrival * expected[state][1],
                ]
            })
    });
    Losses {
        whole: expected[0],
        lost: lost.collect(),
    }
}

fn identity_minus_moves(chain: &Chain) -> Vec<f64> {
    let states = chain.ends.len();
    let mut matrix = vec![0.0; states * states];
    for (from, row) in chain.moves.iter().enumerate() {
        matrix[from * states + from] = 1.0;
        for &(to, rate) in row {
            matrix[from * states + to] -= rate;
        }
    }
    matrix
}

/// Returns, for each removed state, the probability that it is the first of them to be reached
/// from the start. `visits` is the fundamental matrix: expected visits from row to column.
///
/// Expected visits satisfy `visits[start, removed] = first * visits[removed, removed]`.
fn first_arrivals(visits: &[f64], states: usize, removed: &[usize]) -> Vec<f64> {
    let size = removed.len();
    let mut transposed = Vec::with_capacity(size * size);
    for &to in removed {
        transposed.extend(removed.iter().map(|&from| visits[from * states + to]));
    }
    let from_start: Vec<f64> = removed.iter().map(|&to| visits[to]).collect();
    let solved = inverse(transposed, size);
    let dot = |row: &[f64]| row.iter().zip(&from_start).map(|(a, b)| a * b).sum();
    solved.chunks(size.max(1)).map(dot).collect()
}

/// Inverts a square matrix, row major, by Gauss-Jordan elimination with partial pivoting.
///
/// Every matrix here is `I - Q` of a chain that always ends, or a block of its inverse: regular.
fn inverse(mut matrix: Vec<f64>, size: usize) -> Vec<f64> {
    let mut result = vec![0.0; size * size];
    for i in 0..size {
        result[i * size + i] = 1.0;
    }
    for column in 0..size {
        let pivot = (column..size)
            .max_by(|&a, &b| {
                let (a, b) = (
                    matrix[a * size + column].abs(),
                    matrix[b * size + column].abs(),
                );
                a.total_cmp(&b)
            })
            .unwrap_or(column);
        for cell in 0..size {
            matrix.swap(column * size + cell, pivot * size + cell);
            result.swap(column * size + cell, pivot * size + cell);
        }
        let scale = 1.0 / matrix[column * size + column];
        for values in [&mut matrix, &mut result] {
            values[column * size..(column + 1) * size]
                .iter_mut()
                .for_each(|cell| *cell *= scale);
        }
        let pivot_row = matrix[column * size..(column + 1) * size].to_vec();
        let result_row = result[column * size..(column + 1) * size].to_vec();
        for row in (0..size).filter(|&row| row != column) {
            let factor = matrix[row * size + column];
            if factor != 0.0 {
                subtract(
                    &mut matrix[row * size..(row + 1) * size],
                    factor,
                    &pivot_row,
                );
                subtract(
                    &mut result[row * size..(row + 1) * size],
                    factor,
                    &result_row,
                );
            }
        }
    }
    result
}

fn subtract(row: &mut [f64], factor: f64, other: &[f64]) {
    row.iter_mut()
        .zip(other)
        .for_each(|(cell, value)| *cell -= factor * value);
}
