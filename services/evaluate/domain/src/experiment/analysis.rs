//! The whole answer of an experiment for one metric: effect, intervals, health, verdict.

use rapport_math::{Interval, Moments, PairMoments};

use super::{
    Cuped, Estimate, SampleRatio, anytime_interval, cuped, holm, normal_beats, proportions,
    sample_ratio, welch,
};

/// Below this p the sizes of the arms are called broken, once every arm should have five people.
/// Strict, because it is looked at daily.
pub const SRM_ALARM: f64 = 0.001;
/// With fewer units in an arm the normal approximations are not to be trusted.
const SMALL_ARM: u64 = 100;
/// The same, for the rarer outcome of a two-valued metric.
const RARE_OUTCOME: f64 = 10.0;

/// What kind of numbers a metric has.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum MetricKind {
    /// Only two values, as in converted or not; `low < high`.
    TwoValued {
        /// The lesser value.
        low: f64,
        /// The greater value.
        high: f64,
    },
    /// Any numbers.
    Numeric,
}

/// The units of one arm: `x` of each pair is the metric, `y` the covariate (0 when there is none).
#[derive(Debug, Clone, PartialEq)]
pub struct Arm {
    /// Name of the variant.
    pub variant: String,
    /// Moments over the arm's units.
    pub units: PairMoments,
}

/// One question: what did each arm do to the metric, compared with the control?
#[derive(Debug, Clone, PartialEq)]
pub struct Question<'a> {
    /// All arms, the control among them.
    pub arms: &'a [Arm],
    /// Name of the control.
    pub control: &'a str,
    /// Promised shares, shape `[arms]`; `None` means equal.
    pub shares: Option<&'a [f64]>,
    /// What the metric's numbers are.
    pub kind: MetricKind,
    /// Whether the arms carry a covariate from before exposure.
    pub covariate: bool,
    /// Confidence of every interval, in `(0, 1)`.
    pub confidence: f64,
}

/// What the numbers say in one word.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// The metric rose.
    Increase,
    /// The metric fell.
    Decrease,
    /// Nothing can be told yet.
    Inconclusive,
    /// The experiment is broken: no effect is to be believed.
    Invalid,
}

impl Verdict {
    /// Returns the word as it is printed.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Increase => "increase",
            Self::Decrease => "decrease",
            Self::Inconclusive => "inconclusive",
            Self::Invalid => "invalid",
        }
    }
}

/// What a reader must know before believing a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Warning {
    /// The arms do not have their promised shares.
    SampleRatioMismatch,
    /// An arm has fewer than 100 units, or an outcome fewer than 10.
    SmallSample,
    /// An arm is too small, or nothing varies, so there is no estimate.
    Undefined,
    /// True only if the size was fixed in advance: no sequential interval excludes 0, be it that it
    /// holds 0 or that there is none yet.
    NotIfPeeked,
    /// Of several treated arms this one is not significant after Holm's correction.
    NotAfterCorrection,
}

impl Warning {
    /// Returns the word as it is printed.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::SampleRatioMismatch => "sample_ratio_mismatch",
            Self::SmallSample => "small_sample",
            Self::Undefined => "undefined",
            Self::NotIfPeeked => "not_if_peeked",
            Self::NotAfterCorrection => "not_after_correction",
        }
    }
}

/// One treated arm against the control.
#[derive(Debug, Clone, PartialEq)]
pub struct ArmAnalysis {
    /// Name of the treated variant.
    pub variant: String,
    /// The effect; `None` where it is undefined.
    pub estimate: Option<Estimate>,
    /// The interval that may be looked at any time.
    pub sequential: Option<Interval>,
    /// The effect after CUPED; `None` without a covariate that varies.
    pub cuped: Option<Cuped>,
    /// Probability that the true effect is above 0.
    pub beats_control: Option<f64>,
    /// p corrected for the number of treated arms (Holm).
    pub p_corrected: Option<f64>,
    /// The test of the arms' sizes, the same for every arm of the experiment.
    pub sample_ratio: Option<SampleRatio>,
    /// What it all says.
    pub verdict: Verdict,
    /// Why to hesitate, in the order of the enum.
    pub warnings: Vec<Warning>,
}

/// Why a question has no answer at all.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AnalysisError {
    /// There is nothing to compare.
    #[error("an experiment needs at least two arms, not {0}")]
    TooFewArms(usize),
    /// The control is not among the arms.
    #[error("control {0:?} is not among the arms")]
    UnknownControl(String),
    /// There is not one share per arm.
    #[error("{shares} shares were given for {arms} arms")]
    Shares {
        /// Shares given.
        shares: usize,
        /// Arms given.
        arms: usize,
    },
}

/// Compares every treated arm with the control, in the order of the arms.
///
/// # Errors
/// Fewer than two arms, a control that is not among them, or shares of another shape.
pub fn analyse(question: &Question<'_>) -> Result<Vec<ArmAnalysis>, AnalysisError> {
    let arms = question.arms;
    if arms.len() < 2 {
        return Err(AnalysisError::TooFewArms(arms.len()));
    }
    let shares = question
        .shares
        .map_or_else(|| vec![1.0; arms.len()], <[f64]>::to_vec);
    if shares.len() != arms.len() {
        return Err(AnalysisError::Shares {
            shares: shares.len(),
            arms: arms.len(),
        });
    }
    let control = arms
        .iter()
        .find(|arm| arm.variant == question.control)
        .ok_or_else(|| AnalysisError::UnknownControl(question.control.to_owned()))?;
    let sizes: Vec<u64> = arms.iter().map(|arm| arm.units.x().count()).collect();
    let ratio = sample_ratio(&sizes, &shares);
    let treated = arms.iter().filter(|arm| arm.variant != question.control);
    let mut rows: Vec<ArmAnalysis> = treated
        .map(|arm| compare(question, control, arm, ratio))
        .collect();
    correct_and_judge(&mut rows, 1.0 - question.confidence);
    Ok(rows)
}

/// Computes everything of a row that does not depend on the other treated arms.
fn compare(
    question: &Question<'_>,
    control: &Arm,
    treated: &Arm,
    ratio: Option<SampleRatio>,
) -> ArmAnalysis {
    let (before, after) = (control.units.x(), treated.units.x());
    let estimate = match question.kind {
        MetricKind::TwoValued { low, high } => {
            two_valued(before, after, (low, high), question.confidence)
        }
        MetricKind::Numeric => welch(before, after, question.confidence),
    };
    let units = (before.count(), after.count());
    let sequential =
        estimate.and_then(|found| anytime_interval(&found, units, 1.0 - question.confidence));
    let mut warnings = Vec::new();
    if ratio.is_some_and(|ratio| ratio.is_mismatch()) {
        warnings.push(Warning::SampleRatioMismatch);
    }
    if is_small(before, question.kind) || is_small(after, question.kind) {
        warnings.push(Warning::SmallSample);
    }
    if estimate.is_none() {
        warnings.push(Warning::Undefined);
    }
    ArmAnalysis {
        variant: treated.variant.clone(),
        estimate,
        sequential,
        cuped: question
            .covariate
            .then(|| cuped(&control.units, &treated.units, question.confidence))
            .flatten(),
        beats_control: estimate.and_then(|found| normal_beats(found.effect, found.se)),
        p_corrected: None,
        sample_ratio: ratio,
        verdict: Verdict::Inconclusive,
        warnings,
    }
}

/// Fills in what depends on all rows together: corrected p, then the verdict.
fn correct_and_judge(rows: &mut [ArmAnalysis], alpha: f64) {
    let defined: Vec<usize> = (0..rows.len())
        .filter(|&i| rows[i].estimate.is_some())
        .collect();
    let plain: Vec<f64> = defined
        .iter()
        .filter_map(|&i| Some(rows[i].estimate?.p))
        .collect();
    for (&row, corrected) in defined.iter().zip(holm(&plain)) {
        rows[row].p_corrected = Some(corrected);
    }
    for row in rows {
        let significant = row.estimate.is_some_and(|found| found.p < alpha);
        // Without an interval nothing is known to hold at any look: that is no reason to be silent.
        if significant && row.sequential.is_none_or(|interval| interval.contains(0.0)) {
            row.warnings.push(Warning::NotIfPeeked);
        }
        if significant && row.p_corrected.is_some_and(|p| p >= alpha) {
            row.warnings.push(Warning::NotAfterCorrection);
        }
        row.verdict = match row.estimate {
            _ if row.warnings.contains(&Warning::SampleRatioMismatch) => Verdict::Invalid,
            Some(found) if significant && found.effect > 0.0 => Verdict::Increase,
            Some(_) if significant => Verdict::Decrease,
            Some(_) | None => Verdict::Inconclusive,
        };
    }
}

/// Compares proportions of a metric that takes `low` and `high` only, in the metric's unit.
fn two_valued(
    control: &Moments,
    treated: &Moments,
    (low, high): (f64, f64),
    confidence: f64,
) -> Option<Estimate> {
    let width = high - low;
    let successes = |arm: &Moments| {
        let share = (arm.mean()? - low) / width;
        Some((
            (share * arm.count() as f64).round().max(0.0) as u64,
            arm.count(),
        ))
    };
    let mut found = proportions(successes(control)?, successes(treated)?, confidence)?;
    found.control_mean = low + found.control_mean * width;
    found.treated_mean = low + found.treated_mean * width;
    found.effect *= width;
    found.se *= width;
    found.interval = Interval {
        low: found.interval.low * width,
        high: found.interval.high * width,
    };
    found.relative_effect = (found.control_mean != 0.0).then(|| found.effect / found.control_mean);
    Some(found)
}

fn is_small(arm: &Moments, kind: MetricKind) -> bool {
    let rarer = match kind {
        MetricKind::TwoValued { low, high } => {
            let share = arm.mean().map_or(0.0, |mean| (mean - low) / (high - low));
            share.min(1.0 - share) * arm.count() as f64
        }
        MetricKind::Numeric => f64::INFINITY,
    };
    arm.count() < SMALL_ARM || rarer < RARE_OUTCOME
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An arm of zeros and ones.
    fn coin(variant: &str, successes: u64, trials: u64) -> Arm {
        let units = (0..trials)
            .map(|unit| (f64::from(u8::from(unit < successes)), 0.0))
            .collect();
        Arm {
            variant: variant.to_owned(),
            units,
        }
    }

    fn ask<'a>(arms: &'a [Arm], control: &'a str) -> Question<'a> {
        let kind = MetricKind::TwoValued {
            low: 0.0,
            high: 1.0,
        };
        Question {
            arms,
            control,
            shares: None,
            kind,
            covariate: false,
            confidence: 0.95,
        }
    }

    #[test]
    fn a_clear_winner_is_called() {
        let arms = [coin("a", 500, 10_000), coin("b", 700, 10_000)];
        let rows = analyse(&ask(&arms, "a")).unwrap();
        assert_eq!((rows.len(), rows[0].verdict), (1, Verdict::Increase));
        assert_eq!(rows[0].warnings, []);
        assert!(rows[0].beats_control.unwrap() > 0.999);
        let back = analyse(&ask(&arms, "b")).unwrap();
        assert_eq!(back[0].verdict, Verdict::Decrease);
    }

    #[test]
    fn unequal_arms_make_it_invalid_unless_promised() {
        let arms = [coin("a", 500, 10_000), coin("b", 450, 9_000)];
        let rows = analyse(&ask(&arms, "a")).unwrap();
        assert_eq!(rows[0].verdict, Verdict::Invalid);
        assert_eq!(rows[0].warnings, [Warning::SampleRatioMismatch]);
        let promised = Question {
            shares: Some(&[10.0, 9.0]),
            ..ask(&arms, "a")
        };
        assert_eq!(analyse(&promised).unwrap()[0].warnings, []);
    }

    #[test]
    fn a_few_people_are_no_mismatch_however_rare() {
        let check = |seen: (u64, u64), expected| {
            let arms = [coin("a", 0, seen.0), coin("b", 0, seen.1)];
            let shares = Some([9_900.0, 100.0].as_slice());
            let asked = Question {
                shares,
                ..ask(&arms, "a")
            };
            let row = &analyse(&asked).unwrap()[0];
            assert!(row.sample_ratio.unwrap().p < SRM_ALARM);
            let found = row.warnings.contains(&Warning::SampleRatioMismatch);
            assert_eq!(found, expected, "{seen:?}");
        };
        // One of seven in the arm of 1 %: p = 0.0004, and it happens in 7 of 100 healthy runs.
        check((6, 1), false);
        // 4.99 expected, then 5.
        check((484, 15), false);
        check((485, 15), true);
    }

    #[test]
    fn borderline_results_carry_their_reasons() {
        // z = 2.2: significant alone, not under peeking, not among two arms.
        let arms = [
            coin("a", 500, 10_000),
            coin("b", 570, 10_000),
            coin("c", 505, 10_000),
        ];
        let rows = analyse(&ask(&arms, "a")).unwrap();
        assert_eq!(rows[0].verdict, Verdict::Increase);
        assert!(rows[0].warnings.contains(&Warning::NotIfPeeked));
        let few = [coin("a", 3, 50), coin("b", 4, 50)];
        assert!(
            analyse(&ask(&few, "a")).unwrap()[0]
                .warnings
                .contains(&Warning::SmallSample)
        );
    }

    #[test]
    fn a_significant_p_without_a_sequential_interval_is_not_for_peeking() {
        let kind = MetricKind::Numeric;
        let shares = Some([9.0, 200.0].as_slice());
        let numbers = |variant: &str, count: u32, start: f64| Arm {
            variant: variant.to_owned(),
            units: (0..count)
                .map(|unit| (start + f64::from(unit % 3), 0.0))
                .collect(),
        };
        // Nine units an arm are too few for an interval; forty against forty without any variance too.
        let nine = [numbers("b", 9, 5.0), numbers("a", 200, 0.0)];
        let row = &analyse(&Question {
            kind,
            shares,
            ..ask(&nine, "a")
        })
        .unwrap()[0];
        assert!(row.estimate.unwrap().p < 0.05 && row.sequential.is_none());
        assert!(row.warnings.contains(&Warning::NotIfPeeked), "{row:?}");
        let certain = [coin("a", 0, 40), coin("b", 40, 40)];
        let row = &analyse(&ask(&certain, "a")).unwrap()[0];
        assert!(row.sequential.is_none() && row.warnings.contains(&Warning::NotIfPeeked));
        let ten = [numbers("b", 10, 5.0), numbers("a", 200, 0.0)];
        let shares = Some([10.0, 200.0].as_slice());
        let row = &analyse(&Question {
            kind,
            shares,
            ..ask(&ten, "a")
        })
        .unwrap()[0];
        assert!(row.sequential.is_some());
    }

    #[test]
    fn two_valued_metrics_keep_their_unit() {
        let five = |arm: Arm| {
            let share = arm.units.x().mean().unwrap();
            let paid = (share * arm.units.x().count() as f64).round() as u64;
            let units = (0..arm.units.x().count()).map(|i| (if i < paid { 5.0 } else { 1.0 }, 0.0));
            Arm {
                variant: arm.variant,
                units: units.collect(),
            }
        };
        let arms = [five(coin("a", 100, 1_000)), five(coin("b", 150, 1_000))];
        let kind = MetricKind::TwoValued {
            low: 1.0,
            high: 5.0,
        };
        let rows = analyse(&Question {
            kind,
            ..ask(&arms, "a")
        })
        .unwrap();
        let found = rows[0].estimate.unwrap();
        assert!((found.effect - 0.2).abs() < 1e-12 && (found.control_mean - 1.4).abs() < 1e-12);
        let plain = analyse(&ask(&[coin("a", 100, 1_000), coin("b", 150, 1_000)], "a")).unwrap();
        assert_eq!(found.p, plain[0].estimate.unwrap().p);
    }

    #[test]
    fn impossible_questions_are_refused() {
        let one = [coin("a", 1, 2)];
        assert_eq!(analyse(&ask(&one, "a")), Err(AnalysisError::TooFewArms(1)));
        let two = [coin("a", 1, 2), coin("b", 1, 2)];
        let unknown = AnalysisError::UnknownControl("z".to_owned());
        assert_eq!(analyse(&ask(&two, "z")), Err(unknown));
        let shares = Question {
            shares: Some(&[1.0]),
            ..ask(&two, "a")
        };
        assert_eq!(
            analyse(&shares),
            Err(AnalysisError::Shares { shares: 1, arms: 2 })
        );
        let nothing = [coin("a", 0, 200), coin("b", 0, 200)];
        assert!(
            analyse(&ask(&nothing, "a")).unwrap()[0]
                .warnings
                .contains(&Warning::Undefined)
        );
    }
}
