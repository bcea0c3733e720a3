//! Settings out of range, moved to the nearest end instead of refused: training never fails on them.

/// Returns the nearest number in `[low, high]`; `low` for what is no number.
pub(crate) fn bounded(value: f32, low: f32, high: f32) -> f32 {
    if value >= low { value.min(high) } else { low }
}

#[cfg(test)]
mod tests {
    use super::bounded;

    #[test]
    fn the_nearest_end_and_the_low_one_for_no_number() {
        let ends = [0.5, -1.0, 3.0, f32::NAN, f32::INFINITY].map(|it| bounded(it, 0.0, 1.0));
        assert_eq!(ends, [0.5, 0.0, 1.0, 0.0, 1.0]);
    }
}
