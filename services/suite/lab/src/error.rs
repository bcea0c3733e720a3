//! Why a measurement did not happen.

/// Why a task gave no answer. Nothing was written in either case.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LabError {
    /// A flag or a file is wrong; the message names flag, or file, line and column.
    #[error("{0}")]
    Input(String),
    /// The input was good and something else failed.
    #[error("{0}")]
    Failed(String),
}

impl LabError {
    /// Returns the exit code of the command: 2 for bad input, else 1.
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Input(_) => 2,
            Self::Failed(_) => 1,
        }
    }

    pub(crate) fn input(why: impl Into<String>) -> Self {
        Self::Input(why.into())
    }

    pub(crate) fn failed(why: impl Into<String>) -> Self {
        Self::Failed(why.into())
    }
}
