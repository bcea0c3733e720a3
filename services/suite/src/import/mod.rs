//! `rapport import`: a file becomes events on the backfill lane, or nothing at all.
//!
//! The file is read twice: once to check every line, once to send. Event ids come from the file's hash
//! and the line number, so running the same import again changes nothing.

mod csv_map;
mod online_retail;
mod send;
mod source;
pub(crate) mod values;

use std::collections::BTreeMap;
use std::path::PathBuf;

use rapport_types::Purpose;

use crate::failure::Failure;
use crate::peers::{Peers, ServerArgs};

pub use source::{BadLine, Imported, Item, Line, Mapper, open_csv};

/// What to import.
#[derive(Debug, Clone, clap::Subcommand)]
pub enum Format {
    /// The Online Retail invoices (UCI): one event per line; returns become refunds.
    OnlineRetail(ImportArgs),
    /// Any CSV, by a mapping file that says which column is what.
    Csv {
        /// The mapping, TOML: see `docs/import.md`.
        #[arg(long)]
        mapping: PathBuf,
        /// What every import takes.
        #[command(flatten)]
        args: ImportArgs,
    },
}

/// What every import takes.
#[derive(Debug, Clone, clap::Args)]
pub struct ImportArgs {
    /// The file, CSV with a header, UTF-8; `.gz` by name.
    pub file: PathBuf,
    /// Purposes that the people in the file have granted, such as `personalise,measure`. Without it the
    /// data is stored and every answer stays non-personal.
    #[arg(long, value_delimiter = ',', value_parser = parse_purpose, requires = "evidence")]
    pub grant: Vec<Purpose>,
    /// What shows that they granted it, such as a contract's name.
    #[arg(long, requires = "grant")]
    pub evidence: Option<String>,
    /// The server.
    #[command(flatten)]
    pub to: ServerArgs,
    /// Print one JSON object instead of a table.
    #[arg(long)]
    pub json: bool,
}

fn parse_purpose(name: &str) -> Result<Purpose, String> {
    match Purpose::parse(name) {
        Some(Purpose::Service) => Err("`service` is always permitted".to_owned()),
        Some(purpose) => Ok(purpose),
        None => {
            let names: Vec<&str> = Purpose::ALL[1..]
                .iter()
                .map(|purpose| purpose.name())
                .collect();
            Err(format!("is not a purpose; there are {}", names.join(", ")))
        }
    }
}

/// What an import did. `accepted + duplicate + rejected` is `lines`.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Serialize)]
pub struct Summary {
    /// Lines read, the header apart.
    pub lines: u64,
    /// Events that are new on disk.
    pub accepted: u64,
    /// Events that were there already.
    pub duplicate: u64,
    /// Events that were refused.
    pub rejected: u64,
    /// Why, by reason.
    pub rejected_by_reason: BTreeMap<String, u64>,
    /// Distinct identifiers in the file.
    pub subjects: u64,
    /// Identifiers for whom consent was written.
    pub consents: u64,
    /// Catalogue items written.
    pub items: u64,
    /// The last event's time, the `as_of_ms` to ask reports with.
    pub last_event_ms: i64,
}

/// Imports a file.
///
/// # Errors
/// [`Failure::Usage`] when a line is wrong: nothing was sent. [`Failure::Unreachable`],
/// [`Failure::Failed`]: running it again goes on where it stopped.
pub async fn run(format: Format) -> Result<(), Failure> {
    let (mapper, args): (Box<dyn Mapper>, ImportArgs) = match format {
        Format::OnlineRetail(args) => (Box::new(online_retail::OnlineRetail), args),
        Format::Csv { mapping, args } => (Box::new(csv_map::CsvMap::read(&mapping)?), args),
    };
    let peers = Peers::connect(&args.to)?;
    let summary = import(mapper, &args, &peers).await?;
    crate::output::print(&summary, args.json);
    Ok(())
}

/// Imports a file through `peers`: what [`run`] does between flags and output.
///
/// # Errors
/// As [`run`].
pub async fn import(
    mapper: Box<dyn Mapper>,
    args: &ImportArgs,
    peers: &Peers,
) -> Result<Summary, Failure> {
    let file = args.file.clone();
    let (mapper, checked) = tokio::task::spawn_blocking(move || {
        let checked = source::check(&file, mapper.as_ref());
        (mapper, checked)
    })
    .await
    .map_err(|panicked| Failure::Failed(panicked.to_string()))?;
    let checked = checked?;
    let evidence = args.evidence.as_deref().unwrap_or_default();
    send::Sender::new(peers, &args.to.server, &checked)
        .run(args, mapper, evidence)
        .await
}
