//! `CatalogService`: what there is to show.

use std::sync::Arc;

use arc_swap::ArcSwap;
use prost::Message as _;
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
/// Most bytes of items in one page: below what a client takes.
const PAGE_BYTES_MAX: usize = 3 * 1024 * 1024;
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
        Ok(to_page(&page))
    }
}

/// Encodes a page, cut where it has as many bytes as it may.
fn to_page(page: &item::Page) -> pb::ListItemsResponse {
    let mut bytes = 0;
    let mut items: Vec<pb::Item> = Vec::with_capacity(page.items.len());
    let mut last = page.next.as_ref().map(|(_, last)| last.as_str());
    for (at, item) in page.items.iter().enumerate() {
        let encoded = encode::item(item);
        bytes += encoded.encoded_len();
        if bytes > PAGE_BYTES_MAX && at > 0 {
            last = Some(&page.items[at - 1].id);
            break;
        }
        items.push(encoded);
    }
    pb::ListItemsResponse {
        items,
        next_page_token: last.map(parse::write_token).unwrap_or_default(),
    }
}

#[cfg(test)]
mod tests {
    use recommend_domain::ItemFields;

    use super::*;

    #[test]
    fn a_page_of_large_items_is_cut_and_goes_on_after_its_last() {
        let tag = |n: usize| format!("{n:02}{}", "茶".repeat(62));
        let large = |n: usize| {
            let fields = ItemFields {
                id: format!("item-{n:04}"),
                title: "茶".repeat(256),
                tags: (0..32).map(tag).collect(),
                ..ItemFields::default()
            };
            Item::parse(fields).unwrap()
        };
        let next = Some((1, "item-0999".to_owned()));
        let mut page = item::Page {
            items: (0..1_000).map(large).collect(),
            next,
        };
        let cut = to_page(&page);
        assert!((1_000..PAGE_BYTES_MAX + 64 * 1024).contains(&cut.encoded_len()));
        let last = &cut.items.last().unwrap().item_id;
        assert_eq!(*last, format!("item-{:04}", cut.items.len() - 1));
        assert_eq!(cut.next_page_token, parse::write_token(last));
        page.items.truncate(2);
        let whole = to_page(&page);
        assert_eq!(whole.items.len(), 2);
        assert_eq!(whole.next_page_token, parse::write_token("item-0999"));
    }
}
