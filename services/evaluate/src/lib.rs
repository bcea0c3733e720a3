//! The `evaluate` service.
