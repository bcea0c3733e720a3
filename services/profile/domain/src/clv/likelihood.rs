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
    /// Whether the search ended where the likelihood is level, and not where it could go no further.
    pub(super) converged: bool,
}

/// Searches over the logarithms of the parameters, once from every start; the best wins, the earlier of
/// equals. `None` where the likelihood is a number at no start.
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
    let defined = searches.filter(|it| it.value.is_finite());
    let best = defined.min_by(|a, b| a.value.total_cmp(&b.value))?;
    let at_bound = names.into_iter().zip(best.at_bound);
    Some(Likeliest {
        parameters: best.at.map(libm::exp),
        mean_loss: best.value,
        at_bound: at_bound.filter(|(_, held)| *held).map(|it| it.0).collect(),
        converged: best.converged,
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

#[cfg(test)]
mod tests {
    use super::search;

    /// `(ln x)²`, undefined at and above 100.
    fn bowl(at: &[f64; 1]) -> (f64, [f64; 1]) {
        let undefined = at[0] >= libm::log(100.0);
        let value = if undefined { f64::NAN } else { at[0] * at[0] };
        (value, [2.0 * at[0]])
    }

    #[test]
    fn a_start_where_nothing_is_defined_does_not_win() {
        let found = |starts: &[f64]| {
            let starts = starts.iter().map(|start| [*start]);
            search(["x"], starts, [(1e-3, 1e3)], bowl)
        };
        for starts in [[500.0, 5.0], [5.0, 500.0]] {
            let best = found(&starts).unwrap();
            assert!(
                best.converged && (best.parameters[0] - 1.0).abs() < 1e-6,
                "{best:?}"
            );
        }
        assert!(found(&[500.0, 900.0]).is_none());
    }

    #[test]
    fn a_search_that_is_stuck_says_so() {
        // The value falls towards 0 as its slope claims, but any step finds it undefined.
        let stuck = |at: &[f64; 1]| {
            let here = at[0] == libm::log(5.0);
            (if here { 1.0 } else { f64::NAN }, [1.0])
        };
        let best = search(["x"], [[5.0]].into_iter(), [(1e-3, 1e3)], stuck).unwrap();
        assert!(!best.converged && best.at_bound.is_empty());
    }
}
