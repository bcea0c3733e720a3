//! Did it work, by how much, how sure are we: experiments, campaign metrics, attribution, reports.
//! Pure: no I/O, no clock, no async. Wire types, SQL and consent checks live in the service.

pub mod activity;
pub mod attribution;
pub mod campaign;
pub mod experiment;
pub mod fold;
pub mod report;
