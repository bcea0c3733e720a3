//! CUPED: the same effect with less noise, by subtracting what was known before the experiment.

use rapport_math::PairMoments;

use super::effect::{Estimate, welch_of};

/// An effect adjusted by a covariate measured before exposure.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Cuped {
    /// The adjusted comparison. Its means are those at the covariate's overall mean.
    pub estimate: Estimate,
    /// Slope of the metric on the covariate, over both arms.
    pub theta: f64,
    /// Share of the effect's variance that is gone, at most 1; below 0 if the covariate only hurts.
    pub variance_reduction: f64,
}

/// Computes the adjusted effect.
///
/// * `x` of each pair is the metric, `y` the covariate, which must be from before exposure: a
///   covariate that the treatment can move takes the effect away with it.
/// * One slope for both arms, over both together.
/// * Returns `None` when an arm has fewer than two units or the covariate does not vary.
/// * Source: Deng, Xu, Kohavi and Walker, "Improving the sensitivity of online controlled
///   experiments by utilizing pre-experiment data", WSDM 2013, section 3.2.
#[must_use]
pub fn cuped(control: &PairMoments, treated: &PairMoments, confidence: f64) -> Option<Cuped> {
    let mut both = *control;
    both.merge(treated);
    let spread = both.y().variance().filter(|variance| *variance > 0.0)?;
    let theta = both.covariance()? / spread;
    let centre = both.y().mean()?;
    let adjusted = |arm: &PairMoments| {
        let mean = arm.x().mean()? - theta * (arm.y().mean()? - centre);
        let variance = arm.x().variance()? - 2.0 * theta * arm.covariance()?
            + theta * theta * arm.y().variance()?;
        Some((mean, variance.max(0.0), arm.x().count() as f64))
    };
    let estimate = welch_of(adjusted(control)?, adjusted(treated)?, confidence)?;
    let plain = control.x().standard_error()?.powi(2) + treated.x().standard_error()?.powi(2);
    let variance_reduction = 1.0 - estimate.se * estimate.se / plain;
    Some(Cuped {
        estimate,
        theta,
        variance_reduction,
    })
}
