//! `CampaignService` over a socket: bad fields, states, budgets, idempotency, pages.

use prost::Message as _;
use rapport_ads::store::campaign::{put_campaign, put_line_item};
use rapport_ads::write::{CAMPAIGNS_MAX, LINE_ITEMS_BYTES_MAX};
use rapport_api::ads::v1::*;
use tonic::Code;
use tonic_types::StatusExt as _;

use crate::support::{World, bad_fields, campaign, line_item, reason};

#[tokio::test]
async fn a_malformed_line_item_names_every_bad_field_by_its_wire_name() {
    let world = World::new().await;
    let replica = world.start().await;
    let mut bad = line_item("a:b", 1, -1);
    bad.bid_type = BidType::Unspecified.into();
    bad.creatives[0].creative_id.clear();
    bad.targeting = Some(Targeting {
        hours_of_day: vec![24],
        regions: vec![String::new()],
        ..Targeting::default()
    });
    bad.caps = vec![FrequencyCap {
        impressions_max: 0,
        window_hours: 721,
    }];
    let request = UpsertLineItemRequest {
        request_id: String::new(),
        line_item: Some(bad),
    };
    let status = replica
        .clients
        .campaigns
        .clone()
        .upsert_line_item(request)
        .await
        .unwrap_err();
    assert_eq!(
        (status.code(), reason(&status).as_str()),
        (Code::InvalidArgument, "INVALID_REQUEST")
    );
    let expected = [
        "request_id",
        "line_item.bid_type",
        "line_item.targeting.hours_of_day",
        "line_item.line_item_id",
        "line_item.bid_micros",
        "line_item.budget_micros",
        "line_item.targeting.regions[0]",
        "line_item.caps[0].impressions_max",
        "line_item.caps[0].window_hours",
        "line_item.creatives[0].creative_id",
    ];
    assert_eq!(bad_fields(&status), expected);
}

#[tokio::test]
async fn what_the_state_or_the_ledger_forbids_is_refused_with_its_reason() {
    let world = World::new().await;
    let replica = world.start().await;
    let clients = &replica.clients;
    let status = clients
        .put(line_item("li", 1_000_000, 10_000))
        .await
        .unwrap_err();
    assert_eq!(
        (status.code(), reason(&status).as_str()),
        (Code::NotFound, "CAMPAIGN_NOT_FOUND")
    );
    assert_eq!(
        status.get_details_resource_info().unwrap().resource_name,
        "c"
    );

    clients.put_campaign("c").await;
    clients
        .put(line_item("li", 1_000_000, 10_000))
        .await
        .unwrap();
    let mut draft = line_item("li", 1_000_000, 10_000);
    draft.state = DeliveryState::Draft.into();
    let status = clients.put(draft).await.unwrap_err();
    assert_eq!(reason(&status), "STATE_FORBIDS");

    let decision = clients.home(None).await;
    clients
        .record(&decision.decision_id, AdEventKind::Impression)
        .await
        .unwrap();
    let status = clients
        .put(line_item("li", 1_000_000, 999))
        .await
        .unwrap_err();
    assert_eq!(
        (status.code(), reason(&status).as_str()),
        (Code::FailedPrecondition, "BUDGET_BELOW_SPEND")
    );
    // Less than a micro a piece cannot be: one is spent, and a twentieth was leased before that.
    let free = status.get_details_error_info().unwrap().metadata["free_micros"].clone();
    let books = clients.ledger("li").await.unwrap();
    assert_eq!(free, books.free.to_string());
    assert_eq!(
        (books.free + books.leased + books.spent, books.sum),
        (10_000, 0)
    );

    clients
        .put(line_item("li", 1_000_000, 20_000))
        .await
        .unwrap();
    let books = clients.ledger("li").await.unwrap();
    assert_eq!(
        (books.free + books.leased + books.spent, books.sum),
        (20_000, 0)
    );
}

#[tokio::test]
async fn a_write_happens_once_per_request_id() {
    let world = World::new().await;
    let replica = world.start().await;
    let mut client = replica.clients.campaigns.clone();
    let mut request = UpsertCampaignRequest {
        request_id: "r".to_owned(),
        campaign: Some(campaign("c")),
    };
    let first = client
        .upsert_campaign(request.clone())
        .await
        .unwrap()
        .into_inner();
    let again = client
        .upsert_campaign(request.clone())
        .await
        .unwrap()
        .into_inner();
    assert_eq!(first, again);
    request.campaign.as_mut().unwrap().name = "Autumn".to_owned();
    let status = client.upsert_campaign(request).await.unwrap_err();
    assert_eq!(
        (status.code(), reason(&status).as_str()),
        (Code::AlreadyExists, "REQUEST_ID_REUSED")
    );
}

#[tokio::test]
async fn campaigns_are_listed_in_pages_with_their_line_items() {
    let world = World::new().await;
    let replica = world.start().await;
    for id in ["b", "c", "a"] {
        replica.clients.put_campaign(id).await;
    }
    for id in ["li-2", "li-1"] {
        replica
            .clients
            .put(line_item(id, 1_000, 1_000))
            .await
            .unwrap();
    }
    let mut client = replica.clients.campaigns.clone();
    let mut listed = Vec::new();
    let mut page_token = String::new();
    loop {
        let request = ListCampaignsRequest {
            page_size: 2,
            page_token,
        };
        let page = client.list_campaigns(request).await.unwrap().into_inner();
        listed.extend(page.campaigns.into_iter().map(|it| {
            let line_items = it.line_items.into_iter().map(|it| it.line_item_id);
            (
                it.campaign.unwrap().campaign_id,
                line_items.collect::<Vec<_>>(),
            )
        }));
        page_token = page.next_page_token;
        if page_token.is_empty() {
            break;
        }
    }
    let of_c = vec!["li-1".to_owned(), "li-2".to_owned()];
    let expected = [("a", vec![]), ("b", vec![]), ("c", of_c)];
    assert_eq!(
        listed,
        expected.map(|(id, line_items)| (id.to_owned(), line_items))
    );
    let request = ListCampaignsRequest {
        page_size: -1,
        page_token: String::new(),
    };
    let status = client.list_campaigns(request).await.unwrap_err();
    assert_eq!(bad_fields(&status), ["page_size"]);
}

#[tokio::test]
async fn there_are_only_so_many_campaigns() {
    let world = World::new().await;
    let replica = world.start().await;
    let db = world.db.open().await;
    let mut tx = db.begin().await.unwrap();
    for n in 0..CAMPAIGNS_MAX {
        let id = format!("c-{n}");
        let definition = campaign(&id).encode_to_vec();
        put_campaign(&mut tx, &id, &definition).await.unwrap();
    }
    tx.commit().await.unwrap();
    let put = async |id: &str| {
        let request = UpsertCampaignRequest {
            request_id: format!("campaign-{id}"),
            campaign: Some(campaign(id)),
        };
        replica
            .clients
            .campaigns
            .clone()
            .upsert_campaign(request)
            .await
    };
    let status = put("one-more").await.unwrap_err();
    assert_eq!(
        (status.code(), reason(&status).as_str()),
        (Code::FailedPrecondition, "TOO_MANY_CAMPAIGNS")
    );
    put("c-0").await.unwrap();
}

#[tokio::test]
async fn the_line_items_of_a_campaign_fit_into_one_page() {
    let world = World::new().await;
    let replica = world.start().await;
    let clients = &replica.clients;
    clients.put_campaign("c").await;
    clients.put_campaign("d").await;
    let small = line_item("small", 1_000_000, 1_000_000);
    let db = world.db.open().await;
    let mut tx = db.begin().await.unwrap();
    // What it says does not matter here, only how much that is: with `small` just the maximum.
    let rest = LINE_ITEMS_BYTES_MAX as usize - small.encoded_len();
    put_line_item(&mut tx, "large", "c", &vec![0; rest])
        .await
        .unwrap();
    tx.commit().await.unwrap();
    clients.put(small.clone()).await.unwrap();
    let mut longer = small.clone();
    longer.creatives[0].headline.push('!');
    let second = line_item("second", 1_000_000, 1_000_000);
    for too_much in [longer, second.clone()] {
        let status = clients.put(too_much).await.unwrap_err();
        assert_eq!(
            (status.code(), reason(&status).as_str()),
            (Code::FailedPrecondition, "CAMPAIGN_TOO_LARGE")
        );
    }
    // As it is it may be written again, and elsewhere there is room.
    clients.put(small).await.unwrap();
    let elsewhere = LineItem {
        campaign_id: "d".to_owned(),
        ..second
    };
    clients.put(elsewhere).await.unwrap();
}
