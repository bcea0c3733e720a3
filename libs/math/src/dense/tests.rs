//! Products worked by hand, and every instruction set against the plain loops, bit by bit.

use proptest::prelude::*;

use super::kernel::{gather_plain, products_plain, tile, tile_in_parts, weigh_plain};
use super::*;
use crate::Rng;

type Weigh = fn(&[Lanes], &[u32], &[Lanes], (f32, f32), &mut [f32], &mut [Lanes]);
type Products = fn(&[Lanes], &[u32], &[Lanes], &mut [f32]);

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
    let mut table = vec![[0.0; LANES]; 6];
    (table[0][0], table[3][31], table[4][0]) = (2.0, 3.0, -1.0);
    let mut direction = vec![[0.0; LANES]; 2];
    (direction[0][0], direction[1][31]) = (10.0, 1.0);
    let (mut weights, mut sum) = ([9.0; 2], vec![[1.0; LANES]; 2]);
    let affine = (1.0, -1.0);
    weigh_rows(&table, &[0, 2], &direction, affine, &mut weights, &mut sum);
    assert_eq!(weights, [1.0 - 20.0, 1.0 + 10.0]);
    assert_eq!((sum[0][0], sum[1][31]), (1.0 - 38.0 - 11.0, 1.0));
    let first = &mut weights[..1];
    weigh_rows(&table, &[1], &direction, affine, first, &mut sum);
    assert_eq!((weights, sum[1][31]), ([-2.0, 11.0], 1.0 - 6.0));
    assert_eq!(sum[0][5], 1.0);
}

/// More rows than are walked together, some of them twice: the blocks leave no trace.
#[test]
fn many_rows_are_weighed_as_one_by_one() {
    let mut rng = Rng::seeded(7);
    let (table, direction) = (lanes(&mut rng, 2 * 40), lanes(&mut rng, 2));
    let members: Vec<u32> = (0..39).map(|at| at * 7 % 20).collect();
    let (mut weights, mut sum) = (vec![0.0; 39], vec![[0.5; LANES]; 2]);
    let affine = (1.0, -1.0);
    weigh_rows(&table, &members, &direction, affine, &mut weights, &mut sum);
    let (mut products, mut expected) = (vec![0.0; 39], vec![[0.5; LANES]; 2]);
    row_products(&table, &members, &direction, &mut products);
    for (at, member) in members.iter().enumerate() {
        let (mut weight, own) = ([0.0], &table[2 * *member as usize..]);
        weigh_rows(own, &[0], &direction, affine, &mut weight, &mut expected);
        assert_eq!((weights[at], 1.0 - products[at]), (weight[0], weight[0]));
        let flat = own[..2].as_flattened().iter();
        let exact = flat.zip(direction.as_flattened());
        let exact: f64 = exact.map(|(a, b)| f64::from(*a) * f64::from(*b)).sum();
        assert!((f64::from(products[at]) - exact).abs() < 1e-4);
    }
    assert_eq!(sum, expected);
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
        let table = lanes(&mut rng, 2 * depth.max(1));
        let direction = lanes(&mut rng, 2);
        let weigh = |of: Weigh| {
            let (mut weights, mut sum) = (vec![0.0; members.len()], [[0.5; LANES]; 2]);
            of(&table, &members, &direction, (1.0, -1.0), &mut weights, &mut sum);
            (weights, sum)
        };
        let products = |of: Products| {
            let mut products = vec![0.0; members.len()];
            of(&table, &members, &direction, &mut products);
            products
        };
        prop_assert_eq!(products(row_products), products(products_plain));
        prop_assert_eq!(weigh(weigh_rows), weigh(weigh_plain));
    }
}
