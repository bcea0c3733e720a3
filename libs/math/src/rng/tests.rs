//! Golden sequences, moments of every distribution, and laws of the generator.

use super::{Rng, splitmix64};
use proptest::prelude::*;

#[test]
fn splitmix_and_xoshiro_match_their_authors_vectors() {
    let mut counter = 0;
    assert_eq!(splitmix64(&mut counter), 0xe220_a839_7b1d_cdaf);
    assert_eq!(splitmix64(&mut counter), 0x6e78_9e6a_a1b9_65f4);
    let mut rng = Rng {
        state: [1, 2, 3, 4],
        key: 0,
    };
    let drawn: Vec<u64> = (0..4).map(|_| rng.next_u64()).collect();
    assert_eq!(
        drawn,
        [
            41_943_041,
            58_720_359,
            3_588_806_011_781_223,
            3_591_011_842_654_386
        ]
    );
}

#[test]
fn draws_never_change() {
    let mut rng = Rng::seeded(7);
    let drawn = [
        rng.uniform(),
        rng.normal(),
        rng.exponential(2.0),
        rng.gamma(0.4, 3.0),
        rng.gamma(5.0, 0.5),
        rng.beta(2.0, 3.0),
    ];
    let expected = [
        0x3fac_5834_0055_5d20,
        0xbfea_1924_2932_c5dd,
        0x3fd1_d4e0_2f6b_93d8,
        0x3f44_17bf_d6bf_8177,
        0x4005_a668_0684_d276,
        0x3fd7_e6ac_7921_d1c5,
    ];
    assert_eq!(drawn.map(f64::to_bits), expected);
    let counts = [
        rng.poisson(3.0),
        rng.poisson(40.0),
        rng.poisson(2e9),
        rng.below(1000),
    ];
    assert_eq!(counts, [0, 38, 2_000_001_298, 341]);
    assert_eq!(rng.fork(3).next_u64(), 0x3211_9807_8498_67a4);
}

/// Draws 200,000 numbers and checks mean and variance to five standard errors.
#[track_caller]
fn check_moments(mean: f64, variance: f64, mut draw: impl FnMut(&mut Rng) -> f64) {
    const DRAWS: usize = 200_000;
    let mut rng = Rng::seeded(42);
    let drawn: Vec<f64> = (0..DRAWS).map(|_| draw(&mut rng)).collect();
    let n = DRAWS as f64;
    let average = drawn.iter().sum::<f64>() / n;
    let second = drawn.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / n;
    let fourth = drawn.iter().map(|x| (x - mean).powi(4)).sum::<f64>() / n;
    let mean_error = 5.0 * (variance / n).sqrt();
    let variance_error = 5.0 * ((fourth - second * second).max(0.0) / n).sqrt() + 1e-12;
    assert!(
        (average - mean).abs() <= mean_error,
        "mean {average}, not {mean}"
    );
    assert!(
        (second - variance).abs() <= variance_error,
        "variance {second}, not {variance}"
    );
}

#[test]
fn distributions_have_their_moments() {
    check_moments(0.5, 1.0 / 12.0, Rng::uniform);
    check_moments(0.0, 1.0, Rng::normal);
    check_moments(0.25, 0.0625, |rng| rng.exponential(4.0));
    check_moments(4.5, 8.25, |rng| rng.below(10) as f64);
    for mean in [0.3, 9.9, 10.0, 55.5, 4_000.0] {
        check_moments(mean, mean, |rng| rng.poisson(mean) as f64);
    }
    for (shape, scale) in [(0.2, 3.0), (1.0, 1.0), (7.5, 0.25)] {
        check_moments(shape * scale, shape * scale * scale, |rng| {
            rng.gamma(shape, scale)
        });
    }
    for (a, b) in [(0.3, 0.4), (2.0, 5.0), (80.0, 20.0)] {
        let sum: f64 = a + b;
        check_moments(a / sum, a * b / (sum * sum * (sum + 1.0)), |rng| {
            rng.beta(a, b)
        });
    }
}

#[test]
fn weighted_draws_follow_the_weights_and_never_pick_a_zero() {
    let mut rng = Rng::seeded(1);
    let mut counts = [0u32; 4];
    for _ in 0..100_000 {
        counts[rng.weighted(&[1.0, 0.0, 3.0, 0.0])] += 1;
    }
    assert_eq!((counts[1], counts[3]), (0, 0));
    assert!(
        (f64::from(counts[0]) - 25_000.0).abs() < 5.0 * 137.0,
        "{counts:?}"
    );
    assert!((0..100).all(|_| rng.weighted(&[0.0, 0.0]) < 2));
}

#[test]
fn a_fork_does_not_depend_on_what_was_drawn() {
    let fresh = Rng::seeded(9);
    let mut used = fresh.clone();
    used.next_u64();
    assert_eq!(fresh.fork(4), used.fork(4));
    assert_ne!(fresh.fork(4), fresh.fork(5));
    assert_ne!(fresh.fork(4).fork(5), fresh.fork(5).fork(4));
}

proptest! {
    #[test]
    fn below_stays_below(seed in any::<u64>(), n in 1..=u64::MAX) {
        prop_assert!(Rng::seeded(seed).below(n) < n);
    }

    #[test]
    fn range_is_half_open(seed in any::<u64>(), low in -1e9..1e9, width in 1e-9..1e9) {
        let value = Rng::seeded(seed).range(low, low + width);
        prop_assert!(low <= value && (value < low + width || low + width == low));
    }

    #[test]
    fn a_shuffle_is_a_permutation(seed in any::<u64>(), n in 0usize..200) {
        let mut items: Vec<usize> = (0..n).collect();
        Rng::seeded(seed).shuffle(&mut items);
        items.sort_unstable();
        prop_assert!(items.into_iter().eq(0..n));
    }

    #[test]
    fn beta_lies_in_the_unit_interval(seed in any::<u64>(), a in 1e-3..1e3, b in 1e-3..1e3) {
        prop_assert!((0.0..=1.0).contains(&Rng::seeded(seed).beta(a, b)));
    }
}
