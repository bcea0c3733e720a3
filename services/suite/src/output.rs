//! Results on stdout: aligned lines for people, one JSON object per line for programs.

use std::io::Write as _;

use serde::Serialize;
use serde_json::Value;

/// Writes a line to stdout. A closed pipe ends nothing but the output.
pub fn line(text: &str) {
    let _ = writeln!(std::io::stdout(), "{text}");
}

/// Prints one result: its fields below each other, or as one JSON object.
pub fn print<T: Serialize>(result: &T, json: bool) {
    // Our results are plain structs, which always serialise.
    let value = serde_json::to_value(result).unwrap_or(Value::Null);
    let fields = value.as_object().filter(|_| !json);
    let Some(fields) = fields else {
        line(&value.to_string());
        return;
    };
    let width = fields.keys().map(String::len).max().unwrap_or(0);
    for (name, value) in fields {
        line(&format!("{name:<width$}  {}", plain(value)));
    }
}

fn plain(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Null => "–".to_owned(),
        Value::Object(fields) if fields.is_empty() => "–".to_owned(),
        Value::Object(_) | Value::Array(_) | Value::Bool(_) | Value::Number(_) => value.to_string(),
    }
}
