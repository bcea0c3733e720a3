//! The wire: parsing requests, encoding answers. Wire types stop here.

pub mod agent;
pub mod case;
mod encode;
mod messages;
pub mod parse;
