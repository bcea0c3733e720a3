//! `rapport token`: the keys and tokens by which services and their callers know each other.

use std::collections::BTreeSet;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use rapport_api::policy;
use rapport_rpc::token::{Claims, SCOPES_MAX, sign, sign_ed25519};
use rapport_types::{Clock as _, Secret, SystemClock};
use ring::rand::{SecureRandom as _, SystemRandom};
use ring::signature::{Ed25519KeyPair, KeyPair as _};
use zeroize::Zeroizing;

use crate::failure::Failure;
use crate::house::ServiceName;
use crate::output;

/// The longest life of a token: a stolen one must not serve a thief for ever.
const LIFETIME_MAX: Duration = Duration::from_secs(366 * 86_400);
/// The longest name of a caller, in characters: it enters events as their source.
const SUBJECT_CHARS_MAX: usize = 64;

/// The methods that each service calls: its token carries their scopes.
const FOLLOW: [&str; 2] = [
    "/rapport.profile.v1.EventService/TailEvents",
    "/rapport.profile.v1.ConsentService/GetControlSnapshot",
];
const PUBLISH: &str = "/rapport.profile.v1.EventService/CollectEvents";
const KEYS: &str = "/rapport.profile.v1.KeyService/GetDataKeys";
const EXPERIMENTS: &str = "/rapport.evaluate.v1.ExperimentService/ListExperiments";

/// What `rapport token` does.
#[derive(Debug, Clone, clap::Subcommand)]
pub enum TokenCommand {
    /// Writes a new Ed25519 key pair to two files that do not exist yet.
    Key {
        /// File of the private half, which signs. Keep it away from every service.
        #[arg(long)]
        private: PathBuf,
        /// File of the public half: `RAPPORT_AUTH_KEY_FILE` of every service.
        #[arg(long)]
        public: PathBuf,
    },
    /// Signs a token.
    Sign(SignArgs),
}

/// What a token says, and with which key.
#[derive(Debug, Clone, clap::Args)]
pub struct SignArgs {
    /// The private half of `rapport token key`, or with `--auth hs256` the shared secret.
    #[arg(long)]
    pub key: PathBuf,
    /// The kind of key: `RAPPORT_AUTH` of the services that will check the token.
    #[arg(long, value_enum, default_value_t = Signature::Ed25519)]
    pub auth: Signature,
    /// Signs for a service: its name, and the scopes of what it calls.
    #[arg(long = "for", conflicts_with_all = ["subject", "scopes"], required_unless_present = "subject")]
    pub service: Option<ServiceName>,
    /// The caller's name: events that it sends carry it as their source.
    #[arg(long, requires = "scopes")]
    pub subject: Option<String>,
    /// What the caller may do, such as `recommend.read,events.write`.
    #[arg(long, value_delimiter = ',', requires = "subject")]
    pub scopes: Vec<String>,
    /// How long the token is valid from now, at most 8784h.
    #[arg(long, default_value = "720h", value_parser = rapport_rpc::parse_duration)]
    pub lifetime: Duration,
    /// `RAPPORT_AUTH_ISSUER` of the services.
    #[arg(long, default_value = "rapport")]
    pub issuer: String,
    /// `RAPPORT_AUTH_AUDIENCE` of the services.
    #[arg(long, default_value = "rapport")]
    pub audience: String,
    /// Replaces this file, readable by its owner only, instead of printing the token.
    #[arg(long)]
    pub out: Option<PathBuf>,
}

/// How a token is signed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Signature {
    /// By an Ed25519 key: who checks a token cannot make one.
    Ed25519,
    /// By a secret that all services share.
    Hs256,
}

/// Makes a key pair or a token.
///
/// # Errors
/// [`Failure::Usage`] for a scope that no method asks for, a key that is none, a lifetime out of range;
/// [`Failure::Failed`] for a file that cannot be read or written.
pub fn run(command: TokenCommand) -> Result<(), Failure> {
    match command {
        TokenCommand::Key { private, public } => make_key(&private, &public),
        TokenCommand::Sign(args) => {
            let token = signed(&args, SystemClock.now().0.div_euclid(1_000))?;
            match &args.out {
                Some(path) => replace(path, token.expose()),
                None => {
                    output::line(token.expose());
                    Ok(())
                }
            }
        }
    }
}

fn make_key(private: &Path, public: &Path) -> Result<(), Failure> {
    let mut seed = Zeroizing::new([0_u8; 32]);
    let failed = |why: &str| Failure::Failed(why.to_owned());
    SystemRandom::new()
        .fill(seed.as_mut())
        .map_err(|_unspecified| failed("the machine gives no random bytes"))?;
    let pair = Ed25519KeyPair::from_seed_unchecked(seed.as_ref())
        .map_err(|_rejected| failed("the key pair could not be made"))?;
    let text = Zeroizing::new(URL_SAFE_NO_PAD.encode(seed.as_ref()));
    create(private, &text)?;
    create(public, &URL_SAFE_NO_PAD.encode(pair.public_key().as_ref()))
}

/// Returns the token that `args` ask for, valid from `now_s`, seconds since 1970.
fn signed(args: &SignArgs, now_s: i64) -> Result<Secret, Failure> {
    let (subject, scopes) = match args.service {
        Some(service) => (name_of(service).to_owned(), scopes_of(service)?),
        None => (
            args.subject.clone().unwrap_or_default(),
            checked(&args.scopes)?,
        ),
    };
    if subject.is_empty() || subject.chars().count() > SUBJECT_CHARS_MAX {
        return Err(Failure::Usage(format!(
            "--subject must have 1 to {SUBJECT_CHARS_MAX} characters"
        )));
    }
    if args.lifetime.is_zero() || args.lifetime > LIFETIME_MAX {
        return Err(Failure::Usage(
            "--lifetime must be more than nothing and at most 8784h, a year".to_owned(),
        ));
    }
    let claims = Claims {
        iss: args.issuer.clone(),
        aud: args.audience.clone(),
        sub: subject,
        exp: now_s + args.lifetime.as_secs() as i64,
        nbf: None,
        scope: scopes.into_iter().collect::<Vec<_>>().join(" "),
    };
    let unusable = |why: &dyn std::fmt::Display| {
        Failure::Usage(format!("{} cannot sign: {why}", args.key.display()))
    };
    let text = read(&args.key)?;
    match args.auth {
        Signature::Hs256 => sign(&claims, &text).map_err(|error| unusable(&error)),
        Signature::Ed25519 => {
            let seed = seed_of(&text).ok_or_else(|| {
                unusable(&"the private key must be 32 bytes in base64url, as `rapport token key` makes it")
            })?;
            sign_ed25519(&claims, &seed).map_err(|error| unusable(&error))
        }
    }
}

fn seed_of(text: &Secret) -> Option<Zeroizing<[u8; 32]>> {
    let bytes = Zeroizing::new(URL_SAFE_NO_PAD.decode(text.expose()).ok()?);
    Some(Zeroizing::new(bytes.as_slice().try_into().ok()?))
}

/// Returns the scopes as they are, each once, if methods ask for all of them.
fn checked(scopes: &[String]) -> Result<BTreeSet<&str>, Failure> {
    let known: BTreeSet<&str> = policy::methods()
        .iter()
        .map(|method| method.scope)
        .collect();
    if scopes.len() > SCOPES_MAX {
        return Err(Failure::Usage(format!(
            "a token carries at most {SCOPES_MAX} scopes"
        )));
    }
    match scopes.iter().find(|scope| !known.contains(scope.as_str())) {
        Some(unknown) => Err(Failure::Usage(format!(
            "no method asks for the scope `{unknown}`; there are {}",
            known.into_iter().collect::<Vec<_>>().join(", ")
        ))),
        None => Ok(scopes.iter().map(String::as_str).collect()),
    }
}

/// Returns the scopes of everything that a service calls.
fn scopes_of(service: ServiceName) -> Result<BTreeSet<&'static str>, Failure> {
    let own: &[&str] = match service {
        ServiceName::Recommend | ServiceName::Ads => &[PUBLISH, EXPERIMENTS],
        ServiceName::Care => &[PUBLISH, KEYS],
        ServiceName::Evaluate => &[],
        ServiceName::Profile => {
            return Err(Failure::Usage(
                "profile calls no other service and needs no token".to_owned(),
            ));
        }
    };
    let methods = FOLLOW.iter().chain(own);
    let scopes = methods.filter_map(|path| policy::method(path).map(|method| method.scope));
    Ok(scopes.collect())
}

fn name_of(service: ServiceName) -> &'static str {
    match service {
        ServiceName::Profile => "profile",
        ServiceName::Recommend => "recommend",
        ServiceName::Ads => "ads",
        ServiceName::Care => "care",
        ServiceName::Evaluate => "evaluate",
    }
}

fn read(path: &Path) -> Result<Secret, Failure> {
    let text = std::fs::read_to_string(path)
        .map_err(|error| Failure::Failed(format!("{} cannot be read: {error}", path.display())))?;
    Ok(Secret::new(text.trim()))
}

/// Writes a file that must not exist yet.
fn create(path: &Path, text: &str) -> Result<(), Failure> {
    use std::os::unix::fs::OpenOptionsExt as _;
    let mut options = std::fs::OpenOptions::new();
    let opened = options.write(true).create_new(true).mode(0o600).open(path);
    opened
        .and_then(|mut file| {
            writeln!(file, "{text}")?;
            file.sync_all()
        })
        .map_err(|error| Failure::Failed(format!("{} cannot be made: {error}", path.display())))
}

/// Replaces a file whole, so that whoever reads it meanwhile sees the old token or the new one.
fn replace(path: &Path, text: &str) -> Result<(), Failure> {
    let mut beside = path.as_os_str().to_owned();
    beside.push(format!(".{}", std::process::id()));
    let beside = PathBuf::from(beside);
    create(&beside, text)?;
    std::fs::rename(&beside, path).map_err(|error| {
        // What is left is a token: take it away if that is still possible.
        let _ = std::fs::remove_file(&beside);
        Failure::Failed(format!("{} cannot be replaced: {error}", path.display()))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_method_that_services_call_is_in_the_contracts() {
        for path in FOLLOW.iter().chain(&[PUBLISH, KEYS, EXPERIMENTS]) {
            assert!(policy::method(path).is_some(), "{path}");
        }
    }

    #[test]
    fn a_service_gets_the_scopes_of_its_calls_and_no_other() {
        let scopes = |service| {
            let scopes = scopes_of(service).unwrap();
            scopes.into_iter().collect::<Vec<_>>().join(" ")
        };
        let shared = "control.read events.read events.write";
        assert_eq!(
            scopes(ServiceName::Ads),
            format!("{shared} experiments.read")
        );
        assert_eq!(scopes(ServiceName::Care), format!("{shared} keys.read"));
        assert_eq!(scopes(ServiceName::Evaluate), "control.read events.read");
        assert!(scopes_of(ServiceName::Profile).is_err());
    }

    #[test]
    fn an_unknown_scope_is_refused_with_those_that_exist() {
        let why = checked(&["events.read".to_owned(), "event.read".to_owned()]).unwrap_err();
        let why = why.to_string();
        assert!(
            why.starts_with("no method asks for the scope `event.read`; there are "),
            "{why}"
        );
        assert!(why.contains("events.read"), "{why}");
    }
}
