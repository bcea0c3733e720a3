//! Corrections for having asked more than one question.

/// Returns p-values adjusted so that the chance of any false alarm stays below the level.
///
/// * `p`, shape `[questions]`, each in `[0, 1]`; returns the same shape and order, each `<= 1`.
/// * Cost: `O(n log n)`. Source: Holm, Scandinavian Journal of Statistics 1979.
#[must_use]
pub fn holm(p: &[f64]) -> Vec<f64> {
    let mut adjusted = vec![0.0; p.len()];
    let mut so_far = 0.0f64;
    for (rank, &question) in ascending(p).iter().enumerate() {
        so_far = so_far.max(p[question] * (p.len() - rank) as f64).min(1.0);
        adjusted[question] = so_far;
    }
    adjusted
}

/// Returns p-values adjusted so that the expected share of false alarms among all alarms stays
/// below the level.
///
/// * Shape and order as in [`holm`]; valid for independent or positively dependent questions.
/// * Source: Benjamini and Hochberg, Journal of the Royal Statistical Society B 1995.
#[must_use]
pub fn benjamini_hochberg(p: &[f64]) -> Vec<f64> {
    let mut adjusted = vec![0.0; p.len()];
    let mut so_far = 1.0f64;
    for (rank, &question) in ascending(p).iter().enumerate().rev() {
        so_far = so_far.min(p[question] * (p.len() as f64 / (rank + 1) as f64));
        adjusted[question] = so_far;
    }
    adjusted
}

/// Returns the questions by rising p-value, equal ones in their given order.
fn ascending(p: &[f64]) -> Vec<usize> {
    let mut order: Vec<usize> = (0..p.len()).collect();
    order.sort_by(|&a, &b| p[a].total_cmp(&p[b]).then(a.cmp(&b)));
    order
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn never_below_the_plain_p_and_in_its_order(p in prop::collection::vec(0.0..=1.0f64, 0..20)) {
            let (strict, mild) = (holm(&p), benjamini_hochberg(&p));
            for i in 0..p.len() {
                prop_assert!(p[i] <= mild[i] && mild[i] <= strict[i] + 1e-15 && strict[i] <= 1.0);
                for j in 0..p.len() {
                    prop_assert!(p[i] > p[j] || strict[i] <= strict[j] && mild[i] <= mild[j]);
                }
            }
        }
    }
}
