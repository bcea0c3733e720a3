//! The SQL of evaluate, one noun per file.

pub mod experiment;
#[cfg(test)]
mod tests;
