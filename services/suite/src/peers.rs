//! Channels to the five services, wherever they are.

use std::path::PathBuf;
use std::sync::Arc;

use rapport_rpc::{Channel, ClientConfig, TokenFile, TokenSource, connect};

use crate::failure::Failure;

/// Which server a command calls, and as whom.
#[derive(Debug, Clone, clap::Args)]
#[group(skip)]
pub struct ServerArgs {
    /// The server.
    #[arg(long, env = "RAPPORT_SERVER", default_value = rapport_rpc::DEFAULT_LISTEN)]
    pub server: String,
    /// File with the bearer token to show it, where it asks for one: see `rapport token`.
    #[arg(long, env = "RAPPORT_TOKEN_FILE")]
    pub token_file: Option<PathBuf>,
}

/// One channel per service. In one process, and behind one address, all five are the same.
#[derive(Debug, Clone)]
pub struct Peers {
    /// Profile.
    pub profile: Channel,
    /// Recommend.
    pub recommend: Channel,
    /// Ads.
    pub ads: Channel,
    /// Care.
    pub care: Channel,
    /// Evaluate.
    pub evaluate: Channel,
}

impl Peers {
    /// Returns channels to one server that hosts all five services. Connects when first used.
    ///
    /// # Errors
    /// [`Failure::Usage`] when the server is no address, or the token file holds no token.
    pub fn connect(to: &ServerArgs) -> Result<Self, Failure> {
        let url = if to.server.contains("://") {
            to.server.clone()
        } else {
            format!("http://{}", to.server)
        };
        let token: Option<Arc<dyn TokenSource>> = match &to.token_file {
            Some(path) => {
                let file = TokenFile::open(path);
                Some(Arc::new(
                    file.map_err(|error| Failure::Usage(error.to_string()))?,
                ))
            }
            None => None,
        };
        let config = ClientConfig::new(url).with_token_source(token);
        let channel = connect(&config).map_err(|error| Failure::Usage(error.to_string()))?;
        Ok(Self::all(channel))
    }

    /// Returns `channel` for every service.
    #[must_use]
    pub fn all(channel: Channel) -> Self {
        Self {
            profile: channel.clone(),
            recommend: channel.clone(),
            ads: channel.clone(),
            care: channel.clone(),
            evaluate: channel,
        }
    }
}
