//! Searching every byte that a story left: in files, in a Redis, in a Postgres database.
//!
//! What is packed by zstd is unpacked first, wherever in the bytes a frame may begin.

use std::io::Read as _;
use std::path::Path;

use sqlx::{AssertSqlSafe, Connection as _, PgConnection};

/// How every zstd frame begins (RFC 8878, section 3.1.1).
pub const FRAME: [u8; 4] = [0x28, 0xb5, 0x2f, 0xfd];
/// Most bytes that are unpacked from one frame.
const UNPACKED_MAX: u64 = 1 << 28;
/// How Postgres writes bytes as text, before their hexadecimal digits.
const BYTES_AS_TEXT: &str = "\\x";
/// Keys that Redis is asked for at a time.
const KEYS_AT_A_TIME: u32 = 1_000;

const TABLES: &str = "select schemaname || '.' || quote_ident(tablename) from pg_tables
    where schemaname not in ('pg_catalog', 'information_schema')";

/// A canary that was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hit {
    /// The file, the key or the table.
    pub place: String,
    /// The canary.
    pub canary: String,
}

/// Returns every file below `folder` that holds one of `canaries`: as UTF-8, UTF-16 or hexadecimal.
///
/// # Panics
/// When a file cannot be read.
#[must_use]
pub fn scan(folder: &Path, canaries: &[&str]) -> Vec<Hit> {
    let canaries = Canaries::new(canaries);
    let mut hits = Vec::new();
    let mut folders = vec![folder.to_path_buf()];
    while let Some(folder) = folders.pop() {
        let entries = std::fs::read_dir(&folder).expect("a story's folder can be listed");
        for entry in entries {
            let path = entry.expect("a story's folder can be listed").path();
            if path.is_dir() {
                folders.push(path);
                continue;
            }
            let bytes = std::fs::read(&path).expect("a story's file can be read");
            canaries.look(&path.display().to_string(), &bytes, &mut hits);
        }
    }
    hits
}

/// Returns every key of a Redis that holds one of `canaries`, in itself or in its value, and how many keys
/// were searched.
///
/// # Panics
/// When it does not answer.
#[must_use]
pub fn scan_redis(url: &str, canaries: &[&str]) -> (Vec<Hit>, usize) {
    let canaries = Canaries::new(canaries);
    let client = redis::Client::open(url).expect("the story's Redis URL");
    let mut connection = client.get_connection().expect("the story's Redis answers");
    // A dumped value would be packed by LZF, which hides text from a search.
    let mut unpacked = redis::cmd("CONFIG");
    unpacked.arg(&["SET", "rdbcompression", "no"]);
    unpacked.exec(&mut connection).expect("Redis obeys");
    let (mut hits, mut searched, mut cursor) = (Vec::new(), 0, 0_u64);
    loop {
        let mut scan = redis::cmd("SCAN");
        scan.arg(cursor).arg("COUNT").arg(KEYS_AT_A_TIME);
        let (next, keys): (u64, Vec<Vec<u8>>) =
            scan.query(&mut connection).expect("Redis lists its keys");
        for key in keys {
            let mut dump = redis::cmd("DUMP");
            let value: Option<Vec<u8>> =
                dump.arg(&key).query(&mut connection).expect("Redis dumps");
            let place = format!("redis key {}", String::from_utf8_lossy(&key));
            canaries.look(&place, &key, &mut hits);
            canaries.look(&place, &value.unwrap_or_default(), &mut hits);
            searched += 1;
        }
        if next == 0 {
            return (hits, searched);
        }
        cursor = next;
    }
}

/// Returns every table of a Postgres database that holds one of `canaries` in a row, and how many rows were
/// searched.
///
/// # Panics
/// When it does not answer.
pub async fn scan_postgres(url: &str, canaries: &[&str]) -> (Vec<Hit>, usize) {
    let canaries = Canaries::new(canaries);
    let connected = PgConnection::connect(url).await;
    let mut connection = connected.expect("the story's database answers");
    let tables: Vec<String> = sqlx::query_scalar(TABLES)
        .fetch_all(&mut connection)
        .await
        .expect("Postgres lists its tables");
    let (mut hits, mut searched) = (Vec::new(), 0);
    for table in tables {
        let rows = format!("select cast(t as text) from {table} t");
        let rows: Vec<String> = sqlx::query_scalar(AssertSqlSafe(rows))
            .fetch_all(&mut connection)
            .await
            .expect("Postgres reads its rows");
        searched += rows.len();
        for row in rows {
            let place = format!("table {table}");
            canaries.look(&place, row.as_bytes(), &mut hits);
            for bytes in row.split(BYTES_AS_TEXT).skip(1) {
                canaries.look(&place, &bytes_of(bytes), &mut hits);
            }
        }
    }
    (hits, searched)
}

/// What is searched for: each canary in every form that it may lie about in.
struct Canaries(Vec<(String, Vec<Vec<u8>>)>);

impl Canaries {
    fn new(canaries: &[&str]) -> Self {
        let forms = |canary: &&str| ((*canary).to_owned(), forms_of(canary));
        Self(canaries.iter().map(forms).collect())
    }

    /// Adds what is in `bytes`, and in every zstd frame inside them.
    fn look(&self, place: &str, bytes: &[u8], hits: &mut Vec<Hit>) {
        self.look_plainly(place, bytes, hits);
        for at in 0..bytes.len().saturating_sub(FRAME.len()) {
            if bytes[at..].starts_with(&FRAME) {
                self.look_plainly(place, &unpack(&bytes[at..]), hits);
            }
        }
    }

    fn look_plainly(&self, place: &str, bytes: &[u8], hits: &mut Vec<Hit>) {
        for (canary, forms) in &self.0 {
            if forms.iter().any(|form| contains(bytes, form)) {
                hits.push(Hit {
                    place: place.to_owned(),
                    canary: canary.clone(),
                });
            }
        }
    }
}

/// Returns what the frame at the start of `packed` holds, as far as it can be read: four bytes may look like
/// a frame and be none.
fn unpack(packed: &[u8]) -> Vec<u8> {
    let mut unpacked = Vec::new();
    if let Ok(decoder) = zstd::stream::read::Decoder::new(packed) {
        let mut limited = decoder.single_frame().take(UNPACKED_MAX);
        // What came before an error is kept and searched.
        let _ = limited.read_to_end(&mut unpacked);
    }
    unpacked
}

/// Returns the bytes whose hexadecimal digits `text` begins with.
fn bytes_of(text: &str) -> Vec<u8> {
    let digits = text.chars().map_while(|digit| digit.to_digit(16));
    let digits: Vec<u32> = digits.collect();
    let byte = |pair: &[u32]| u8::try_from(pair[0] * 16 + pair[1]).expect("two digits are a byte");
    digits.chunks_exact(2).map(byte).collect()
}

fn forms_of(canary: &str) -> Vec<Vec<u8>> {
    let hex: String = canary.bytes().map(|byte| format!("{byte:02x}")).collect();
    let utf16 = canary.encode_utf16().flat_map(u16::to_le_bytes).collect();
    vec![
        canary.as_bytes().to_vec(),
        hex.clone().into_bytes(),
        hex.to_uppercase().into_bytes(),
        utf16,
    ]
}

fn contains(bytes: &[u8], form: &[u8]) -> bool {
    bytes.windows(form.len()).any(|window| window == form)
}
