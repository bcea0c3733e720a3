//! The `care` service.
