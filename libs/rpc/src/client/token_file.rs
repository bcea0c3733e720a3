//! The bearer token of this process, read from a file again and again, so that a rotated secret is
//! taken up without a restart.

use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use rapport_types::Secret;
use tokio_util::task::AbortOnDropHandle;

use crate::client::config::TokenSource;
use crate::token::TOKEN_BYTES_MAX;

/// How often the file is read: it is small, and a rotation must not wait for its notice.
const READ_EVERY: Duration = Duration::from_secs(1);

/// Why a token file cannot be used. Each says what to do.
#[derive(Debug, thiserror::Error)]
pub enum TokenFileError {
    /// It cannot be read.
    #[error("the token file {0} cannot be read: {1}")]
    Read(PathBuf, #[source] std::io::Error),
    /// It holds something else.
    #[error(
        "the token file {0} holds no token: make one with `rapport token sign --out {0}`; \
         it is one line of at most {TOKEN_BYTES_MAX} bytes"
    )]
    NoToken(PathBuf),
}

/// The present token of a file. Cloning shares it; the reading ends with the last clone.
#[derive(Debug, Clone)]
pub struct TokenFile {
    present: Arc<RwLock<Secret>>,
    _reading: Arc<AbortOnDropHandle<()>>,
}

impl TokenFile {
    /// Reads the token and follows the file. Must be called inside a tokio runtime.
    ///
    /// A file that later cannot be read, or holds no token, changes nothing: the last token stands.
    ///
    /// # Errors
    /// [`TokenFileError`], when there is no token to begin with.
    pub fn open(path: &Path) -> Result<Self, TokenFileError> {
        let present = Arc::new(RwLock::new(read(path)?));
        let reading = tokio::spawn(follow(path.to_owned(), Arc::clone(&present)));
        Ok(Self {
            present,
            _reading: Arc::new(AbortOnDropHandle::new(reading)),
        })
    }
}

impl TokenSource for TokenFile {
    fn token(&self) -> Option<Secret> {
        let present = self.present.read().unwrap_or_else(PoisonError::into_inner);
        Some(present.clone())
    }
}

fn read(path: &Path) -> Result<Secret, TokenFileError> {
    let mut text = String::new();
    std::fs::File::open(path)
        // One byte more than a token has, to tell a longer file.
        .and_then(|file| {
            file.take(TOKEN_BYTES_MAX as u64 + 2)
                .read_to_string(&mut text)
        })
        .map_err(|error| TokenFileError::Read(path.to_owned(), error))?;
    let token = text.trim();
    let usable = !token.is_empty() && token.len() <= TOKEN_BYTES_MAX;
    match usable && token.bytes().all(|byte| byte.is_ascii_graphic()) {
        true => Ok(Secret::new(token)),
        false => Err(TokenFileError::NoToken(path.to_owned())),
    }
}

/// Reads the file for ever; says once when it cannot, and when the token has changed.
async fn follow(path: PathBuf, present: Arc<RwLock<Secret>>) {
    let mut failing = false;
    loop {
        tokio::time::sleep(READ_EVERY).await;
        let from = path.clone();
        // A file system may hang: that must not hold a worker thread.
        let Ok(found) = tokio::task::spawn_blocking(move || read(&from)).await else {
            return;
        };
        match found {
            Ok(token) => {
                failing = false;
                let mut present = present.write().unwrap_or_else(PoisonError::into_inner);
                if *present != token {
                    *present = token;
                    tracing::info!("the token of this service has changed and was read again");
                }
            }
            Err(error) if !failing => {
                failing = true;
                tracing::warn!(error = %error, "the last token is used on");
            }
            Err(_told) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_rotated_file_is_taken_up_and_a_broken_one_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("token");
        std::fs::write(&path, "first\n").unwrap();
        let file = TokenFile::open(&path).unwrap();
        let present = || file.token().map(|token| token.expose().to_owned());
        assert_eq!(present().as_deref(), Some("first"));
        assert!(!format!("{file:?}").contains("first"), "{file:?}");
        for broken in ["", " \n", "two words", &"x".repeat(TOKEN_BYTES_MAX + 1)] {
            std::fs::write(&path, broken).unwrap();
            tokio::time::sleep(READ_EVERY * 3).await;
            assert_eq!(present().as_deref(), Some("first"), "{broken:?}");
        }
        // As Kubernetes does it: another file takes the name.
        std::fs::write(folder.path().join("next"), "second").unwrap();
        std::fs::rename(folder.path().join("next"), &path).unwrap();
        while present().as_deref() != Some("second") {
            tokio::time::sleep(READ_EVERY).await;
        }
    }

    #[tokio::test]
    async fn a_missing_or_empty_file_says_what_to_do() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("token");
        let missing = TokenFile::open(&path).unwrap_err().to_string();
        assert!(missing.contains("cannot be read"), "{missing}");
        std::fs::write(&path, "").unwrap();
        let empty = TokenFile::open(&path).unwrap_err().to_string();
        assert!(empty.contains("rapport token sign"), "{empty}");
    }
}
