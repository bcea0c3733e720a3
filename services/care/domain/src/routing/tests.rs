//! Choices worked by hand, and the laws of routing.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;
use rapport_text::{Emotion, Language};

use super::*;
use crate::agent::TOPIC_RELAX_MS;
use crate::priority::ValueTier;

/// A calm Chinese case that asks for no topic and has waited since `waiting_since`.
pub(crate) fn a_case(case_id: &str, waiting_since: i64) -> QueuedCase {
    QueuedCase {
        case_id: case_id.to_owned(),
        language: Language::Chinese,
        topic: String::new(),
        level_min: 0,
        emotion: Emotion::Neutral,
        emotion_probability: 1.0,
        urgency: 0.0,
        tier: ValueTier::Standard,
        waiting_since: UnixMillis(waiting_since),
        declined_by: Vec::new(),
    }
}

fn an_agent(agent_id: &str, languages: &[Language], topics: &[(&str, u8)]) -> Agent {
    Agent {
        agent_id: agent_id.to_owned(),
        languages: languages.iter().copied().collect(),
        topics: topics
            .iter()
            .map(|(topic, level)| ((*topic).to_owned(), *level))
            .collect(),
        presence: Presence::Online,
        capacity: 3,
        assigned: 0,
        idle_since: UnixMillis(0),
    }
}

const ZH: &[Language] = &[Language::Chinese];
const NOW: UnixMillis = UnixMillis(60_000);

fn refund_case() -> QueuedCase {
    QueuedCase {
        topic: "refund".to_owned(),
        level_min: 2,
        ..a_case("c1", 0)
    }
}

#[test]
fn order_is_level_then_load_then_idle_then_id() {
    let case = refund_case();
    let chosen = |agents: &[Agent]| choose(&case, agents, NOW).agent;
    let expert = Agent {
        assigned: 2,
        ..an_agent("z", ZH, &[("refund", 4)])
    };
    let novice = an_agent("a", ZH, &[("refund", 2)]);
    assert_eq!(chosen(&[novice.clone(), expert]), Ok("z".to_owned()));
    // 1 of 3 is less than 1 of 2.
    let large = Agent {
        assigned: 1,
        ..an_agent("z", ZH, &[("refund", 2)])
    };
    let small = Agent {
        assigned: 1,
        capacity: 2,
        ..novice.clone()
    };
    assert_eq!(chosen(&[small, large]), Ok("z".to_owned()));
    let rested = Agent {
        agent_id: "z".to_owned(),
        idle_since: UnixMillis(-5),
        ..novice.clone()
    };
    assert_eq!(chosen(&[novice.clone(), rested]), Ok("z".to_owned()));
    let twin = Agent {
        agent_id: "b".to_owned(),
        ..novice.clone()
    };
    assert_eq!(chosen(&[twin, novice]), Ok("a".to_owned()));
}

#[test]
fn every_reason_against_every_agent_is_told() {
    let case = QueuedCase {
        declined_by: vec!["d".to_owned()],
        ..refund_case()
    };
    let agents = [
        an_agent("d", ZH, &[("refund", 5)]),
        Agent {
            presence: Presence::Away,
            assigned: 3,
            ..an_agent("b", &[Language::English], &[])
        },
        an_agent("a", ZH, &[("refund", 1)]),
    ];
    let decision = choose(&case, &agents, NOW);
    let topic = || "refund".to_owned();
    assert_eq!(
        decision.rejected,
        [
            (
                "a".to_owned(),
                vec![Ineligible::LacksTopic {
                    topic: topic(),
                    level: 1,
                    level_min: 2
                }]
            ),
            (
                "b".to_owned(),
                vec![
                    Ineligible::NotOnline(Presence::Away),
                    Ineligible::AtCapacity {
                        assigned: 3,
                        capacity: 3
                    },
                    Ineligible::LacksLanguage(Language::Chinese),
                    Ineligible::LacksTopic {
                        topic: topic(),
                        level: 0,
                        level_min: 2
                    },
                ]
            ),
            ("d".to_owned(), vec![Ineligible::Declined]),
        ]
    );
    assert_eq!(decision.agent, Err(QueueReason::EverybodyDeclined));
    assert_eq!(decision.rejected[1].1[2].to_string(), "does not speak zh");
}

#[test]
fn queue_reason_is_the_first_gate_that_nobody_passes() {
    let expert = an_agent("a", ZH, &[("refund", 3)]);
    for (agents, reason) in [
        (vec![], QueueReason::NobodySpeaksLanguage),
        (
            vec![an_agent("a", &[Language::English], &[("refund", 3)])],
            QueueReason::NobodySpeaksLanguage,
        ),
        (
            vec![an_agent("a", ZH, &[("payment", 5)])],
            QueueReason::NobodyKnowsTopic,
        ),
        (
            vec![Agent {
                presence: Presence::Offline,
                ..expert.clone()
            }],
            QueueReason::NobodyOnline,
        ),
        (
            vec![Agent {
                assigned: 3,
                ..expert.clone()
            }],
            QueueReason::EverybodyBusy,
        ),
        (
            vec![Agent {
                capacity: 0,
                ..expert
            }],
            QueueReason::EverybodyBusy,
        ),
    ] {
        assert_eq!(choose(&refund_case(), &agents, NOW).agent, Err(reason));
    }
}

#[test]
fn topic_is_forgotten_after_a_long_wait_but_language_is_not() {
    let generalist = [an_agent("a", ZH, &[])];
    let stranger = [an_agent("a", &[Language::English], &[("refund", 5)])];
    let case = refund_case();
    let (before, after) = (UnixMillis(TOPIC_RELAX_MS - 1), UnixMillis(TOPIC_RELAX_MS));
    assert_eq!(
        choose(&case, &generalist, before).agent,
        Err(QueueReason::NobodyKnowsTopic)
    );
    assert_eq!(choose(&case, &generalist, after).agent, Ok("a".to_owned()));
    assert_eq!(
        choose(&case, &stranger, after).agent,
        Err(QueueReason::NobodySpeaksLanguage)
    );
}

#[test]
fn next_case_is_the_most_pressing_that_the_agent_can_take() {
    let angry = QueuedCase {
        emotion: Emotion::Anger,
        ..a_case("angry", 50_000)
    };
    let english = QueuedCase {
        language: Language::English,
        tier: ValueTier::Vip,
        ..angry.clone()
    };
    let queue = [a_case("old", 0), a_case("new", 30_000), angry, english];
    let agent = an_agent("a", ZH, &[]);
    let next =
        |queue: &[QueuedCase]| next_case(queue, &agent, NOW).map(|case| case.case_id.clone());
    assert_eq!(next(&queue), Some("angry".to_owned()));
    assert_eq!(next(&queue[..2]), Some("old".to_owned()));
    assert_eq!(
        next(&[a_case("b", 0), a_case("a", 0)]),
        Some("a".to_owned())
    );
    assert_eq!(next(&[]), None);
    let full = Agent {
        assigned: 3,
        ..agent.clone()
    };
    assert_eq!(next_case(&queue, &full, NOW), None);
}

const TOPICS: [&str; 3] = ["", "refund", "payment"];
const LANGUAGES: [Language; 3] = [Language::Chinese, Language::English, Language::Unknown];

prop_compose! {
    fn any_case()(
        id in 0u32..1000, topic in 0usize..3, language in 0usize..3, level_min in 0u8..4,
        urgency in 0.0..1.0f64, since in 0i64..1_200_000, declined in 0u32..8,
    ) -> QueuedCase {
        QueuedCase {
            topic: TOPICS[topic].to_owned(), language: LANGUAGES[language], level_min, urgency,
            declined_by: vec![format!("a{declined}")], ..a_case(&format!("c{id}"), since)
        }
    }
}

prop_compose! {
    fn any_agent()(
        zh in any::<bool>(), en in any::<bool>(), refund in 0u8..5, payment in 0u8..5,
        online in any::<bool>(), capacity in 0u32..4, assigned in 0u32..4, idle in 0i64..3,
    ) -> Agent {
        let mut languages = BTreeSet::new();
        if zh { languages.insert(Language::Chinese); }
        if en { languages.insert(Language::English); }
        Agent {
            agent_id: String::new(), languages,
            topics: BTreeMap::from([("refund".to_owned(), refund), ("payment".to_owned(), payment)]),
            presence: if online { Presence::Online } else { Presence::Offline },
            capacity, assigned, idle_since: UnixMillis(idle),
        }
    }
}

fn numbered(agents: Vec<Agent>) -> Vec<Agent> {
    let name = |(n, agent)| Agent {
        agent_id: format!("a{n}"),
        ..agent
    };
    agents.into_iter().enumerate().map(name).collect()
}

proptest! {
    #[test]
    fn choice_does_not_depend_on_the_order_of_agents(
        case in any_case(), agents in prop::collection::vec(any_agent(), 0..8), turn in 0usize..8,
    ) {
        let agents = numbered(agents);
        let mut turned = agents.clone();
        turned.reverse();
        if !turned.is_empty() { let at = turn % turned.len(); turned.rotate_left(at); }
        let now = UnixMillis(1_200_000);
        prop_assert_eq!(choose(&case, &agents, now), choose(&case, &turned, now));
    }

    #[test]
    fn capacity_holds_and_no_able_agent_idles_while_a_case_waits(
        cases in prop::collection::vec(any_case(), 0..12), agents in prop::collection::vec(any_agent(), 0..8),
    ) {
        let mut cases = cases;
        cases.sort_by(|a, b| a.case_id.cmp(&b.case_id));
        cases.dedup_by(|a, b| a.case_id == b.case_id);
        let before = numbered(agents);
        let mut after = before.clone();
        let now = UnixMillis(1_200_000);
        let assignments = assign_waiting(&cases, &mut after, now);
        for (old, new) in before.iter().zip(&after) {
            prop_assert!(new.assigned <= new.capacity.max(old.assigned));
            let gained = assignments.iter().filter(|a| a.agent_id == new.agent_id).count() as u32;
            prop_assert_eq!(new.assigned, old.assigned + gained);
        }
        let mut ids: Vec<&str> = assignments.iter().map(|a| a.case_id.as_str()).collect();
        ids.sort_unstable();
        prop_assert!(ids.windows(2).all(|pair| pair[0] != pair[1]), "no case is given twice");
        for case in cases.iter().filter(|case| !ids.contains(&case.case_id.as_str())) {
            prop_assert!(after.iter().all(|agent| !agent.ineligibility(case, now).is_empty()));
        }
        let mut reversed = cases.clone();
        reversed.reverse();
        let mut again = before.clone();
        again.reverse();
        prop_assert_eq!(assign_waiting(&reversed, &mut again, now), assignments);
    }
}
