//! Sealing message texts with keys that profile hands out. Keys live in memory only, five minutes at
//! most, and go at once when their subject revokes or is erased.

use std::sync::Arc;
use std::time::Duration;

use moka::sync::Cache;
use rapport_api::profile::v1::GetDataKeysRequest;
use rapport_api::profile::v1::key_service_client::KeyServiceClient;
use rapport_flow::{Channel, ControlChange, People};
use rapport_types::{Purpose, SubjectId};
use ring::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use ring::hmac;
use ring::rand::{SecureRandom as _, SystemRandom};
use tokio::sync::broadcast::error::RecvError;

use crate::error::Error;

/// Longest life of a key in memory: the contract's.
const KEEP_MAX: Duration = Duration::from_secs(5 * 60);
/// Most keys in memory, a few megabytes.
const KEYS_MAX: u64 = 20_000;
/// Longest wait for profile.
const ANSWER_MAX: Duration = Duration::from_secs(1);
/// First byte of a sealed text: its format.
const FORMAT: u8 = 1;

/// One subject's key, ready to use. `Debug` shows nothing.
pub struct SubjectKey {
    subject: SubjectId,
    cipher: LessSafeKey,
    digest: hmac::Key,
}

impl std::fmt::Debug for SubjectKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("SubjectKey(hidden)")
    }
}

impl SubjectKey {
    fn new(subject: SubjectId, key: &[u8]) -> Option<Self> {
        let cipher = LessSafeKey::new(UnboundKey::new(&AES_256_GCM, key).ok()?);
        // One label per use: no key ever serves two algorithms.
        let root = hmac::Key::new(hmac::HMAC_SHA256, key);
        let digest = hmac::Key::new(
            hmac::HMAC_SHA256,
            hmac::sign(&root, b"care request").as_ref(),
        );
        Some(Self {
            subject,
            cipher,
            digest,
        })
    }

    /// Encrypts `plain`, bound to the subject and to `name`, such as a message's id.
    ///
    /// # Panics
    /// When the machine gives no random bytes: nothing can be sealed then.
    #[must_use]
    pub fn seal(&self, name: &[u8], plain: &[u8]) -> Vec<u8> {
        let mut nonce = [0_u8; NONCE_LEN];
        SystemRandom::new()
            .fill(&mut nonce)
            .expect("the machine gives random bytes");
        let mut sealed = Vec::with_capacity(1 + NONCE_LEN + plain.len() + AES_256_GCM.tag_len());
        sealed.push(FORMAT);
        sealed.extend_from_slice(&nonce);
        let mut body = plain.to_vec();
        let nonce = Nonce::assume_unique_for_key(nonce);
        self.cipher
            .seal_in_place_append_tag(nonce, Aad::from(self.bound_to(name)), &mut body)
            .expect("a text is below AES-GCM's limit");
        sealed.append(&mut body);
        sealed
    }

    /// Decrypts what [`Self::seal`] made for the same subject and name; `None` for anything else.
    #[must_use]
    pub fn open(&self, name: &[u8], sealed: &[u8]) -> Option<Vec<u8>> {
        let (format, rest) = sealed.split_first()?;
        let (nonce, body) = rest.split_at_checked(NONCE_LEN)?;
        let nonce = Nonce::try_assume_unique_for_key(nonce).ok()?;
        if *format != FORMAT {
            return None;
        }
        let mut body = body.to_vec();
        let aad = Aad::from(self.bound_to(name));
        Some(
            self.cipher
                .open_in_place(nonce, aad, &mut body)
                .ok()?
                .to_vec(),
        )
    }

    /// Returns a fingerprint of a request that holds personal text: a plain hash of a short message
    /// could be searched for, and this one is worthless once the subject's key is destroyed.
    #[must_use]
    pub fn digest(&self, body: &[u8]) -> [u8; 32] {
        let mut digest = [0; 32];
        digest.copy_from_slice(hmac::sign(&self.digest, body).as_ref());
        digest
    }

    fn bound_to(&self, name: &[u8]) -> Vec<u8> {
        [self.subject.as_bytes().as_slice(), name].concat()
    }
}

/// The keys at hand. Cloning shares them.
#[derive(Debug, Clone)]
pub struct Keys {
    client: KeyServiceClient<Channel>,
    people: People,
    kept: Cache<SubjectId, Arc<SubjectKey>>,
}

impl Keys {
    /// Returns an empty set that asks `profile`.
    #[must_use]
    pub fn new(profile: Channel, people: People) -> Self {
        Self {
            client: KeyServiceClient::new(profile),
            people,
            kept: Cache::builder()
                .max_capacity(KEYS_MAX)
                .time_to_live(KEEP_MAX)
                .build(),
        }
    }

    /// Returns a subject's key, `None` if the subject is unknown or erased.
    ///
    /// # Errors
    /// [`Error::Keys`] when profile does not answer.
    pub async fn of(&self, subject: SubjectId) -> Result<Option<Arc<SubjectKey>>, Error> {
        // Asked each time, so that a key fetched while its erasure was on the way is not used.
        if self.people.is_erased(subject) {
            return Ok(None);
        }
        if let Some(key) = self.kept.get(&subject) {
            return Ok(Some(key));
        }
        let request = GetDataKeysRequest {
            subject_ids: vec![subject.to_vec()],
            purpose: i32::from(Purpose::Service as u8),
        };
        let mut client = self.client.clone();
        let answer = rapport_rpc::with_deadline(ANSWER_MAX, client.get_data_keys(request)).await;
        let answer = answer
            .map_err(|status| Error::Keys(status.code()))?
            .into_inner();
        let found = answer
            .keys
            .into_iter()
            .find(|key| key.subject_id == subject.as_bytes());
        let Some(found) = found else { return Ok(None) };
        let key = SubjectKey::new(subject, &found.key)
            .ok_or(Error::Internal("profile gave a key of another length"))?;
        let key = Arc::new(key);
        self.kept.insert(subject, Arc::clone(&key));
        Ok(Some(key))
    }

    /// Forgets keys as their subjects revoke or are erased, for ever.
    pub async fn forget_as_people_change(self) {
        let mut changes = self.people.subscribe();
        loop {
            match changes.recv().await {
                Ok(ControlChange::Consent(subjects) | ControlChange::Erased(subjects)) => {
                    subjects
                        .iter()
                        .for_each(|subject| self.kept.invalidate(subject));
                }
                Ok(ControlChange::Persons(_)) => {}
                Ok(ControlChange::Reloaded) | Err(RecvError::Lagged(_)) => {
                    self.kept.invalidate_all();
                }
                Err(RecvError::Closed) => return,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALICE: SubjectId = SubjectId::new([1; 16]);

    fn key(subject: SubjectId, byte: u8) -> SubjectKey {
        SubjectKey::new(subject, &[byte; 32]).unwrap()
    }

    #[test]
    fn a_text_opens_for_its_subject_and_message_only() {
        let alice = key(ALICE, 7);
        let sealed = alice.seal(b"m-1", "退款".as_bytes());
        assert_eq!(alice.open(b"m-1", &sealed).unwrap(), "退款".as_bytes());
        assert_eq!(alice.open(b"m-2", &sealed), None);
        assert_eq!(key(SubjectId::new([2; 16]), 7).open(b"m-1", &sealed), None);
        assert_eq!(key(ALICE, 8).open(b"m-1", &sealed), None);
        assert_eq!(alice.open(b"m-1", &sealed[..9]), None);
        assert_ne!(
            sealed,
            alice.seal(b"m-1", "退款".as_bytes()),
            "equal texts never look equal"
        );
    }

    #[test]
    fn a_fingerprint_depends_on_the_key() {
        assert_eq!(key(ALICE, 7).digest(b"body"), key(ALICE, 7).digest(b"body"));
        assert_ne!(key(ALICE, 7).digest(b"body"), key(ALICE, 8).digest(b"body"));
        assert_ne!(
            key(ALICE, 7).digest(b"body"),
            key(ALICE, 7).digest(b"other")
        );
    }
}
