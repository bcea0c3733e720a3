//! The catalogue: rules, idempotency, pages.

use rapport_api::recommend::v1::{GetItemRequest, Item, ListItemsRequest, UpsertItemsRequest};
use rapport_api::r#type::v1::Money;
use tonic::Code;
use tonic_types::StatusExt as _;

use crate::support::{bad_fields, item, reason, spawn};

fn upsert(request_id: &str, items: Vec<Item>) -> UpsertItemsRequest {
    UpsertItemsRequest {
        request_id: request_id.to_owned(),
        items,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_bad_field_of_every_item_is_named_at_once() {
    let (running, _kept) = spawn().await;
    let bad = Item {
        title: String::new(),
        category: "tea//green".to_owned(),
        price: Some(Money {
            currency: "pounds".to_owned(),
            micros: -1,
        }),
        tags: vec!["a".to_owned(), "a".to_owned()],
        ..item("mug", "")
    };
    let request = upsert("", vec![item("mug", ""), bad]);
    let status = running.catalog().upsert_items(request).await.unwrap_err();
    assert_eq!(status.code(), Code::InvalidArgument);
    assert_eq!(reason(&status), "INVALID_REQUEST");
    let expected = [
        "request_id",
        "items[1].item_id",
        "items[1].title",
        "items[1].category",
        "items[1].price.micros",
        "items[1].price.currency",
        "items[1].tags[1]",
    ];
    let mut found = bad_fields(&status);
    found.sort_unstable();
    let mut expected: Vec<_> = expected.into_iter().map(str::to_owned).collect();
    expected.sort_unstable();
    assert_eq!(found, expected);
    let empty = running
        .catalog()
        .upsert_items(upsert("r", Vec::new()))
        .await;
    assert_eq!(bad_fields(&empty.unwrap_err()), ["items"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upsert_has_one_effect_and_its_id_one_body() {
    let (running, _kept) = spawn().await;
    let mut catalog = running.catalog();
    for _repeat in 0..2 {
        assert_eq!(running.upsert("r-1", vec![item("mug", "home")]).await, 1);
    }
    let other = upsert("r-1", vec![item("pan", "home")]);
    let status = catalog.upsert_items(other).await.unwrap_err();
    assert_eq!(status.code(), Code::AlreadyExists);
    assert_eq!(reason(&status), "REQUEST_ID_REUSED");
    let renamed = Item {
        title: "A better mug".to_owned(),
        price: None,
        available: false,
        ..item("mug", "home/kitchen")
    };
    running.upsert("r-2", vec![renamed.clone()]).await;
    // The first request again changes nothing: its effect was then.
    running.upsert("r-1", vec![item("mug", "home")]).await;
    let item_id = "mug".to_owned();
    let found = catalog.get_item(GetItemRequest { item_id }).await.unwrap();
    assert_eq!(found.into_inner().item, Some(renamed));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unknown_item_is_named() {
    let (running, _kept) = spawn().await;
    let item_id = "ghost".to_owned();
    let status = running
        .catalog()
        .get_item(GetItemRequest { item_id })
        .await
        .unwrap_err();
    assert_eq!(status.code(), Code::NotFound);
    assert_eq!(reason(&status), "ITEM_NOT_FOUND");
    let resource = status.get_details_resource_info().unwrap();
    assert_eq!(
        (
            resource.resource_type.as_str(),
            resource.resource_name.as_str()
        ),
        ("item", "ghost")
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_follow_each_other_in_the_order_of_ids() {
    let (running, _kept) = spawn().await;
    let mut catalog = running.catalog();
    let ids = ["d", "a", "茶", "c", "b"];
    running
        .upsert("r", ids.iter().map(|id| item(id, "")).collect())
        .await;
    let (mut found, mut page_token) = (Vec::new(), String::new());
    loop {
        let request = ListItemsRequest {
            page_size: 2,
            page_token,
        };
        let page = catalog.list_items(request).await.unwrap().into_inner();
        found.push(page.items.len());
        found.extend(page.items.iter().map(|item| item.item_id.len()));
        page_token = page.next_page_token;
        if page_token.is_empty() {
            break;
        }
    }
    assert_eq!(found, [2, 1, 1, 2, 1, 1, 1, 3]);
    let request = ListItemsRequest {
        page_size: -1,
        page_token: "nonsense".to_owned(),
    };
    let status = catalog.list_items(request).await.unwrap_err();
    assert_eq!(bad_fields(&status), ["page_size", "page_token"]);
}
