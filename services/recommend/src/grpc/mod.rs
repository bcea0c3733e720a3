//! The wire: parsing requests, encoding answers. Wire types stop here.

pub mod catalog;
pub mod encode;
pub mod model;
pub mod parse;
pub mod recommend;
