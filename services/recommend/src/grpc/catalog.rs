//! `CatalogService`: what there is to show.

use std::sync::Arc;

use arc_swap::ArcSwap;
use rapport_api::recommend::v1 as pb;
use rapport_api::recommend::v1::catalog_service_server::CatalogService;
use rapport_rpc::Caller;
use rapport_rpc::write::{self, Asked, Begun};
use rapport_store::Db;
use rapport_types::Clock;
use recommend_domain::Item;
use tonic::{Request, Response, Status};

use super::{encode, parse};
use crate::error::Error;
use crate::refresh::Refresh;
use crate::serving::Serving;
use crate::store::item;

/// Most items of a catalogue: every replica holds it in memory.
pub const CATALOGUE_ITEMS_MAX: usize = 1_000_000;
/// Bytes of one upsert.
pub const UPSERT_BYTES_MAX: usize = 4 * 1024 * 1024;

/// The service.
#[derive(Debug, Clone)]
pub struct CatalogApi {
    /// The truth.
    pub db: Db,
    /// What is served.
    pub serving: Arc<ArcSwap<Serving>>,
    /// Serves what was written.
    pub refresh: Refresh,
    /// The time of idempotency records.
    pub clock: Arc<dyn Clock>,
}

#[tonic::async_trait]
impl CatalogService for CatalogApi {
    async fn upsert_items(
        &self,
        request: Request<pb::UpsertItemsRequest>,
    ) -> Result<Response<pb::UpsertItemsResponse>, Status> {
        let caller = Caller::of(&request);
        Ok(Response::new(
            self.upsert(&caller, request.into_inner()).await?,
        ))
    }

    async fn get_item(
        &self,
        request: Request<pb::GetItemRequest>,
    ) -> Result<Response<pb::GetItemResponse>, Status> {
        Ok(Response::new(self.get(request.into_inner()).await?))
    }

    async fn list_items(
        &self,
        request: Request<pb::ListItemsRequest>,
    ) -> Result<Response<pb::ListItemsResponse>, Status> {
        Ok(Response::new(self.list(request.into_inner()).await?))
    }
}

impl CatalogApi {
    async fn upsert(
        &self,
        caller: &Caller,
        raw: pb::UpsertItemsRequest,
    ) -> Result<pb::UpsertItemsResponse, Error> {
        let asked = Asked::plain(caller, "UpsertItems", &raw.request_id, &raw);
        let items = parse::upsert_items(raw)?;
        self.check_room(&items)?;
        let (mut tx, slot) = match write::begin(&self.db, &asked, self.clock.now()).await? {
            Begun::New(tx, slot) => (tx, slot),
            Begun::Done(response) => return Ok(response),
        };
        let version = item::upsert(&mut tx, &items).await?;
        let response = pb::UpsertItemsResponse {
            upserted: items.len() as u32,
        };
        write::finish(tx, slot, &response).await?;
        self.refresh
            .until(|served| served.catalogue_version >= version)
            .await;
        Ok(response)
    }

    /// Refuses what would not fit the memory of the replicas, as far as this one knows.
    fn check_room(&self, items: &[Item]) -> Result<(), Error> {
        let serving = self.serving.load();
        let shelf = &serving.shelf;
        let is_new = |item: &&Item| shelf.index(&item.id).is_none();
        let added = items.iter().filter(is_new).count();
        if shelf.catalogue.len() + added > CATALOGUE_ITEMS_MAX {
            return Err(Error::CatalogueFull(CATALOGUE_ITEMS_MAX));
        }
        Ok(())
    }

    async fn get(&self, raw: pb::GetItemRequest) -> Result<pb::GetItemResponse, Error> {
        let item_id = parse::get_item(raw)?;
        match item::get(&self.db, &item_id).await? {
            Some(item) => Ok(pb::GetItemResponse {
                item: Some(encode::item(&item)),
            }),
            None => Err(Error::ItemNotFound(item_id)),
        }
    }

    async fn list(&self, raw: pb::ListItemsRequest) -> Result<pb::ListItemsResponse, Error> {
        let (after, limit) = parse::list_items(&raw)?;
        let page = item::list(&self.db, &after, limit as u32).await?;
        let token = |(_, last): &(i64, String)| parse::write_token(last);
        Ok(pb::ListItemsResponse {
            items: page.items.iter().map(encode::item).collect(),
            next_page_token: page.next.as_ref().map(token).unwrap_or_default(),
        })
    }
}
