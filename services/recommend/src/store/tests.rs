//! What the SQL promises, on both engines.

use rapport_store::testing::{Engine, TestDb};
use rapport_store::{Db, store_contract};
use rapport_types::{Micros, UnixMillis};
use recommend_domain::{Availability, Item, ItemFields};

use super::item;
use super::model::{self, ModelChoice, ModelRow};

struct Fixture {
    db: Db,
    _kept: TestDb,
}

async fn open(engine: Engine) -> Fixture {
    let kept = TestDb::create(engine).await;
    let db = kept.open_migrated(&crate::POSTGRES, &crate::SQLITE).await;
    Fixture { db, _kept: kept }
}

store_contract!(
    open,
    [
        items_come_back_as_they_were_written,
        every_write_raises_the_version_and_is_read_as_a_change,
        pages_are_in_byte_order_and_say_whether_there_are_more,
        a_write_that_rolls_back_leaves_nothing,
        models_are_listed_newest_first_and_forgotten,
    ]
);

fn fields(id: &str) -> ItemFields {
    ItemFields {
        id: id.to_owned(),
        title: format!("The {id}"),
        ..ItemFields::default()
    }
}

fn plain(id: &str) -> Item {
    Item::parse(fields(id)).unwrap()
}

async fn write(db: &Db, items: &[Item]) -> i64 {
    let mut tx = db.begin().await.unwrap();
    let version = item::upsert(&mut tx, items).await.unwrap();
    tx.commit().await.unwrap();
    version
}

async fn items_come_back_as_they_were_written(fixture: Fixture) {
    let whole = Item::parse(ItemFields {
        title: "龙井 \"green\" tea".to_owned(),
        category_path: vec!["tea".to_owned(), "green".to_owned()],
        brand: "O'Neil".to_owned(),
        price: Some(Micros(12_500_001)),
        currency: "CNY".to_owned(),
        availability: Availability::OutOfStock,
        tags: vec!["a,b".to_owned(), "茶".to_owned()],
        ..fields("tea")
    });
    let items = [whole.unwrap(), plain("mug")];
    write(&fixture.db, &items).await;
    for written in &items {
        let found = item::get(&fixture.db, &written.id).await.unwrap();
        assert_eq!(found.as_ref(), Some(written));
    }
    assert_eq!(item::get(&fixture.db, "ghost").await.unwrap(), None);
}

async fn every_write_raises_the_version_and_is_read_as_a_change(fixture: Fixture) {
    let db = &fixture.db;
    assert_eq!(item::version(db).await.unwrap(), 0);
    assert_eq!(write(db, &[plain("a"), plain("b"), plain("c")]).await, 1);
    assert_eq!(write(db, &[plain("b")]).await, 2);
    assert_eq!(item::version(db).await.unwrap(), 2);
    let ids = |page: &item::Page| -> Vec<String> {
        page.items.iter().map(|item| item.id.clone()).collect()
    };
    let first = item::changed(db, (1, ""), 2).await.unwrap();
    assert_eq!(ids(&first), ["a", "c"]);
    let (version, last) = first.next.unwrap();
    assert_eq!((version, last.as_str()), (1, "c"));
    let second = item::changed(db, (version, &last), 2).await.unwrap();
    assert_eq!((ids(&second), second.next), (vec!["b".to_owned()], None));
    let later = item::changed(db, (2, ""), 10).await.unwrap();
    assert_eq!(ids(&later), ["b"]);
    assert_eq!(
        ids(&item::changed(db, (3, ""), 10).await.unwrap()),
        Vec::<String>::new()
    );
}

async fn pages_are_in_byte_order_and_say_whether_there_are_more(fixture: Fixture) {
    let db = &fixture.db;
    write(db, &["b", "a", "B", "茶", "é"].map(plain)).await;
    let (mut found, mut after) = (Vec::new(), String::new());
    loop {
        let page = item::list(db, &after, 2).await.unwrap();
        found.extend(page.items.iter().map(|item| item.id.clone()));
        match page.next {
            Some((_, last)) => after = last,
            None => break,
        }
    }
    assert_eq!(found, ["B", "a", "b", "é", "茶"]);
}

async fn a_write_that_rolls_back_leaves_nothing(fixture: Fixture) {
    let db = &fixture.db;
    let mut tx = db.begin().await.unwrap();
    item::upsert(&mut tx, &[plain("a")]).await.unwrap();
    tx.rollback().await.unwrap();
    assert_eq!(item::version(db).await.unwrap(), 0);
    assert_eq!(item::get(db, "a").await.unwrap(), None);
}

async fn models_are_listed_newest_first_and_forgotten(fixture: Fixture) {
    let db = &fixture.db;
    let row = |version: i64| ModelRow {
        version,
        trained_at: UnixMillis(1_000 + version),
        persons: 2,
        items: 3,
        graph_version: 4,
        size_bytes: 5,
        algorithm: "slim".to_owned(),
        choice: ModelChoice {
            judged_persons: 6,
            ndcg: Some(0.25),
            plain_ndcg: (version > 2).then_some(0.125),
        },
    };
    for version in 1..=3 {
        let mut tx = db.begin().await.unwrap();
        model::insert(&mut tx, &row(version), version - 2)
            .await
            .unwrap();
        tx.commit().await.unwrap();
    }
    assert_eq!(model::newest(db, 10).await.unwrap(), [row(3), row(2)]);
    assert_eq!(model::newest(db, 1).await.unwrap(), [row(3)]);
    let mut tx = db.begin().await.unwrap();
    let taken = model::insert(&mut tx, &row(3), 0).await.unwrap_err();
    assert!(taken.is_unique_violation());
    assert_eq!(row(12).object(), "models/item-item-00000012.bin");
}
