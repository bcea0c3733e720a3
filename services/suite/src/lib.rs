//! The suite: all five services in one process, and the operator's commands.
//!
//! The only crate that knows more than one service. No rule of any service lives here.

pub mod demo;
pub mod failure;
pub mod house;
pub mod import;
pub mod load;
pub mod output;
pub mod peers;
pub mod progress;
pub mod serve;
pub mod token;
pub mod train;
