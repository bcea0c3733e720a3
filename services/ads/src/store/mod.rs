//! The SQL of ads, one file per noun. Row types stop here.

pub mod campaign;
pub mod counted;
pub mod ctr;
pub mod decision;
pub mod erased;
pub mod ledger;
