//! The names of RocksDB that Serenade's store of live visits uses, without a database behind them.
//! Comparing predictions never opens that store; opening it is an error.

use std::path::Path;
use std::time::Duration;

/// Why nothing is stored.
#[derive(Debug, Clone, Copy)]
pub struct Error;

/// Options that change nothing.
#[derive(Debug, Default)]
pub struct Options;

impl Options {
    /// Does nothing.
    pub fn create_if_missing(&mut self, _: bool) {}

    /// Does nothing.
    pub fn optimize_for_point_lookup(&mut self, _: u64) {}

    /// Does nothing.
    pub fn set_allow_mmap_reads(&mut self, _: bool) {}

    /// Does nothing.
    pub fn set_allow_mmap_writes(&mut self, _: bool) {}
}

/// A database that cannot be opened.
#[derive(Debug)]
pub enum DB {}

impl DB {
    /// Fails.
    ///
    /// # Errors
    /// Always.
    pub fn open_with_ttl(_: &Options, _: impl AsRef<Path>, _: Duration) -> Result<Self, Error> {
        Err(Error)
    }

    /// Is never called: there is no database.
    ///
    /// # Errors
    /// None.
    pub fn get(&self, _: impl AsRef<[u8]>) -> Result<Option<Vec<u8>>, Error> {
        match *self {}
    }

    /// Is never called: there is no database.
    ///
    /// # Errors
    /// None.
    pub fn put(&self, _: impl AsRef<[u8]>, _: impl AsRef<[u8]>) -> Result<(), Error> {
        match *self {}
    }
}
