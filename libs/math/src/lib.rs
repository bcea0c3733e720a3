//! Numerics that every crate may share: seeded randomness, stable hashing, special functions,
//! distributions, intervals and mergeable sketches. Pure: no I/O, no clock, no global state.
//!
//! Answers are the same bytes on every platform: transcendental functions come from the `libm`
//! crate, never from the C library of the machine (which may differ in the last bit).

mod hash;
mod rng;

pub use hash::stable_hash64;
pub use rng::Rng;
