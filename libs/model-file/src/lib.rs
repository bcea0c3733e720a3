//! The one envelope of every trained model's file, and the fixed-width fields most bodies are made of.
//!
//! A file is mark, version, length of the body, SHA-256 of the body, body; little endian. One that is
//! damaged, cut short, too large or from another version is refused, never half read.
//!
//! Pure but for [`save`] and [`Format::load`]. Nothing here knows what any model means: each crate keeps
//! the [`Format`] of its files and the order of their fields.

mod body;
mod disk;
mod format;

pub use body::{Reader, Writer};
pub use disk::{LoadError, save};
pub use format::{Format, HEADER_BYTES, ModelFileError, Refusal};
