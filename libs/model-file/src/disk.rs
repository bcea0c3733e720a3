//! A model file on disk. The only I/O of the crates that train models, and only for their callers'
//! files; where models live in an object store, the service moves the bytes itself.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{self, Read as _, Write as _};
use std::path::Path;

use crate::body::Reader;
use crate::format::{Format, ModelFileError, Refusal};

/// Why no model could be loaded.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// The file could not be read.
    #[error("could not read the model file")]
    Io(#[from] io::Error),
    /// The file was read and is no model of the kind.
    #[error(transparent)]
    Refused(#[from] ModelFileError),
}

impl Format {
    /// Reads a model from disk, as [`Format::read`] does from bytes. At most one byte more than
    /// [`Format::bytes_max`] is read.
    ///
    /// # Errors
    /// Any [`LoadError`].
    pub fn load<T>(
        &self,
        path: &Path,
        fields: impl FnOnce(&mut Reader<'_>) -> Result<T, Refusal>,
    ) -> Result<T, LoadError> {
        let mut file = Vec::new();
        File::open(path)?
            .take(self.bytes_max as u64 + 1)
            .read_to_end(&mut file)?;
        Ok(self.read(&file, fields)?)
    }
}

/// Writes a file, whole or not at all: a new one beside it (`.part`) takes its name last, and both the
/// bytes and the name are on disk when this returns.
///
/// # Errors
/// What the file system says. The file that was there before is still whole then.
pub fn save(path: &Path, file: &[u8]) -> io::Result<()> {
    let beside = OsString::from_iter([path.as_os_str(), ".part".as_ref()]);
    let mut part = File::create(&beside)?;
    part.write_all(file)?;
    part.sync_all()?;
    fs::rename(&beside, path)?;
    // The parent of a bare name is the empty path.
    let folder = path.parent().filter(|it| !it.as_os_str().is_empty());
    File::open(folder.unwrap_or(Path::new(".")))?.sync_all()
}
