//! Products worked by hand, and every instruction set against the plain loops, bit by bit.

use proptest::prelude::*;

use super::kernel::{gather_plain, tile, tile_in_parts, weigh_plain};
use super::*;
use crate::Rng;

type Weigh = fn(&[Lanes], &[Lanes], f32, f32, &mut [f32], &mut [Lanes]);

fn lanes(rng: &mut Rng, rows: usize) -> Vec<Lanes> {
    let mut row = || std::array::from_fn(|_| rng.range(-1.0, 1.0) as f32);
    (0..rows).map(|_| row()).collect()
}

#[test]
fn a_product_matches_values_worked_by_hand() {
    let left = [[1.0, 2.0], [3.0, 4.0], [0.5, 0.0]];
    let mut right = vec![[0.0; LANES]; 2];
    (right[0][0], right[1][0], right[1][31]) = (5.0, 6.0, 1.0);
    let mut out = vec![[1.0; LANES]; 3];
    add_product(|row, at| left[row][at], 3, 2, &right, &mut out);
    let column = |lane: usize| out.iter().map(|row| row[lane]).collect::<Vec<_>>();
    assert_eq!(column(0), [18.0, 40.0, 3.5]);
    assert_eq!(column(31), [3.0, 5.0, 1.0]);
    assert_eq!(column(7), [1.0; 3]);
}

#[test]
fn a_gram_matrix_is_that_of_its_columns() {
    let rows = GRAM_ROWS + 7;
    let mut rng = Rng::seeded(1);
    let panels = lanes(&mut rng, 2 * rows);
    let gram = gram(&panels, rows);
    let column = |at: usize| {
        let panel = &panels[at / LANES * rows..(at / LANES + 1) * rows];
        panel.iter().map(move |row| f64::from(row[at % LANES]))
    };
    for (a, b) in [(0, 0), (3, 40), (63, 1), (40, 3)] {
        let exact: f64 = column(a).zip(column(b)).map(|(a, b)| a * b).sum();
        assert!((gram[a * 64 + b] - exact).abs() < 1e-3, "{a} {b}");
    }
}

#[test]
fn sums_are_gathered_by_row() {
    let mut values = vec![[0.0; LANES]; 3];
    (values[0][4], values[2][4]) = (1.0, 10.0);
    let mut sums = vec![[9.0; LANES]; 3];
    gather_sums(&[0, 2, 2, 3], &[0, 2, 2], &values, &mut sums);
    assert_eq!(
        sums.iter().map(|row| row[4]).collect::<Vec<_>>(),
        [11.0, 0.0, 10.0]
    );
}

#[test]
fn rows_are_weighed_by_their_products() {
    let mut rows = vec![[0.0; LANES]; 4];
    (rows[0][0], rows[1][31], rows[2][0]) = (2.0, 3.0, -1.0);
    let mut direction = vec![[0.0; LANES]; 2];
    (direction[0][0], direction[1][31]) = (10.0, 1.0);
    let (mut weights, mut sum) = ([9.0; 2], vec![[1.0; LANES]; 2]);
    weigh_rows(&rows, &direction, 1.0, -1.0, &mut weights, &mut sum);
    assert_eq!(weights, [1.0 - 23.0, 1.0 + 10.0]);
    assert_eq!((sum[0][0], sum[1][31]), (1.0 - 44.0 - 11.0, 1.0 - 66.0));
    assert_eq!(sum[0][5], 1.0);
}

proptest! {
    #[test]
    fn every_instruction_set_gives_the_same_bytes(seed: u64, depth in 0usize..40) {
        let mut rng = Rng::seeded(seed);
        let left: Vec<[f32; TILE]> = lanes(&mut rng, depth)
            .iter()
            .map(|row| std::array::from_fn(|at| row[at]))
            .collect();
        let right = lanes(&mut rng, depth);
        prop_assert_eq!(tile(&left, &right), tile_in_parts::<4>(&left, &right));
        prop_assert_eq!(tile_in_parts::<8>(&left, &right), tile_in_parts::<4>(&left, &right));
        let members: Vec<u32> = (0..60).map(|_| rng.below(depth.max(1) as u64) as u32).collect();
        let values = lanes(&mut rng, depth.max(1));
        let (mut found, mut plain) = ([[0.0; LANES]; 2], [[0.0; LANES]; 2]);
        gather_sums(&[0, 25, 60], &members, &values, &mut found);
        gather_plain(&[0, 25, 60], &members, &values, &mut plain);
        prop_assert_eq!(found, plain);
        let rows = lanes(&mut rng, 2 * depth);
        let direction = lanes(&mut rng, 2);
        let weigh = |of: Weigh| {
            let (mut weights, mut sum) = (vec![0.0; depth], [[0.5; LANES]; 2]);
            of(&rows, &direction, 1.0, -1.0, &mut weights, &mut sum);
            (weights, sum)
        };
        prop_assert_eq!(weigh(weigh_rows), weigh(weigh_plain));
    }
}
