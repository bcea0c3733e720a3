//! Results on stdout: one JSON object per line, or a table with one column per row of results.

use std::io::Write;

use serde_json::Value;

use crate::error::LabError;
use crate::row::Row;

/// Entries of an object, such as the recall of every label, that the table shows: the lowest.
const OBJECT_SHOWN: usize = 5;

/// Prints all rows.
pub(crate) fn print(rows: &[Row], json: bool) -> Result<(), LabError> {
    let text = if json { lines(rows)? } else { table(rows) };
    let mut out = std::io::stdout().lock();
    let written = out.write_all(text.as_bytes()).and_then(|()| out.flush());
    written.map_err(|error| LabError::failed(format!("cannot write the results: {error}")))
}

fn lines(rows: &[Row]) -> Result<String, LabError> {
    let line = |row: &Row| serde_json::to_string(row).map(|line| line + "\n");
    let lines: Result<String, _> = rows.iter().map(line).collect();
    lines.map_err(|error| LabError::failed(error.to_string()))
}

/// Keys down, results across; a metric's interval stands beside it, the chosen result has a star.
fn table(rows: &[Row]) -> String {
    let mut keys: Vec<&str> = Vec::new();
    for (key, _) in rows.iter().flat_map(Row::entries) {
        let is_end = |end: &str| {
            key.strip_suffix(end)
                .is_some_and(|metric| rows.iter().any(|row| row.get(metric).is_some()))
        };
        if !keys.contains(&key) && !is_end("_low") && !is_end("_high") && key != "chosen" {
            keys.push(key);
        }
    }
    let mut grid: Vec<Vec<String>> = Vec::new();
    for key in keys {
        let cells = rows.iter().map(|row| cell(row, key));
        grid.push(std::iter::once(key.to_owned()).chain(cells).collect());
    }
    aligned(&grid)
}

fn cell(row: &Row, key: &str) -> String {
    let mut text = row.get(key).map_or(String::new(), shown);
    if key == "algorithm" && row.get("chosen") == Some(&Value::Bool(true)) {
        text.push_str(" *");
    }
    let end = |suffix: &str| {
        row.get(&format!("{key}{suffix}"))
            .filter(|end| end.is_number())
            .map(shown)
    };
    if let (Some(low), Some(high)) = (end("_low"), end("_high")) {
        text.push_str(&format!(" [{low}, {high}]"));
    }
    text
}

fn shown(value: &Value) -> String {
    match value {
        Value::Null => "-".to_owned(),
        Value::Bool(value) => value.to_string(),
        Value::Number(number) if number.is_f64() => number.as_f64().map_or(String::new(), rounded),
        Value::Number(number) => number.to_string(),
        Value::String(text) => text.clone(),
        Value::Array(values) if values.is_empty() => "-".to_owned(),
        Value::Array(values) => values.iter().map(shown).collect::<Vec<_>>().join(", "),
        Value::Object(entries) => {
            let mut lowest: Vec<(&String, &Value)> = entries
                .iter()
                .filter(|(_, value)| !value.is_array())
                .collect();
            lowest.sort_by(|a, b| {
                let key = |value: &Value| value.as_f64().unwrap_or(f64::NEG_INFINITY);
                key(a.1).total_cmp(&key(b.1)).then_with(|| a.0.cmp(b.0))
            });
            let shown = lowest
                .iter()
                .take(OBJECT_SHOWN)
                .map(|(key, value)| format!("{key} {}", shown(value)));
            let rest = if lowest.len() > OBJECT_SHOWN {
                ", …"
            } else {
                ""
            };
            shown.collect::<Vec<_>>().join(", ") + rest
        }
    }
}

/// Four significant digits after the point for what is small, fewer for what is large.
fn rounded(value: f64) -> String {
    match value.abs() {
        size if size >= 1_000.0 => format!("{value:.0}"),
        size if size >= 10.0 => format!("{value:.2}"),
        size if size >= 1e-3 || size == 0.0 => format!("{value:.4}"),
        _ => format!("{value:.3e}"),
    }
}

fn aligned(grid: &[Vec<String>]) -> String {
    let columns = grid.iter().map(Vec::len).max().unwrap_or(0);
    let width = |column: usize| {
        let cells = grid.iter().filter_map(|line| line.get(column));
        cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..columns).map(width).collect();
    let line = |cells: &Vec<String>| {
        let padded = cells
            .iter()
            .zip(&widths)
            .map(|(cell, width)| format!("{cell:<width$}"));
        padded.collect::<Vec<_>>().join("  ").trim_end().to_owned() + "\n"
    };
    grid.iter().map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use rapport_math::Interval;

    #[test]
    fn the_table_folds_intervals_and_marks_the_chosen() {
        let mut first = Row::default();
        first.put("algorithm", "auto");
        first.put("chosen", true);
        first.metric(
            "recall",
            Some(0.25),
            Some(Interval {
                low: 0.2,
                high: 0.3,
            }),
        );
        let mut second = Row::default();
        second.put("algorithm", "popularity");
        second.put("chosen", false);
        second.metric("recall", None, None);
        let expected = "algorithm  auto *                   popularity\n\
                        recall     0.2500 [0.2000, 0.3000]  -\n";
        assert_eq!(table(&[first, second]), expected);
    }
}
