//! Every way a file can be wrong, with the place that is named, and every way it can be right.

use std::io::Write as _;

use flate2::{Compression, write::GzEncoder};
use tempfile::TempDir;

use super::*;

fn table(name: &str, bytes: &[u8]) -> (TempDir, Result<Table, LabError>) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(name);
    std::fs::write(&path, bytes).unwrap();
    let opened = Table::open(&path);
    (folder, opened)
}

fn pairs(table: &mut Table) -> Result<Vec<(String, String)>, LabError> {
    let columns = table.fixed(&["user", "item"], &[])?;
    let (user, item) = (columns[0].unwrap(), columns[1].unwrap());
    let mut rows = Vec::new();
    while table.advance()? {
        rows.push((
            table.required(user)?.to_owned(),
            table.required(item)?.to_owned(),
        ));
    }
    Ok(rows)
}

#[track_caller]
fn reads(name: &str, bytes: &[u8]) {
    let (_folder, opened) = table(name, bytes);
    let rows = pairs(&mut opened.unwrap()).unwrap();
    assert_eq!(
        rows,
        [
            ("a".to_owned(), "x".to_owned()),
            ("b".to_owned(), "y".to_owned())
        ]
    );
}

#[track_caller]
fn refuses(bytes: &[u8], expected: &str) {
    let (_folder, opened) = table("f.csv", bytes);
    let error = opened.and_then(|mut table| pairs(&mut table)).unwrap_err();
    assert_eq!(error.exit_code(), 2);
    let text = error.to_string();
    let (_, place) = text.split_once("f.csv").unwrap();
    assert_eq!(place, expected);
}

#[test]
fn columns_are_found_by_name_or_position() {
    reads("f.csv", b"user,item\na,x\nb,y\n");
    reads("f.csv", b"when,item,user\n1,x,a\n2,y,b\n");
    reads("f.csv", b"who,what,when\na,x,1\nb,y,2\n");
    reads("f.csv", b"\xef\xbb\xbfitem,user\r\nx,a\r\ny,b\r\n");
    reads("f.csv", b"Item , User\n x ,a\n\"y\",b");
}

#[test]
fn gzip_is_unpacked_by_name() {
    let mut packed = GzEncoder::new(Vec::new(), Compression::fast());
    packed.write_all(b"user,item\na,x\nb,y\n").unwrap();
    reads("f.csv.gz", &packed.finish().unwrap());
    let (_folder, opened) = table("f.csv.gz", b"user,item\n");
    assert!(opened.err().unwrap().to_string().contains("cannot be read"));
}

#[test]
fn what_is_wrong_is_named_with_its_place() {
    refuses(
        b"user,item\na,x\nb,\n",
        ", line 3, column 2 (item): is empty",
    );
    refuses(
        b"user,item\r\na,x\r\n,y\r\n",
        ", line 3, column 1 (user): is empty",
    );
    refuses(
        b"user,item\n\"a\nb\",x\n,y\n",
        ", line 4, column 1 (user): is empty",
    );
    refuses(
        b"user,item\na\n",
        ", line 2, column 2 (item): the line has 1 columns, the header 2",
    );
    refuses(
        b"user,item\r\na,x,1\r\n",
        ", line 2, column 3: the line has 3 columns, the header 2",
    );
    refuses(
        b"user,item\na,\xff\n",
        ", line 2, column 2 (item): is not UTF-8",
    );
    refuses(
        b"user\na\n",
        ", line 1, column 2: the columns user, item are needed, the header has user",
    );
    refuses(b"", ", line 1, column 1: there is no header");
}

#[test]
fn numbers_and_columns_by_name_are_checked() {
    let (_folder, opened) = table("f.csv", b"arm,Spend\na,TRUE\nb,much\n");
    let mut table = opened.unwrap();
    let spend = table.named("spend").unwrap();
    assert!(
        table
            .named("visit")
            .err()
            .unwrap()
            .to_string()
            .ends_with("there is no column visit; there are arm, Spend")
    );
    assert!(table.advance().unwrap());
    assert_eq!(table.number(spend), Ok(1.0));
    assert!(table.advance().unwrap());
    let error = table.number(spend).unwrap_err().to_string();
    assert!(
        error.ends_with("f.csv, line 3, column 2 (Spend): \"much\" is no number"),
        "{error}"
    );
    assert!(!table.advance().unwrap());
    assert_eq!(table.rows(), 2);
}

#[test]
fn a_header_without_an_end_is_quoted_in_part() {
    let long = "é".repeat(5_000);
    let cut = format!("{}…", "é".repeat(QUOTED_CHARS_MAX));
    let why =
        format!(", line 1, column 2: the columns user, item are needed, the header has {cut}");
    refuses(long.as_bytes(), &why);
    let (_folder, opened) = table("f.csv", format!("{long}\nmuch\n").as_bytes());
    let mut table = opened.unwrap();
    let error = table.named("visit").unwrap_err().to_string();
    let why = format!("column 1 ({cut}): there is no column visit; there are {cut}");
    assert!(error.ends_with(&why), "{error}");
    assert!(table.advance().unwrap());
    let error = table.number(0).unwrap_err().to_string();
    assert!(
        error.ends_with(&format!("({cut}): \"much\" is no number")),
        "{error}"
    );
}
