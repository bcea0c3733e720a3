//! Numerics that every crate may share: seeded randomness, stable hashing, special functions,
//! distributions, intervals and mergeable sketches. Pure: no I/O, no clock, no global state.
//!
//! Answers are the same bytes on every platform: transcendental functions come from the `libm`
//! crate, never from the C library of the machine (which may differ in the last bit).

mod assign;
mod beta_gamma;
pub mod dense;
mod distributions;
mod eigen;
mod hash;
mod histogram;
mod hyperloglog;
mod interval;
mod inverse;
mod minimise;
mod moments;
mod normal;
mod rng;
mod special;
mod subspace;

pub use assign::{BUCKETS, assigned_arm, bucket};
pub use beta_gamma::{digamma, ln_beta};
pub use distributions::{Beta, ChiSquared, FisherF, StudentT};
pub use eigen::{EIGEN_MAX, Eigen, cholesky, cholesky_solve, symmetric_eigen};
pub use hash::stable_hash64;
pub use histogram::LogHistogram;
pub use hyperloglog::HyperLogLog;
pub use interval::{
    Interval, RESAMPLES_MAX, bootstrap, bootstrap_mean, quantile_sorted, two_sided_z, wilson,
};
pub use inverse::invert_positive;
pub use minimise::{Minimum, minimise};
pub use moments::{Moments, PairMoments};
pub use normal::{normal_cdf, normal_pdf, normal_quantile, normal_sf, normal_two_sided};
pub use rng::Rng;
pub use special::{beta_inc, erf, erfc, gamma_p, gamma_q, ln_gamma};
pub use subspace::{LEADING_MAX, Leading, Operator, leading_singular};
