//! Care's own tables. SQL lives here only, one text for both engines; row types stop here.

pub mod agent;
pub mod assignment;
pub mod case;
pub mod message;
pub mod outbox;
