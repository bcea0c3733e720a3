//! Effects of a treated arm over a control: proportions, means and ratios.
//! Variance reduction is in `cuped.rs`, intervals valid at any time in `sequential.rs`.

use rapport_math::{Interval, Moments, PairMoments, StudentT, normal_two_sided, two_sided_z};

/// A difference between two arms and how sure it is. `effect` is treated minus control.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Estimate {
    /// Mean of the control arm.
    pub control_mean: f64,
    /// Mean of the treated arm.
    pub treated_mean: f64,
    /// `treated_mean - control_mean`, in the metric's unit.
    pub effect: f64,
    /// `effect / control_mean`, or `None` where the control's mean is 0.
    pub relative_effect: Option<f64>,
    /// Standard error of the effect, without pooling the arms.
    pub se: f64,
    /// Two-sided p-value of "no effect".
    pub p: f64,
    /// Interval of the effect at the confidence asked for.
    pub interval: Interval,
}

impl Estimate {
    fn new(means: (f64, f64), se: f64, p: f64, interval: Interval) -> Self {
        let (control_mean, treated_mean) = means;
        let effect = treated_mean - control_mean;
        let relative_effect = (control_mean != 0.0).then(|| effect / control_mean);
        Self {
            control_mean,
            treated_mean,
            effect,
            relative_effect,
            se,
            p,
            interval,
        }
    }
}

/// Compares two proportions: p from the pooled z-test, interval from the unpooled variance.
///
/// * Each arm is `(successes, trials)`; successes above trials are capped.
/// * The test pools because "no effect" says the arms are one; the interval does not, because it
///   speaks of arms that differ. `confidence` in `(0, 1)`.
/// * Returns `None` when an arm is empty, or when nobody or everybody succeeded in both.
#[must_use]
pub fn proportions(control: (u64, u64), treated: (u64, u64), confidence: f64) -> Option<Estimate> {
    let share = |(successes, trials): (u64, u64)| {
        (trials > 0).then(|| successes.min(trials) as f64 / trials as f64)
    };
    let (p_control, p_treated) = (share(control)?, share(treated)?);
    let (n_control, n_treated) = (control.1 as f64, treated.1 as f64);
    let pooled = (p_control * n_control + p_treated * n_treated) / (n_control + n_treated);
    let pooled_variance = pooled * (1.0 - pooled) * (1.0 / n_control + 1.0 / n_treated);
    if pooled_variance <= 0.0 {
        return None;
    }
    let variance =
        p_control * (1.0 - p_control) / n_control + p_treated * (1.0 - p_treated) / n_treated;
    let (effect, se) = (p_treated - p_control, variance.sqrt());
    let p = normal_two_sided(effect / pooled_variance.sqrt());
    let interval = Interval::around(effect, two_sided_z(confidence) * se);
    Some(Estimate::new((p_control, p_treated), se, p, interval))
}

/// Compares two means without assuming equal variances.
///
/// * Returns `None` when an arm has fewer than two units or neither arm varies.
/// * Source: Welch, Biometrika 1947, with Satterthwaite's degrees of freedom.
#[must_use]
pub fn welch(control: &Moments, treated: &Moments, confidence: f64) -> Option<Estimate> {
    let sample = |arm: &Moments| Some((arm.mean()?, arm.variance()?, arm.count() as f64));
    welch_of(sample(control)?, sample(treated)?, confidence)
}

/// Welch's test from `(mean, sample variance, units)` of each arm.
pub(super) fn welch_of(
    (mean_control, variance_control, n_control): (f64, f64, f64),
    (mean_treated, variance_treated, n_treated): (f64, f64, f64),
    confidence: f64,
) -> Option<Estimate> {
    let (a, b) = (variance_control / n_control, variance_treated / n_treated);
    let variance = a + b;
    if variance <= 0.0 {
        return None;
    }
    let df = variance * variance / (a * a / (n_control - 1.0) + b * b / (n_treated - 1.0));
    let student = StudentT::new(df)?;
    let (effect, se) = (mean_treated - mean_control, variance.sqrt());
    let reach = -student.quantile(0.5 * (1.0 - confidence)) * se;
    let p = student.two_sided(effect / se);
    Some(Estimate::new(
        (mean_control, mean_treated),
        se,
        p,
        Interval::around(effect, reach),
    ))
}

/// Compares two ratios of sums (revenue per order, clicks per impression) where the unit is a
/// person and both sums vary from person to person.
///
/// * `x` of each pair is a person's numerator, `y` the denominator.
/// * Returns `None` when an arm has fewer than two people, a denominator sums to 0, or nothing varies.
/// * Source: the delta method; Deng, Knoblich and Lu, "Applying the delta method in metric
///   analytics", KDD 2018, equation 4.
#[must_use]
pub fn ratios(control: &PairMoments, treated: &PairMoments, confidence: f64) -> Option<Estimate> {
    let (ratio_control, variance_control) = ratio_and_variance(control)?;
    let (ratio_treated, variance_treated) = ratio_and_variance(treated)?;
    let variance = variance_control + variance_treated;
    if variance <= 0.0 {
        return None;
    }
    let (effect, se) = (ratio_treated - ratio_control, variance.sqrt());
    let interval = Interval::around(effect, two_sided_z(confidence) * se);
    let p = normal_two_sided(effect / se);
    Some(Estimate::new(
        (ratio_control, ratio_treated),
        se,
        p,
        interval,
    ))
}

fn ratio_and_variance(arm: &PairMoments) -> Option<(f64, f64)> {
    let (numerator, denominator) = (arm.x(), arm.y());
    let below = denominator.mean()?;
    if below == 0.0 {
        return None;
    }
    let ratio = numerator.mean()? / below;
    let spread = numerator.variance()? - 2.0 * ratio * arm.covariance()?
        + ratio * ratio * denominator.variance()?;
    Some((
        ratio,
        spread.max(0.0) / (below * below) / numerator.count() as f64,
    ))
}
