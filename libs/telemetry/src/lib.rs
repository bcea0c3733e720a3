//! Logs, traces and metrics of one process: [`init`] once in `main`, [`names`] for every metric,
//! [`prometheus`] for the scrape text, [`context`] for the W3C trace context in headers.
//!
//! No service logic and no listener: `rapport-rpc` serves the scrape and opens the spans.

pub mod config;
pub mod context;
mod init;
pub mod metric;
pub mod names;
pub mod prometheus;

pub use config::{LogFormat, TelemetryConfig};
pub use init::{Guard, TelemetryError, init};
