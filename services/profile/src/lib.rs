//! The `profile` service.
