//! One experiment over measured people, by first exposure.

use evaluate_domain::experiment::{
    self, Arm, ArmAnalysis, Exposure, Exposures, MetricKind, Question, State, Warning,
    anytime_interval,
};
use rapport_math::{Interval, PairMoments};
use rapport_types::{Currency, UnixMillis};

use super::Collect;
use crate::error::Error;
use crate::projection::Journey;
use crate::store::experiment::Experiment;

/// Confidence of every interval.
const CONFIDENCE: f64 = 0.95;
/// How far the clocks of those who expose may be off: an arm served in the second in which the
/// experiment was started belongs to it.
const CLOCK_SLACK_MS: i64 = 5 * 60 * 1_000;

/// What counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Metric {
    /// Whether a person bought.
    Conversion,
    /// What a person brought, in units of currency.
    Revenue,
}

/// An experiment being counted.
#[derive(Debug, Clone)]
pub struct Trial {
    experiment: Experiment,
    metric: Metric,
    currency: Option<Currency>,
    /// In the order of the variants, the control first.
    arms: Vec<Arm>,
    crossovers: u64,
    /// People whose first exposure, the only one that is kept, lies outside the run.
    outside: u64,
    /// People who first met a variant that the experiment does not have.
    unknown: u64,
}

/// What the numbers say in one word.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Nothing can be told yet.
    Wait,
    /// A treated variant is better than the control.
    Better,
    /// A treated variant is worse, and none is better.
    Worse,
    /// It is over, and no difference was found.
    NoDifference,
    /// The sizes of the arms say that assignment or logging is broken.
    Broken,
}

impl Verdict {
    /// Returns the contract's word.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Wait => "WAIT",
            Self::Better => "BETTER",
            Self::Worse => "WORSE",
            Self::NoDifference => "NO_DIFFERENCE",
            Self::Broken => "BROKEN",
        }
    }
}

/// The answer.
#[derive(Debug, Clone)]
pub struct TrialResult {
    /// All arms, the control first.
    pub arms: Vec<Arm>,
    /// The treated arms, in the same order. Their verdicts heed whether the experiment is over.
    pub treated: Vec<ArmAnalysis>,
    /// The p of the arms' sizes; 1 while nobody was exposed.
    pub srm_p: f64,
    /// People who met two variants.
    pub crossovers: u64,
    /// The word.
    pub verdict: Verdict,
    /// Sentences.
    pub warnings: Vec<String>,
}

impl Trial {
    /// Returns a trial without people. Money in another currency than `currency` is left out.
    #[must_use]
    pub fn new(experiment: Experiment, metric: Metric, currency: Option<Currency>) -> Self {
        let arm = |variant: &experiment::Variant| Arm {
            variant: variant.key.clone(),
            units: PairMoments::default(),
        };
        let arms = experiment.allocation.variants().iter().map(arm).collect();
        Self {
            experiment,
            metric,
            currency,
            arms,
            crossovers: 0,
            outside: 0,
            unknown: 0,
        }
    }

    /// Returns the exposures that belong to the experiment's run.
    fn exposures(&self, person: &Journey) -> (Exposures, bool) {
        let (mut exposures, mut any) = (Exposures::default(), false);
        for (variant, seen) in person.variants(&self.experiment.key) {
            any = true;
            let live = seen.live.filter(|at| self.covers(UnixMillis(*at)));
            for at in live.into_iter().chain(seen.imported) {
                exposures.record(Exposure {
                    at: UnixMillis(at),
                    variant: variant.to_owned(),
                });
            }
        }
        (exposures, any)
    }

    fn covers(&self, at: UnixMillis) -> bool {
        let begun = |started_at: UnixMillis| at.plus(CLOCK_SLACK_MS) >= started_at;
        match self.experiment.state {
            State::Draft => false,
            State::Running { started_at } => begun(started_at),
            State::Stopped {
                started_at,
                stopped_at,
            } => begun(started_at) && at < stopped_at,
        }
    }

    fn outcome(&self, person: &Journey, exposed_at: UnixMillis) -> f64 {
        let end = match self.experiment.state {
            State::Stopped { stopped_at, .. } => stopped_at,
            State::Draft | State::Running { .. } => UnixMillis(i64::MAX),
        };
        let orders = person.orders().into_iter();
        let mut after = orders.filter(|order| order.at >= exposed_at && order.at < end);
        match self.metric {
            Metric::Conversion => f64::from(u8::from(after.any(|order| order.is_purchase))),
            Metric::Revenue => after
                .filter(|order| Some(order.currency) == self.currency)
                .map(|order| order.net.to_units_f64())
                .sum(),
        }
    }

    /// Compares the arms.
    ///
    /// # Errors
    /// [`Error::Internal`] for an experiment without two arms, which cannot be stored.
    pub fn finish(self) -> Result<TrialResult, Error> {
        let control = self.experiment.allocation.control().to_owned();
        let variants = self.experiment.allocation.variants().iter();
        let shares: Vec<f64> = variants.map(|variant| f64::from(variant.share)).collect();
        let kind = match self.metric {
            Metric::Conversion => MetricKind::TwoValued {
                low: 0.0,
                high: 1.0,
            },
            Metric::Revenue => MetricKind::Numeric,
        };
        let question = Question {
            arms: &self.arms,
            control: &control,
            shares: Some(&shares),
            kind,
            covariate: false,
            confidence: CONFIDENCE,
        };
        let mut treated = experiment::analyse(&question)
            .map_err(|_| Error::Internal("an experiment cannot be analysed"))?;
        judge(&mut treated, &self.arms, self.experiment.state);
        let sizes = treated.first().and_then(|row| row.sample_ratio);
        Ok(TrialResult {
            srm_p: sizes.map_or(1.0, |ratio| ratio.p),
            crossovers: self.crossovers,
            verdict: verdict(&treated, self.experiment.state),
            warnings: self.warnings(&treated),
            arms: self.arms,
            treated,
        })
    }

    fn warnings(&self, treated: &[ArmAnalysis]) -> Vec<String> {
        let mut sentences = Vec::new();
        for row in treated {
            for warning in &row.warnings {
                let sentence = sentence(*warning, &row.variant);
                if !sentences.contains(&sentence) {
                    sentences.push(sentence);
                }
            }
        }
        let mut count = |people: u64, what: &str| {
            if people > 0 {
                sentences.push(format!("{people} persons {what}."));
            }
        };
        count(
            self.crossovers,
            "met more than one variant and count by their first",
        );
        count(
            self.outside,
            "were first exposed outside the run and are left out",
        );
        count(
            self.unknown,
            "met a variant that the experiment does not have and are left out",
        );
        sentences
    }
}

impl Collect for Trial {
    fn take(&mut self, person: &Journey) -> Result<(), Error> {
        let (exposures, any) = self.exposures(person);
        let Some(first) = exposures.first() else {
            self.outside += u64::from(any);
            return Ok(());
        };
        let value = self.outcome(person, first.at);
        match self
            .arms
            .iter_mut()
            .find(|arm| arm.variant == first.variant)
        {
            Some(arm) => {
                arm.units.push(value, 0.0);
                self.crossovers += u64::from(exposures.crossed());
            }
            None => self.unknown += 1,
        }
        Ok(())
    }
}

/// Says of every treated arm what may be said now. While the experiment runs, the sequential interval
/// decides, as somebody may look every day; once it is over, the corrected test of its fixed horizon
/// does. Any arm may decide, so the interval is corrected for their number as well (Bonferroni).
fn judge(treated: &mut [ArmAnalysis], arms: &[Arm], state: State) {
    let alpha = 1.0 - CONFIDENCE;
    let own_alpha = alpha / treated.len().max(1) as f64;
    let size = |arm: &Arm| arm.units.x().count();
    let control = arms.first().map_or(0, size);
    for (row, arm) in treated.iter_mut().zip(arms.iter().skip(1)) {
        if row.verdict == experiment::Verdict::Invalid {
            continue;
        }
        let excludes_0 = |range: Option<Interval>| range.is_some_and(|range| !range.contains(0.0));
        let sure = match state {
            State::Stopped { .. } => row.p_corrected.is_some_and(|p| p < alpha),
            State::Draft | State::Running { .. } => {
                let units = (control, size(arm));
                let corrected = row
                    .estimate
                    .and_then(|found| anytime_interval(&found, units, own_alpha));
                let is_sure = excludes_0(corrected);
                let warning = Warning::NotAfterCorrection;
                if !is_sure && excludes_0(row.sequential) && !row.warnings.contains(&warning) {
                    row.warnings.push(warning);
                }
                is_sure
            }
        };
        row.verdict = match row.estimate {
            Some(found) if sure && found.effect > 0.0 => experiment::Verdict::Increase,
            Some(_) if sure => experiment::Verdict::Decrease,
            Some(_) | None => experiment::Verdict::Inconclusive,
        };
    }
}

/// Says of the experiment what its treated arms say together.
fn verdict(treated: &[ArmAnalysis], state: State) -> Verdict {
    let any = |said: experiment::Verdict| treated.iter().any(|row| row.verdict == said);
    if any(experiment::Verdict::Invalid) {
        return Verdict::Broken;
    }
    let stopped = matches!(state, State::Stopped { .. });
    if any(experiment::Verdict::Increase) {
        Verdict::Better
    } else if any(experiment::Verdict::Decrease) {
        Verdict::Worse
    } else if stopped && treated.iter().all(|row| row.estimate.is_some()) {
        Verdict::NoDifference
    } else {
        Verdict::Wait
    }
}

fn sentence(warning: Warning, variant: &str) -> String {
    match warning {
        Warning::SampleRatioMismatch => {
            "The arms do not have their promised shares: believe no effect.".to_owned()
        }
        Warning::SmallSample => format!(
            "`{variant}` or the control has fewer than 100 persons, or fewer than 10 of one outcome."
        ),
        Warning::Undefined => format!("`{variant}` has too few persons, or nothing varies."),
        Warning::NotIfPeeked => format!(
            "The p of `{variant}` holds only if its size was fixed in advance; no sequential interval \
             excludes 0 yet."
        ),
        Warning::NotAfterCorrection => {
            format!("`{variant}` is not significant once all variants are considered.")
        }
    }
}
