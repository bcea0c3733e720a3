//! What an operator may set about a server and its clients. Parsing and refusal of what is not safe;
//! nothing here opens a socket.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use crate::client::{Neighbours, TokenFile, TokenFileError, TokenSource};
use crate::token::Key;

/// The address that servers listen on and clients call unless told otherwise.
pub const DEFAULT_LISTEN: &str = "127.0.0.1:7700";

/// The most open streams that one connection may hold.
pub const STREAMS_PER_CONNECTION_MAX: u32 = 200;

/// The longest header list of a request, in bytes.
pub const HEADER_LIST_BYTES_MAX: u32 = 16 * 1024;

/// How many connections may wait to be accepted.
pub const ACCEPT_BACKLOG: u32 = 1_024;

/// The longest request message unless a method or the operator says otherwise, in bytes.
pub const REQUEST_BYTES_MAX: usize = 1024 * 1024;

/// How the server knows its callers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum AuthMode {
    /// Everybody on this machine may call everything; refused on any other address than loopback.
    Off,
    /// Tokens signed with a shared key (HS256).
    Hs256,
    /// Tokens signed with an Ed25519 key (EdDSA).
    Ed25519,
}

/// What a server listens on, how much it takes, who may call, how it leaves.
#[derive(Debug, Clone, clap::Args)]
#[group(skip)]
pub struct ServeConfig {
    /// Address of the gRPC listener. Port 0 takes a free one.
    #[arg(long, env = "RAPPORT_LISTEN", default_value = DEFAULT_LISTEN)]
    pub listen: SocketAddr,
    /// Address of the plain HTTP listener for `/metrics`. Absent: none.
    #[arg(long, env = "RAPPORT_METRICS_LISTEN")]
    pub metrics_listen: Option<SocketAddr>,
    /// Most open connections; further ones are closed at once.
    #[arg(long, env = "RAPPORT_CONNECTIONS_MAX", default_value_t = 1_024, value_parser = count)]
    pub connections_max: usize,
    /// Most unary calls worked on at a time. Reports may use half of it, only vital calls all of it.
    #[arg(long, env = "RAPPORT_CALLS_MAX", default_value_t = 512, value_parser = count)]
    pub calls_max: usize,
    /// Most open streams, all connections together.
    #[arg(long, env = "RAPPORT_STREAMS_MAX", default_value_t = 2_048, value_parser = count)]
    pub streams_max: usize,
    /// Longest request message in bytes, for methods that set no limit of their own.
    #[arg(long, env = "RAPPORT_REQUEST_BYTES_MAX", default_value_t = REQUEST_BYTES_MAX, value_parser = count)]
    pub request_bytes_max: usize,
    /// Age at which a connection is asked to come again, give or take a tenth, so that new replicas get load.
    #[arg(long, env = "RAPPORT_CONNECTION_AGE_MAX", default_value = "5m", value_parser = parse_duration)]
    pub connection_age_max: Duration,
    /// Time that a connection has to finish its calls after it was asked to go.
    #[arg(long, env = "RAPPORT_CONNECTION_AGE_GRACE", default_value = "30s", value_parser = parse_duration)]
    pub connection_age_grace: Duration,
    /// Silence after which a connection is pinged.
    #[arg(long, env = "RAPPORT_KEEPALIVE_INTERVAL", default_value = "10s", value_parser = parse_duration)]
    pub keepalive_interval: Duration,
    /// Time for the answer to a ping; then the connection is closed.
    #[arg(long, env = "RAPPORT_KEEPALIVE_TIMEOUT", default_value = "5s", value_parser = parse_duration)]
    pub keepalive_timeout: Duration,
    /// Time between saying NOT_SERVING and refusing connections, so that clients can look elsewhere.
    #[arg(long, env = "RAPPORT_DRAIN_WAIT", default_value = "1s", value_parser = parse_duration)]
    pub drain_wait: Duration,
    /// Longest time for calls in flight to finish after that.
    #[arg(long, env = "RAPPORT_DRAIN_MAX", default_value = "20s", value_parser = parse_duration)]
    pub drain_max: Duration,
    /// Whether reflection tells the contracts to anybody who asks.
    #[arg(long, env = "RAPPORT_REFLECTION", default_value_t = true, action = clap::ArgAction::Set)]
    pub reflection: bool,
    /// Who may call.
    #[command(flatten)]
    pub auth: AuthConfig,
}

/// How callers prove who they are.
#[derive(Debug, Clone, clap::Args)]
#[group(skip)]
pub struct AuthConfig {
    /// How the server knows its callers.
    #[arg(long, env = "RAPPORT_AUTH", value_enum, default_value_t = AuthMode::Off)]
    pub auth: AuthMode,
    /// File with the key: the shared secret (32 bytes or more), or the Ed25519 public key in base64url.
    #[arg(long, env = "RAPPORT_AUTH_KEY_FILE")]
    pub auth_key_file: Option<PathBuf>,
    /// File with the token that this service shows to those that it calls, one line; read again when
    /// it changes. Needed where `RAPPORT_AUTH` is on, but by profile, which calls nobody.
    #[arg(long, env = "RAPPORT_PEER_TOKEN_FILE")]
    pub peer_token_file: Option<PathBuf>,
    /// The `iss` that tokens must carry.
    #[arg(long, env = "RAPPORT_AUTH_ISSUER", default_value = "rapport")]
    pub auth_issuer: String,
    /// The `aud` that tokens must carry.
    #[arg(long, env = "RAPPORT_AUTH_AUDIENCE", default_value = "rapport")]
    pub auth_audience: String,
}

impl Default for AuthConfig {
    fn default() -> Self {
        Self {
            auth: AuthMode::Off,
            auth_key_file: None,
            peer_token_file: None,
            auth_issuer: "rapport".to_owned(),
            auth_audience: "rapport".to_owned(),
        }
    }
}

impl Default for ServeConfig {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 7700)),
            metrics_listen: None,
            connections_max: 1_024,
            calls_max: 512,
            streams_max: 2_048,
            request_bytes_max: REQUEST_BYTES_MAX,
            connection_age_max: Duration::from_secs(300),
            connection_age_grace: Duration::from_secs(30),
            keepalive_interval: Duration::from_secs(10),
            keepalive_timeout: Duration::from_secs(5),
            drain_wait: Duration::from_secs(1),
            drain_max: Duration::from_secs(20),
            reflection: true,
            auth: AuthConfig::default(),
        }
    }
}

impl ServeConfig {
    /// Returns the default settings on a free port of this machine, without the wait before draining:
    /// for tests.
    #[must_use]
    pub fn local_test() -> Self {
        let listen = SocketAddr::from(([127, 0, 0, 1], 0));
        Self {
            listen,
            drain_wait: Duration::ZERO,
            ..Self::default()
        }
    }
}

/// Why a configuration is refused.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// Calls without tokens from other machines.
    #[error(
        "refusing to listen on {0} without authentication: set RAPPORT_AUTH and RAPPORT_AUTH_KEY_FILE, \
         or listen on loopback"
    )]
    OpenToTheWorld(IpAddr),
    /// Tokens without a key to check them.
    #[error("RAPPORT_AUTH needs RAPPORT_AUTH_KEY_FILE")]
    NoKey,
    /// The key file cannot be read.
    #[error("RAPPORT_AUTH_KEY_FILE {0} cannot be read")]
    KeyFile(PathBuf, #[source] std::io::Error),
    /// The key is not one.
    #[error("RAPPORT_AUTH_KEY_FILE holds no usable key")]
    Key(#[from] crate::token::KeyError),
    /// Neighbours that ask for a token, and none to show.
    #[error(
        "RAPPORT_AUTH is on, so the other services ask for a token: make one with `rapport token sign` \
         and name its file in RAPPORT_PEER_TOKEN_FILE"
    )]
    NoPeerToken,
    /// The token cannot be read.
    #[error("RAPPORT_PEER_TOKEN_FILE: {0}")]
    PeerToken(#[from] TokenFileError),
}

impl ServeConfig {
    /// Returns the key that tokens are checked with, `None` without tokens. Errors: no tokens on an
    /// address that others can reach, or a key file that is absent or unreadable.
    pub fn key(&self) -> Result<Option<Key>, ConfigError> {
        let wrap: fn(String) -> Key = match self.auth.auth {
            AuthMode::Off if self.listen.ip().is_loopback() => return Ok(None),
            AuthMode::Off => return Err(ConfigError::OpenToTheWorld(self.listen.ip())),
            AuthMode::Hs256 => |text| Key::Hs256(text.into()),
            AuthMode::Ed25519 => Key::Ed25519,
        };
        let path = self.auth.auth_key_file.as_ref().ok_or(ConfigError::NoKey)?;
        let text = std::fs::read_to_string(path)
            .map_err(|error| ConfigError::KeyFile(path.clone(), error))?;
        Ok(Some(wrap(text.trim().to_owned())))
    }

    /// Returns how to call the other services. Must be called inside a tokio runtime, whose task reads
    /// the token again when its file changes.
    ///
    /// Errors: tokens are on and there is none to show, or its file cannot be read.
    pub fn neighbours(&self) -> Result<Neighbours, ConfigError> {
        let token: Option<Arc<dyn TokenSource>> = match &self.auth.peer_token_file {
            Some(path) => Some(Arc::new(TokenFile::open(path)?)),
            None if self.auth.auth == AuthMode::Off => None,
            None => return Err(ConfigError::NoPeerToken),
        };
        Ok(Neighbours { token })
    }
}

fn count(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(0) | Err(_) => Err("must be a whole number of at least 1".to_owned()),
        Ok(count) => Ok(count),
    }
}

/// Parses `250ms`, `30s`, `5m` or `1h`. Errors: anything else, with a sentence that says so.
pub fn parse_duration(text: &str) -> Result<Duration, String> {
    let split = text
        .find(|letter: char| !letter.is_ascii_digit())
        .unwrap_or(text.len());
    let (digits, unit) = text.split_at(split);
    let count: u64 = digits
        .parse()
        .map_err(|_| "must look like 250ms, 30s, 5m or 1h".to_owned())?;
    match unit {
        "ms" => Ok(Duration::from_millis(count)),
        "s" => Ok(Duration::from_secs(count)),
        "m" => Ok(Duration::from_secs(count.saturating_mul(60))),
        "h" => Ok(Duration::from_secs(count.saturating_mul(3_600))),
        _ => Err("must look like 250ms, 30s, 5m or 1h".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    struct Cli {
        #[command(flatten)]
        serve: ServeConfig,
    }

    #[test]
    fn the_flags_default_to_the_default() {
        let parsed = Cli::parse_from(["test"]).serve;
        assert_eq!(
            format!("{parsed:?}"),
            format!("{:?}", ServeConfig::default())
        );
    }

    #[test]
    fn an_open_server_without_tokens_refuses_to_start_with_one_sentence() {
        let config = Cli::parse_from(["test", "--listen", "0.0.0.0:7700"]).serve;
        assert_eq!(
            config.key().unwrap_err().to_string(),
            "refusing to listen on 0.0.0.0 without authentication: set RAPPORT_AUTH and \
             RAPPORT_AUTH_KEY_FILE, or listen on loopback"
        );
        assert!(Cli::parse_from(["test"]).serve.key().unwrap().is_none());
        let config = Cli::parse_from(["test", "--auth", "hs256"]).serve;
        assert!(matches!(config.key(), Err(ConfigError::NoKey)));
    }

    #[test]
    fn durations_have_a_unit_and_counts_are_positive() {
        assert_eq!(parse_duration("250ms"), Ok(Duration::from_millis(250)));
        assert_eq!(parse_duration("5m"), Ok(Duration::from_secs(300)));
        for bad in ["", "5", "ms", "-1s", "1.5s", "1d", "99999999999999999999s"] {
            assert!(parse_duration(bad).is_err(), "{bad}");
        }
        assert!(Cli::try_parse_from(["test", "--calls-max", "0"]).is_err());
    }
}
