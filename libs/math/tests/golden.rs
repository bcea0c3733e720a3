//! Special functions and distributions against 30-digit values (`golden/golden.py`), and laws.
#![expect(clippy::unwrap_used, reason = "tests")]

use proptest::prelude::*;
use rapport_math::*;

/// Largest relative error that any golden row may have.
const RELATIVE_ERROR_MAX: f64 = 1e-12;

fn value_of(function: &str, a: f64, b: f64, c: f64) -> f64 {
    match function {
        "ln_gamma" => ln_gamma(a),
        "erf" => erf(a),
        "erfc" => erfc(a),
        "gamma_p" => gamma_p(a, b),
        "gamma_q" => gamma_q(a, b),
        "beta_inc" => beta_inc(a, b, c),
        "normal_cdf" => normal_cdf(a),
        "normal_quantile" => normal_quantile(a),
        "t_sf" => StudentT::new(a).unwrap().sf(b),
        "t_quantile" => StudentT::new(a).unwrap().quantile(b),
        "chi2_sf" => ChiSquared::new(a).unwrap().sf(b),
        "chi2_quantile" => ChiSquared::new(a).unwrap().quantile(b),
        "f_sf" => FisherF::new(a, b).unwrap().sf(c),
        "f_quantile" => FisherF::new(a, b).unwrap().quantile(c),
        "beta_quantile" => Beta::new(a, b).unwrap().quantile(c),
        unknown => panic!("no function {unknown}"),
    }
}

#[test]
fn every_golden_row_agrees() {
    let mut rows = 0;
    for line in include_str!("../golden/special.csv").lines().skip(1) {
        let fields: Vec<&str> = line.split(',').collect();
        let numbers: Vec<f64> = fields[1..]
            .iter()
            .map(|field| field.parse().unwrap())
            .collect();
        let ours = value_of(fields[0], numbers[0], numbers[1], numbers[2]);
        let error = (ours - numbers[3]).abs();
        assert!(
            error <= RELATIVE_ERROR_MAX * numbers[3].abs(),
            "{line}: {ours:e}"
        );
        rows += 1;
    }
    assert!(rows > 300, "{rows} rows");
}

#[test]
fn ends_and_impossible_arguments() {
    assert_eq!(normal_quantile(0.0), f64::NEG_INFINITY);
    assert!(normal_quantile(1.1).is_nan() && gamma_p(-1.0, 1.0).is_nan());
    assert!(beta_inc(1.0, 1.0, f64::NAN).is_nan());
    let t = StudentT::new(5.0).unwrap();
    assert_eq!(
        (t.cdf(f64::NEG_INFINITY), t.quantile(1.0)),
        (0.0, f64::INFINITY)
    );
    assert!(t.quantile(-0.1).is_nan() && t.quantile(f64::NAN).is_nan());
    let chi = ChiSquared::new(3.0).unwrap();
    assert_eq!(
        (chi.sf(-1.0), chi.quantile(0.0), chi.quantile(1.0)),
        (1.0, 0.0, f64::INFINITY)
    );
    assert_eq!(Beta::new(2.0, 2.0).unwrap().quantile(1.0), 1.0);
    assert_eq!(StudentT::new(0.0), None);
    assert_eq!(FisherF::new(1.0, f64::NAN), None);
}

proptest! {
    #[test]
    fn quantile_inverts_cdf(df in 0.6..5e4f64, other in 0.6..5e3f64, p in 1e-6..0.999_999f64) {
        let t = StudentT::new(df).unwrap();
        let chi = ChiSquared::new(df).unwrap();
        let f = FisherF::new(df, other).unwrap();
        let beta = Beta::new(df, other).unwrap();
        prop_assert!((t.cdf(t.quantile(p)) / p - 1.0).abs() < 1e-9);
        prop_assert!((chi.cdf(chi.quantile(p)) / p - 1.0).abs() < 1e-9);
        prop_assert!((f.cdf(f.quantile(p)) / p - 1.0).abs() < 1e-9);
        prop_assert!((beta.cdf(beta.quantile(p)) / p - 1.0).abs() < 1e-9);
    }

    #[test]
    fn tails_add_up_and_never_leave_the_unit_interval(df in 0.5..1e6f64, x in 0.0..50.0f64) {
        let chi = ChiSquared::new(df).unwrap();
        prop_assert!((chi.cdf(x) + chi.sf(x) - 1.0).abs() < 1e-14);
        prop_assert!((0.0..=1.0).contains(&chi.cdf(x)));
        let t = StudentT::new(df).unwrap();
        prop_assert!((t.cdf(x) + t.sf(x) - 1.0).abs() < 1e-14);
        prop_assert!((t.two_sided(x) - t.two_sided(-x)).abs() < 1e-16);
    }

    #[test]
    fn incomplete_beta_is_symmetric(a in 0.1..1e4f64, b in 0.1..1e4f64, x in 0.0..=1.0f64) {
        prop_assert!((beta_inc(a, b, x) + beta_inc(b, a, 1.0 - x) - 1.0).abs() < 1e-11);
    }

    #[test]
    fn a_density_is_the_slope_of_its_cdf(df in 1.0..200.0f64, t in -4.0..4.0f64) {
        let student = StudentT::new(df).unwrap();
        let slope = (student.cdf(t + 1e-5) - student.cdf(t - 1e-5)) / 2e-5;
        prop_assert!((student.pdf(t) - slope).abs() < 1e-7);
        let beta = Beta::new(df, 3.0).unwrap();
        let slope = (beta.cdf(0.4 + 1e-6) - beta.cdf(0.4 - 1e-6)) / 2e-6;
        prop_assert!((beta.pdf(0.4) - slope).abs() < 1e-6);
    }
}
