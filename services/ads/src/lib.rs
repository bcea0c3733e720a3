//! The `ads` service.
