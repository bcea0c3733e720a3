//! Items, reasons and ratings as the contract writes them.

use rapport_api::recommend::v1 as pb;
use rapport_api::r#type::v1::Money;
use recommend_domain::{Item, ItemIdx, Language, Models, Partner, Reason};

/// Encodes an item.
#[must_use]
pub fn item(item: &Item) -> pb::Item {
    pb::Item {
        item_id: item.id.clone(),
        title: item.title.clone(),
        category: item.category_path.join("/"),
        brand: item.brand.clone(),
        price: item.price.map(|price| Money {
            currency: item.currency.clone(),
            micros: price.0,
        }),
        available: item.availability.is_purchasable(),
        tags: item.tags.clone(),
    }
}

/// Encodes an item by its index: of one that nobody listed, all that is known is the id.
fn indexed(index: ItemIdx, models: &Models<'_>) -> pb::Item {
    match models.catalogue.item(index) {
        Some(listed) => item(listed),
        None => pb::Item {
            item_id: models.items.name(index).to_owned(),
            available: true,
            ..pb::Item::default()
        },
    }
}

/// Encodes a recommended item with its reasons, strongest first.
#[must_use]
pub fn recommended(
    index: ItemIdx,
    score: f32,
    reasons: &[Reason],
    models: &Models<'_>,
) -> pb::RecommendedItem {
    let reason = |reason: &Reason| pb::Reason {
        code: reason.code().to_owned(),
        reference: reason.subject(models.items, models.catalogue).to_owned(),
        text: reason.text(Language::En, models.items, models.catalogue),
    };
    pb::RecommendedItem {
        item: Some(indexed(index, models)),
        score: f64::from(score),
        reasons: reasons.iter().map(reason).collect(),
    }
}

/// Encodes a companion.
#[must_use]
pub fn together(partner: &Partner, models: &Models<'_>) -> pb::BoughtTogether {
    pb::BoughtTogether {
        item: Some(indexed(partner.item, models)),
        orders: u64::from(partner.count),
        confidence: partner.confidence,
        lift: partner.lift,
    }
}
