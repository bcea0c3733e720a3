//! A metric as a value: its name, unit, help and closed label sets, and the one way to record it.

use metrics::{Key, Level, Metadata, Unit};

/// What a metric does over time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Only rises; its name ends in `_total`.
    Counter,
    /// Rises and falls.
    Gauge,
    /// Counts observations in buckets.
    Histogram,
}

/// The values a label may take: closed sets only, so that no caller can make series without end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Values {
    /// Exactly these.
    Of(&'static [&'static str]),
    /// `package.Service/Method` of a contract, a standard gRPC service, or `_OTHER`.
    Method,
    /// The name of a gRPC status code, such as `DEADLINE_EXCEEDED`.
    Code,
    /// A name fixed in the source: a projection, a table, a model. Never a person, item or request.
    Source,
}

/// One label of a metric.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Label {
    /// The label's name.
    pub name: &'static str,
    /// What it may say.
    pub values: Values,
}

/// One metric. Constants of this type live in [`crate::names`] and nowhere else.
#[derive(Debug, Clone, Copy)]
pub struct Metric {
    /// The name as Prometheus shows it, with its unit last.
    pub name: &'static str,
    /// Whether it counts, measures or observes.
    pub kind: Kind,
    /// The unit.
    pub unit: Unit,
    /// One sentence for people.
    pub help: &'static str,
    /// Its labels, in the order that callers give the values.
    pub labels: &'static [Label],
}

const METADATA: Metadata<'static> = Metadata::new("rapport", Level::INFO, Some(module_path!()));

impl Metric {
    fn key(&self, values: &[&'static str]) -> Key {
        debug_assert_eq!(
            values.len(),
            self.labels.len(),
            "{}: one value per label",
            self.name
        );
        for (label, value) in self.labels.iter().zip(values) {
            debug_assert!(
                label.values.admit(value),
                "{}: {} = {value}",
                self.name,
                label.name
            );
        }
        let pairs = self.labels.iter().zip(values);
        let labels: Vec<_> = pairs
            .map(|(label, value)| metrics::Label::from_static_parts(label.name, value))
            .collect();
        Key::from_parts(self.name, labels)
    }

    /// Adds `by` to a counter. `values`: one per label, in the metric's order.
    pub fn add(&self, by: u64, values: &[&'static str]) {
        debug_assert_eq!(self.kind, Kind::Counter, "{}", self.name);
        let key = self.key(values);
        metrics::with_recorder(|recorder| recorder.register_counter(&key, &METADATA).increment(by));
    }

    /// Sets a gauge. `values`: one per label, in the metric's order.
    pub fn set(&self, to: f64, values: &[&'static str]) {
        debug_assert_eq!(self.kind, Kind::Gauge, "{}", self.name);
        let key = self.key(values);
        metrics::with_recorder(|recorder| recorder.register_gauge(&key, &METADATA).set(to));
    }

    /// Moves a gauge by `by`, which may be negative. `values`: one per label, in the metric's order.
    pub fn shift(&self, by: f64, values: &[&'static str]) {
        debug_assert_eq!(self.kind, Kind::Gauge, "{}", self.name);
        let key = self.key(values);
        metrics::with_recorder(|recorder| recorder.register_gauge(&key, &METADATA).increment(by));
    }

    /// Returns a handle to one series of a gauge, for code too hot to look it up each time. Take it
    /// after [`crate::prometheus::install`]: a handle taken before that records nothing.
    pub fn gauge(&self, values: &[&'static str]) -> metrics::Gauge {
        debug_assert_eq!(self.kind, Kind::Gauge, "{}", self.name);
        let key = self.key(values);
        metrics::with_recorder(|recorder| recorder.register_gauge(&key, &METADATA))
    }

    /// Records one observation in the metric's unit. `values`: one per label, in the metric's order.
    pub fn observe(&self, value: f64, values: &[&'static str]) {
        debug_assert_eq!(self.kind, Kind::Histogram, "{}", self.name);
        let key = self.key(values);
        metrics::with_recorder(|recorder| {
            recorder.register_histogram(&key, &METADATA).record(value)
        });
    }
}

impl Values {
    /// Returns whether the label may say `value`.
    #[must_use]
    pub fn admit(self, value: &str) -> bool {
        match self {
            Self::Of(set) => set.contains(&value),
            Self::Method => value == crate::names::OTHER || value.contains('/'),
            Self::Code => value
                .chars()
                .all(|letter| letter.is_ascii_uppercase() || letter == '_'),
            Self::Source => !value.is_empty() && value.len() <= 64,
        }
    }
}
