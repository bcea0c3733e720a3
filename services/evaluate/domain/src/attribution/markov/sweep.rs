//! Long chains: expected conversions without a channel satisfy `h = ends + moves · h`, with 0 in the
//! channel's states; sweeps over the states (Gauss and Seidel) find `h` to the last digits.

use super::{Chain, JourneyError, Losses, too_many};

/// Most sweeps of one channel. Journeys are short, so a few dozen do; a chain in which people walk in
/// circles for longer than this is refused rather than answered wrongly.
const SWEEPS_MAX: usize = 20_000;
/// A sweep that changes no state by more than this share of the largest has arrived.
const SETTLED: f64 = 4e-16;

/// Computes what each channel's removal costs.
///
/// * Cost: `O(channels * moves * sweeps)`, memory `O(moves)`. From 0 the sweeps rise to the answer and
///   never pass it: the matrix is an M-matrix (Varga, "Matrix iterative analysis", theorem 3.14).
///
/// # Errors
/// [`JourneyError::TooManyStates`] for a chain that does not settle.
pub(super) fn losses(chain: &Chain, channels: usize) -> Result<Losses, JourneyError> {
    let whole = expected(chain, None)?;
    let lost = (0..channels).map(|channel| {
        let left = expected(chain, Some(channel))?;
        Ok([whole[0] - left[0], whole[1] - left[1]])
    });
    Ok(Losses {
        whole,
        lost: lost.collect::<Result<_, _>>()?,
    })
}

/// Expected conversions and value of a journey from the start that ends at the removed channel.
fn expected(chain: &Chain, removed: Option<usize>) -> Result<[f64; 2], JourneyError> {
    let mut reached = vec![[0.0f64; 2]; chain.ends.len()];
    for _ in 0..SWEEPS_MAX {
        let (mut change, mut largest) = ([0.0f64; 2], [0.0f64; 2]);
        // States are numbered along the journeys: backwards, one sweep carries ends to the start.
        for state in (0..reached.len()).rev() {
            if removed.is_some() && chain.channel[state] == removed {
                continue;
            }
            let (mut sum, mut stays) = (chain.ends[state], 0.0);
            for &(to, rate) in &chain.moves[state] {
                if to == state {
                    stays = rate;
                } else {
                    sum[0] += rate * reached[to][0];
                    sum[1] += rate * reached[to][1];
                }
            }
            for (which, sum) in sum.into_iter().enumerate() {
                let next = sum / (1.0 - stays);
                change[which] = change[which].max((next - reached[state][which]).abs());
                largest[which] = largest[which].max(next.abs());
                reached[state][which] = next;
            }
        }
        if (0..2).all(|which| change[which] <= SETTLED * largest[which]) {
            return Ok(reached[0]);
        }
    }
    Err(too_many(chain.ends.len()))
}

#[cfg(test)]
mod tests {
    use super::super::{Chain, direct};
    use super::losses;
    use crate::attribution::Journeys;
    use proptest::prelude::*;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn sweeps_and_elimination_agree(
            rows in prop::collection::vec((prop::collection::vec(0usize..5, 1..9), 0u64..9, 0.0..9.0f64, 1u64..9), 1..30),
            order in 1usize..=4,
        ) {
            let mut journeys = Journeys::default();
            for (path, conversions, value, nulls) in rows {
                let steps = path.iter().map(|&step| ["a", "b", "c", "d", "e"][step]);
                journeys.add(steps, conversions, value, nulls).unwrap();
            }
            let chain = Chain::count(&journeys, order).unwrap();
            let channels = journeys.channels().count();
            let (swept, exact) = (losses(&chain, channels).unwrap(), direct::losses(&chain, channels));
            for (ours, theirs) in swept.lost.iter().zip(&exact.lost).chain([(&swept.whole, &exact.whole)]) {
                for which in 0..2 {
                    prop_assert!((ours[which] - theirs[which]).abs() < 1e-11, "{ours:?} {theirs:?}");
                }
            }
        }
    }

    #[test]
    fn a_circle_that_hardly_anybody_leaves_is_solved_or_refused() {
        let mut journeys = Journeys::default();
        let circle: Vec<&str> = ["a", "b"].into_iter().cycle().take(1_000).collect();
        journeys.add(circle, 1, 1.0, 1).unwrap();
        let chain = Chain::count(&journeys, 1).unwrap();
        let (swept, exact) = (losses(&chain, 2).unwrap(), direct::losses(&chain, 2));
        assert!((swept.whole[0] - exact.whole[0]).abs() < 1e-9);
    }
}
