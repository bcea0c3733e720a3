//! Snapshots on their own: what is written is what is read, and nothing damaged ever is.

use bytes::Bytes;
use proptest::prelude::*;
use rapport_api::event::v1::EventRecord;

use super::*;
use crate::projection::DecodeError;

#[derive(Debug)]
struct Any;

impl Projection for Any {
    const NAME: &'static str = "any";
    const VERSION: u32 = 3;
    const TYPES: &'static [&'static str] = &[];
    type State = Bytes;

    fn apply(&self, _key: &[u8], _state: &mut Bytes, _event: &EventRecord) {}

    fn encode(state: &Bytes) -> Vec<u8> {
        state.to_vec()
    }

    fn decode(bytes: &[u8]) -> Result<Bytes, DecodeError> {
        Ok(Bytes::copy_from_slice(bytes))
    }
}

fn store() -> (tempfile::TempDir, Snapshots) {
    let folder = tempfile::tempdir().unwrap();
    let objects = ObjectStore::open(folder.path()).unwrap();
    (folder, Snapshots::new(objects, "test"))
}

fn states(of: &[(&str, &str)]) -> States {
    let pair = |(key, state): &(&str, &str)| (key.as_bytes().into(), state.as_bytes().to_vec());
    of.iter().map(pair).collect()
}

async fn write(snapshots: &Snapshots, sequence: u64, of: &[(&str, &str)]) {
    let header = snapshots.header::<Any>(7, sequence, 42);
    let written = snapshots.write(header, states(of)).await.unwrap();
    assert_eq!(
        written,
        WrittenSnapshot {
            partition: 7,
            sequence
        }
    );
}

async fn newest(snapshots: &Snapshots, after: u64) -> Option<(u64, States)> {
    let found = snapshots.newest::<Any>(7, after).await.unwrap();
    found.map(|(header, states)| (header.sequence, states))
}

#[tokio::test]
async fn the_newest_is_read_sorted_and_only_the_last_few_are_kept() {
    let (_folder, snapshots) = store();
    assert_eq!(newest(&snapshots, 0).await, None);
    for sequence in [9, 100, 11, 5_000] {
        write(&snapshots, sequence, &[("b", "2"), ("a", "1")]).await;
    }
    let sorted = states(&[("a", "1"), ("b", "2")]);
    assert_eq!(newest(&snapshots, 0).await, Some((5_000, sorted.clone())));
    let mut visited = States::new();
    let visit = |key: &[u8], state: Bytes| visited.push((key.into(), state.to_vec()));
    let read = snapshots.for_each::<Any>(7, visit).await;
    assert_eq!((read.unwrap(), visited), (5_000, sorted));
    let mut visits = 0;
    let read = snapshots.for_each::<Any>(8, |_, _| visits += 1).await;
    assert_eq!((read.unwrap(), visits), (0, 0));
    assert_eq!(
        newest(&snapshots, 5_000).await,
        None,
        "nothing reaches further"
    );
    let kept = snapshots.objects.list("", None).await.unwrap();
    let name = |sequence: u64| format!("test/any/v3/07/{sequence:020}");
    assert_eq!(kept, [name(11), name(100), name(5_000)]);
    assert_eq!(
        snapshots.newest::<Any>(8, 0).await.unwrap(),
        None,
        "partitions are apart"
    );
    snapshots.drop_version::<Any>().await.unwrap();
    assert_eq!(newest(&snapshots, 0).await, None);
}

#[tokio::test]
async fn a_damaged_one_is_refused_and_the_older_one_used() {
    let (_folder, snapshots) = store();
    write(&snapshots, 1, &[("a", "old")]).await;
    write(&snapshots, 2, &[("a", "new")]).await;
    let name = "test/any/v3/07/00000000000000000002";
    let whole = snapshots.objects.get(name, 1_000).await.unwrap().unwrap();
    for at in 0..whole.len() {
        let mut damaged = whole.clone();
        damaged[at] ^= 0x10;
        snapshots.objects.put(name, damaged).await.unwrap();
        let found = newest(&snapshots, 0).await.map(|(sequence, _)| sequence);
        // The graph's version is for people to read: it is the one number that nothing checks.
        assert!(
            found == Some(1) || (at < 60 && whole[at] == 42),
            "byte {at}"
        );
    }
    for length in 0..whole.len() {
        snapshots
            .objects
            .put(name, whole[..length].to_vec())
            .await
            .unwrap();
        assert_eq!(newest(&snapshots, 0).await.unwrap().0, 1, "{length} bytes");
    }
    // The name of one and the bytes of another.
    let other = "test/any/v3/07/00000000000000000003";
    snapshots.objects.put(other, whole.clone()).await.unwrap();
    assert_eq!(newest(&snapshots, 0).await.unwrap().0, 1);
    snapshots.objects.put(name, whole).await.unwrap();
    assert_eq!(newest(&snapshots, 0).await.unwrap().0, 2);
}

proptest! {
    #[test]
    fn what_is_encoded_is_decoded(
        of in prop::collection::btree_map(prop::collection::vec(any::<u8>(), 1..40), prop::collection::vec(any::<u8>(), 0..9_000), 0..200)
    ) {
        let states: States = of.into_iter().map(|(key, state)| (key.into(), state)).collect();
        let header = Header { projection: "p".to_owned(), sequence: 5, ..Header::default() };
        let file = format::encode(header.clone(), &states).unwrap();
        let (read, found) = format::decode(&file, &header).unwrap();
        prop_assert_eq!(read.states, states.len() as u64);
        prop_assert_eq!(found, states);
    }

    #[test]
    fn no_bytes_make_the_reader_panic(bytes in prop::collection::vec(any::<u8>(), 0..200), magic in any::<bool>()) {
        let file = if magic { [&b"RAPSNAP\x01"[..], &bytes].concat() } else { bytes };
        prop_assert!(format::decode(&file, &Header::default()).is_err());
    }
}
