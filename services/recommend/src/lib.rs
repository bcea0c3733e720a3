//! The `recommend` service.
