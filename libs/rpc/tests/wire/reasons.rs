//! I8: the reasons that the source declares and the rows of `docs/errors.md` are the same set.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../..")
        .canonicalize()
        .unwrap()
}

fn sources(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
}

/// Returns the constants inside every `reasons! { .. }` of a source, documentation left out.
fn declared(source: &str) -> BTreeSet<String> {
    let code = source
        .lines()
        .filter(|line| !line.trim_start().starts_with("//"));
    let code = code.collect::<Vec<_>>().join("\n");
    let blocks = code.split("reasons! {").skip(1);
    let names = blocks.flat_map(|block| block.split('}').next().unwrap_or_default().split(','));
    names
        .map(|name| name.trim().to_owned())
        .filter(|name| is_reason(name))
        .collect()
}

fn is_reason(text: &str) -> bool {
    !text.is_empty()
        && text
            .bytes()
            .all(|byte| byte.is_ascii_uppercase() || byte == b'_')
}

/// Returns the first cell of every table row, where it is a reason.
fn documented(text: &str) -> BTreeSet<String> {
    let cells = text
        .lines()
        .filter_map(|line| line.strip_prefix("| `")?.split('`').next());
    cells
        .filter(|cell| is_reason(cell))
        .map(str::to_owned)
        .collect()
}

#[test]
fn every_reason_is_documented_and_every_row_is_a_reason() {
    let mut files = Vec::new();
    for folder in ["libs", "services"] {
        sources(&root().join(folder), &mut files);
    }
    let files = files
        .iter()
        .filter(|path| !path.components().any(|part| part.as_os_str() == "tests"));
    let mut in_source = BTreeSet::new();
    for file in files {
        in_source.extend(declared(&std::fs::read_to_string(file).unwrap()));
    }
    let in_docs = documented(&std::fs::read_to_string(root().join("docs/errors.md")).unwrap());
    assert!(in_source.len() > 10, "the scan finds the declarations");
    let undocumented: Vec<_> = in_source.difference(&in_docs).collect();
    assert!(
        undocumented.is_empty(),
        "add these rows to docs/errors.md: {undocumented:?}"
    );
    let stale: Vec<_> = in_docs.difference(&in_source).collect();
    assert!(
        stale.is_empty(),
        "no reasons! declares these rows of docs/errors.md: {stale:?}"
    );
}

#[test]
fn the_scan_reads_declarations_and_not_their_comments() {
    let source =
        "reasons! {\n  /// Not a REASON, this.\n  FIRST_ONE,\n  SECOND,\n}\nconst OTHER: u8 = 1;";
    assert_eq!(
        declared(source),
        BTreeSet::from(["FIRST_ONE".to_owned(), "SECOND".to_owned()])
    );
    let table = "| reason | code |\n|---|---|\n| `FIRST_ONE` | INTERNAL |\n| `not_one` | x |";
    assert_eq!(documented(table), BTreeSet::from(["FIRST_ONE".to_owned()]));
}
