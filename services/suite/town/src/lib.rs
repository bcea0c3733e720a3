//! A town of shoppers whose truth is known.
