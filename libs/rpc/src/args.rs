//! Settings that every service has under its own prefix, or that only test builds have.

/// Declares `DatabaseArgs`: the flags `--database-url` and `--database-connections-max`, with the
/// variables `<PREFIX>_DATABASE_URL` and `<PREFIX>_DATABASE_CONNECTIONS_MAX`.
///
/// A macro, because clap cannot prefix the variables of a flattened struct. The crate that uses it has
/// `clap`, `rapport-store` and `rapport-types` among its own dependencies.
///
/// ```
/// use clap::Parser as _;
///
/// rapport_rpc::database_args!("SHOP");
///
/// #[derive(Debug, clap::Parser)]
/// struct Config {
///     /// The database.
///     #[command(flatten)]
///     database: DatabaseArgs,
/// }
/// let config = Config::parse_from(["shop", "--database-url", "sqlite://shop.sqlite"]);
/// assert_eq!(config.database.store().connections_max.get(), 16);
/// ```
#[macro_export]
macro_rules! database_args {
    ($prefix:literal) => {
        /// How to reach the service's database.
        #[derive(Debug, Clone, clap::Args)]
        #[group(skip)]
        pub struct DatabaseArgs {
            /// `postgres://...` or `sqlite://...`. Holds a password, so `Debug` hides it.
            #[arg(
                                                id = "database_url",
                                                long = "database-url",
                                                value_name = "DATABASE_URL",
                                                env = concat!($prefix, "_DATABASE_URL"),
                                                hide_env_values = true
                                            )]
            pub url: ::rapport_types::Secret,
            /// Most connections this process may hold. Pods times this must stay under the server's limit.
            #[arg(
                                                id = "database_connections_max",
                                                long = "database-connections-max",
                                                value_name = "DATABASE_CONNECTIONS_MAX",
                                                env = concat!($prefix, "_DATABASE_CONNECTIONS_MAX"),
                                                default_value = "16"
                                            )]
            pub connections_max: ::std::num::NonZeroU32,
        }

        impl DatabaseArgs {
            /// Returns how to open the database.
            #[must_use]
            pub fn store(&self) -> ::rapport_store::StoreConfig {
                ::rapport_store::StoreConfig {
                    connections_max: self.connections_max,
                    ..::rapport_store::StoreConfig::new(self.url.expose())
                }
            }
        }
    };
}

/// What a test may switch off, so that it can show that it fails without it. Release builds have no
/// such flag.
#[derive(Debug, Clone, Default, clap::Args)]
#[group(skip)]
pub struct Protections {
    /// Protections to leave off, so that a test can show that it fails without them.
    #[cfg(debug_assertions)]
    #[arg(long, hide = true, value_delimiter = ',')]
    pub without: Vec<String>,
}

impl Protections {
    /// Returns whether a protection is on: always, but for the negative controls of a test build.
    #[must_use]
    pub fn hold(&self, protection: &str) -> bool {
        #[cfg(debug_assertions)]
        {
            !self.without.iter().any(|off| off == protection)
        }
        #[cfg(not(debug_assertions))]
        {
            let _ = protection;
            true
        }
    }
}
