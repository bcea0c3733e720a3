//! What a trial costs, counted in steps before it runs: no measured time ever changes an answer.

use recommend_domain::EASE_ITEMS_MAX;

use super::Validation;
use crate::recommend::spec::Spec;

/// Pairs counted or scores added by one CPU-second, measured on a 2020s server core.
const STEPS_PER_SECOND: f64 = 1.5e8;
/// Products of dense kernels per step.
const DENSE: f64 = 150.0;
/// Numbers of a panel's row added per step.
const PANEL: f64 = 20.0;

/// The steps that are left, and the sizes that costs depend on.
#[derive(Debug)]
pub(super) struct Budget {
    left: f64,
    /// Steps that only [`Self::release`] makes free.
    set_aside: f64,
    queries: f64,
    items: f64,
    people: f64,
    pairs: f64,
    /// Sum of squared history lengths.
    squares: f64,
}

impl Budget {
    pub(super) fn new(validation: &Validation, cpu_seconds: f64) -> Self {
        let lengths = validation
            .training
            .histories
            .iter()
            .map(|it| it.len() as f64);
        Self {
            left: cpu_seconds * STEPS_PER_SECOND,
            set_aside: 0.0,
            queries: validation.queries.len() as f64,
            items: validation.training.items.len() as f64,
            people: validation.training.histories.len() as f64,
            pairs: lengths.clone().sum(),
            squares: lengths.map(|it| it * it).sum(),
        }
    }

    /// Pays for a trial; false if what is left does not.
    pub(super) fn pay(&mut self, spec: &Spec, tried: &[(Spec, f64)]) -> bool {
        let shared = kept_filter(tried).is_some_and(|kept| shares_spectrum(kept, spec));
        let fit = if shared { 0.0 } else { self.fit(spec) };
        self.take(fit + self.serve(spec))
    }

    /// Pays for judging a number of weightings of a blend at once.
    pub(super) fn pay_mixes(&mut self, blend: &Spec, mixes: usize) -> bool {
        self.take(self.mixes(blend, mixes))
    }

    /// Keeps back what judging a number of weightings of a blend costs; half of what is left at most.
    pub(super) fn set_aside(&mut self, blend: &Spec, mixes: usize) {
        let kept = self.mixes(blend, mixes).min(self.left / 2.0);
        self.left -= kept;
        self.set_aside += kept;
    }

    /// Makes free what was kept back.
    pub(super) fn release(&mut self) {
        self.left += self.set_aside;
        self.set_aside = 0.0;
    }

    fn mixes(&self, blend: &Spec, mixes: usize) -> f64 {
        let each = self.queries * self.items;
        self.fit(blend) + self.serve(blend) + 0.5 * each * mixes as f64
    }

    fn take(&mut self, steps: f64) -> bool {
        let is_enough = steps <= self.left;
        if is_enough {
            self.left -= steps;
        }
        is_enough
    }

    fn fit(&self, spec: &Spec) -> f64 {
        match spec {
            Spec::Popularity | Spec::UserKnn(_) | Spec::Content | Spec::Social(_) => self.pairs,
            Spec::ItemKnn(_) => self.squares,
            Spec::Ease(_) if self.items > EASE_ITEMS_MAX as f64 => 4.0 * self.squares,
            Spec::Ease(_) => self.squares + self.items.powi(3) / 2.0 / DENSE,
            Spec::Slim(it) => {
                let support = it.support as f64;
                3.0 * self.squares
                    + self.items * support * (support * support / 6.0 + 2_000.0) / 10.0
            }
            Spec::Filter(_, it) => {
                let width = it.factors as f64 + 32.0;
                let small = 45.0 * width.powi(3) / 10.0;
                34.0 * self.pairs * width / PANEL
                    + 16.0 * (self.items + self.people) * width * width / DENSE
                    + small
            }
            Spec::Ials(it) => {
                let (width, epochs) = (it.factors as f64, it.epochs as f64);
                let steps = 12.0 * self.pairs * width / PANEL;
                let turns = 3.0 * (self.items + self.people) * width * width / DENSE;
                epochs * (steps + turns + 2.0 * width.powi(3))
            }
            Spec::Blend(parts) => parts.iter().map(|(part, _)| self.fit(part)).sum(),
        }
    }

    fn serve(&self, spec: &Spec) -> f64 {
        let mean_items = self.pairs / self.people.max(1.0);
        // The people of an item in somebody's history are more than those of the mean item.
        let mean_people = 8.0 * self.pairs / self.items.max(1.0);
        let each = match spec {
            Spec::Popularity | Spec::Content | Spec::Slim(_) => 100.0 * mean_items,
            Spec::ItemKnn(it) => it.neighbours as f64 * mean_items,
            Spec::UserKnn(it) => mean_items * (mean_people + it.neighbours as f64),
            Spec::Social(_) => 50.0 * mean_items,
            Spec::Ease(_) => mean_items * self.items / 8.0,
            Spec::Ials(it) => self.items * it.factors as f64 / DENSE,
            Spec::Filter(_, it) => {
                let passes = if it.sharpening > 0.0 { 10.0 } else { 2.0 };
                passes * self.pairs / PANEL + self.items * it.factors as f64 / DENSE
            }
            Spec::Blend(parts) => {
                let parts: f64 = parts.iter().map(|(part, _)| self.serve(part)).sum();
                parts / self.queries.max(1.0)
            }
        };
        self.queries * (self.items + each)
    }
}

/// The filter whose eigenvectors the workshop still has: the last one that did not find its own there.
/// Trials of other families between leave them alone.
fn kept_filter(tried: &[(Spec, f64)]) -> Option<&Spec> {
    let filters = tried.iter().map(|(spec, _)| spec);
    filters
        .filter(|spec| matches!(spec, Spec::Filter(..)))
        .reduce(|kept, spec| {
            if shares_spectrum(kept, spec) {
                kept
            } else {
                spec
            }
        })
}

/// Whether a filter's eigenvectors are among those of another.
fn shares_spectrum(kept: &Spec, spec: &Spec) -> bool {
    match (kept, spec) {
        (Spec::Filter(_, kept), Spec::Filter(_, it)) => {
            kept.activity_damping.to_bits() == it.activity_damping.to_bits()
                && kept.popularity_damping.to_bits() == it.popularity_damping.to_bits()
                && kept.factors >= it.factors
        }
        _ => false,
    }
}
