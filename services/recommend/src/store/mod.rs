//! The SQL of recommend, one file per noun. Row types stop here.

pub mod item;
pub mod model;
#[cfg(test)]
mod tests;
