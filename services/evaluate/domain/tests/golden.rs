//! The experiment's numbers against statsmodels, scipy and gbstats (`golden/golden.py`), to 1e-9.
#![expect(clippy::unwrap_used, reason = "tests")]

use std::collections::BTreeMap;

use evaluate_domain::experiment::{
    Estimate, Plan, benjamini_hochberg, beta_binomial_beats, confidence_sequence, cuped, holm,
    minimum_effect, proportions, ratios, sample_ratio, sample_size_means, sample_size_proportions,
    welch,
};
use rapport_math::{Moments, PairMoments};

/// Golden values by case and key; a case that is never asked for fails the test.
struct Golden(BTreeMap<(String, String), f64>);

impl Golden {
    fn read() -> Self {
        let rows = include_str!("../golden/experiment.csv").lines().skip(1);
        Self(
            rows.map(|row| {
                let fields: Vec<&str> = row.split(',').collect();
                (
                    (fields[0].to_owned(), fields[1].to_owned()),
                    fields[2].parse().unwrap(),
                )
            })
            .collect(),
        )
    }

    #[track_caller]
    fn check(&mut self, case: &str, key: &str, ours: f64) {
        let golden = self.0.remove(&(case.to_owned(), key.to_owned())).unwrap();
        let error = (ours - golden).abs();
        assert!(
            error <= 1e-9 * golden.abs().max(1e-3),
            "{case} {key}: {ours:e}, not {golden:e}"
        );
    }

    #[track_caller]
    fn check_estimate(&mut self, case: &str, keys: &[&str], found: &Estimate) {
        for &key in keys {
            let ours = match key {
                "effect" => found.effect,
                "se" => found.se,
                "p" => found.p,
                "low" => found.interval.low,
                "high" => found.interval.high,
                unknown => panic!("no key {unknown}"),
            };
            self.check(case, key, ours);
        }
    }
}

/// The formula of the script: `((i * step + 5) mod modulus) / 10`, plus `shift`.
fn sample(n: u64, step: u64, modulus: u64, shift: f64) -> Vec<f64> {
    (0..n)
        .map(|i| ((i * step + 5) % modulus) as f64 / 10.0 + shift)
        .collect()
}

fn pairs(x: &[f64], y: &[f64]) -> PairMoments {
    x.iter().copied().zip(y.iter().copied()).collect()
}

#[test]
fn every_golden_value_agrees() {
    let mut golden = Golden::read();
    check_effects(&mut golden);
    check_cuped(&mut golden);
    check_health(&mut golden);
    check_plans(&mut golden);
    check_bayes(&mut golden);
    assert!(golden.0.is_empty(), "never checked: {:?}", golden.0.keys());
}

fn check_effects(golden: &mut Golden) {
    let all = ["effect", "se", "p", "low", "high"];
    for (name, control, treated) in [
        ("small", (12, 80), (25, 90)),
        ("large", (50_000, 1_000_000), (50_600, 1_000_400)),
        ("rare", (3, 40_000), (11, 39_000)),
    ] {
        let found = proportions(control, treated, 0.95).unwrap();
        golden.check_estimate(&format!("proportions_{name}"), &all, &found);
    }
    let (control, treated) = (sample(37, 7919, 101, 0.0), sample(53, 104_729, 97, 1.5));
    let moments = |values: &[f64]| values.iter().copied().collect::<Moments>();
    let found = welch(&moments(&control), &moments(&treated), 0.95).unwrap();
    golden.check_estimate("welch", &["effect", "p", "low", "high"], &found);
    check_gbstats(golden, "means", &found, 90);
    let control = pairs(&control, &sample(37, 31, 53, 1.0));
    let treated = pairs(&treated, &sample(53, 37, 59, 1.0));
    let found = ratios(&control, &treated, 0.95).unwrap();
    golden.check_estimate("ratio", &["effect", "se", "p", "low"], &found);
}

fn check_cuped(golden: &mut Golden) {
    let metric = |covariate: &[f64], noise: Vec<f64>| {
        covariate
            .iter()
            .zip(noise)
            .map(|(x, e)| 2.0 * x + e)
            .collect::<Vec<f64>>()
    };
    let (before, after) = (sample(37, 7919, 89, 0.0), sample(53, 104_729, 83, 0.0));
    let control = pairs(&metric(&before, sample(37, 13, 17, 0.0)), &before);
    let treated = pairs(&metric(&after, sample(53, 19, 23, 0.4)), &after);
    let found = cuped(&control, &treated, 0.95).unwrap();
    golden.check("cuped", "theta", found.theta);
    golden.check_estimate("cuped", &["effect", "se", "p", "low"], &found.estimate);
    assert!(found.variance_reduction > 0.9, "{found:?}");
    check_gbstats(golden, "cuped", &found.estimate, 90);
    let flat = pairs(&[1.0, 2.0], &[3.0, 3.0]);
    assert_eq!(cuped(&flat, &flat, 0.95), None);
}

/// GrowthBook's engine says the same, after the end and at any time before.
fn check_gbstats(golden: &mut Golden, case: &str, found: &Estimate, units: u64) {
    let name = format!("gbstats_{case}");
    golden.check_estimate(&name, &["effect", "p", "low", "high"], found);
    let always = confidence_sequence(found.effect, found.se, units, 0.05).unwrap();
    let name = format!("{name}_any_time");
    golden.check(&name, "low", always.low);
    golden.check(&name, "high", always.high);
}

fn check_health(golden: &mut Golden) {
    for (units, se) in [(200, 0.1), (5_000, 0.02), (2_000_000, 0.001)] {
        let found = confidence_sequence(0.03, se, units, 0.05).unwrap();
        golden.check(&format!("sequence_{units}"), "low", found.low);
        golden.check(&format!("sequence_{units}"), "high", found.high);
    }
    let found = sample_ratio(&[4_930, 5_170, 2_480], &[2.0, 2.0, 1.0]).unwrap();
    golden.check("sample_ratio", "chi_squared", found.chi_squared);
    golden.check("sample_ratio", "p", found.p);
    assert_eq!(sample_ratio(&[5], &[1.0]), None);
    assert_eq!(sample_ratio(&[0, 0], &[1.0, 1.0]), None);
    let p = [0.01, 0.04, 0.03, 0.005, 0.5, 0.04];
    for (index, (strict, mild)) in holm(&p).into_iter().zip(benjamini_hochberg(&p)).enumerate() {
        golden.check("holm", &index.to_string(), strict);
        golden.check("fdr_bh", &index.to_string(), mild);
    }
}

fn check_plans(golden: &mut Golden) {
    let plan = Plan::default();
    let size = sample_size_means(1.7, 0.3, plan).unwrap();
    golden.check("size_means", "control", size);
    let found = minimum_effect(1.7, size.round() as u64, plan).unwrap();
    assert!((found - 0.3).abs() < 1e-3, "{found}");
    let careful = Plan { power: 0.9, ..plan };
    let size = sample_size_proportions(0.05, 0.06, careful).unwrap();
    golden.check("size_proportions", "control", size);
    assert_eq!(sample_size_proportions(0.05, 0.05, plan), None);
    assert_eq!(
        sample_size_means(1.0, 0.1, Plan { alpha: 0.0, ..plan }),
        None
    );
}

fn check_bayes(golden: &mut Golden) {
    for (name, control, treated) in [
        ("few", (2, 30), (5, 28)),
        ("none", (0, 50), (1, 60)),
        ("many", (800, 9_000), (870, 9_100)),
    ] {
        let probability = beta_binomial_beats(control, treated);
        golden.check(&format!("beats_{name}"), "probability", probability);
    }
}
