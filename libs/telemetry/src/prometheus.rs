//! The Prometheus recorder: one per process, installed by the first call, so that tests which share a
//! process share it instead of fighting over it.

use std::sync::OnceLock;

use metrics::Recorder;
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};

use crate::metric::Kind;
use crate::names::METRICS;

/// Bucket bounds of every `_seconds` histogram, from half a millisecond to ten seconds: the range
/// between a hot lookup and the longest unary deadline.
const SECONDS_BUCKETS: [f64; 14] = [
    0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0,
];

/// The `content-type` of [`render`]'s text.
pub const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

static HANDLE: OnceLock<PrometheusHandle> = OnceLock::new();

/// Installs the recorder unless this process has it already. Idempotent and cheap.
pub fn install() {
    HANDLE.get_or_init(|| {
        let recorder = PrometheusBuilder::new()
            .set_buckets_for_metric(Matcher::Suffix("_seconds".to_owned()), &SECONDS_BUCKETS)
            .expect("the bucket list is not empty")
            .build_recorder();
        for metric in METRICS {
            let (name, unit, help) = (metric.name.into(), Some(metric.unit), metric.help.into());
            match metric.kind {
                Kind::Counter => recorder.describe_counter(name, unit, help),
                Kind::Gauge => recorder.describe_gauge(name, unit, help),
                Kind::Histogram => recorder.describe_histogram(name, unit, help),
            }
        }
        let handle = recorder.handle();
        // Another recorder can be there only if an embedding program chose one: it keeps its own.
        let _ = metrics::set_global_recorder(recorder);
        handle
    });
}

/// Returns the scrape text of every metric recorded so far.
#[must_use]
pub fn render() -> String {
    install();
    HANDLE
        .get()
        .map(PrometheusHandle::render)
        .unwrap_or_default()
}

/// Folds pending observations into their buckets. Call it every few seconds: between scrapes each
/// histogram would otherwise keep every single observation in memory.
pub fn upkeep() {
    if let Some(handle) = HANDLE.get() {
        handle.run_upkeep();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::names::{RPC_SERVER_CALL_DURATION, SHED, of_sample};

    #[test]
    fn what_is_recorded_is_rendered_under_listed_names_only() {
        install();
        install();
        SHED.add(2, &["report"]);
        RPC_SERVER_CALL_DURATION.observe(0.004, &["rapport.test.v1.Test/Get", "OK"]);
        upkeep();
        let text = render();
        assert!(
            text.contains("shed_total{criticality=\"report\"} 2"),
            "{text}"
        );
        assert!(text.contains("le=\"0.005\"} 1"), "{text}");
        for line in text
            .lines()
            .filter(|line| !line.starts_with('#') && !line.is_empty())
        {
            let name = line.split(['{', ' ']).next().unwrap_or_default();
            assert!(of_sample(name).is_some(), "{name} is not in names.rs");
        }
    }
}
