//! Text that must not be printed: passwords, tokens and the URLs that hold them.

use std::convert::Infallible;
use std::fmt;
use std::str::FromStr;

/// A secret text. `Debug` and `Display` hide it, and it is not serialisable, so that a log line, an
/// error or a dumped configuration cannot leak it; [`Secret::expose`] is the one way to read it.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Wraps a text.
    #[must_use]
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// Returns the text itself. Pass it on to what needs it; never log or format it.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }
}

/// Any text is a secret, so clap can parse one from a flag or a variable.
impl FromStr for Secret {
    type Err = Infallible;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Ok(Self::new(text))
    }
}

impl From<String> for Secret {
    fn from(text: String) -> Self {
        Self(text)
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("[hidden]")
    }
}

impl fmt::Display for Secret {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("[hidden]")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_never_printed() {
        #[derive(Debug)]
        #[expect(dead_code, reason = "read through Debug only")]
        struct Config {
            url: Secret,
        }
        let secret: Secret = "hunter2".parse().unwrap();
        assert_eq!(secret.expose(), "hunter2");
        let printed = format!(
            "{secret} {secret:?} {:#?}",
            Config {
                url: secret.clone()
            }
        );
        assert!(!printed.contains("hunter2"), "{printed}");
    }
}
