//! One life: an anonymous browser becomes a person of three subjects, is served as one, withdraws
//! consent on the second device, is unlinked exactly, then erased. Five processes, real binaries, on files
//! and memory, then on Postgres and Redis.
#![expect(clippy::unwrap_used, reason = "tests")]

mod life;

use life::{CANARIES, Life, Servers, Setting};
use rapport_stories::{Hit, scan};

#[tokio::test]
async fn one_person_from_first_look_to_erasure() {
    let packed = Setting {
        is_packed: true,
        ..Setting::default()
    };
    let mut life = Life::begin(&packed).await;
    life.is_lived_up_to_erasure().await;
    life.is_erased().await;
    life.is_packed_in_segments().await;
    let folder = life.end().await;
    let hits = scan(folder.path(), &CANARIES);
    assert!(hits.is_empty(), "personal text in the clear: {hits:?}");
}

#[tokio::test]
async fn the_same_life_on_postgres_and_redis() {
    let servers = Servers::start().await;
    let setting = Setting {
        servers: Some(&servers),
        is_packed: true,
        ..Setting::default()
    };
    let mut life = Life::begin(&setting).await;
    life.is_lived_up_to_erasure().await;
    // While there is most to be found, and once more at the end.
    let full = servers.search(&CANARIES).await;
    assert!(full.rows > 0 && full.keys > 0, "{full:?}");
    assert!(full.hits.is_empty(), "personal text in the clear: {full:?}");
    life.is_erased().await;
    life.is_packed_in_segments().await;
    let folder = life.end().await;
    let mut hits = scan(folder.path(), &CANARIES);
    hits.extend(servers.search(&CANARIES).await.hits);
    assert!(hits.is_empty(), "personal text in the clear: {hits:?}");
}

/// What profile is started with where the search must find something.
const UNSEALED: [&str; 2] = ["--without", "sealing"];

/// The same search of every byte finds the canaries where nothing is sealed: so it can find them, in rows
/// and in packed segments.
#[tokio::test]
async fn without_sealing_the_search_finds_what_was_written_to_files() {
    for is_packed in [false, true] {
        let unsealed = Setting {
            servers: None,
            flags: &UNSEALED,
            is_packed,
        };
        let mut life = Life::begin(&unsealed).await;
        life.finds_a_shop().await;
        life.browses_anonymously().await;
        let place = if is_packed {
            life.is_found_in_segments(&CANARIES).await;
            "/segments/"
        } else {
            "/profile/database.sqlite"
        };
        let folder = life.end().await;
        let hits = scan(folder.path(), &CANARIES);
        assert!(
            hits.iter().any(|hit| hit.place.contains(place)),
            "nothing in {place}: {hits:?}"
        );
    }
}

#[tokio::test]
async fn without_sealing_the_search_finds_what_was_written_to_rows() {
    let servers = Servers::start().await;
    let unsealed = Setting {
        servers: Some(&servers),
        flags: &UNSEALED,
        is_packed: false,
    };
    let mut life = Life::begin(&unsealed).await;
    life.finds_a_shop().await;
    life.browses_anonymously().await;
    let found = servers.search(&CANARIES).await;
    let in_row = |hit: &Hit| hit.place.starts_with("table ");
    assert!(found.hits.iter().any(in_row), "{found:?}");
}

/// No service writes text to Redis, sealed or not: the search is shown what it would look like.
#[tokio::test]
async fn the_search_finds_what_is_written_to_redis_and_what_is_packed_in_a_row() {
    let servers = Servers::start().await;
    let letters: String = (0..500)
        .map(|number| format!("{number} cups of tea "))
        .collect();
    let packed = zstd::bulk::compress(format!("{letters}{}", CANARIES[0]).as_bytes(), 3).unwrap();
    let canary = CANARIES[0].as_bytes();
    let is_plain = packed.windows(canary.len()).any(|window| window == canary);
    assert!(!is_plain, "packed beyond recognition");
    let client = redis::Client::open(servers.redis_url()).unwrap();
    let mut redis = client.get_connection().unwrap();
    let commands: [(&str, &[&[u8]]); 6] = [
        ("SET", &[CANARIES[1].as_bytes(), b"1"]),
        ("SET", &[b"a string", CANARIES[2].as_bytes()]),
        ("SET", &[b"a packed string", &packed]),
        ("HSET", &[b"a hash", b"field", CANARIES[3].as_bytes()]),
        ("RPUSH", &[b"a list", CANARIES[4].as_bytes()]),
        ("ZADD", &[b"a set", b"1", CANARIES[5].as_bytes()]),
    ];
    for (command, arguments) in commands {
        redis::cmd(command).arg(arguments).exec(&mut redis).unwrap();
    }
    let db = sqlx::PgPool::connect(servers.database_url("care"))
        .await
        .unwrap();
    sqlx::raw_sql("create table note (packed bytea)")
        .execute(&db)
        .await
        .unwrap();
    sqlx::query("insert into note values ($1)")
        .bind(&packed)
        .execute(&db)
        .await
        .unwrap();
    let found = servers.search(&CANARIES).await;
    let mut places: Vec<_> = found.hits.iter().map(|hit| hit.place.as_str()).collect();
    places.sort_unstable();
    places.dedup();
    let key = |name: &str| format!("redis key {name}");
    let mut wanted = [
        "a hash",
        "a list",
        "a packed string",
        "a set",
        "a string",
        CANARIES[1],
    ]
    .map(key)
    .to_vec();
    wanted.push("table public.note".to_owned());
    assert_eq!(places, wanted);
    assert_eq!((found.keys, found.rows), (6, 1));
}
