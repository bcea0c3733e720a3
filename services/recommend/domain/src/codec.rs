//! The one byte encoding of this crate: varints, bounded strings, no allocation from untrusted counts.
//!
//! Formats built on it (timelines, popularity, model files) carry their own version byte. No I/O.

use rapport_model_file::{ModelFileError, Refusal};

/// Why bytes could not be read back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// The bytes end before the value does.
    #[error("bytes end too early")]
    Truncated,
    /// Written by a version of this crate that this one does not know.
    #[error("format version {0} is unknown")]
    Version(u32),
    /// A count or length is above its maximum.
    #[error("{0} is above its maximum")]
    TooLarge(&'static str),
    /// A value is outside its domain.
    #[error("{0} is invalid")]
    Invalid(&'static str),
    /// The SHA-256 of the content does not match the one in the header.
    #[error("checksum does not match")]
    Checksum,
}

impl From<ModelFileError> for DecodeError {
    fn from(error: ModelFileError) -> Self {
        match error.why {
            Refusal::NotAModel => Self::Invalid("magic number"),
            Refusal::OtherVersion(version) => Self::Version(version),
            Refusal::TooLarge(_) => Self::TooLarge("model file"),
            Refusal::WrongLength { .. } => Self::Truncated,
            Refusal::WrongChecksum => Self::Checksum,
            Refusal::BadField(field) => Self::Invalid(field),
        }
    }
}

/// Appends values to a buffer.
#[derive(Debug, Default)]
pub(crate) struct Writer(pub(crate) Vec<u8>);

impl Writer {
    pub(crate) fn u8(&mut self, value: u8) {
        self.0.push(value);
    }

    /// LEB128: seven bits a byte, least significant first.
    pub(crate) fn varint(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.0.push(value as u8 | 0x80);
            value >>= 7;
        }
        self.0.push(value as u8);
    }

    /// Zigzag, so that small negative numbers stay short.
    pub(crate) fn signed(&mut self, value: i64) {
        self.varint(((value << 1) ^ (value >> 63)) as u64);
    }

    pub(crate) fn f32(&mut self, value: f32) {
        self.0.extend_from_slice(&value.to_le_bytes());
    }

    pub(crate) fn str(&mut self, value: &str) {
        self.varint(value.len() as u64);
        self.0.extend_from_slice(value.as_bytes());
    }
}

/// Takes values off the front of a slice; never panics on any bytes.
#[derive(Debug)]
pub(crate) struct Reader<'a>(pub(crate) &'a [u8]);

impl<'a> Reader<'a> {
    pub(crate) fn bytes(&mut self, count: usize) -> Result<&'a [u8], DecodeError> {
        let (head, tail) = self
            .0
            .split_at_checked(count)
            .ok_or(DecodeError::Truncated)?;
        self.0 = tail;
        Ok(head)
    }

    pub(crate) fn u8(&mut self) -> Result<u8, DecodeError> {
        Ok(self.bytes(1)?[0])
    }

    pub(crate) fn varint(&mut self) -> Result<u64, DecodeError> {
        let mut value = 0u64;
        for shift in (0..64).step_by(7) {
            let byte = self.u8()?;
            if shift == 63 && byte > 1 {
                break; // more than 64 bits
            }
            value |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err(DecodeError::Invalid("varint"))
    }

    pub(crate) fn signed(&mut self) -> Result<i64, DecodeError> {
        let raw = self.varint()?;
        Ok((raw >> 1) as i64 ^ -((raw & 1) as i64))
    }

    /// Reads a count and refuses one above `max`, or one that the remaining bytes cannot hold.
    pub(crate) fn count(&mut self, max: usize, what: &'static str) -> Result<usize, DecodeError> {
        let count = usize::try_from(self.varint()?).map_err(|_| DecodeError::TooLarge(what))?;
        if count > max {
            return Err(DecodeError::TooLarge(what));
        }
        // Every element takes at least one byte: a lying count must not reserve memory.
        if count > self.0.len() {
            Err(DecodeError::Truncated)
        } else {
            Ok(count)
        }
    }

    pub(crate) fn u32(&mut self, what: &'static str) -> Result<u32, DecodeError> {
        u32::try_from(self.varint()?).map_err(|_| DecodeError::TooLarge(what))
    }

    /// Reads a finite float.
    pub(crate) fn f32(&mut self) -> Result<f32, DecodeError> {
        let mut raw = [0; 4];
        raw.copy_from_slice(self.bytes(4)?);
        let value = f32::from_le_bytes(raw);
        if value.is_finite() {
            Ok(value)
        } else {
            Err(DecodeError::Invalid("number"))
        }
    }

    pub(crate) fn str(&mut self, bytes_max: usize) -> Result<&'a str, DecodeError> {
        let length = self.count(bytes_max, "text")?;
        std::str::from_utf8(self.bytes(length)?).map_err(|_| DecodeError::Invalid("text"))
    }

    /// Succeeds only when every byte was read: trailing bytes mean another format.
    pub(crate) fn finish(self) -> Result<(), DecodeError> {
        if self.0.is_empty() {
            Ok(())
        } else {
            Err(DecodeError::Invalid("length"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn numbers_take_the_bytes_worked_by_hand() {
        let mut out = Writer::default();
        out.varint(300); // 0b10_0101100
        out.signed(-1); // zigzag 1
        out.signed(1); // zigzag 2
        assert_eq!(out.0, [0xac, 0x02, 0x01, 0x02]);
    }

    #[test]
    fn a_lying_count_is_refused_before_memory_is_reserved() {
        let mut out = Writer::default();
        out.varint(1_000);
        assert_eq!(
            Reader(&out.0).count(10_000, "items"),
            Err(DecodeError::Truncated)
        );
        assert_eq!(
            Reader(&out.0).count(10, "items"),
            Err(DecodeError::TooLarge("items"))
        );
    }

    proptest! {
        #[test]
        fn values_round_trip(unsigned: u64, signed: i64, text in ".{0,40}") {
            let mut out = Writer::default();
            out.varint(unsigned);
            out.signed(signed);
            out.str(&text);
            let mut input = Reader(&out.0);
            prop_assert_eq!(input.varint(), Ok(unsigned));
            prop_assert_eq!(input.signed(), Ok(signed));
            prop_assert_eq!(input.str(200), Ok(text.as_str()));
            prop_assert_eq!(input.finish(), Ok(()));
        }

        #[test]
        fn no_bytes_make_the_reader_panic(bytes in prop::collection::vec(any::<u8>(), 0..64)) {
            let mut input = Reader(&bytes);
            while input.varint().is_ok() && input.str(16).is_ok() {}
        }
    }
}
