//! The wire: parse, ask, encode. Wire types stop here.

pub mod experiment;
mod parse;
pub mod report;
