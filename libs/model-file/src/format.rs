//! The envelope around a body, and why a file is refused. Bytes only.

use std::fmt;

use sha2::{Digest, Sha256};

use crate::body::Reader;

const MARK_BYTES: usize = 8;
const SHA_BYTES: usize = 32;

/// Bytes before the body: mark, version, length of the body, SHA-256 of the body.
pub const HEADER_BYTES: usize = MARK_BYTES + 4 + 8 + SHA_BYTES;

/// What sets one kind of model file apart from all others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Format {
    /// The kind of model in a sentence, as in "not a text model".
    pub what: &'static str,
    /// First bytes of a file of this kind and no other.
    pub mark: [u8; MARK_BYTES],
    /// Version of the body's layout and meaning; any other one is refused.
    pub version: u32,
    /// Largest file, header included.
    pub bytes_max: usize,
}

/// Why bytes are not a model of the kind that was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// The bytes do not start with the kind's mark.
    NotAModel,
    /// Written by a program of this version.
    OtherVersion(u32),
    /// More than [`Format::bytes_max`] bytes.
    TooLarge(u64),
    /// Cut short or with bytes added, header included.
    WrongLength {
        /// What the header says; the header's own length when not even that is whole.
        expected: u64,
        /// What there is.
        found: u64,
    },
    /// The body changed since it was written.
    WrongChecksum,
    /// The checksum holds but this field is impossible: written by a faulty program.
    BadField(&'static str),
}

/// Why a model file was refused; nothing was built then.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub struct ModelFileError {
    /// What the file should have been.
    pub format: Format,
    /// What it is instead.
    pub why: Refusal,
}

impl fmt::Display for ModelFileError {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Format {
            what,
            version,
            bytes_max,
            ..
        } = self.format;
        match self.why {
            Refusal::NotAModel => {
                write!(out, "not a {what}: the file does not start with its mark")
            }
            Refusal::OtherVersion(other) => write!(
                out,
                "{what} of version {other}, this program reads version {version}: train it again"
            ),
            Refusal::TooLarge(bytes) => {
                write!(out, "{what} of {bytes} bytes, the maximum is {bytes_max}")
            }
            Refusal::WrongLength { expected, found } => write!(
                out,
                "damaged {what}: {found} bytes where its header says {expected}: copy or train it again"
            ),
            Refusal::WrongChecksum => write!(
                out,
                "damaged {what}: the checksum does not match: copy or train it again"
            ),
            Refusal::BadField(field) => write!(
                out,
                "damaged {what}: {field} is out of range: train it again"
            ),
        }
    }
}

impl Format {
    /// Returns the file around a body. Same bodies give the same bytes. Cost: one copy and one hash.
    ///
    /// A body that makes the file larger than [`Format::bytes_max`] is sealed all the same, and refused
    /// by every reader: who trains checks the length.
    #[must_use]
    pub fn seal(&self, body: &[u8]) -> Vec<u8> {
        let mut file = Vec::with_capacity(HEADER_BYTES + body.len());
        file.extend_from_slice(&self.mark);
        file.extend_from_slice(&self.version.to_le_bytes());
        file.extend_from_slice(&(body.len() as u64).to_le_bytes());
        file.extend_from_slice(&Sha256::digest(body));
        file.extend_from_slice(body);
        file
    }

    /// Returns the body of a file, whole and unchanged since [`Format::seal`]. Cost: one hash.
    ///
    /// # Errors
    /// Any [`Refusal`] but [`Refusal::BadField`], the first that applies in the order of its variants,
    /// except that a large file is refused before anything of it is read.
    pub fn open<'a>(&self, file: &'a [u8]) -> Result<&'a [u8], ModelFileError> {
        self.unsealed(file).map_err(|why| self.refuses(why))
    }

    /// Reads a model: `fields` takes its fields off the body, and must take every byte.
    ///
    /// # Errors
    /// Those of [`Format::open`], what `fields` refuses, and [`Refusal::BadField`] for bytes left over.
    pub fn read<T>(
        &self,
        file: &[u8],
        fields: impl FnOnce(&mut Reader<'_>) -> Result<T, Refusal>,
    ) -> Result<T, ModelFileError> {
        let read = |body| {
            let mut body = Reader::new(body);
            let model = fields(&mut body)?;
            body.finish()?;
            Ok(model)
        };
        self.unsealed(file)
            .and_then(read)
            .map_err(|why| self.refuses(why))
    }

    /// Returns the error that says why a file of this kind was refused.
    #[must_use]
    pub fn refuses(&self, why: Refusal) -> ModelFileError {
        ModelFileError { format: *self, why }
    }

    fn unsealed<'a>(&self, file: &'a [u8]) -> Result<&'a [u8], Refusal> {
        let found = file.len() as u64;
        if file.len() > self.bytes_max {
            return Err(Refusal::TooLarge(found));
        }
        if !file.starts_with(&self.mark) {
            return Err(Refusal::NotAModel);
        }
        let cut = |_| Refusal::WrongLength {
            expected: HEADER_BYTES as u64,
            found,
        };
        let mut header = Reader::new(&file[MARK_BYTES..]);
        let version = header.u32().map_err(cut)?;
        if version != self.version {
            return Err(Refusal::OtherVersion(version));
        }
        let expected = (HEADER_BYTES as u64).saturating_add(header.u64().map_err(cut)?);
        let checksum: [u8; SHA_BYTES] = header.array().map_err(cut)?;
        if expected != found {
            return Err(Refusal::WrongLength { expected, found });
        }
        let body = &file[HEADER_BYTES..];
        if Sha256::digest(body).as_slice() == checksum {
            Ok(body)
        } else {
            Err(Refusal::WrongChecksum)
        }
    }
}
