//! Experiments without effect on the file's own metric: how often does each rule cry wolf when it is
//! asked again and again?

use evaluate_domain::experiment::{
    MetricKind, anytime_interval, cuped, normal_beats, proportions, welch,
};
use rapport_math::{Interval, PairMoments, Rng, wilson};
use rayon::prelude::*;

use super::data::{Data, Unit};
use super::{ALPHA, CONFIDENCE, Method, successes};

/// Stream of the seed.
const STREAM: u64 = 0x6e75_6c6c;

/// Shares of the runs in which a rule saw an effect that is not there.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Alarms {
    /// The sequential interval left 0 at some look.
    pub(crate) sequential: Option<f64>,
    pub(crate) sequential_interval: Option<Interval>,
    /// The fixed test was significant at some look.
    pub(crate) naive: Option<f64>,
    pub(crate) naive_interval: Option<Interval>,
}

/// Runs `runs` experiments: all units of the file in random order, each put into one of two arms by a
/// coin (of the promised shares of control and treated arm), looked at every `look_every` units.
///
/// Run `r` draws from a stream of its own. Cost: `runs` times units and looks, on all threads.
pub(crate) fn false_alarms(
    data: &Data,
    method: Method,
    runs: u64,
    look_every: usize,
    seed: u64,
) -> Alarms {
    let rng = Rng::seeded(seed).fork(STREAM);
    let treated_share = data.shares.as_ref().map_or(0.5, |shares| {
        shares[data.treated] / (shares[data.treated] + shares[data.control])
    });
    let alarmed = (0..runs)
        .into_par_iter()
        .map_init(
            || data.units.clone(),
            |units, run| {
                let mut stream = rng.fork(run);
                units.copy_from_slice(&data.units);
                stream.shuffle(units);
                let (sequential, naive) = watch(
                    units,
                    data.kind,
                    method,
                    look_every,
                    treated_share,
                    &mut stream,
                );
                (u64::from(sequential), u64::from(naive))
            },
        )
        .reduce(|| (0, 0), |a, b| (a.0 + b.0, a.1 + b.1));
    let share = |count: u64| (runs > 0).then(|| count as f64 / runs as f64);
    Alarms {
        sequential: share(alarmed.0),
        sequential_interval: wilson(alarmed.0, runs, CONFIDENCE),
        naive: share(alarmed.1),
        naive_interval: wilson(alarmed.1, runs, CONFIDENCE),
    }
}

/// Watches one experiment; returns whether each rule ever saw an effect.
fn watch(
    units: &[Unit],
    kind: MetricKind,
    method: Method,
    look_every: usize,
    treated_share: f64,
    rng: &mut Rng,
) -> (bool, bool) {
    let mut arms = [PairMoments::default(), PairMoments::default()];
    let (mut sequential, mut naive) = (false, false);
    for look in units.chunks(look_every) {
        for unit in look {
            arms[usize::from(rng.chance(treated_share))].push(unit.metric, unit.covariate);
        }
        if let Some((by_sequence, by_test)) = alarms(&arms, kind, method) {
            sequential |= by_sequence;
            naive |= by_test;
        }
        if sequential && naive {
            break;
        }
    }
    (sequential, naive)
}

/// Looks once; `None` while there is no estimate.
fn alarms(
    [control, treated]: &[PairMoments; 2],
    kind: MetricKind,
    method: Method,
) -> Option<(bool, bool)> {
    let found = match (method, kind) {
        (Method::Cuped, _) => cuped(control, treated, CONFIDENCE)?.estimate,
        (_, MetricKind::TwoValued { low, high }) => {
            let count = |arm: &PairMoments| successes(arm.x(), low, high);
            let mut found = proportions(count(control), count(treated), CONFIDENCE)?;
            found.effect *= high - low;
            found.se *= high - low;
            found
        }
        (_, MetricKind::Numeric) => welch(control.x(), treated.x(), CONFIDENCE)?,
    };
    let units = (control.x().count(), treated.x().count());
    let by_sequence =
        anytime_interval(&found, units, ALPHA).is_some_and(|interval| !interval.contains(0.0));
    let by_test = match method {
        Method::Bayes => normal_beats(found.effect, found.se)
            .is_some_and(|beats| beats.min(1.0 - beats) < 0.5 * ALPHA),
        Method::Welch | Method::Cuped => found.p < ALPHA,
    };
    Some((by_sequence, by_test))
}
