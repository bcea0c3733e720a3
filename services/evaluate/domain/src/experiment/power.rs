//! How many people an experiment needs, and what it could find with those it has.

use rapport_math::normal_quantile;

/// What a planned test must achieve.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Plan {
    /// Two-sided level of the test, in `(0, 1)`: 0.05 by custom.
    pub alpha: f64,
    /// Probability of finding a true effect, in `(0, 1)`: 0.8 by custom.
    pub power: f64,
    /// Treated units per control unit, `> 0`.
    pub ratio: f64,
}

impl Default for Plan {
    fn default() -> Self {
        Self {
            alpha: 0.05,
            power: 0.8,
            ratio: 1.0,
        }
    }
}

impl Plan {
    fn quantiles(&self) -> Option<(f64, f64)> {
        let open = |p: f64| p > 0.0 && p < 1.0;
        let valid = open(self.alpha) && open(self.power) && self.ratio > 0.0;
        valid.then(|| {
            (
                -normal_quantile(0.5 * self.alpha),
                normal_quantile(self.power),
            )
        })
    }
}

/// Returns the control units needed to find a difference of means, not rounded; the treated arm
/// needs `ratio` times as many. `None` unless the plan is valid, `sd > 0` and `difference != 0`.
#[must_use]
pub fn sample_size_means(sd: f64, difference: f64, plan: Plan) -> Option<f64> {
    let (level, power) = plan.quantiles()?;
    let reach = (level + power) * sd / difference;
    (sd > 0.0 && difference != 0.0).then(|| reach * reach * (1.0 + 1.0 / plan.ratio))
}

/// Returns the control units needed to find `treated` instead of `control`, both rates in
/// `(0, 1)`, by the pooled z-test; `None` for equal or impossible rates or plan.
///
/// Source: Fleiss, Levin and Paik, "Statistical methods for rates and proportions", 2003, (4.14).
#[must_use]
pub fn sample_size_proportions(control: f64, treated: f64, plan: Plan) -> Option<f64> {
    let (level, power) = plan.quantiles()?;
    let open = |p: f64| p > 0.0 && p < 1.0;
    if !open(control) || !open(treated) || control == treated {
        return None;
    }
    let pooled = (control + plan.ratio * treated) / (1.0 + plan.ratio);
    let under_null = (pooled * (1.0 - pooled) * (1.0 + 1.0 / plan.ratio)).sqrt();
    let under_effect = control * (1.0 - control) + treated * (1.0 - treated) / plan.ratio;
    let reach = (level * under_null + power * under_effect.sqrt()) / (treated - control);
    Some(reach * reach)
}

/// Returns the smallest difference of means that `units` control units could find; the inverse of
/// [`sample_size_means`]. `None` unless the plan is valid, `sd > 0` and `units > 0`.
#[must_use]
pub fn minimum_effect(sd: f64, units: u64, plan: Plan) -> Option<f64> {
    let (level, power) = plan.quantiles()?;
    let spread = (1.0 + 1.0 / plan.ratio) / units as f64;
    (sd > 0.0 && units > 0).then(|| (level + power) * sd * spread.sqrt())
}
