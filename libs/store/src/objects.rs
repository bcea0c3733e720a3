//! Files that appear whole or not at all: models, snapshots, sealed segments, the lake.
//!
//! One back end today, a directory. Names are paths of plain segments, so that an object store over
//! the network can take the same ones.

use std::fs::{self, File};
use std::io::{self, BufWriter, Read as _, Seek as _, SeekFrom, Write};
use std::path::{Path, PathBuf};

/// Longest name, in bytes.
pub const NAME_BYTES_MAX: usize = 512;
/// Longest segment between two slashes, in bytes; file systems end at 255.
pub const SEGMENT_BYTES_MAX: usize = 200;
/// Most names that one [`ObjectStore::list`] returns.
pub const LIST_MAX: usize = 10_000;
/// How many bytes a writer gathers before it asks the kernel.
const BUFFER_BYTES: usize = 256 * 1024;

/// Why an object could not be written, read or listed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ObjectError {
    /// The name is empty, too long or holds something else than `A-Z a-z 0-9 . _ = -` and `/`.
    #[error("{0:?} is not an object name")]
    InvalidName(String),
    /// The object is larger than the caller is ready to hold.
    #[error("object {name} is larger than {bytes_max} bytes")]
    TooLarge {
        /// The object's name.
        name: String,
        /// What the caller asked for at most.
        bytes_max: u64,
    },
    /// The file system refused: full, read-only, broken.
    #[error("the object store is unavailable")]
    Unavailable(#[from] io::Error),
}

/// A store of named, immutable-once-visible files in one directory. Cloning shares the directory.
///
/// Calls run on tokio's blocking threads. A failed write leaves no object and no partial file; what
/// a crash leaves is a hidden `.part-*` file that no call ever lists or reads.
#[derive(Debug, Clone)]
pub struct ObjectStore {
    root: PathBuf,
}

impl ObjectStore {
    /// Opens a directory, creating it if need be.
    ///
    /// # Errors
    ///
    /// [`ObjectError::Unavailable`] when it cannot be made.
    pub fn open(root: impl Into<PathBuf>) -> Result<Self, ObjectError> {
        let root = root.into();
        fs::create_dir_all(&root)?;
        Ok(Self { root })
    }

    /// Returns where an object is or would be, e.g. to map it into memory.
    ///
    /// # Errors
    ///
    /// [`ObjectError::InvalidName`].
    pub fn path(&self, name: &str) -> Result<PathBuf, ObjectError> {
        if !is_name(name) {
            return Err(ObjectError::InvalidName(name.to_owned()));
        }
        Ok(self.root.join(name))
    }

    /// Writes an object, replacing one of the same name in one step. When this returns, the object
    /// is on disk under its name.
    ///
    /// # Errors
    ///
    /// [`ObjectError::InvalidName`]; [`ObjectError::Unavailable`], and then the former object, if
    /// any, is untouched.
    pub async fn put(&self, name: &str, bytes: Vec<u8>) -> Result<(), ObjectError> {
        self.put_with(name, move |file| file.write_all(&bytes))
            .await
    }

    /// Writes an object from a closure, so that a large one is never in memory whole.
    ///
    /// # Errors
    ///
    /// As [`ObjectStore::put`]; an error of `write` leaves nothing behind.
    pub async fn put_with<F>(&self, name: &str, write: F) -> Result<(), ObjectError>
    where
        F: FnOnce(&mut dyn Write) -> io::Result<()> + Send + 'static,
    {
        let (root, path) = (self.root.clone(), self.path(name)?);
        blocking(move || write_whole(&root, &path, write)).await
    }

    /// Reads an object of up to `bytes_max` bytes. `None` when there is none of that name.
    ///
    /// # Errors
    ///
    /// [`ObjectError::TooLarge`], [`ObjectError::InvalidName`], [`ObjectError::Unavailable`].
    pub async fn get(&self, name: &str, bytes_max: u64) -> Result<Option<Vec<u8>>, ObjectError> {
        let (name, path) = (name.to_owned(), self.path(name)?);
        blocking(move || {
            let size = match fs::metadata(&path) {
                Ok(meta) if meta.is_file() => meta.len(),
                Ok(_folder) => return Ok(None),
                Err(why) if is_absent(&why) => return Ok(None),
                Err(why) => return Err(why.into()),
            };
            if size > bytes_max {
                return Err(ObjectError::TooLarge { name, bytes_max });
            }
            match fs::read(&path) {
                Ok(bytes) => Ok(Some(bytes)),
                Err(why) if is_absent(&why) => Ok(None),
                Err(why) => Err(why.into()),
            }
        })
        .await
    }

    /// Reads up to `length` bytes of an object from `offset` on: fewer where it ends. `None` when there
    /// is none of that name.
    ///
    /// # Errors
    ///
    /// [`ObjectError::InvalidName`], [`ObjectError::Unavailable`].
    pub async fn get_range(
        &self,
        name: &str,
        offset: u64,
        length: usize,
    ) -> Result<Option<Vec<u8>>, ObjectError> {
        let path = self.path(name)?;
        blocking(move || {
            let read = || {
                let mut file = File::open(&path)?;
                file.seek(SeekFrom::Start(offset))?;
                let mut bytes = Vec::with_capacity(length);
                file.take(length as u64).read_to_end(&mut bytes)?;
                Ok(bytes)
            };
            match read() {
                Ok(bytes) => Ok(Some(bytes)),
                Err(why) if is_absent(&why) => Ok(None),
                Err(why) => Err(ObjectError::Unavailable(why)),
            }
        })
        .await
    }

    /// Returns up to [`LIST_MAX`] names that start with `prefix` and come after `after`, sorted by
    /// bytes. The next page starts after the last name. Cost: walks the folder of the prefix.
    ///
    /// # Errors
    ///
    /// [`ObjectError::InvalidName`] for a prefix that no name can have.
    pub async fn list(
        &self,
        prefix: &str,
        after: Option<&str>,
    ) -> Result<Vec<String>, ObjectError> {
        // `a/b` may be a folder's start, `a/` is one: either way the last whole folder is walked.
        let folder = prefix
            .rsplit_once('/')
            .map_or("", |(folder, _start)| folder);
        if !folder.is_empty() && !is_name(folder) {
            return Err(ObjectError::InvalidName(prefix.to_owned()));
        }
        let (root, folder) = (self.root.clone(), folder.to_owned());
        let (prefix, after) = (prefix.to_owned(), after.map(str::to_owned));
        blocking(move || {
            let mut names = Vec::new();
            walk(&root, &folder, &mut names)?;
            names.retain(|name| {
                name.starts_with(&prefix) && after.as_ref().is_none_or(|after| name > after)
            });
            names.sort_unstable();
            names.truncate(LIST_MAX);
            Ok(names)
        })
        .await
    }

    /// Deletes an object and returns whether there was one. When this returns, it is gone from disk.
    ///
    /// # Errors
    ///
    /// [`ObjectError::InvalidName`], [`ObjectError::Unavailable`].
    pub async fn delete(&self, name: &str) -> Result<bool, ObjectError> {
        let path = self.path(name)?;
        blocking(move || match fs::remove_file(&path) {
            Ok(()) => {
                sync_folder(path.parent().unwrap_or(&path))?;
                Ok(true)
            }
            Err(why) if is_absent(&why) => Ok(false),
            Err(why) => Err(why.into()),
        })
        .await
    }
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, ObjectError> + Send + 'static,
) -> Result<T, ObjectError> {
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => done,
        Err(stopped) => Err(ObjectError::Unavailable(io::Error::other(stopped))),
    }
}

/// Writes beside the object, syncs, renames, syncs the folder: each step in that order, or a crash
/// could show a name without its bytes.
fn write_whole(
    root: &Path,
    path: &Path,
    write: impl FnOnce(&mut dyn Write) -> io::Result<()>,
) -> Result<(), ObjectError> {
    let folder = path.parent().unwrap_or(root);
    create_folders(root, folder)?;
    let part = folder.join(format!(".part-{:016x}", rand::random::<u64>()));
    let written = File::create_new(&part).and_then(|file| {
        let mut buffer = BufWriter::with_capacity(BUFFER_BYTES, file);
        write(&mut buffer)?;
        // A failed sync is never tried again: the kernel may have dropped the pages already.
        buffer
            .into_inner()
            .map_err(io::IntoInnerError::into_error)?
            .sync_all()?;
        fs::rename(&part, path)
    });
    if let Err(why) = written {
        // Best effort: what stays is hidden, and the first error is the one that matters.
        drop(fs::remove_file(&part));
        return Err(why.into());
    }
    Ok(sync_folder(folder)?)
}

/// Creates the folders down from `root` and syncs each new one's parent.
fn create_folders(root: &Path, folder: &Path) -> io::Result<()> {
    if folder == root || folder.is_dir() {
        return Ok(());
    }
    let parent = folder.parent().unwrap_or(root);
    create_folders(root, parent)?;
    match fs::create_dir(folder) {
        Ok(()) => sync_folder(parent),
        Err(why) if why.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        Err(why) => Err(why),
    }
}

fn sync_folder(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}

/// Collects the names of all objects under `folder`, in no order.
fn walk(root: &Path, folder: &str, names: &mut Vec<String>) -> Result<(), ObjectError> {
    let entries = match fs::read_dir(root.join(folder)) {
        Ok(entries) => entries,
        Err(why) if is_absent(&why) => return Ok(()),
        Err(why) => return Err(why.into()),
    };
    for entry in entries {
        let entry = entry?;
        let file_name = entry.file_name();
        // Hidden files, ours and others', are no objects; neither is what is not a valid name.
        let Some(segment) = file_name.to_str().filter(|segment| is_segment(segment)) else {
            continue;
        };
        let name = if folder.is_empty() {
            segment.to_owned()
        } else {
            format!("{folder}/{segment}")
        };
        if entry.file_type()?.is_dir() {
            walk(root, &name, names)?;
        } else {
            names.push(name);
        }
    }
    Ok(())
}

/// Returns whether an error only says that there is no such object: no such file, or a folder of
/// the name is a file or the other way round.
fn is_absent(why: &io::Error) -> bool {
    matches!(
        why.kind(),
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory | io::ErrorKind::IsADirectory
    )
}

fn is_name(name: &str) -> bool {
    name.len() <= NAME_BYTES_MAX && name.split('/').all(is_segment)
}

fn is_segment(segment: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"._=-".contains(&byte);
    !segment.is_empty()
        && segment.len() <= SEGMENT_BYTES_MAX
        // Neither `.`, `..` nor a hidden file.
        && !segment.starts_with('.')
        && segment.bytes().all(plain)
}
