//! Latencies in a histogram of three significant digits.

use std::time::Duration;

use hdrhistogram::Histogram;

/// Longest latency told apart, in microseconds: a minute.
const MICROS_MAX: u64 = 60_000_000;

/// Latencies of calls.
#[derive(Debug)]
pub(super) struct Latencies(Histogram<u64>);

impl Default for Latencies {
    fn default() -> Self {
        let histogram = Histogram::new_with_bounds(1, MICROS_MAX, 3);
        Self(histogram.expect("1 to 60,000,000 at three digits is a valid histogram"))
    }
}

impl Latencies {
    pub(super) fn record(&mut self, latency: Duration) {
        self.0
            .saturating_record(u64::try_from(latency.as_micros()).unwrap_or(MICROS_MAX));
    }

    /// Returns the latency below which the share `quantile` of all calls lie; 0 without calls.
    pub(super) fn quantile_ms(&self, quantile: f64) -> f64 {
        if self.0.is_empty() {
            return 0.0;
        }
        self.0.value_at_quantile(quantile) as f64 / 1_000.0
    }
}
