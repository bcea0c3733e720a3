//! What the audit chain must notice.

use super::*;

fn chain(records: &[&str]) -> (Vec<AuditRecord>, ChainHead) {
    let mut head = ChainHead::GENESIS;
    let seal = |bytes: &&str| {
        head = head.append(bytes.as_bytes());
        AuditRecord {
            bytes: bytes.as_bytes().to_vec(),
            hash: head.hash,
        }
    };
    (records.iter().map(seal).collect(), head)
}

#[test]
fn the_first_hash_is_sha_256_of_32_zero_bytes_and_the_record() {
    // Worked with `(head -c 32 /dev/zero; printf abc) | sha256sum`.
    let head = ChainHead::GENESIS.append(b"abc");
    let hex: String = head.hash.iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(
        hex,
        "365aa7d8f7f9402c4b9434502b4cc89ddb09fe50d7cd95b493b834c62d5a5370"
    );
}

#[test]
fn an_untouched_chain_holds_and_may_have_grown() {
    let (records, head) = chain(&["a", "b", "c"]);
    assert_eq!(verify_chain(&records, &head), Ok(head));
    let (_, earlier) = chain(&["a", "b"]);
    assert_eq!(verify_chain(&records, &earlier), Ok(head));
    assert_eq!(verify_chain(&records, &ChainHead::GENESIS), Ok(head));
}

#[test]
fn an_altered_record_is_named() {
    let (mut records, head) = chain(&["a", "b", "c"]);
    records[1].bytes = b"B".to_vec();
    assert_eq!(verify_chain(&records, &head), Err(ChainError::Broken(1)));
}

#[test]
fn a_reordered_or_missing_record_is_named() {
    let (mut records, head) = chain(&["a", "b", "c"]);
    records.swap(0, 1);
    assert_eq!(verify_chain(&records, &head), Err(ChainError::Broken(0)));
    records.swap(0, 1);
    records.remove(1);
    assert_eq!(verify_chain(&records, &head), Err(ChainError::Broken(1)));
}

#[test]
fn a_truncated_chain_falls_short_of_its_anchor() {
    let (mut records, head) = chain(&["a", "b", "c"]);
    records.pop();
    assert_eq!(
        verify_chain(&records, &head),
        Err(ChainError::Truncated {
            found: 2,
            anchored: 3
        })
    );
}

#[test]
fn a_chain_made_anew_is_not_the_anchored_one() {
    let (_, head) = chain(&["a", "b", "c"]);
    let (forged, _) = chain(&["a", "X", "c"]);
    assert_eq!(verify_chain(&forged, &head), Err(ChainError::Rewritten(3)));
}
