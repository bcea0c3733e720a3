//! The telemetry flags that every binary shares. Parsing only; [`crate::init`] acts on them.

use std::str::FromStr;

/// How a log line looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum LogFormat {
    /// One line of text for people.
    Text,
    /// One JSON object per line for collectors.
    Json,
}

/// The share of traces that start here and are kept, in `[0, 1]`. A caller's own choice is honoured.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct SampleRatio(f64);

impl SampleRatio {
    /// Returns the ratio.
    #[must_use]
    pub fn get(self) -> f64 {
        self.0
    }
}

impl FromStr for SampleRatio {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.parse::<f64>() {
            Ok(ratio) if (0.0..=1.0).contains(&ratio) => Ok(Self(ratio)),
            Ok(_) | Err(_) => Err("must be a number from 0 to 1".to_owned()),
        }
    }
}

/// What to log, where to send spans.
#[derive(Debug, Clone, clap::Args)]
#[group(skip)]
pub struct TelemetryConfig {
    /// How log lines look. They go to standard error, so that results own standard output.
    #[arg(long, env = "RAPPORT_LOG_FORMAT", value_enum, default_value_t = LogFormat::Text)]
    pub log_format: LogFormat,
    /// Which log lines and spans exist: `warn`, `info` or per target, `info,rapport_rpc=debug`.
    #[arg(long, env = "RAPPORT_LOG", default_value = "info")]
    pub log: String,
    /// Collector that receives spans by OTLP over gRPC, as `http://host:4317`. Absent: no spans leave.
    #[arg(long, env = "RAPPORT_OTLP_ENDPOINT")]
    pub otlp_endpoint: Option<String>,
    /// Share of traces started here that are kept, 0 to 1. A caller's choice is honoured.
    #[arg(long, env = "RAPPORT_TRACE_SAMPLE_RATIO", default_value = "0.1")]
    pub trace_sample_ratio: SampleRatio,
}

impl Default for TelemetryConfig {
    fn default() -> Self {
        Self {
            log_format: LogFormat::Text,
            log: "info".to_owned(),
            otlp_endpoint: None,
            trace_sample_ratio: SampleRatio(0.1),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sample_ratio_outside_the_unit_interval_is_refused() {
        assert_eq!(
            "0.25".parse::<SampleRatio>().map(SampleRatio::get),
            Ok(0.25)
        );
        for bad in ["-0.1", "1.1", "NaN", "inf", "some"] {
            assert!(bad.parse::<SampleRatio>().is_err(), "{bad}");
        }
    }
}
