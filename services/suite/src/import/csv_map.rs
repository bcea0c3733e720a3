//! Any CSV: a mapping file says which event a line is and which column fills which field.

use std::collections::BTreeMap;
use std::path::Path;

use profile_domain::IDENTIFIER_CHARS_MAX;
use prost::Message as _;
use prost_reflect::{DescriptorPool, DynamicMessage, Kind, MessageDescriptor, Value};
use rapport_api::profile::v1::{Identifier, IdentifierKind};
use serde::Deserialize;

use super::source::{BadLine, Line, Mapper};
use super::values::{TEXT_CHARS_MAX, at_most, date_time, decimal_micros, whole};
use crate::failure::Failure;

/// Bytes of a mapping file.
const MAPPING_BYTES_MAX: u64 = 64 * 1024;
/// Bytes of one event.
const PAYLOAD_BYTES_MAX: usize = 64 * 1024;
/// Where Rapport's own events live.
const PACKAGE: &str = "rapport.event.v1";

/// The mapping file.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct Mapping {
    /// The event's name, such as `view_item`.
    event: String,
    /// Whom a line is about.
    identifier: IdentifierColumn,
    /// When it happened.
    occurred_at: OccurredAt,
    /// Field of the event, such as `item_id` or `lines.item_id`, to column.
    fields: BTreeMap<String, String>,
    /// Field of the event to a value that every line has.
    #[serde(default)]
    constants: BTreeMap<String, String>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct IdentifierColumn {
    kind: String,
    column: String,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(untagged)]
enum OccurredAt {
    Column {
        column: String,
    },
    /// For files without times: line by line after an instant.
    Counted {
        start: String,
        step_ms: i64,
    },
}

/// A mapping, checked against the contract.
#[derive(Debug, Clone)]
pub(super) struct CsvMap {
    message: MessageDescriptor,
    kind: i32,
    time: Time,
    /// Path in the event, for each column after the identifier's (and the time's).
    paths: Vec<Vec<String>>,
    constants: Vec<(Vec<String>, String)>,
    columns: Vec<String>,
}

#[derive(Debug, Clone, Copy)]
enum Time {
    Column,
    Counted { start_ms: i64, step_ms: i64 },
}

impl CsvMap {
    /// Reads and checks a mapping file.
    ///
    /// # Errors
    /// [`Failure::Usage`] that names what is wrong.
    pub(super) fn read(path: &Path) -> Result<Self, Failure> {
        let place = path.display().to_string();
        let bad = |why: String| Failure::Usage(format!("{place}: {why}"));
        let size = std::fs::metadata(path)
            .map_err(|error| bad(format!("cannot be read: {error}")))?
            .len();
        if size > MAPPING_BYTES_MAX {
            return Err(bad(format!("must have at most {MAPPING_BYTES_MAX} bytes")));
        }
        let text = std::fs::read_to_string(path)
            .map_err(|error| bad(format!("cannot be read: {error}")))?;
        let mapping: Mapping = toml::from_str(&text).map_err(|error| bad(error.to_string()))?;
        Self::new(mapping).map_err(bad)
    }

    fn new(mapping: Mapping) -> Result<Self, String> {
        let message = event(&mapping.event)?;
        let kind = identifier_kind(&mapping.identifier.kind)?;
        let mut columns = vec![mapping.identifier.column];
        let time = match mapping.occurred_at {
            OccurredAt::Column { column } => {
                columns.push(column);
                Time::Column
            }
            OccurredAt::Counted { start, step_ms } => {
                let start_ms =
                    date_time(&start).map_err(|why| format!("occurred_at.start: {why}"))?;
                Time::Counted { start_ms, step_ms }
            }
        };
        let mut paths = Vec::new();
        for (path, column) in mapping.fields {
            paths.push(check_path(&message, &path)?);
            columns.push(column);
        }
        let constants = mapping.constants.into_iter();
        let constants = constants
            .map(|(path, value)| Ok((check_path(&message, &path)?, value)))
            .collect::<Result<Vec<_>, String>>()?;
        let map = Self {
            message,
            kind,
            time,
            paths,
            constants,
            columns,
        };
        // Constants are the same on every line: what is wrong with them is wrong with the mapping.
        let mut probe = DynamicMessage::new(map.message.clone());
        for (path, value) in &map.constants {
            set(&mut probe, path, value)
                .map_err(|why| format!("constants.{}: {why}", path.join(".")))?;
        }
        Ok(map)
    }
}

impl Mapper for CsvMap {
    fn columns(&self) -> Vec<String> {
        self.columns.clone()
    }

    fn map(&self, fields: &[&str], number: u64) -> Result<Line, BadLine> {
        let at = |column: usize| move |why: String| BadLine { column, why };
        let (who, rest) = fields
            .split_first()
            .ok_or_else(|| at(0)("is empty".to_owned()))?;
        if who.is_empty() {
            return Err(at(1)("is empty".to_owned()));
        }
        at_most(who, IDENTIFIER_CHARS_MAX).map_err(at(1))?;
        let (occurred_at_ms, rest, first) = match self.time {
            Time::Column => {
                let (time, rest) = rest
                    .split_first()
                    .ok_or_else(|| at(0)("has no time".to_owned()))?;
                (date_time(time).map_err(at(2))?, rest, 3)
            }
            Time::Counted { start_ms, step_ms } => {
                let offset = step_ms.saturating_mul(i64::try_from(number).unwrap_or(i64::MAX));
                (start_ms.saturating_add(offset), rest, 2)
            }
        };
        let mut event = DynamicMessage::new(self.message.clone());
        for (path, value) in &self.constants {
            set(&mut event, path, value).map_err(at(0))?;
        }
        for (index, (path, value)) in self.paths.iter().zip(rest).enumerate() {
            set(&mut event, path, value).map_err(at(first + index))?;
        }
        let payload = event.encode_to_vec();
        if payload.len() > PAYLOAD_BYTES_MAX {
            let size = payload.len();
            let why =
                format!("makes an event of {size} bytes, at most {PAYLOAD_BYTES_MAX} are allowed");
            return Err(at(0)(why));
        }
        Ok(Line {
            identifier: Some(Identifier {
                kind: self.kind,
                value: (*who).to_owned(),
            }),
            occurred_at_ms,
            payload: prost_types::Any {
                type_url: format!("type.googleapis.com/{}", self.message.full_name()),
                value: payload,
            },
            item: None,
        })
    }
}

/// Returns the event type of a stored name.
fn event(name: &str) -> Result<MessageDescriptor, String> {
    let policy = rapport_api::policy::event(name).ok_or_else(|| {
        format!("event: `{name}` is not an event type; docs/events.md lists them")
    })?;
    let pool = DescriptorPool::decode(rapport_api::FILE_DESCRIPTOR_SET)
        .map_err(|error| format!("the contracts cannot be read: {error}"))?;
    pool.get_message_by_name(policy.message)
        .ok_or_else(|| format!("event: {PACKAGE} has no `{name}`"))
}

fn identifier_kind(name: &str) -> Result<i32, String> {
    let wanted = format!("IDENTIFIER_KIND_{}", name.to_ascii_uppercase());
    match IdentifierKind::from_str_name(&wanted) {
        Some(kind) if kind != IdentifierKind::Unspecified => Ok(kind as i32),
        _ => Err(format!(
            "identifier.kind: `{name}` is not a kind such as `login` or `device`"
        )),
    }
}

fn check_path(message: &MessageDescriptor, path: &str) -> Result<Vec<String>, String> {
    let parts: Vec<String> = path.split('.').map(str::to_owned).collect();
    let mut place = message.clone();
    for (index, part) in parts.iter().enumerate() {
        let field = place
            .get_field_by_name(part)
            .ok_or_else(|| format!("fields.{path}: {} has no field `{part}`", place.name()))?;
        match (field.kind(), index + 1 == parts.len()) {
            (Kind::Message(inner), false) => place = inner,
            (Kind::Message(_), true) => {
                return Err(format!("fields.{path}: name a field inside it"));
            }
            (_, true) => {}
            (_, false) => return Err(format!("fields.{path}: `{part}` has no fields")),
        }
    }
    Ok(parts)
}

/// Sets the field at `path`; the first entry of a repeated message is made when it is needed.
fn set(message: &mut DynamicMessage, path: &[String], text: &str) -> Result<(), String> {
    let Some((part, rest)) = path.split_first() else {
        return Ok(());
    };
    let descriptor = prost_reflect::ReflectMessage::descriptor(message);
    let field = descriptor
        .get_field_by_name(part)
        .ok_or("has no such field")?;
    if rest.is_empty() {
        let value = parse(&field.kind(), part, text)?;
        let value = if field.is_list() {
            Value::List(vec![value])
        } else {
            value
        };
        message.set_field(&field, value);
        return Ok(());
    }
    let Kind::Message(inner) = field.kind() else {
        return Err("has no fields".to_owned());
    };
    let slot = message.get_field_mut(&field);
    let nested = if let Value::List(list) = slot {
        if list.is_empty() {
            list.push(Value::Message(DynamicMessage::new(inner)));
        }
        list.first_mut().and_then(Value::as_message_mut)
    } else {
        slot.as_message_mut()
    };
    set(nested.ok_or("is no message")?, rest, text)
}

#[expect(
    clippy::wildcard_enum_match_arm,
    reason = "events use these kinds; a field of any other kind is refused by name"
)]
fn parse(kind: &Kind, field: &str, text: &str) -> Result<Value, String> {
    let number = |text: &str| whole(text);
    match kind {
        Kind::String => {
            at_most(text, TEXT_CHARS_MAX)?;
            Ok(Value::String(text.to_owned()))
        }
        Kind::Int64 if field.ends_with("_micros") => decimal_micros(text).map(Value::I64),
        Kind::Int64 => number(text).map(Value::I64),
        Kind::Uint32 => u32::try_from(number(text)?)
            .map(Value::U32)
            .map_err(|_negative| format!("`{text}` must be 0 or more")),
        Kind::Double => text
            .parse()
            .map(Value::F64)
            .map_err(|_nan| format!("`{text}` is not a number")),
        Kind::Enum(of) => of
            .values()
            .find(|value| {
                value
                    .name()
                    .to_ascii_lowercase()
                    .ends_with(&format!("_{}", text.to_ascii_lowercase()))
            })
            .map(|value| Value::EnumNumber(value.number()))
            .ok_or_else(|| format!("`{text}` is not one of {}", of.name())),
        _ => Err("cannot be filled from a column".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use rapport_api::event::v1::{Purchase, ViewItem};

    use super::*;

    fn map(text: &str) -> Result<CsvMap, String> {
        CsvMap::new(toml::from_str(text).map_err(|error| error.to_string())?)
    }

    const VIEWS: &str = "event = \"view_item\"\n[identifier]\nkind = \"login\"\ncolumn = \"user\"\n\
        [occurred_at]\nstart = \"2010-01-01\"\nstep_ms = 1000\n[fields]\nitem_id = \"item\"\n";

    #[test]
    fn a_line_becomes_the_event_that_the_mapping_says() {
        let map = map(VIEWS).unwrap();
        assert_eq!(map.columns(), ["user", "item"]);
        let line = map.map(&["7", "42"], 3).unwrap();
        assert_eq!(line.occurred_at_ms, 1_262_304_003_000);
        assert_eq!(line.identifier.unwrap().value, "7");
        let event = ViewItem::decode(line.payload.value.as_slice()).unwrap();
        assert_eq!(event.item_id, "42");
        assert!(line.payload.type_url.ends_with("rapport.event.v1.ViewItem"));
        // What profile would refuse is refused before anything is sent.
        let refused = |fields: [&str; 2]| map.map(&fields, 1).unwrap_err().column;
        assert_eq!(refused([&"7".repeat(257), "42"]), 1);
        assert_eq!(refused(["7", &"4".repeat(1_025)]), 2);
    }

    #[test]
    fn nested_fields_and_constants_are_filled() {
        let map = map(
            "event = \"purchase\"\n[identifier]\nkind = \"card\"\ncolumn = \"card\"\n\
            [occurred_at]\ncolumn = \"day\"\n[fields]\n\"lines.item_id\" = \"sku\"\n\
            \"lines.unit_price_micros\" = \"price\"\n[constants]\ncurrency = \"EUR\"\n\
            \"lines.quantity\" = \"1\"\n",
        )
        .unwrap();
        assert_eq!(map.columns(), ["card", "day", "sku", "price"]);
        let line = map.map(&["c", "2020-01-02", "tea", "2.50"], 1).unwrap();
        let event = Purchase::decode(line.payload.value.as_slice()).unwrap();
        assert_eq!(
            (event.currency.as_str(), event.lines[0].unit_price_micros),
            ("EUR", 2_500_000)
        );
        assert_eq!(event.lines[0].quantity, 1);
        assert_eq!(
            map.map(&["c", "2020-01-02", "tea", "x"], 1)
                .unwrap_err()
                .column,
            4
        );
    }

    #[test]
    fn a_wrong_mapping_is_named() {
        let wrong = |from: &str, to: &str| map(&VIEWS.replace(from, to)).unwrap_err();
        assert!(wrong("view_item", "viewed").contains("`viewed` is not an event type"));
        assert!(wrong("\"login\"", "\"passport\"").contains("`passport` is not a kind"));
        assert!(wrong("item_id", "itemid").contains("has no field `itemid`"));
        assert!(wrong("2010-01-01", "soon").contains("occurred_at.start"));
    }
}
