//! Bearer tokens: JSON Web Tokens with one pinned algorithm, one issuer, one audience, and a `scope`
//! claim as in RFC 8693, section 4.2. Verified tokens are remembered, within bounds.

use std::fmt;
use std::sync::Arc;

use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation};
use moka::sync::Cache;
use rapport_types::{Clock, Secret};
use serde::{Deserialize, Serialize};

/// The longest token that is read, in bytes: the header list has no room for more.
pub const TOKEN_BYTES_MAX: usize = 4_096;

/// The most scopes that one token may carry.
pub const SCOPES_MAX: usize = 64;

/// How many verified tokens are remembered: more callers than one deployment has.
const REMEMBERED_MAX: u64 = 4_096;

/// How far two machines' clocks may differ, in seconds.
const LEEWAY_S: i64 = 60;

/// The shortest shared key, in bytes: that of the hash (RFC 7518, section 3.2).
const SHARED_KEY_BYTES_MIN: usize = 32;

/// Who calls. In every request's extensions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Caller {
    /// The token's subject; `local` where tokens are off or the call came from this very process.
    pub name: Arc<str>,
    /// What the caller may do; `None` means everything.
    scopes: Option<Arc<[String]>>,
}

impl Caller {
    /// Returns the caller of a server without tokens.
    #[must_use]
    pub fn local() -> Self {
        Self {
            name: Arc::from("local"),
            scopes: None,
        }
    }

    pub(crate) fn anonymous() -> Self {
        Self {
            name: Arc::from("anonymous"),
            scopes: Some(Arc::from(Vec::new())),
        }
    }

    /// Returns the caller of a request, as the authentication layer found it; `local` for a request that
    /// passed no layer, as in a unit test.
    #[must_use]
    pub fn of<T>(request: &tonic::Request<T>) -> Self {
        request
            .extensions()
            .get::<Self>()
            .cloned()
            .unwrap_or_else(Self::local)
    }

    /// Returns whether the caller may use methods of `scope`. Exact match: there are no wildcards.
    #[must_use]
    pub fn has_scope(&self, scope: &str) -> bool {
        self.scopes
            .as_ref()
            .is_none_or(|scopes| scopes.iter().any(|own| own == scope))
    }
}

/// The claims of a token.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Claims {
    /// Issuer.
    pub iss: String,
    /// Audience: the deployment that the token is for.
    pub aud: String,
    /// The caller's name.
    pub sub: String,
    /// When it expires, in seconds since the Unix epoch.
    pub exp: i64,
    /// When it begins to be valid, in seconds since the Unix epoch.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub nbf: Option<i64>,
    /// Scopes, separated by spaces.
    #[serde(default)]
    pub scope: String,
}

/// The key that tokens are checked with. The algorithm belongs to the key, never to the token.
#[derive(Clone)]
pub enum Key {
    /// HMAC with SHA-256; at least 32 bytes.
    Hs256(Secret),
    /// The Ed25519 public key: 32 bytes in base64url, as `x` of a JWK.
    Ed25519(String),
}

impl fmt::Debug for Key {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Hs256(_) => out.write_str("Hs256([hidden])"),
            Self::Ed25519(public) => write!(out, "Ed25519({public})"),
        }
    }
}

/// Why a key cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// An HMAC key shorter than its hash can be guessed.
    #[error("the shared key must have at least {SHARED_KEY_BYTES_MIN} bytes")]
    TooShort,
    /// The text is not a key.
    #[error("the public key must be 32 bytes in base64url")]
    NotAKey(#[source] jsonwebtoken::errors::Error),
    /// The token could not be signed.
    #[error("the token could not be signed")]
    NotSigned(#[source] jsonwebtoken::errors::Error),
}

/// Why a token is refused. The difference is all that a caller is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Refusal {
    Invalid,
    Expired,
}

/// Checks tokens.
pub(crate) struct Verifier {
    key: DecodingKey,
    validation: Validation,
    clock: Arc<dyn Clock>,
    remembered: Cache<String, Verified>,
}

#[derive(Debug, Clone)]
struct Verified {
    caller: Caller,
    from_s: i64,
    until_s: i64,
}

impl fmt::Debug for Verifier {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Verifier")
            .field("validation", &self.validation)
            .finish_non_exhaustive()
    }
}

impl Verifier {
    /// Returns a verifier of tokens by `issuer` for `audience`. Errors: a key that is not one.
    pub(crate) fn new(
        key: &Key,
        issuer: &str,
        audience: &str,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, KeyError> {
        let (algorithm, key) = match key {
            Key::Hs256(secret) if secret.expose().len() < SHARED_KEY_BYTES_MIN => {
                return Err(KeyError::TooShort);
            }
            Key::Hs256(secret) => (
                Algorithm::HS256,
                DecodingKey::from_secret(secret.expose().as_bytes()),
            ),
            Key::Ed25519(public) => {
                let key = DecodingKey::from_ed_components(public).map_err(KeyError::NotAKey)?;
                (Algorithm::EdDSA, key)
            }
        };
        let mut validation = Validation::new(algorithm);
        validation.algorithms = vec![algorithm];
        validation.set_issuer(&[issuer]);
        validation.set_audience(&[audience]);
        validation.set_required_spec_claims(&["exp", "iss", "aud", "sub"]);
        // Time is checked below, by our own clock, at every use and not only at the first.
        validation.validate_exp = false;
        validation.validate_nbf = false;
        Ok(Self {
            key,
            validation,
            clock,
            remembered: Cache::new(REMEMBERED_MAX),
        })
    }

    /// Returns who a token speaks for. A remembered token costs one lookup, a new one a signature.
    pub(crate) fn verify(&self, token: &str) -> Result<Caller, Refusal> {
        if token.is_empty() || token.len() > TOKEN_BYTES_MAX {
            return Err(Refusal::Invalid);
        }
        let verified = match self.remembered.get(token) {
            Some(verified) => verified,
            None => {
                let verified = self.read(token)?;
                self.remembered.insert(token.to_owned(), verified.clone());
                verified
            }
        };
        let now_s = self.clock.now().0.div_euclid(1_000);
        if now_s > verified.until_s.saturating_add(LEEWAY_S) {
            return Err(Refusal::Expired);
        }
        if now_s < verified.from_s.saturating_sub(LEEWAY_S) {
            return Err(Refusal::Invalid);
        }
        Ok(verified.caller)
    }

    fn read(&self, token: &str) -> Result<Verified, Refusal> {
        let claims = jsonwebtoken::decode::<Claims>(token, &self.key, &self.validation)
            .map_err(|error| {
                tracing::debug!(error = %error, "a token was refused");
                Refusal::Invalid
            })?
            .claims;
        let scopes: Vec<String> = claims
            .scope
            .split(' ')
            .filter(|scope| !scope.is_empty())
            .map(str::to_owned)
            .collect();
        if scopes.len() > SCOPES_MAX || claims.sub.is_empty() {
            return Err(Refusal::Invalid);
        }
        let caller = Caller {
            name: claims.sub.into(),
            scopes: Some(scopes.into()),
        };
        Ok(Verified {
            caller,
            from_s: claims.nbf.unwrap_or(i64::MIN),
            until_s: claims.exp,
        })
    }
}

/// Signs `claims` with a shared key: how operators and tests make a token. Errors: a key below 32 bytes.
pub fn sign(claims: &Claims, key: &Secret) -> Result<Secret, KeyError> {
    if key.expose().len() < SHARED_KEY_BYTES_MIN {
        return Err(KeyError::TooShort);
    }
    let key = EncodingKey::from_secret(key.expose().as_bytes());
    jsonwebtoken::encode(&Header::new(Algorithm::HS256), claims, &key)
        .map(Secret::new)
        .map_err(KeyError::NotSigned)
}
