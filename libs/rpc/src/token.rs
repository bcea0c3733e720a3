//! Bearer tokens: JSON Web Tokens with one pinned algorithm, one issuer, one audience, and a `scope`
//! claim as in RFC 8693, section 4.2. Verified tokens are remembered, within bounds.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

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

/// The PKCS #8 frame around an Ed25519 seed (RFC 8410, section 7).
const PKCS8_ED25519: [u8; 16] = [
    0x30, 0x2e, 2, 1, 0, 0x30, 5, 6, 3, 0x2b, 0x65, 0x70, 4, 0x22, 4, 0x20,
];

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

    /// Returns who a token speaks for, and for how long yet. A remembered token costs one lookup, a new
    /// one a signature.
    pub(crate) fn verify(&self, token: &str) -> Result<(Caller, Duration), Refusal> {
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
        let left_s = verified
            .until_s
            .saturating_add(LEEWAY_S)
            .saturating_sub(now_s);
        let left_s = u64::try_from(left_s).map_err(|_| Refusal::Expired)?;
        if now_s < verified.from_s.saturating_sub(LEEWAY_S) {
            return Err(Refusal::Invalid);
        }
        Ok((verified.caller, Duration::from_secs(left_s)))
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
    encode(Algorithm::HS256, claims, &key)
}

/// Signs `claims` with the private half of an Ed25519 key, its 32 bytes (`d` of a JWK, RFC 8037).
pub fn sign_ed25519(claims: &Claims, seed: &[u8; 32]) -> Result<Secret, KeyError> {
    let key = EncodingKey::from_ed_der(&[PKCS8_ED25519.as_slice(), seed].concat());
    encode(Algorithm::EdDSA, claims, &key)
}

fn encode(algorithm: Algorithm, claims: &Claims, key: &EncodingKey) -> Result<Secret, KeyError> {
    jsonwebtoken::encode(&Header::new(algorithm), claims, key)
        .map(Secret::new)
        .map_err(KeyError::NotSigned)
}

#[cfg(test)]
mod tests {
    use rapport_types::{ManualClock, UnixMillis};

    use super::*;

    const SHARED: &str = "0123456789abcdef0123456789abcdef";

    /// The key pair of RFC 8032, section 7.1, test 1; the public half as in RFC 8037, appendix A.2.
    const PUBLIC: &str = "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo";
    const PRIVATE: [u8; 32] = [
        0x9d, 0x61, 0xb1, 0x9d, 0xef, 0xfd, 0x5a, 0x60, 0xba, 0x84, 0x4a, 0xf4, 0x92, 0xec, 0x2c,
        0xc4, 0x44, 0x49, 0xc5, 0x69, 0x7b, 0x32, 0x69, 0x19, 0x70, 0x3b, 0xac, 0x03, 0x1c, 0xae,
        0x7f, 0x60,
    ];

    fn claims() -> Claims {
        Claims {
            iss: "rapport".to_owned(),
            aud: "shop".to_owned(),
            sub: "ads".to_owned(),
            exp: 1_000,
            nbf: Some(500),
            scope: " read  write ".to_owned(),
        }
    }

    fn verifier(key: &Key, clock: &Arc<ManualClock>) -> Verifier {
        Verifier::new(key, "rapport", "shop", clock.clone()).unwrap()
    }

    fn at(seconds: i64) -> Arc<ManualClock> {
        Arc::new(ManualClock::at(UnixMillis(seconds * 1_000)))
    }

    #[test]
    fn time_is_checked_at_every_use_with_a_minute_of_leeway() {
        let clock = at(439);
        let verifier = verifier(&Key::Hs256(Secret::new(SHARED)), &clock);
        let token = sign(&claims(), &Secret::new(SHARED)).unwrap();
        let verify = |now_s: i64| {
            clock.set(UnixMillis(now_s * 1_000));
            verifier
                .verify(token.expose())
                .map(|(_, left)| left.as_secs())
        };
        assert_eq!(
            verify(439),
            Err(Refusal::Invalid),
            "not before 500, less a minute"
        );
        assert_eq!(verify(440), Ok(620));
        assert_eq!(verify(1_060), Ok(0), "the last second");
        assert_eq!(verify(1_061), Err(Refusal::Expired), "remembered or not");
    }

    #[test]
    fn scopes_are_whole_words() {
        let verifier = verifier(&Key::Hs256(Secret::new(SHARED)), &at(600));
        let token = sign(&claims(), &Secret::new(SHARED)).unwrap();
        let (caller, _) = verifier.verify(token.expose()).unwrap();
        assert_eq!(&*caller.name, "ads");
        assert!(caller.has_scope("read") && caller.has_scope("write"));
        assert!(
            !["rea", "read ", "", "read write"]
                .iter()
                .any(|scope| caller.has_scope(scope))
        );
    }

    #[test]
    fn an_ed25519_key_takes_its_own_signature_and_never_a_shared_secret() {
        let verifier = verifier(&Key::Ed25519(PUBLIC.to_owned()), &at(600));
        let good = sign_ed25519(&claims(), &PRIVATE).unwrap();
        assert!(verifier.verify(good.expose()).is_ok());
        // The confusion: a token signed with HS256, the public key being the "secret".
        let confused = sign(&claims(), &Secret::new(PUBLIC)).unwrap();
        assert_eq!(verifier.verify(confused.expose()), Err(Refusal::Invalid));
    }

    #[test]
    fn keys_that_are_none_and_tokens_without_bounds_are_refused() {
        let clock: Arc<dyn Clock> = at(600);
        let new = |key: &Key| Verifier::new(key, "i", "a", clock.clone());
        assert!(matches!(
            new(&Key::Hs256(Secret::new("short"))),
            Err(KeyError::TooShort)
        ));
        assert!(matches!(
            new(&Key::Ed25519("%".to_owned())),
            Err(KeyError::NotAKey(_))
        ));
        let verifier = verifier(&Key::Hs256(Secret::new(SHARED)), &at(600));
        let many = Claims {
            scope: "s ".repeat(SCOPES_MAX + 1),
            ..claims()
        };
        let many = sign(&many, &Secret::new(SHARED)).unwrap();
        let long = "x".repeat(TOKEN_BYTES_MAX + 1);
        for token in [many.expose(), &long, ""] {
            assert_eq!(verifier.verify(token), Err(Refusal::Invalid));
        }
    }
}
