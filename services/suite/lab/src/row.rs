//! One row of results: keys in the order they were put, undefined values as null.

use std::fmt;

use rapport_math::Interval;
use serde::de::{MapAccess, Visitor};
use serde::ser::SerializeMap as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::Value;

/// An ordered JSON object.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Row(Vec<(String, Value)>);

impl Row {
    /// Sets a key, at its old place if it has one.
    pub(crate) fn put(&mut self, key: &str, value: impl Into<Value>) {
        let value = value.into();
        match self.0.iter_mut().find(|(known, _)| known == key) {
            Some((_, old)) => *old = value,
            None => self.0.push((key.to_owned(), value)),
        }
    }

    /// Sets a key to a number, null unless it is finite.
    pub(crate) fn number(&mut self, key: &str, value: Option<f64>) {
        let finite = value.filter(|value| value.is_finite());
        self.put(key, finite.map_or(Value::Null, Value::from));
    }

    /// Sets a metric with its interval: `key`, `key_low`, `key_high`.
    pub(crate) fn metric(&mut self, key: &str, value: Option<f64>, interval: Option<Interval>) {
        self.number(key, value);
        self.number(&format!("{key}_low"), interval.map(|interval| interval.low));
        self.number(
            &format!("{key}_high"),
            interval.map(|interval| interval.high),
        );
    }

    pub(crate) fn get(&self, key: &str) -> Option<&Value> {
        self.0
            .iter()
            .find(|(known, _)| known == key)
            .map(|(_, value)| value)
    }

    pub(crate) fn entries(&self) -> impl Iterator<Item = (&str, &Value)> {
        self.0.iter().map(|(key, value)| (key.as_str(), value))
    }
}

impl Serialize for Row {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.0.len()))?;
        for (key, value) in &self.0 {
            map.serialize_entry(key, value)?;
        }
        map.end()
    }
}

impl<'de> Deserialize<'de> for Row {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Entries;
        impl<'de> Visitor<'de> for Entries {
            type Value = Row;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Row, A::Error> {
                let mut row = Row::default();
                while let Some((key, value)) = map.next_entry::<String, Value>()? {
                    row.put(&key, value);
                }
                Ok(row)
            }
        }
        deserializer.deserialize_map(Entries)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_keep_their_order_and_their_digits() {
        let mut row = Row::default();
        row.put("z", "first");
        row.number("a", Some(0.1 + 0.2));
        row.number("nan", Some(f64::NAN));
        row.metric(
            "m",
            Some(1.0),
            Some(Interval {
                low: 0.5,
                high: 1.5,
            }),
        );
        row.put("z", true);
        let text = serde_json::to_string(&row).unwrap();
        assert_eq!(
            text,
            r#"{"z":true,"a":0.30000000000000004,"nan":null,"m":1.0,"m_low":0.5,"m_high":1.5}"#
        );
        assert_eq!(serde_json::from_str::<Row>(&text).unwrap(), row);
    }
}
