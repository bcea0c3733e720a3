//! What learning is the same for in both models: parameters above 0, the mean log-likelihood of those
//! learned from, and its maximum in a box.

use rapport_math::minimise;

/// Largest slope of the mean log-likelihood by a log-parameter at a maximum.
const SLOPE_MAX: f64 = 1e-9;

/// A maximum of the likelihood.
#[derive(Debug)]
pub(super) struct Likeliest<const N: usize> {
    pub(super) parameters: [f64; N],
    /// Minus the mean log-likelihood there.
    pub(super) mean_loss: f64,
    /// Names of the parameters at an end of their range: the data do not tell them.
    pub(super) at_bound: Vec<&'static str>,
}

/// Searches over the logarithms of the parameters, once from every start; the best wins, the earlier of
/// equals. `None` without a start.
///
/// * `starts`, `ranges`: of the parameters themselves, above 0.
/// * `mean_loss`: value and slopes by the log-parameters, as [`mean_over`] returns them.
pub(super) fn search<const N: usize>(
    names: [&'static str; N],
    starts: impl Iterator<Item = [f64; N]>,
    ranges: [(f64, f64); N],
    mean_loss: impl Fn(&[f64; N]) -> (f64, [f64; N]),
) -> Option<Likeliest<N>> {
    let bounds = ranges.map(|(low, high)| (libm::log(low), libm::log(high)));
    let searches = starts.map(|it| minimise(it.map(libm::log), &bounds, SLOPE_MAX, &mean_loss));
    let best = searches.reduce(|best, next| if next.value < best.value { next } else { best })?;
    let at_bound = names.into_iter().zip(best.at_bound);
    Some(Likeliest {
        parameters: best.at.map(libm::exp),
        mean_loss: best.value,
        at_bound: at_bound.filter(|(_, held)| *held).map(|it| it.0).collect(),
    })
}

/// Returns minus the mean of a log-likelihood over `count` customers, and its slopes by the logarithms of
/// the parameters, from the sum and its slopes by the parameters.
pub(super) fn mean_over<const N: usize>(
    count: f64,
    parameters: [f64; N],
    sum: f64,
    slopes: [f64; N],
) -> (f64, [f64; N]) {
    let scale = -1.0 / count;
    (
        sum * scale,
        std::array::from_fn(|n| slopes[n] * parameters[n] * scale),
    )
}

/// Holds slopes against the differences of the value on both sides of `at`.
#[cfg(test)]
#[track_caller]
pub(super) fn assert_slopes<const N: usize>(
    mean_loss: impl Fn(&[f64; N]) -> (f64, [f64; N]),
    at: [f64; N],
    error: f64,
) {
    let (_, slopes) = mean_loss(&at);
    for (n, found) in slopes.iter().enumerate() {
        let beside = |step: f64| {
            let mut at = at;
            at[n] += step;
            mean_loss(&at).0
        };
        let slope = (beside(1e-5) - beside(-1e-5)) / 2e-5;
        assert!(
            (slope - found).abs() < error * slope.abs().max(1.0),
            "{n}: {slope} {slopes:?}"
        );
    }
}
