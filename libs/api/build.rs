//! Generates the Rust code of every contract, the descriptor set for reflection, and the policy
//! table that `src/policy.rs` includes. Pure Rust: no protoc is needed.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use prost::Message as _;
use prost_reflect::{
    DescriptorPool, DynamicMessage, Kind, MessageDescriptor, ReflectMessage as _, Value,
};

type Error = Box<dyn std::error::Error>;

const PROTO_ROOT: &str = "../../proto";
/// Messages within messages of an event; a contract that recurses ends here.
const NESTED_MAX: usize = 6;

fn main() -> Result<(), Error> {
    println!("cargo::rerun-if-changed={PROTO_ROOT}");
    let files = proto_files(Path::new(PROTO_ROOT))?;
    let mut compiler = protox::Compiler::new([PROTO_ROOT])?;
    compiler.include_imports(true).include_source_info(true);
    compiler.open_files(&files)?;
    // protox's own encoder keeps the custom options, which prost-types would drop.
    let descriptors = compiler.encode_file_descriptor_set();
    let out = PathBuf::from(std::env::var_os("OUT_DIR").ok_or("OUT_DIR is set by cargo")?);
    let reflection = protox::Compiler::new([PROTO_ROOT])?
        .include_imports(true)
        .open_files(&files)?
        .encode_file_descriptor_set();
    std::fs::write(out.join("descriptors.binpb"), reflection)?;
    let pool = DescriptorPool::decode(descriptors.as_slice())?;
    std::fs::write(out.join("policy_table.rs"), policy_table(&pool)?)?;
    // An event travels as `Any`, which needs to know its message's name.
    let mut names = tonic_prost_build::Config::new();
    names
        .enable_type_names()
        .type_name_domain(["."], "type.googleapis.com");
    tonic_prost_build::configure()
        // Payloads are opaque: sharing the received buffer saves a copy per event.
        .bytes(".rapport.event.v1.EventRecord")
        .compile_fds_with_config(prost_types_set(&descriptors)?, names)?;
    Ok(())
}

fn prost_types_set(encoded: &[u8]) -> Result<tonic_prost_build::FileDescriptorSet, Error> {
    Ok(tonic_prost_build::FileDescriptorSet::decode(encoded)?)
}

/// Returns every `.proto` file below `root`, sorted, so that the output never depends on the disk's order.
fn proto_files(root: &Path) -> Result<Vec<PathBuf>, Error> {
    let mut files = Vec::new();
    let mut folders = vec![root.to_path_buf()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder)? {
            let path = entry?.path();
            if path.is_dir() {
                folders.push(path);
            } else if path
                .extension()
                .is_some_and(|extension| extension == "proto")
            {
                files.push(path);
            }
        }
    }
    files.sort();
    Ok(files)
}

/// Returns the Rust source of the three tables: methods, event types, personal fields.
fn policy_table(pool: &DescriptorPool) -> Result<String, Error> {
    let mut source = String::new();
    methods(pool, &mut source)?;
    events(pool, &mut source)?;
    fields(pool, &mut source)?;
    Ok(source)
}

fn methods(pool: &DescriptorPool, source: &mut String) -> Result<(), Error> {
    let option = pool
        .get_extension_by_name("rapport.type.v1.policy")
        .ok_or("no method policy")?;
    let mut rows: Vec<(String, String)> = Vec::new();
    for service in pool.services().filter(|service| ours(service.full_name())) {
        for method in service.methods() {
            let path = format!("/{}/{}", service.full_name(), method.name());
            let options = method.options();
            if !options.has_extension(&option) {
                return Err(format!("{path} has no (rapport.type.v1.policy) option").into());
            }
            let policy = message(&options.get_extension(&option))?;
            let purposes: Vec<String> = policy
                .get_field_by_name("purposes")
                .and_then(|value| value.as_list().map(<[Value]>::to_vec))
                .unwrap_or_default()
                .iter()
                .filter_map(Value::as_enum_number)
                .map(purpose)
                .collect::<Result<_, _>>()?;
            let row = format!(
                "MethodPolicy {{ path: {path:?}, scope: {:?}, purposes: &[{}], on_refusal: OnRefusal::{}, \
                 subject_field: {:?}, criticality: Criticality::{}, idempotency: Idempotency::{}, \
                 deadline_ms: {}, streaming: {} }},\n",
                text(&policy, "scope"),
                purposes.join(", "),
                variant(&policy, "on_refusal", &["None", "Degrade", "Deny"])?,
                text(&policy, "subject_field"),
                variant(
                    &policy,
                    "criticality",
                    &["", "Vital", "Spend", "Serve", "Report"]
                )?,
                variant(&policy, "idempotency", &["", "ReadOnly", "Keyed", "None"])?,
                number(&policy, "deadline_ms"),
                method.is_client_streaming() || method.is_server_streaming(),
            );
            rows.push((path, row));
        }
    }
    rows.sort();
    writeln!(source, "static METHODS: &[MethodPolicy] = &[")?;
    rows.iter().try_for_each(|(_, row)| source.write_str(row))?;
    writeln!(source, "];")?;
    Ok(())
}

fn events(pool: &DescriptorPool, source: &mut String) -> Result<(), Error> {
    let option = pool
        .get_extension_by_name("rapport.type.v1.event")
        .ok_or("no event policy")?;
    let mut rows = Vec::new();
    for event in pool
        .all_messages()
        .filter(|message| message.options().has_extension(&option))
    {
        let options = event.options();
        let policy = message(&options.get_extension(&option))?;
        let personal = pool.get_message_by_name(&format!("{}Personal", event.full_name()));
        rows.push(format!(
            "EventPolicy {{ name: {:?}, message: {:?}, purpose: {}, without_consent: WithoutConsent::{}, \
             personal: {}, texts: &[{}] }},\n",
            snake_case(event.name()),
            event.full_name(),
            purpose(number(&policy, "purpose") as i32)?,
            variant(&policy, "without_consent", &["", "Store", "StoreWithoutSubject", "Refuse"])?,
            personal.is_some(),
            texts(&event, &mut Vec::new(), "")?,
        ));
    }
    rows.sort();
    writeln!(source, "static EVENTS: &[EventPolicy] = &[")?;
    rows.iter().try_for_each(|row| source.write_str(row))?;
    writeln!(source, "];")?;
    Ok(())
}

/// Returns the rows of every string field of a message and of those inside it, `above` being the way there.
fn texts(message: &MessageDescriptor, above: &mut Vec<u32>, name: &str) -> Result<String, Error> {
    if above.len() >= NESTED_MAX {
        return Err(format!("{} nests too deeply for an event", message.full_name()).into());
    }
    let mut rows = String::new();
    for field in message.fields() {
        let name = format!("{name}{}", field.name());
        above.push(field.number());
        if field.kind() == Kind::String {
            write!(rows, "TextField {{ path: &{above:?}, name: {name:?} }}, ")?;
        } else if let Some(inner) = field.kind().as_message() {
            rows.push_str(&texts(inner, above, &format!("{name}."))?);
        }
        above.pop();
    }
    Ok(rows)
}

fn fields(pool: &DescriptorPool, source: &mut String) -> Result<(), Error> {
    let option = pool
        .get_extension_by_name("rapport.type.v1.data_class")
        .ok_or("no data class")?;
    let classes = ["", "Pseudonym", "Personal", "PersonalText", "Sensitive"];
    let mut rows = Vec::new();
    for message in pool
        .all_messages()
        .filter(|message| ours(message.full_name()))
    {
        for field in message
            .fields()
            .filter(|field| field.options().has_extension(&option))
        {
            let options = field.options();
            let class = options
                .get_extension(&option)
                .as_enum_number()
                .unwrap_or_default();
            let class = classes
                .get(class as usize)
                .filter(|class| !class.is_empty());
            let class = class.ok_or_else(|| format!("{} has no data class", field.full_name()))?;
            rows.push(format!(
                "FieldPolicy {{ field: {:?}, class: DataClass::{class} }},\n",
                field.full_name()
            ));
        }
    }
    rows.sort();
    writeln!(source, "static FIELDS: &[FieldPolicy] = &[")?;
    rows.iter().try_for_each(|row| source.write_str(row))?;
    writeln!(source, "];")?;
    Ok(())
}

fn ours(name: &str) -> bool {
    name.starts_with("rapport.")
}

fn message(value: &Value) -> Result<DynamicMessage, Error> {
    Ok(value
        .as_message()
        .ok_or("a policy option is a message")?
        .clone())
}

fn text(policy: &DynamicMessage, field: &str) -> String {
    let value = policy.get_field_by_name(field);
    value
        .and_then(|value| value.as_str().map(ToOwned::to_owned))
        .unwrap_or_default()
}

fn number(policy: &DynamicMessage, field: &str) -> u32 {
    let value = policy.get_field_by_name(field);
    value
        .and_then(|value| {
            value
                .as_u32()
                .or_else(|| value.as_enum_number().map(|number| number as u32))
        })
        .unwrap_or_default()
}

/// Returns the Rust variant of an enum field; an empty name in `variants` marks a value that must not be left out.
fn variant(policy: &DynamicMessage, field: &str, variants: &[&str]) -> Result<String, Error> {
    let chosen = variants
        .get(number(policy, field) as usize)
        .filter(|name| !name.is_empty());
    let owner = policy.descriptor();
    chosen
        .map(|name| (*name).to_owned())
        .ok_or_else(|| format!("{}: {field} is unspecified", owner.name()).into())
}

fn purpose(number: i32) -> Result<String, Error> {
    let names = [
        "Service",
        "Personalise",
        "Advertise",
        "Message",
        "Emotion",
        "Measure",
        "Share",
    ];
    let name = usize::try_from(number - 1)
        .ok()
        .and_then(|index| names.get(index));
    Ok(format!(
        "Purpose::{}",
        name.ok_or("a purpose is unspecified")?
    ))
}

/// Returns `ViewItem` as `view_item`: the GA4 spelling that the log stores.
fn snake_case(name: &str) -> String {
    let mut snake = String::new();
    for letter in name.chars() {
        if letter.is_ascii_uppercase() && !snake.is_empty() {
            snake.push('_');
        }
        snake.push(letter.to_ascii_lowercase());
    }
    snake
}
