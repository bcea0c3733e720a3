//! The SQL of profile, one file per noun. Row types stop here.

pub mod bell;
pub mod consent;
pub mod dedup;
pub mod link;
pub mod log;
pub mod model;
pub mod reader;
pub mod segment;
pub mod subject;
