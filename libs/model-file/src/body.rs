//! Fields of fixed width, little endian: what a writer appends, a reader takes off in the same order.
//! Nothing is allocated from a length that was not checked first.

use std::ops::RangeInclusive;

use crate::format::Refusal;

/// Appends fields to a body.
#[derive(Debug, Default)]
pub struct Writer(Vec<u8>);

impl Writer {
    /// Appends bytes as they are.
    pub fn bytes(&mut self, bytes: &[u8]) {
        self.0.extend_from_slice(bytes);
    }

    /// Appends a count, an index or a choice, four bytes wide.
    ///
    /// # Panics
    /// From 2³² on: every list that is written has a maximum far below.
    pub fn count(&mut self, value: usize) {
        self.u32(u32::try_from(value).expect("every list has a maximum below 2^32"));
    }

    /// Appends yes or no, as wide as a count.
    pub fn flag(&mut self, value: bool) {
        self.u32(u32::from(value));
    }

    /// Appends four bytes.
    pub fn u32(&mut self, value: u32) {
        self.bytes(&value.to_le_bytes());
    }

    /// Appends eight bytes for each value.
    pub fn u64s(&mut self, values: &[u64]) {
        values
            .iter()
            .for_each(|value| self.bytes(&value.to_le_bytes()));
    }

    /// Appends four bytes for each value.
    pub fn f32s(&mut self, values: &[f32]) {
        values
            .iter()
            .for_each(|value| self.bytes(&value.to_le_bytes()));
    }

    /// Appends eight bytes for each value.
    pub fn f64s(&mut self, values: &[f64]) {
        values
            .iter()
            .for_each(|value| self.bytes(&value.to_le_bytes()));
    }

    /// Appends the count of bytes, then the bytes.
    ///
    /// # Panics
    /// As [`Writer::count`].
    pub fn text(&mut self, text: &str) {
        self.count(text.len());
        self.bytes(text.as_bytes());
    }

    /// Returns the body.
    #[must_use]
    pub fn finish(self) -> Vec<u8> {
        self.0
    }
}

/// Takes fields off the front of a body; never panics on any bytes.
///
/// Every method refuses with [`Refusal::BadField`]: with the name it was given, or with `length` when
/// the body ends before the field does.
#[derive(Debug)]
pub struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    /// Starts at the front of a body.
    #[must_use]
    pub fn new(body: &'a [u8]) -> Self {
        Self(body)
    }

    /// Takes bytes as they are.
    ///
    /// # Errors
    /// See [`Reader`].
    pub fn bytes(&mut self, count: usize) -> Result<&'a [u8], Refusal> {
        let (front, rest) = self
            .0
            .split_at_checked(count)
            .ok_or(Refusal::BadField("length"))?;
        self.0 = rest;
        Ok(front)
    }

    /// Takes as many bytes as the array has.
    ///
    /// # Errors
    /// See [`Reader`].
    pub fn array<const N: usize>(&mut self) -> Result<[u8; N], Refusal> {
        let mut array = [0; N];
        array.copy_from_slice(self.bytes(N)?);
        Ok(array)
    }

    /// Takes a count, which must lie in the range.
    ///
    /// # Errors
    /// See [`Reader`].
    pub fn count(
        &mut self,
        name: &'static str,
        range: RangeInclusive<usize>,
    ) -> Result<usize, Refusal> {
        let value = self.u32()? as usize;
        if range.contains(&value) {
            Ok(value)
        } else {
            Err(Refusal::BadField(name))
        }
    }

    /// Takes yes or no; anything else is refused.
    ///
    /// # Errors
    /// See [`Reader`].
    pub fn flag(&mut self, name: &'static str) -> Result<bool, Refusal> {
        Ok(self.count(name, 0..=1)? == 1)
    }

    /// Takes four bytes.
    ///
    /// # Errors
    /// See [`Reader`].
    pub fn u32(&mut self) -> Result<u32, Refusal> {
        Ok(u32::from_le_bytes(self.array()?))
    }

    /// Takes eight bytes.
    ///
    /// # Errors
    /// See [`Reader`].
    pub fn u64(&mut self) -> Result<u64, Refusal> {
        Ok(u64::from_le_bytes(self.array()?))
    }

    /// Takes eight bytes for each value.
    ///
    /// # Errors
    /// See [`Reader`].
    pub fn u64s(&mut self, count: usize) -> Result<Vec<u64>, Refusal> {
        let chunks = self.chunks::<8>(count)?.iter();
        Ok(chunks.map(|eight| u64::from_le_bytes(*eight)).collect())
    }

    /// Takes four bytes for each value. All must be finite: a NaN would spread to every answer.
    ///
    /// # Errors
    /// See [`Reader`].
    pub fn f32s(&mut self, name: &'static str, count: usize) -> Result<Vec<f32>, Refusal> {
        let chunks = self.chunks::<4>(count)?.iter();
        let values: Vec<f32> = chunks.map(|four| f32::from_le_bytes(*four)).collect();
        if values.iter().all(|value| value.is_finite()) {
            Ok(values)
        } else {
            Err(Refusal::BadField(name))
        }
    }

    /// Takes eight bytes as a finite number.
    ///
    /// # Errors
    /// See [`Reader`].
    pub fn f64(&mut self, name: &'static str) -> Result<f64, Refusal> {
        let value = f64::from_le_bytes(self.array()?);
        if value.is_finite() {
            Ok(value)
        } else {
            Err(Refusal::BadField(name))
        }
    }

    /// Takes as many finite numbers as the array has, eight bytes each.
    ///
    /// # Errors
    /// See [`Reader`].
    pub fn f64s<const N: usize>(&mut self, name: &'static str) -> Result<[f64; N], Refusal> {
        let mut values = [0.0; N];
        for value in &mut values {
            *value = self.f64(name)?;
        }
        Ok(values)
    }

    /// Takes a text whose length in bytes must lie in the range.
    ///
    /// # Errors
    /// See [`Reader`].
    pub fn text(
        &mut self,
        name: &'static str,
        bytes: RangeInclusive<usize>,
    ) -> Result<String, Refusal> {
        let count = self.count(name, bytes)?;
        let text = std::str::from_utf8(self.bytes(count)?);
        text.map(str::to_owned).map_err(|_| Refusal::BadField(name))
    }

    /// Refuses bytes that nobody took: they mean another layout.
    ///
    /// # Errors
    /// See [`Reader`].
    pub fn finish(self) -> Result<(), Refusal> {
        if self.0.is_empty() {
            Ok(())
        } else {
            Err(Refusal::BadField("length"))
        }
    }

    fn chunks<const N: usize>(&mut self, count: usize) -> Result<&'a [[u8; N]], Refusal> {
        let bytes = count.checked_mul(N).ok_or(Refusal::BadField("length"))?;
        Ok(self.bytes(bytes)?.as_chunks().0)
    }
}
