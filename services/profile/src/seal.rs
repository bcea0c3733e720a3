//! Sealing: what encrypts a subject's personal fields, and what fingerprints its events.

use rapport_types::SubjectId;
use ring::aead::{Aad, LessSafeKey, NONCE_LEN, Nonce};
use ring::hmac;
use ring::rand::{SecureRandom as _, SystemRandom};
use zeroize::Zeroizing;

use crate::keyring::{KEY_BYTES, aead_key};

/// First byte of a sealed field: its format.
const FORMAT: u8 = 1;

/// A sealed field did not open: another subject's, another event's, or damaged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a sealed field cannot be opened")]
pub struct OpenError;

/// One subject's keys, ready to use. `Debug` shows nothing.
pub struct SubjectKeys {
    sealing: Zeroizing<[u8; KEY_BYTES]>,
    cipher: LessSafeKey,
    fingerprint: hmac::Key,
}

impl std::fmt::Debug for SubjectKeys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("SubjectKeys(hidden)")
    }
}

/// What an event's fingerprint covers.
#[derive(Debug, Clone, Copy)]
pub struct Claimed<'a> {
    /// The event's type.
    pub name: &'a str,
    /// When it happened, as the caller claims.
    pub occurred_at_ms: i64,
    /// The payload's bytes.
    pub payload: &'a [u8],
    /// The personal bytes, before sealing.
    pub personal: &'a [u8],
}

impl SubjectKeys {
    /// Derives the keys from a subject's data key.
    ///
    /// # Panics
    /// Never: a 32-byte key always fits AES-256.
    #[must_use]
    pub fn new(data_key: &[u8; KEY_BYTES]) -> Self {
        let root = hmac::Key::new(hmac::HMAC_SHA256, data_key);
        let mut sealing = Zeroizing::new([0; KEY_BYTES]);
        sealing.copy_from_slice(hmac::sign(&root, b"seal").as_ref());
        let fingerprint = hmac::sign(&root, b"fingerprint");
        Self {
            cipher: aead_key(sealing.as_ref()).expect("32 bytes are an AES-256 key"),
            sealing,
            fingerprint: hmac::Key::new(hmac::HMAC_SHA256, fingerprint.as_ref()),
        }
    }

    /// Returns the AES-256-GCM key that services may be given to open this subject's fields.
    #[must_use]
    pub fn sealing_key(&self) -> &[u8; KEY_BYTES] {
        &self.sealing
    }

    /// Encrypts `plain`, bound to the subject and to `event_id`.
    ///
    /// # Panics
    /// When the machine gives no random bytes: nothing can be sealed then.
    #[must_use]
    pub fn seal(&self, subject: &SubjectId, event_id: &str, plain: &[u8]) -> Vec<u8> {
        let mut nonce = [0_u8; NONCE_LEN];
        SystemRandom::new()
            .fill(&mut nonce)
            .expect("the machine gives random bytes");
        let mut sealed = Vec::with_capacity(1 + NONCE_LEN + plain.len() + 16);
        sealed.push(FORMAT);
        sealed.extend_from_slice(&nonce);
        let mut body = plain.to_vec();
        let tag = self
            .cipher
            .seal_in_place_separate_tag(
                Nonce::assume_unique_for_key(nonce),
                Aad::from(bound_to(subject, event_id)),
                &mut body,
            )
            .expect("a field is below AES-GCM's limit");
        sealed.extend_from_slice(&body);
        sealed.extend_from_slice(tag.as_ref());
        sealed
    }

    /// Decrypts what [`Self::seal`] made for the same subject and event.
    ///
    /// # Errors
    /// [`OpenError`] for anything else.
    pub fn open(
        &self,
        subject: &SubjectId,
        event_id: &str,
        sealed: &[u8],
    ) -> Result<Zeroizing<Vec<u8>>, OpenError> {
        let (format, rest) = sealed.split_first().ok_or(OpenError)?;
        let (nonce, body) = rest.split_at_checked(NONCE_LEN).ok_or(OpenError)?;
        let nonce = Nonce::try_assume_unique_for_key(nonce).map_err(|_length| OpenError)?;
        if *format != FORMAT {
            return Err(OpenError);
        }
        let mut body = Zeroizing::new(body.to_vec());
        let aad = Aad::from(bound_to(subject, event_id));
        let plain = self
            .cipher
            .open_in_place(nonce, aad, &mut body)
            .map_err(|_wrong| OpenError)?;
        let length = plain.len();
        body.truncate(length);
        Ok(body)
    }

    /// Returns the event's fingerprint: useless to anybody once the subject's key is destroyed.
    #[must_use]
    pub fn fingerprint(&self, claimed: &Claimed<'_>) -> [u8; 16] {
        fingerprint(&self.fingerprint, claimed)
    }
}

/// Returns the fingerprint of an event under `key`: 16 bytes of HMAC-SHA256.
#[must_use]
pub fn fingerprint(key: &hmac::Key, claimed: &Claimed<'_>) -> [u8; 16] {
    let mut context = hmac::Context::with_key(key);
    context.update(&(claimed.name.len() as u64).to_be_bytes());
    context.update(claimed.name.as_bytes());
    context.update(&claimed.occurred_at_ms.to_be_bytes());
    context.update(&(claimed.payload.len() as u64).to_be_bytes());
    context.update(claimed.payload);
    context.update(claimed.personal);
    let mut print = [0; 16];
    print.copy_from_slice(&context.sign().as_ref()[..16]);
    print
}

fn bound_to(subject: &SubjectId, event_id: &str) -> Vec<u8> {
    [subject.as_bytes().as_slice(), event_id.as_bytes()].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALICE: SubjectId = SubjectId::new([1; 16]);

    #[test]
    fn a_field_opens_for_its_subject_and_event_only() {
        let keys = SubjectKeys::new(&[7; KEY_BYTES]);
        let sealed = keys.seal(&ALICE, "e-1", "绿茶".as_bytes());
        assert_eq!(
            *keys.open(&ALICE, "e-1", &sealed).unwrap(),
            "绿茶".as_bytes()
        );
        assert_eq!(keys.open(&ALICE, "e-2", &sealed).err(), Some(OpenError));
        assert_eq!(
            keys.open(&SubjectId::new([2; 16]), "e-1", &sealed).err(),
            Some(OpenError)
        );
        let other = SubjectKeys::new(&[8; KEY_BYTES]);
        assert_eq!(other.open(&ALICE, "e-1", &sealed).err(), Some(OpenError));
        assert_eq!(
            keys.open(&ALICE, "e-1", &sealed[..5]).err(),
            Some(OpenError)
        );
    }

    #[test]
    fn equal_fields_never_look_equal() {
        let keys = SubjectKeys::new(&[7; KEY_BYTES]);
        assert_ne!(
            keys.seal(&ALICE, "e", b"same"),
            keys.seal(&ALICE, "e", b"same")
        );
    }

    #[test]
    fn a_fingerprint_covers_everything_and_depends_on_the_key() {
        let keys = SubjectKeys::new(&[7; KEY_BYTES]);
        let claimed = Claimed {
            name: "search",
            occurred_at_ms: 5,
            payload: b"p",
            personal: b"q",
        };
        let print = keys.fingerprint(&claimed);
        assert_eq!(print, keys.fingerprint(&claimed));
        for other in [
            Claimed {
                name: "searc",
                ..claimed
            },
            Claimed {
                occurred_at_ms: 6,
                ..claimed
            },
            Claimed {
                payload: b"pq",
                personal: b"",
                ..claimed
            },
            Claimed {
                personal: b"r",
                ..claimed
            },
        ] {
            assert_ne!(print, keys.fingerprint(&other));
        }
        assert_ne!(
            print,
            SubjectKeys::new(&[8; KEY_BYTES]).fingerprint(&claimed)
        );
    }
}
