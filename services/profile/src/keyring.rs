//! The keys outside the database: they wrap subjects' data keys, blind the identifiers and sign receipts.
//!
//! A keyring is a text file, readable by its owner only. Each line is `NUMBER HEX`, 32 bytes in
//! hexadecimal; the line with the highest number wraps, all of them unwrap, and number 1 blinds and
//! signs, so it must never go. Losing the file is losing every sealed field.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use rapport_types::SubjectId;
use ring::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use ring::hmac;
use ring::rand::{SecureRandom as _, SystemRandom};
use zeroize::Zeroizing;

/// Bytes of every key.
pub const KEY_BYTES: usize = 32;
/// Largest keyring file: 100 rotations and their comments.
const FILE_BYTES_MAX: u64 = 16 * 1024;
/// First byte of a wrapped key: its format.
const FORMAT: u8 = 1;

/// Why a keyring cannot be used. Each says what to do.
#[derive(Debug, thiserror::Error)]
pub enum KeyringError {
    /// There is no such file.
    #[error(
        "the keyring {0} does not exist: create it with `rapport keyring create {0}` or restore it from its backup"
    )]
    Missing(PathBuf),
    /// It cannot be read or written.
    #[error("the keyring {0} cannot be read or written: {1}")]
    Io(PathBuf, #[source] std::io::Error),
    /// Others may read it.
    #[error("the keyring {0} is readable by others: run `chmod 600 {0}`")]
    Exposed(PathBuf),
    /// A line is no key.
    #[error(
        "the keyring {0} is damaged at line {1}: expected `NUMBER HEX` with 64 hexadecimal digits"
    )]
    Damaged(PathBuf, usize),
    /// Number 1 is missing.
    #[error(
        "the keyring {0} has no key number 1, which blinds the identifiers: restore the file from its backup"
    )]
    NoRoot(PathBuf),
}

/// A wrapped key did not open: wrong keyring, or damaged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a data key cannot be unwrapped: the keyring is not the one that wrapped it")]
pub struct UnwrapError;

/// The keys outside the database. `Debug` shows their numbers only.
pub struct Keyring {
    wrapping: BTreeMap<u32, LessSafeKey>,
    index: hmac::Key,
    signing: hmac::Key,
    unkeyed: hmac::Key,
    random: SystemRandom,
}

impl std::fmt::Debug for Keyring {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Keyring")
            .field("numbers", &self.wrapping.keys())
            .finish_non_exhaustive()
    }
}

impl Keyring {
    /// Opens the keyring at `path`.
    ///
    /// # Errors
    /// [`KeyringError`], with what to do.
    pub fn open(path: &Path) -> Result<Self, KeyringError> {
        let io = |error: std::io::Error| KeyringError::Io(path.to_path_buf(), error);
        let metadata = std::fs::metadata(path).map_err(|error| {
            if error.kind() == std::io::ErrorKind::NotFound {
                KeyringError::Missing(path.to_path_buf())
            } else {
                io(error)
            }
        })?;
        if exposed(&metadata) {
            return Err(KeyringError::Exposed(path.to_path_buf()));
        }
        if metadata.len() > FILE_BYTES_MAX {
            return Err(KeyringError::Damaged(path.to_path_buf(), 1));
        }
        let text = Zeroizing::new(std::fs::read_to_string(path).map_err(io)?);
        let mut keys = BTreeMap::new();
        for (index, line) in text.lines().enumerate() {
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let key =
                parse_line(line).ok_or(KeyringError::Damaged(path.to_path_buf(), index + 1))?;
            keys.insert(key.0, key.1);
        }
        Self::new(&keys).ok_or_else(|| KeyringError::NoRoot(path.to_path_buf()))
    }

    /// Opens the keyring at `path`, made first if it does not exist: for the embedded default.
    ///
    /// # Errors
    /// [`KeyringError`], with what to do.
    pub fn open_or_create(path: &Path) -> Result<Self, KeyringError> {
        match Self::open(path) {
            Err(KeyringError::Missing(_)) => {
                Self::create(path)?;
                Self::open(path)
            }
            opened => opened,
        }
    }

    /// Writes a keyring with one fresh key to `path`, which must not exist.
    ///
    /// # Errors
    /// [`KeyringError::Io`].
    pub fn create(path: &Path) -> Result<(), KeyringError> {
        let io = |error: std::io::Error| KeyringError::Io(path.to_path_buf(), error);
        let mut key = Zeroizing::new([0_u8; KEY_BYTES]);
        let full = || io(std::io::Error::other("the machine gives no random bytes"));
        SystemRandom::new()
            .fill(key.as_mut())
            .map_err(|_unspecified| full())?;
        let mut text = Zeroizing::new(String::from("# Rapport keyring. Keep a copy apart.\n1 "));
        for byte in key.iter() {
            // Writing to a String cannot fail.
            let _ = write!(text, "{byte:02x}");
        }
        text.push('\n');
        let mut file = create_private(path).map_err(io)?;
        file.write_all(text.as_bytes())
            .and_then(|()| file.sync_all())
            .map_err(io)
    }

    fn new(keys: &BTreeMap<u32, Zeroizing<[u8; KEY_BYTES]>>) -> Option<Self> {
        let root = hmac::Key::new(hmac::HMAC_SHA256, keys.get(&1)?.as_ref());
        // One label per use: no key ever serves two algorithms.
        let derived =
            |label: &[u8]| hmac::Key::new(hmac::HMAC_SHA256, hmac::sign(&root, label).as_ref());
        let wrapping = keys.iter().map(|(number, key)| {
            let root = hmac::Key::new(hmac::HMAC_SHA256, key.as_ref());
            Some((*number, aead_key(hmac::sign(&root, b"wrap").as_ref())?))
        });
        Some(Self {
            wrapping: wrapping.collect::<Option<_>>()?,
            index: derived(b"index"),
            signing: derived(b"sign"),
            unkeyed: derived(b"fingerprint"),
            random: SystemRandom::new(),
        })
    }

    /// Returns a fresh data key and its wrapped form, bound to `subject`.
    ///
    /// # Panics
    /// When the machine gives no random bytes: nothing can be sealed then.
    #[must_use]
    pub fn new_data_key(&self, subject: &SubjectId) -> (Zeroizing<[u8; KEY_BYTES]>, Vec<u8>) {
        let mut key = Zeroizing::new([0_u8; KEY_BYTES]);
        self.random
            .fill(key.as_mut())
            .expect("the machine gives random bytes");
        let (number, wrapping) = self
            .wrapping
            .last_key_value()
            .expect("number 1 is always there");
        let mut nonce = [0_u8; NONCE_LEN];
        self.random
            .fill(&mut nonce)
            .expect("the machine gives random bytes");
        let mut sealed = Zeroizing::new(key.to_vec());
        let tag = wrapping
            .seal_in_place_separate_tag(
                Nonce::assume_unique_for_key(nonce),
                Aad::from(subject.as_bytes()),
                &mut sealed,
            )
            .expect("32 bytes are below AES-GCM's limit");
        let mut wrapped = vec![FORMAT];
        wrapped.extend_from_slice(&number.to_be_bytes());
        wrapped.extend_from_slice(&nonce);
        wrapped.extend_from_slice(&sealed);
        wrapped.extend_from_slice(tag.as_ref());
        (key, wrapped)
    }

    /// Opens a wrapped data key of `subject`.
    ///
    /// # Errors
    /// [`UnwrapError`] when no key of this ring wrapped it for this subject.
    pub fn unwrap(
        &self,
        subject: &SubjectId,
        wrapped: &[u8],
    ) -> Result<Zeroizing<[u8; KEY_BYTES]>, UnwrapError> {
        let (format, rest) = wrapped.split_first().ok_or(UnwrapError)?;
        let (number, rest) = rest.split_at_checked(4).ok_or(UnwrapError)?;
        let (nonce, sealed) = rest.split_at_checked(NONCE_LEN).ok_or(UnwrapError)?;
        let number = u32::from_be_bytes(number.try_into().map_err(|_length| UnwrapError)?);
        let wrapping = self
            .wrapping
            .get(&number)
            .filter(|_| *format == FORMAT)
            .ok_or(UnwrapError)?;
        let nonce = Nonce::try_assume_unique_for_key(nonce).map_err(|_length| UnwrapError)?;
        let mut opened = Zeroizing::new(sealed.to_vec());
        let plain = wrapping
            .open_in_place(nonce, Aad::from(subject.as_bytes()), &mut opened)
            .map_err(|_wrong_key| UnwrapError)?;
        let key: [u8; KEY_BYTES] = (&*plain).try_into().map_err(|_length| UnwrapError)?;
        Ok(Zeroizing::new(key))
    }

    /// Returns the blind index of an identifier: 32 bytes that only this keyring can compute.
    #[must_use]
    pub fn blind_index(&self, kind: &str, canonical: &str) -> [u8; 32] {
        let mut context = hmac::Context::with_key(&self.index);
        context.update(kind.as_bytes());
        // Kinds are fixed words without a zero byte, so kind and text cannot run into each other.
        context.update(&[0]);
        context.update(canonical.as_bytes());
        to_array(context.sign().as_ref())
    }

    /// Returns the signature of a receipt.
    #[must_use]
    pub fn sign(&self, receipt: &[u8]) -> [u8; 32] {
        to_array(hmac::sign(&self.signing, receipt).as_ref())
    }

    /// Returns the key that fingerprints events without subject.
    #[must_use]
    pub fn unkeyed(&self) -> &hmac::Key {
        &self.unkeyed
    }
}

pub(crate) fn aead_key(bytes: &[u8]) -> Option<LessSafeKey> {
    UnboundKey::new(&AES_256_GCM, bytes)
        .ok()
        .map(LessSafeKey::new)
}

fn to_array(bytes: &[u8]) -> [u8; 32] {
    let mut array = [0; 32];
    array.copy_from_slice(bytes);
    array
}

fn parse_line(line: &str) -> Option<(u32, Zeroizing<[u8; KEY_BYTES]>)> {
    let (number, hex) = line.split_once(' ')?;
    let hex = hex.trim();
    if hex.len() != 2 * KEY_BYTES || !hex.is_ascii() {
        return None;
    }
    let mut key = Zeroizing::new([0; KEY_BYTES]);
    for (index, byte) in key.iter_mut().enumerate() {
        *byte = u8::from_str_radix(&hex[2 * index..2 * index + 2], 16).ok()?;
    }
    Some((number.parse().ok()?, key))
}

#[cfg(unix)]
fn exposed(metadata: &std::fs::Metadata) -> bool {
    use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
    is_open_to_others(metadata.uid(), metadata.permissions().mode())
}

/// Whether anybody but the owner may use a file; of one that belongs to root, whether anybody but its
/// group may read it: a mounted Kubernetes secret is root's and is read through the pod's group.
#[cfg(unix)]
fn is_open_to_others(owner: u32, mode: u32) -> bool {
    let shut = if owner == 0 { 0o037 } else { 0o077 };
    mode & shut != 0
}

#[cfg(unix)]
fn create_private(path: &Path) -> std::io::Result<std::fs::File> {
    use std::os::unix::fs::OpenOptionsExt as _;
    std::fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ring() -> (tempfile::TempDir, Keyring) {
        let folder = tempfile::tempdir().unwrap();
        let ring = Keyring::open_or_create(&folder.path().join("keyring")).unwrap();
        (folder, ring)
    }

    #[cfg(unix)]
    #[test]
    fn a_mounted_secret_is_read_through_its_group_and_nothing_else_is() {
        let open = |owner, mode| is_open_to_others(owner, mode);
        assert!(!open(0, 0o100_440) && !open(0, 0o600) && !open(10_001, 0o600));
        assert!(open(10_001, 0o440) && open(0, 0o444) && open(0, 0o460) && open(0, 0o450));
    }

    #[test]
    fn a_wrapped_key_opens_for_its_subject_only() {
        let (_folder, ring) = ring();
        let (alice, bob) = (SubjectId::new([1; 16]), SubjectId::new([2; 16]));
        let (key, wrapped) = ring.new_data_key(&alice);
        assert_eq!(ring.unwrap(&alice, &wrapped).as_deref(), Ok(&*key));
        assert_eq!(ring.unwrap(&bob, &wrapped).err(), Some(UnwrapError));
        let mut damaged = wrapped.clone();
        damaged[20] ^= 1;
        assert!(ring.unwrap(&alice, &damaged).is_err());
        assert!(ring.unwrap(&alice, &wrapped[..10]).is_err());
    }

    #[test]
    fn the_same_file_gives_the_same_index_and_another_does_not() {
        let (folder, first) = ring();
        let again = Keyring::open(&folder.path().join("keyring")).unwrap();
        let (_other_folder, other) = ring();
        assert_eq!(
            first.blind_index("login", "a"),
            again.blind_index("login", "a")
        );
        assert_ne!(
            first.blind_index("login", "a"),
            other.blind_index("login", "a")
        );
        assert_ne!(
            first.blind_index("login", "a"),
            first.blind_index("device", "a")
        );
    }

    #[test]
    fn a_rotated_ring_still_opens_what_the_old_key_wrapped() {
        let (folder, old) = ring();
        let alice = SubjectId::new([1; 16]);
        let (key, wrapped) = old.new_data_key(&alice);
        let path = folder.path().join("keyring");
        let mut text = std::fs::read_to_string(&path).unwrap();
        text.push_str(&format!("2 {}\n", "ab".repeat(32)));
        std::fs::write(&path, text).unwrap();
        let rotated = Keyring::open(&path).unwrap();
        assert_eq!(rotated.unwrap(&alice, &wrapped).as_deref(), Ok(&*key));
        assert_eq!(rotated.new_data_key(&alice).1[1..5], 2_u32.to_be_bytes());
    }

    #[test]
    fn every_refusal_says_what_to_do() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("keyring");
        let missing = Keyring::open(&path).unwrap_err().to_string();
        assert!(missing.contains("rapport keyring create"), "{missing}");
        Keyring::create(&path).unwrap();
        std::fs::write(&path, "1 nonsense\n").unwrap();
        let damaged = Keyring::open(&path).unwrap_err().to_string();
        assert!(damaged.contains("line 1"), "{damaged}");
        std::fs::write(&path, format!("2 {}\n", "00".repeat(32))).unwrap();
        assert!(matches!(Keyring::open(&path), Err(KeyringError::NoRoot(_))));
        use std::os::unix::fs::PermissionsExt as _;
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).unwrap();
        assert!(matches!(
            Keyring::open(&path),
            Err(KeyringError::Exposed(_))
        ));
    }
}
