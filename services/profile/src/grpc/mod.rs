//! The wire: parsing requests, encoding answers. Wire types stop here.

pub mod consent;
pub mod event;
pub mod key;
pub mod model;
pub mod parse;
pub mod profile;
pub mod reader;
pub mod subject;
pub mod tail;
mod texts;
