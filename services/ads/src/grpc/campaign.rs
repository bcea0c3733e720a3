//! `CampaignService`: upsert, list, ledger.

use prost::Message as _;
use rapport_api::ads::v1 as pb;
use rapport_api::ads::v1::campaign_service_server::CampaignService;
use rapport_rpc::Caller;
use rapport_rpc::write::Asked;
use tonic::{Request, Response, Status};

use super::parse;
use crate::active::{ActiveCampaign, ActiveSet};
use crate::error::Error;
use crate::store::ledger;
use crate::write::Writer;

/// Most bytes of campaigns in one page: below what a client takes. One campaign that is a little above
/// it, with as many line items as it may have, is a page of its own.
const PAGE_BYTES_MAX: usize = 3 * 1024 * 1024;

/// The service.
#[derive(Debug, Clone)]
pub struct CampaignApi {
    /// Writes campaigns, and holds what can be listed.
    pub writer: Writer,
}

#[tonic::async_trait]
impl CampaignService for CampaignApi {
    async fn upsert_campaign(
        &self,
        request: Request<pb::UpsertCampaignRequest>,
    ) -> Result<Response<pb::UpsertCampaignResponse>, Status> {
        let caller = Caller::of(&request);
        Ok(Response::new(
            self.campaign(&caller, request.into_inner()).await?,
        ))
    }

    async fn upsert_line_item(
        &self,
        request: Request<pb::UpsertLineItemRequest>,
    ) -> Result<Response<pb::UpsertLineItemResponse>, Status> {
        let caller = Caller::of(&request);
        Ok(Response::new(
            self.line_item(&caller, request.into_inner()).await?,
        ))
    }

    async fn list_campaigns(
        &self,
        request: Request<pb::ListCampaignsRequest>,
    ) -> Result<Response<pb::ListCampaignsResponse>, Status> {
        let (size, after) = parse::page(request.get_ref()).map_err(Error::from)?;
        let set = self.writer.active.set();
        Ok(Response::new(page(&set, size, &after)))
    }

    async fn get_ledger(
        &self,
        request: Request<pb::GetLedgerRequest>,
    ) -> Result<Response<pb::GetLedgerResponse>, Status> {
        Ok(Response::new(self.ledger(request.into_inner()).await?))
    }
}

impl CampaignApi {
    async fn campaign(
        &self,
        caller: &Caller,
        raw: pb::UpsertCampaignRequest,
    ) -> Result<pb::UpsertCampaignResponse, Error> {
        let (wire, rules) = parse::upsert_campaign(&raw)?;
        let asked = Asked::plain(caller, "UpsertCampaign", &raw.request_id, &raw);
        self.writer.put_campaign(&asked, wire, rules.state).await
    }

    async fn line_item(
        &self,
        caller: &Caller,
        raw: pb::UpsertLineItemRequest,
    ) -> Result<pb::UpsertLineItemResponse, Error> {
        let (wire, rules) = parse::upsert_line_item(&raw)?;
        let asked = Asked::plain(caller, "UpsertLineItem", &raw.request_id, &raw);
        self.writer.put_line_item(&asked, wire, &rules).await
    }

    async fn ledger(&self, raw: pb::GetLedgerRequest) -> Result<pb::GetLedgerResponse, Error> {
        parse::ledger(&raw)?;
        let db = &self.writer.db;
        let accounts = ledger::accounts(db, &raw.line_item_id).await?.into_iter();
        let accounts = accounts.map(|(account, balance_micros)| pb::LedgerAccount {
            account,
            balance_micros,
        });
        Ok(pb::GetLedgerResponse {
            accounts: accounts.collect(),
            sum_micros: ledger::sum(db).await?,
        })
    }
}

fn page(set: &ActiveSet, size: usize, after: &str) -> pb::ListCampaignsResponse {
    let first = set
        .campaigns
        .partition_point(|campaign| campaign.rules.id.as_str() <= after);
    let mut bytes = 0;
    let mut campaigns = Vec::new();
    let mut next_page_token = String::new();
    for campaign in &set.campaigns[first..] {
        let encoded = with_line_items(set, campaign);
        bytes += encoded.encoded_len();
        if campaigns.len() == size || (bytes > PAGE_BYTES_MAX && !campaigns.is_empty()) {
            next_page_token = last_id(&campaigns);
            break;
        }
        campaigns.push(encoded);
    }
    pb::ListCampaignsResponse {
        campaigns,
        next_page_token,
    }
}

fn with_line_items(set: &ActiveSet, campaign: &ActiveCampaign) -> pb::CampaignWithLineItems {
    let of_campaign = |id: &str| id == campaign.rules.id;
    let line_items = set
        .line_items
        .iter()
        .filter(|it| of_campaign(&it.rules.campaign_id));
    pb::CampaignWithLineItems {
        campaign: Some(campaign.wire.clone()),
        line_items: line_items.map(|it| it.wire.clone()).collect(),
    }
}

fn last_id(campaigns: &[pb::CampaignWithLineItems]) -> String {
    let last = campaigns.last().and_then(|it| it.campaign.as_ref());
    last.map(|campaign| campaign.campaign_id.clone())
        .unwrap_or_default()
}
