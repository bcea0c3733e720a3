//! What may be delivered, in memory: the campaign set and the numbers that move, each swapped whole.

use std::collections::HashMap;
use std::sync::Arc;

use ads_domain::{Campaign, CtrCounts, CtrTable, Entry, LineItem};
use arc_swap::ArcSwap;
use prost::Message as _;
use rapport_api::ads::v1 as pb;
use rapport_store::Db;
use rapport_types::Micros;

use crate::error::Error;
use crate::grpc::parse;
use crate::store::campaign::{self, Kind};
use crate::store::{ctr, ledger};

/// A campaign as the caller wrote it and as the rules read it.
#[derive(Debug, Clone)]
pub struct ActiveCampaign {
    /// As written.
    pub wire: pb::Campaign,
    /// As the rules read it.
    pub rules: Campaign,
}

/// A line item as the caller wrote it and as the rules read it.
#[derive(Debug, Clone)]
pub struct ActiveLineItem {
    /// As written.
    pub wire: pb::LineItem,
    /// As the rules read it.
    pub rules: LineItem,
    /// The position of its campaign.
    campaign: usize,
}

/// Every campaign and line item, whatever their state, in the order of their ids.
#[derive(Debug, Default)]
pub struct ActiveSet {
    /// The version of the catalogue that this is.
    pub version: i64,
    /// The campaigns.
    pub campaigns: Vec<ActiveCampaign>,
    /// The line items.
    pub line_items: Vec<ActiveLineItem>,
}

impl ActiveSet {
    /// Returns what an auction is held over, in the order of [`ActiveSet::line_items`].
    #[must_use]
    pub fn entries(&self) -> Vec<Entry<'_>> {
        let entry = |line_item: &'_ ActiveLineItem| line_item.campaign;
        let entries = self.line_items.iter().map(|line_item| Entry {
            campaign: &self.campaigns[entry(line_item)].rules,
            line_item: &line_item.rules,
        });
        entries.collect()
    }

    /// Returns a line item.
    #[must_use]
    pub fn line_item(&self, id: &str) -> Option<&ActiveLineItem> {
        let at = self
            .line_items
            .binary_search_by(|line_item| line_item.rules.id.as_str().cmp(id));
        Some(&self.line_items[at.ok()?])
    }
}

/// The numbers that move with every event.
#[derive(Debug, Default)]
pub struct Standings {
    /// What each line item has spent.
    pub spent: HashMap<String, Micros>,
    /// Impressions and clicks.
    pub ctr: CtrTable,
}

/// The present set and standings. Cloning shares them.
#[derive(Debug, Clone)]
pub struct Active(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    db: Db,
    set: ArcSwap<ActiveSet>,
    standings: ArcSwap<Standings>,
    /// One reload at a time, or an older one could replace a newer one.
    reloading: tokio::sync::Mutex<()>,
}

impl Active {
    /// Reads everything.
    ///
    /// # Errors
    /// [`Error::Store`], [`Error::Internal`] for a definition that cannot be read.
    pub async fn load(db: Db) -> Result<Self, Error> {
        let active = Self(Arc::new(Shared {
            db,
            set: ArcSwap::default(),
            standings: ArcSwap::default(),
            reloading: tokio::sync::Mutex::default(),
        }));
        active.reload().await?;
        active.refresh_standings().await?;
        Ok(active)
    }

    /// Returns the present set.
    #[must_use]
    pub fn set(&self) -> Arc<ActiveSet> {
        self.0.set.load_full()
    }

    /// Returns the present standings.
    #[must_use]
    pub fn standings(&self) -> Arc<Standings> {
        self.0.standings.load_full()
    }

    /// Reads the set again if anybody wrote to it.
    ///
    /// # Errors
    /// As [`Active::load`]; the old set stays.
    pub async fn refresh(&self) -> Result<(), Error> {
        if campaign::version(&self.0.db).await? != self.0.set.load().version {
            self.reload().await?;
        }
        Ok(())
    }

    /// Reads the set again.
    ///
    /// # Errors
    /// As [`Active::load`]; the old set stays.
    pub async fn reload(&self) -> Result<(), Error> {
        let _one = self.0.reloading.lock().await;
        // The version first: what is written meanwhile is read again at the next look.
        let version = campaign::version(&self.0.db).await?;
        let mut campaigns = Vec::new();
        for definition in campaign::all(&self.0.db, Kind::Campaign).await? {
            let wire = pb::Campaign::decode(definition.as_slice()).map_err(unreadable)?;
            let rules = parse::campaign(&wire).map_err(|_broken| Error::Internal(BROKEN))?;
            campaigns.push(ActiveCampaign { wire, rules });
        }
        let mut line_items = Vec::new();
        for definition in campaign::all(&self.0.db, Kind::LineItem).await? {
            let wire = pb::LineItem::decode(definition.as_slice()).map_err(unreadable)?;
            let rules = parse::line_item(&wire).map_err(|_broken| Error::Internal(BROKEN))?;
            let id = |campaign: &ActiveCampaign| campaign.rules.id.cmp(&rules.campaign_id);
            // A campaign that was written after the campaigns were read: the next look has both.
            if let Ok(campaign) = campaigns.binary_search_by(id) {
                line_items.push(ActiveLineItem {
                    wire,
                    rules,
                    campaign,
                });
            }
        }
        self.0.set.store(Arc::new(ActiveSet {
            version,
            campaigns,
            line_items,
        }));
        Ok(())
    }

    /// Reads the standings again.
    ///
    /// # Errors
    /// [`Error::Store`]; the old ones stay.
    pub async fn refresh_standings(&self) -> Result<(), Error> {
        let spent = ledger::spent(&self.0.db).await?.into_iter();
        let spent = spent.map(|(line_item, spent)| (line_item, Micros(spent)));
        let mut table = CtrTable::default();
        for (line_item, placement, impressions, clicks) in ctr::all(&self.0.db).await? {
            let counts = CtrCounts {
                impressions: impressions.unsigned_abs(),
                clicks: clicks.unsigned_abs(),
            };
            table.add(&line_item, &placement, counts);
        }
        self.0.standings.store(Arc::new(Standings {
            spent: spent.collect(),
            ctr: table,
        }));
        Ok(())
    }
}

const BROKEN: &str = "a stored definition breaks the rules";

fn unreadable(_error: prost::DecodeError) -> Error {
    Error::Internal("a stored definition does not decode")
}
