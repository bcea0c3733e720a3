//! What is learnt from which event, and that folding does not depend on the order.

use super::*;
use bytes::Bytes;
use proptest::prelude::*;

const ADVERTISE: u32 = 1 << (Purpose::Advertise as u32 - 1);

fn record(kind: &str, admitted: u32, at: i64, payload: &impl prost::Message) -> EventRecord {
    EventRecord {
        r#type: kind.to_owned(),
        admitted,
        occurred_at_ms: at,
        payload: Bytes::from(payload.encode_to_vec()),
        ..EventRecord::default()
    }
}

fn applied(records: &[EventRecord]) -> Known {
    let mut known = Known::default();
    let project = |record| AudienceProjection.apply(b"", &mut known, record);
    records.iter().for_each(project);
    known
}

fn view(category: &str) -> event::ViewItem {
    event::ViewItem {
        category: category.to_owned(),
        ..event::ViewItem::default()
    }
}

fn bought(category: &str) -> event::Purchase {
    event::Purchase {
        lines: vec![event::OrderLine {
            category: category.to_owned(),
            ..event::OrderLine::default()
        }],
        ..event::Purchase::default()
    }
}

fn sign_up(age_band: event::AgeBand, region: &str) -> event::SignUp {
    event::SignUp {
        age_band: age_band.into(),
        region: region.to_owned(),
        ..event::SignUp::default()
    }
}

#[test]
fn interests_are_learnt_under_consent_only_and_ages_always() {
    let known = applied(&[
        record("view_item", 0, 1, &view("wine")),
        record("purchase", 0, 2, &bought("wine")),
        record("sign_up", 0, 3, &sign_up(event::AgeBand::Minor, "CN-31")),
    ]);
    let facts = fold(&[Arc::new(known)]);
    assert_eq!(facts.interests, Vec::<String>::new());
    assert_eq!(
        (facts.age_band, facts.lifecycle),
        (AgeBand::Minor, PROSPECT)
    );
    assert_eq!(facts.region, "CN-31");
}

#[test]
fn the_last_age_counts_in_whatever_order_ages_come() {
    use event::AgeBand::{Adult, Minor, Unspecified};
    let age = |said: &[(i64, event::AgeBand)]| {
        let of = |(at, age): &(i64, event::AgeBand)| record("sign_up", 0, *at, &sign_up(*age, ""));
        let records: Vec<_> = said.iter().map(of).collect();
        applied(&records).age_band()
    };
    for (mut said, expected) in [
        (vec![(5, Minor), (2, Adult)], Minor),
        (vec![(2, Minor), (5, Adult)], Adult),
        (vec![(5, Minor), (5, Adult)], Minor),
        (vec![(2, Adult), (5, Unspecified)], Adult),
        (vec![(1, Adult), (2, Minor), (3, Unspecified)], Minor),
        (vec![(-3, Minor), (-5, Adult)], Minor),
        (vec![(-5, Adult)], Adult),
    ] {
        assert_eq!(age(&said), expected, "{said:?}");
        said.reverse();
        assert_eq!(age(&said), expected, "{said:?}");
    }
}

#[test]
fn interests_rank_by_weight_then_by_name() {
    let known = applied(&[
        record("view_item", ADVERTISE, 1, &view("tea")),
        record("view_item", ADVERTISE, 2, &view("rice")),
        record("purchase", ADVERTISE, 3, &bought("oil")),
    ]);
    let facts = fold(&[Arc::new(known)]);
    assert_eq!(
        facts.interests,
        ["category:oil", "category:rice", "category:tea"]
    );
    assert_eq!(facts.lifecycle, CUSTOMER);
}

#[test]
fn categories_have_a_maximum_and_the_weakest_goes() {
    let mut records = vec![record("purchase", ADVERTISE, 0, &bought("kept"))];
    let names = (0..2 * CATEGORIES_MAX).map(|n| format!("c{n:02}"));
    records.extend(names.map(|name| record("view_item", ADVERTISE, 1, &view(&name))));
    let known = applied(&records);
    assert_eq!(known.categories.len(), CATEGORIES_MAX);
    assert!(known.categories.contains_key("kept"));
    assert!(known.categories.contains_key("c63"), "the newest stays");
}

#[test]
fn the_stored_form_is_read_back() {
    let known = applied(&[
        record("view_item", ADVERTISE, 1, &view("tea")),
        record("sign_up", 0, 3, &sign_up(event::AgeBand::Adult, "GB")),
    ]);
    let bytes = AudienceProjection::encode(&known);
    assert_eq!(AudienceProjection::decode(&bytes).unwrap(), known);
}

fn known() -> impl Strategy<Value = Arc<Known>> {
    let event = prop_oneof![
        "[a-c]".prop_map(|name| record("view_item", ADVERTISE, 1, &view(&name))),
        "[a-c]".prop_map(|name| record("purchase", ADVERTISE, 1, &bought(&name))),
        (0i32..3, 1i64..4, "[xy]").prop_map(|(age, at, region)| {
            let age = event::AgeBand::try_from(age).unwrap();
            record("sign_up", 0, at, &sign_up(age, &region))
        }),
    ];
    prop::collection::vec(event, 0..8).prop_map(|records| Arc::new(applied(&records)))
}

proptest! {
    #[test]
    fn folding_does_not_depend_on_the_order_of_subjects(mut members in prop::collection::vec(known(), 0..5)) {
        let folded = fold(&members);
        members.reverse();
        prop_assert_eq!(&fold(&members), &folded);
        let minor = members.iter().any(|known| known.age_band() == event::AgeBand::Minor);
        prop_assert_eq!(folded.age_band == AgeBand::Minor, minor);
    }
}
