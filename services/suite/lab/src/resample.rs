//! The intervals of headline metrics: percentiles of resampled users or texts.

use rapport_math::{Interval, Rng, quantile_sorted};
use rayon::prelude::*;

/// Resamples behind every interval.
pub(crate) const RESAMPLES: usize = 1_000;
/// Stream of the seed that resampling draws from.
const STREAM: u64 = 0x7265_7361;

/// Computes one 95 % interval per metric from the same resamples.
///
/// * `statistic` takes the drawn indices, shape `[units]` with repeats, and returns one value per
///   metric, NaN where it is undefined; such resamples are left out.
/// * Resample `r` draws from a stream of its own: the answer does not depend on threads.
pub(crate) fn intervals<const METRICS: usize>(
    units: usize,
    seed: u64,
    statistic: impl Fn(&[u32]) -> [f64; METRICS] + Sync,
) -> [Option<Interval>; METRICS] {
    if units == 0 {
        return [None; METRICS];
    }
    let rng = Rng::seeded(seed).fork(STREAM);
    let values: Vec<[f64; METRICS]> = (0..RESAMPLES)
        .into_par_iter()
        .map_init(
            || vec![0u32; units],
            |drawn, resample| {
                let mut stream = rng.fork(resample as u64);
                drawn.fill_with(|| stream.below(units as u64) as u32);
                statistic(drawn)
            },
        )
        .collect();
    std::array::from_fn(|metric| {
        let mut column: Vec<f64> = values.iter().map(|row| row[metric]).collect();
        column.retain(|value| value.is_finite());
        column.sort_by(f64::total_cmp);
        let (low, high) = (
            quantile_sorted(&column, 0.025)?,
            quantile_sorted(&column, 0.975)?,
        );
        Some(Interval { low, high })
    })
}

/// Returns the mean of the finite values, `None` where there is none.
pub(crate) fn mean(values: impl Iterator<Item = f64>) -> Option<f64> {
    let (sum, count) = values
        .filter(|value| value.is_finite())
        .fold((0.0, 0u64), |(sum, count), value| (sum + value, count + 1));
    (count > 0).then(|| sum / count as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn agrees_with_the_textbook_and_with_itself() {
        let coin: Vec<f64> = (0..400).map(|unit| f64::from(unit % 4 == 0)).collect();
        let share = |drawn: &[u32]| {
            let sum: f64 = drawn.iter().map(|unit| coin[*unit as usize]).sum();
            [sum / drawn.len() as f64, f64::NAN]
        };
        let [found, none] = intervals(400, 3, share);
        let found = found.unwrap();
        // Standard error sqrt(.25 * .75 / 400) = .02165.
        assert!(
            (found.low - 0.2076).abs() < 0.006 && (found.high - 0.2924).abs() < 0.006,
            "{found:?}"
        );
        assert_eq!(none, None);
        let one = rayon::ThreadPoolBuilder::new()
            .num_threads(1)
            .build()
            .unwrap();
        assert_eq!(one.install(|| intervals(400, 3, share))[0], Some(found));
        assert_eq!(intervals(0, 3, share), [None, None]);
    }

    #[test]
    fn a_mean_leaves_the_undefined_out() {
        assert_eq!(mean([1.0, f64::NAN, 2.0].into_iter()), Some(1.5));
        assert_eq!(mean([f64::NAN].into_iter()), None);
    }
}
