//! `docs/events.md` is made from the contracts: this test makes it again and compares.
//!
//! To write it after a contract changed: `UPDATE=1 cargo nextest run -p rapport-stories --test events_document`.
#![expect(clippy::unwrap_used, reason = "tests")]
#![expect(
    clippy::wildcard_enum_match_arm,
    reason = "a kind that no event uses yet fails the test"
)]

use std::collections::HashMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use prost::Message as _;
use prost_reflect::prost_types::FileDescriptorProto;
use prost_reflect::{
    DescriptorPool, DynamicMessage, FieldDescriptor, Kind, MessageDescriptor, Value,
};

const HEADER: &str = "# Events\n\n\
The contract of every event type, made from `proto/rapport/event/v1` by \
`tests/tests/events_document.rs`.\n\n\
A caller sends an event in `CollectEvents` as `payload` (a `google.protobuf.Any`) and, where the type \
has one, its personal part as `personal`. The log stores the payload's bytes as they came, under the \
name given here, and the personal part sealed with the subject's key. A payload has at most 64 KiB, \
each of its texts 1,024 characters, a personal part 16 KiB, an event id 64 characters, a request 2,000 \
events and 4 MiB. Types that are not listed are stored and tailed under their full message name.\n\n\
*Without consent* says what happens when the purpose is not granted: **store** keeps the event and \
records that the purpose was not admitted; **without subject** keeps it without saying whose it is; \
**refuse** rejects it with `EVENT_REFUSED`. Fields of class PERSONAL_TEXT and SENSITIVE stand in \
personal parts only.\n";

#[test]
fn the_document_says_what_the_contracts_say() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let made = document(&root.join("proto"));
    let path = root.join("docs/events.md");
    if std::env::vars_os().any(|(name, _)| name == "UPDATE") {
        std::fs::write(&path, &made).unwrap();
    }
    let written = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        written == made,
        "docs/events.md is out of date: run `UPDATE=1 cargo nextest run -p rapport-stories --test events_document`"
    );
}

#[test]
fn no_payload_holds_text_that_must_be_sealed() {
    for policy in rapport_api::policy::events() {
        let personal = format!("{}Personal.", policy.message);
        for field in rapport_api::policy::fields() {
            let inside = field.field.starts_with(&format!("{}.", policy.message));
            let sealed = field.class >= rapport_api::policy::DataClass::PersonalText;
            assert!(
                !(inside && sealed),
                "{} belongs into {personal}",
                field.field
            );
        }
    }
}

fn document(proto: &Path) -> String {
    let mut compiler = protox::Compiler::new([proto]).unwrap();
    compiler.include_imports(true).include_source_info(true);
    let files = ["shop", "decision", "care", "control", "event"];
    let files: Vec<PathBuf> = files
        .iter()
        .map(|name| proto.join(format!("rapport/event/v1/{name}.proto")))
        .collect();
    compiler.open_files(&files).unwrap();
    let pool = DescriptorPool::decode(compiler.encode_file_descriptor_set().as_slice()).unwrap();
    let mut text = HEADER.to_owned();
    for name in ["shop", "decision", "care", "control"] {
        let file = pool
            .get_file_by_name(&format!("rapport/event/v1/{name}.proto"))
            .unwrap();
        let comments = comments(file.file_descriptor_proto());
        let title = comments.get("2").map_or(name, String::as_str);
        writeln!(
            text,
            "\n## {}",
            title.trim_end_matches('.').lines().next().unwrap()
        )
        .unwrap();
        for message in file.messages() {
            if let Some(policy) = rapport_api::policy::events()
                .iter()
                .find(|policy| policy.message == message.full_name())
            {
                event(&mut text, &pool, &message, policy, &comments);
            }
        }
    }
    text
}

fn event(
    text: &mut String,
    pool: &DescriptorPool,
    message: &MessageDescriptor,
    policy: &rapport_api::policy::EventPolicy,
    comments: &HashMap<String, String>,
) {
    let without = match policy.without_consent {
        rapport_api::policy::WithoutConsent::Store => "store",
        rapport_api::policy::WithoutConsent::StoreWithoutSubject => "without subject",
        rapport_api::policy::WithoutConsent::Refuse => "refuse",
    };
    writeln!(text, "\n### `{}`\n", policy.name).unwrap();
    writeln!(text, "{}\n", comment(comments, message)).unwrap();
    writeln!(
        text,
        "`{}` · purpose `{}` · without consent: {without}\n",
        policy.message, policy.purpose
    )
    .unwrap();
    fields(text, message, comments);
    example(text, message);
    if policy.personal {
        let personal = pool
            .get_message_by_name(&format!("{}Personal", policy.message))
            .unwrap();
        writeln!(text, "\nSealed apart, as `{}`:\n", personal.full_name()).unwrap();
        fields(text, &personal, comments);
        example(text, &personal);
    }
}

fn fields(text: &mut String, message: &MessageDescriptor, comments: &HashMap<String, String>) {
    text.push_str("| field | type | class | meaning |\n|---|---|---|---|\n");
    for field in message.fields() {
        let class = rapport_api::policy::fields()
            .iter()
            .find(|policy| policy.field == field.full_name())
            .map_or("–".to_owned(), |policy| format!("{:?}", policy.class));
        let key = format!("{},2,{}", path_of(message), index_of(message, &field));
        let meaning = comments
            .get(&key)
            .map_or("", String::as_str)
            .replace('\n', " ");
        writeln!(
            text,
            "| `{}` | {} | {class} | {meaning} |",
            field.name(),
            type_of(&field)
        )
        .unwrap();
    }
}

fn example(text: &mut String, message: &MessageDescriptor) {
    let sample = sample(message, 0);
    let json = serde_json::to_string(&sample).unwrap();
    let bytes: String = sample
        .encode_to_vec()
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    writeln!(text, "\nExample: `{json}`  \nBytes: `{bytes}`").unwrap();
}

/// Fills every field with a small value that depends on its kind and name only.
fn sample(descriptor: &MessageDescriptor, depth: usize) -> DynamicMessage {
    let mut message = DynamicMessage::new(descriptor.clone());
    for field in descriptor.fields() {
        let value = match field.kind() {
            Kind::Message(_) if depth > 2 => continue,
            Kind::Message(inner) => Value::Message(sample(&inner, depth + 1)),
            Kind::Enum(of) => {
                Value::EnumNumber(of.values().nth(1).map_or(0, |value| value.number()))
            }
            Kind::String => Value::String(format!(
                "{}-1",
                field
                    .name()
                    .trim_end_matches("_id")
                    .trim_end_matches("_ids")
            )),
            Kind::Bytes => Value::Bytes((1..=16).collect::<Vec<u8>>().into()),
            Kind::Bool => Value::Bool(true),
            Kind::Double => Value::F64(0.5),
            Kind::Float => Value::F32(0.5),
            Kind::Uint32 => Value::U32(3),
            Kind::Uint64 => Value::U64(7),
            Kind::Int64 if field.name().ends_with("_ms") => Value::I64(1_772_294_400_000),
            Kind::Int64 => Value::I64(2),
            other => panic!("no sample for {other:?}"),
        };
        let value = if field.is_list() {
            Value::List(vec![value])
        } else {
            value
        };
        message.set_field(&field, value);
    }
    message
}

fn type_of(field: &FieldDescriptor) -> String {
    let kind = match field.kind() {
        Kind::Message(message) => message.name().to_owned(),
        Kind::Enum(of) => of.name().to_owned(),
        other => format!("{other:?}").to_lowercase(),
    };
    if field.is_list() {
        format!("repeated {kind}")
    } else {
        kind
    }
}

fn comment(comments: &HashMap<String, String>, message: &MessageDescriptor) -> String {
    comments.get(&path_of(message)).cloned().unwrap_or_default()
}

/// Returns where a top-level message stands in its file, as source info writes it.
fn path_of(message: &MessageDescriptor) -> String {
    let file = message.parent_file();
    let index = file.messages().position(|other| other == *message).unwrap();
    format!("4,{index}")
}

fn index_of(message: &MessageDescriptor, field: &FieldDescriptor) -> usize {
    let proto = message.descriptor_proto();
    proto
        .field
        .iter()
        .position(|other| other.name() == field.name())
        .unwrap()
}

fn comments(file: &FileDescriptorProto) -> HashMap<String, String> {
    let info = file.source_code_info.as_ref().unwrap();
    let located = info.location.iter().filter_map(|location| {
        let path: Vec<String> = location.path.iter().map(i32::to_string).collect();
        let detached = location.leading_detached_comments.first();
        let comment = location.leading_comments.as_ref().or(detached)?;
        Some((
            path.join(","),
            comment
                .lines()
                .map(str::trim)
                .collect::<Vec<_>>()
                .join("\n")
                .trim()
                .to_owned(),
        ))
    });
    let mut comments: HashMap<String, String> = located.collect();
    // The first lines of a file stand above `syntax`.
    if let Some(head) = comments.get("12").cloned() {
        comments.insert("2".to_owned(), head);
    }
    comments
}
