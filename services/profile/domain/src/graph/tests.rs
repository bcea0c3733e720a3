//! The laws of the graph: exact unlink, order independence, the maximum, anchors.

use super::*;
use proptest::prelude::*;

fn member(number: u8) -> Member {
    // Creation times repeat, so that ties by id are exercised.
    Member {
        created_at: UnixMillis(i64::from(number % 5)),
        subject: SubjectId::new([number; 16]),
    }
}

fn link(id: u16, left: u8, right: u8) -> Link {
    let mut bytes = [0; 16];
    bytes[..2].copy_from_slice(&id.to_be_bytes());
    Link {
        id: LinkId(bytes),
        left: member(left),
        right: member(right),
        evidence: "sign_in".into(),
        at: UnixMillis(i64::from(id)),
    }
}

fn unlink(id: LinkId) -> Unlink {
    Unlink {
        link_id: id,
        evidence: "shared tablet".into(),
        at: UnixMillis(9),
    }
}

fn linked(links: &[Link]) -> Graph {
    let mut graph = Graph::default();
    links.iter().for_each(|link| {
        graph.link(link.clone()).unwrap();
    });
    graph
}

#[test]
fn the_anchor_is_the_earliest_created_then_the_lowest_id() {
    let graph = linked(&[link(1, 7, 5), link(2, 5, 10)]); // created at 2, 0, 0
    let person = graph.person(member(7).subject).unwrap();
    assert_eq!(person.anchor(), member(5).subject);
    assert_eq!(person.members(), [member(5), member(10), member(7)]);
    assert_eq!(graph.person(member(9).subject), None);
}

#[test]
fn a_link_may_change_the_anchor_and_says_so() {
    let mut graph = linked(&[link(1, 1, 2)]);
    let change = graph.link(link(2, 2, 5)).unwrap();
    assert_eq!(
        change.before.iter().map(Person::anchor).collect::<Vec<_>>(),
        [member(5).subject, member(1).subject]
    );
    assert_eq!(
        change.after.iter().map(Person::anchor).collect::<Vec<_>>(),
        [member(5).subject]
    );
    assert_eq!((change.graph_version, graph.version()), (2, 2));
}

#[test]
fn a_second_link_between_the_same_two_keeps_them_together() {
    let mut graph = linked(&[link(1, 1, 2), link(2, 2, 1)]);
    let change = graph.unlink(unlink(link(1, 1, 2).id)).unwrap();
    assert_eq!(change.before, change.after);
    assert!(change.recorded);
    assert_eq!(
        graph.unlink(unlink(link(2, 2, 1).id)).unwrap().after.len(),
        2
    );
    assert_eq!(graph.person(member(1).subject), None);
}

#[test]
fn replays_change_nothing() {
    let mut graph = linked(&[link(1, 1, 2)]);
    assert!(!graph.link(link(1, 1, 2)).unwrap().recorded);
    assert_eq!(
        graph.link(link(1, 1, 3)),
        Err(GraphError::LinkIdReused(link(1, 1, 3).id))
    );
    graph.unlink(unlink(link(1, 1, 2).id)).unwrap();
    assert!(!graph.unlink(unlink(link(1, 1, 2).id)).unwrap().recorded);
    assert!(!graph.link(link(1, 1, 2)).unwrap().recorded); // a cancelled link stays cancelled
    assert_eq!(graph.version(), 2);
    assert_eq!(
        graph.find(link(1, 1, 2).id).unwrap().1,
        Some(&unlink(link(1, 1, 2).id))
    );
}

#[test]
fn what_cannot_be_is_refused() {
    let mut graph = Graph::default();
    assert_eq!(graph.link(link(1, 1, 1)), Err(GraphError::SelfLink));
    assert_eq!(
        graph.unlink(unlink(LinkId([9; 16]))),
        Err(GraphError::LinkNotFound(LinkId([9; 16])))
    );
}

#[test]
fn the_sixty_fifth_member_is_refused() {
    let mut graph = linked(
        &(1..64)
            .map(|n| link(u16::from(n), n - 1, n))
            .collect::<Vec<_>>(),
    );
    assert_eq!(
        graph.person(member(0).subject).unwrap().members().len(),
        PERSON_MEMBERS_MAX
    );
    assert_eq!(
        graph.link(link(64, 63, 64)),
        Err(GraphError::PersonTooLarge(65))
    );
    assert_eq!(graph.version(), 63);
    graph.link(link(65, 0, 63)).unwrap(); // inside the person there is room
    let mut pair = linked(&[link(1, 100, 101)]);
    (2..64u8).for_each(|n| {
        pair.link(link(u16::from(n), n - 1, n)).unwrap();
    });
    assert_eq!(
        pair.link(link(70, 63, 100)),
        Err(GraphError::PersonTooLarge(65))
    );
}

#[test]
fn standing_links_of_a_person_have_a_maximum() {
    let mut graph = linked(
        &(0..LINKS_PER_PERSON_MAX as u16)
            .map(|id| link(id, 1, 2))
            .collect::<Vec<_>>(),
    );
    assert_eq!(graph.link(link(9_999, 2, 3)), Err(GraphError::TooManyLinks));
    graph.unlink(unlink(link(0, 1, 2).id)).unwrap();
    assert!(graph.link(link(9_999, 2, 3)).is_ok());
}

fn links(max: usize) -> impl Strategy<Value = Vec<Link>> {
    let pair = (0u8..20, 0u8..20).prop_filter("two subjects", |(left, right)| left != right);
    prop::collection::vec(pair, 1..max).prop_map(|pairs| {
        pairs
            .iter()
            .enumerate()
            .map(|(id, (left, right))| link(id as u16, *left, *right))
            .collect()
    })
}

proptest! {
    #[test]
    fn link_then_unlink_restores_exactly(links in links(30), left in 0u8..20, apart in 1u8..20) {
        let mut graph = linked(&links);
        let (persons, adjacent, created) = (graph.persons(), graph.adjacent.clone(), graph.created.clone());
        let extra = link(999, left, (left + apart) % 20);
        let made = graph.link(extra.clone()).unwrap();
        let undone = graph.unlink(unlink(extra.id)).unwrap();
        prop_assert_eq!(graph.persons(), persons);
        prop_assert_eq!(&graph.adjacent, &adjacent);
        prop_assert_eq!(&graph.created, &created);
        prop_assert_eq!(made.before, undone.after);
        prop_assert_eq!(made.after, undone.before);
    }

    #[test]
    fn the_order_of_records_does_not_matter(links in links(30), cancel in prop::collection::vec(any::<bool>(), 30), turn in 0usize..30) {
        let unlinks: Vec<Unlink> =
            links.iter().zip(cancel).filter(|(_, gone)| *gone).map(|(link, _)| unlink(link.id)).collect();
        let mut in_turn = linked(&links);
        unlinks.iter().for_each(|record| { in_turn.unlink(record.clone()).unwrap(); });
        let mut turned = links.clone();
        turned.rotate_left(turn % links.len());
        turned.reverse();
        let rebuilt = Graph::from_records(in_turn.version(), turned, unlinks.into_iter().rev()).unwrap();
        prop_assert_eq!(rebuilt.persons(), in_turn.persons());
        prop_assert_eq!(rebuilt.version(), in_turn.version());
    }

    #[test]
    fn a_preview_is_what_happens(links in links(20)) {
        let mut graph = Graph::default();
        for link in &links {
            let preview = graph.preview_link(link).unwrap();
            prop_assert_eq!(&preview, &graph.link(link.clone()).unwrap());
        }
        for link in &links {
            let preview = graph.preview_unlink(link.id).unwrap();
            prop_assert_eq!(&preview, &graph.unlink(unlink(link.id)).unwrap());
        }
        prop_assert!(graph.persons().is_empty() && graph.created.is_empty());
    }

    #[test]
    fn every_member_sees_the_same_person(links in links(40)) {
        let graph = linked(&links);
        for person in graph.persons() {
            for subject in person.subjects() {
                let seen = graph.person(subject);
                prop_assert_eq!(seen.as_ref(), Some(&person));
            }
        }
    }
}
