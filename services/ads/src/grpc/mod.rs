//! The wire: parsing requests, encoding answers. Wire types stop here, but for the definitions that
//! `active` keeps as their callers wrote them.

pub mod campaign;
pub mod decision;
pub mod encode;
pub mod parse;
