//! The laws of the state: merging, bounds, bytes.

use super::*;
use proptest::prelude::*;
use rapport_types::Micros;

const DAY: i64 = 86_400_000;

/// An event that owns its text, so that proptest can make it.
#[derive(Debug, Clone)]
struct Owned {
    id: String,
    at: i64,
    act: u8,
    category: String,
    amount: i64,
}

impl Owned {
    fn apply_to(&self, state: &mut ProfileState) {
        let items = [ItemRef {
            category: &self.category,
            brand: "acme",
            keywords: &["红"],
        }];
        let behaviour = match self.act {
            0 => Behaviour::Seen,
            1 => Behaviour::Items(crate::Action::View, &items),
            2 => Behaviour::Purchase {
                order_id: &self.category,
                currency: if self.amount % 2 == 0 { "CNY" } else { "EUR" },
                amount: Micros(self.amount),
                items: &items,
            },
            3 => Behaviour::Refund {
                currency: "CNY",
                amount: Micros(self.amount),
                items: &items,
            },
            4 => Behaviour::Emotion {
                label: &self.category,
                valence: 0.3,
                arousal: 0.9,
            },
            5 => Behaviour::StateTag {
                kind: TagKind::Category,
                name: &self.category,
                keep: self.amount % 2 == 0,
            },
            _ => Behaviour::Attributes {
                language: "zh",
                region: &self.category,
                age_band: AgeBand::Adult,
            },
        };
        state.apply(&ProfileEvent {
            event_id: &self.id,
            event_type: "any",
            occurred_at: UnixMillis(self.at),
            channel: (self.at % 4) as u8,
            device: "phone",
            behaviour,
        });
    }
}

/// Events; `acts` bounds what they do: hiding tags (5) depends on what came before it.
fn events(acts: std::ops::Range<u8>) -> impl Strategy<Value = Vec<Owned>> {
    let one =
        (0i64..600 * DAY, acts, "[a-d]", 0i64..1_000).prop_map(|(at, act, category, amount)| {
            Owned {
                id: format!("e{at}"),
                at,
                act,
                category,
                amount,
            }
        });
    prop::collection::vec(one, 0..40)
}

fn state_of(events: &[Owned]) -> ProfileState {
    let mut state = ProfileState::default();
    events.iter().for_each(|event| event.apply_to(&mut state));
    state
}

proptest! {
    #[test]
    fn merge_is_associative_and_commutative(a in events(0..7), b in events(0..7), c in events(0..7)) {
        let [a, b, c] = [a, b, c].map(|events| state_of(&events));
        let pair = |x: &ProfileState, y: &ProfileState| ProfileState::folded([x, y]);
        prop_assert_eq!(pair(&a, &b), pair(&b, &a));
        prop_assert_eq!(pair(&pair(&a, &b), &c), pair(&a, &pair(&b, &c)));
        prop_assert_eq!(pair(&a, &ProfileState::default()), a);
    }

    #[test]
    fn a_person_is_what_one_subject_would_have_been(events in events(0..5), cut in 0usize..40) {
        let (left, right) = events.split_at(cut.min(events.len()));
        let mut folded = state_of(right);
        folded.merge(&state_of(left));
        prop_assert_eq!(folded, state_of(&events));
    }

    #[test]
    fn bytes_round_trip(events in events(0..7)) {
        let state = state_of(&events);
        prop_assert_eq!(ProfileState::from_bytes(&state.to_bytes()), Ok(state));
    }

    #[test]
    fn no_bytes_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let mut versioned = vec![STATE_VERSION];
        versioned.extend(&bytes);
        let _ = ProfileState::from_bytes(&versioned);
        let _ = ProfileState::from_bytes(&bytes);
    }
}

#[test]
fn other_bytes_are_refused_by_reason() {
    let mut bytes = ProfileState::default().to_bytes();
    bytes.push(0);
    assert_eq!(ProfileState::from_bytes(&bytes), Err(StateError::Malformed));
    assert_eq!(ProfileState::from_bytes(&[]), Err(StateError::Malformed));
    assert_eq!(
        ProfileState::from_bytes(&[9, 1, 2]),
        Err(StateError::Version(9))
    );
}

#[test]
fn a_hostile_stream_cannot_grow_a_state_for_ever() {
    let mut state = ProfileState::default();
    for n in 0..2_000i64 {
        let (name, long) = (format!("name{n}"), "x".repeat(1_000));
        let items = [ItemRef {
            category: &name,
            brand: &long,
            keywords: &[&name],
        }];
        state.apply(&ProfileEvent {
            event_id: &name,
            event_type: &name,
            occurred_at: UnixMillis(n * DAY),
            channel: 1,
            device: &name,
            behaviour: Behaviour::Purchase {
                order_id: &name,
                currency: "CNY",
                amount: Micros(1),
                items: &items,
            },
        });
    }
    assert_eq!(state.purchases.days.len() as i64, PURCHASE_DAYS_MAX);
    assert_eq!(state.purchases.purchase_events, 2_000);
    assert_eq!(state.tags.visible().count(), 2 * TAGS_PER_KIND_MAX);
    assert!(
        state.to_bytes().len() < 60_000,
        "{}",
        state.to_bytes().len()
    );
    // What is kept is the newest: the oldest tags were the lightest.
    assert!(
        state
            .tags
            .visible()
            .all(|(_, name, ..)| name > "name1799" || name.len() < 8)
    );
}

#[test]
fn a_quiet_subject_is_small() {
    let view = Owned {
        id: "event-0001".into(),
        at: 20_000 * DAY,
        act: 1,
        category: "茶".into(),
        amount: 0,
    };
    let bytes = state_of(&[view]).to_bytes().len();
    assert!(bytes < 260, "{bytes}");
}
