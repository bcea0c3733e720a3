//! Channels to the five services, wherever they are.

use rapport_rpc::{Channel, ClientConfig, connect};

use crate::failure::Failure;

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
    /// [`Failure::Usage`] when `server` is no address.
    pub fn connect(server: &str) -> Result<Self, Failure> {
        let url = if server.contains("://") {
            server.to_owned()
        } else {
            format!("http://{server}")
        };
        let channel =
            connect(&ClientConfig::new(url)).map_err(|error| Failure::Usage(error.to_string()))?;
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
