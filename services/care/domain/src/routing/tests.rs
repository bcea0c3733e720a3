//! Choices worked by hand, and the laws of routing.

use std::collections::BTreeSet;

use proptest::prelude::*;

use super::*;
use crate::agent::SKILL_RELAX_MS;

/// A calm Chinese case about anything that has waited since `waiting_since`.
fn a_case(case_id: &str, waiting_since: i64) -> QueuedCase {
    QueuedCase {
        case_id: case_id.to_owned(),
        language: "zh".to_owned(),
        intent: "refund".to_owned(),
        base_points: 0,
        waiting_since: UnixMillis(waiting_since),
    }
}

fn an_agent(agent_id: &str, languages: &[&str], skills: &[&str]) -> Agent {
    Agent {
        agent_id: agent_id.to_owned(),
        languages: languages.iter().map(|code| (*code).to_owned()).collect(),
        skills: skills.iter().map(|skill| (*skill).to_owned()).collect(),
        presence: Presence::Online,
        capacity: 3,
        load: 0,
        idle_since: UnixMillis(0),
    }
}

const ZH: &[&str] = &["zh"];
const NOW: UnixMillis = UnixMillis(60_000);

#[test]
fn order_is_specialist_then_load_then_idle_then_id() {
    let case = a_case("c1", 0);
    let chosen = |agents: &[Agent]| choose(&case, agents, NOW).agent;
    let expert = Agent {
        load: 2,
        ..an_agent("z", ZH, &["refund"])
    };
    let generalist = an_agent("a", ZH, &[]);
    assert_eq!(chosen(&[generalist.clone(), expert]), Ok("z".to_owned()));
    // 1 of 3 is less than 1 of 2.
    let large = Agent {
        load: 1,
        ..an_agent("z", ZH, &[])
    };
    let small = Agent {
        load: 1,
        capacity: 2,
        ..generalist.clone()
    };
    assert_eq!(chosen(&[small, large]), Ok("z".to_owned()));
    let rested = Agent {
        agent_id: "z".to_owned(),
        idle_since: UnixMillis(-5),
        ..generalist.clone()
    };
    assert_eq!(chosen(&[generalist.clone(), rested]), Ok("z".to_owned()));
    let twin = Agent {
        agent_id: "b".to_owned(),
        ..generalist.clone()
    };
    assert_eq!(chosen(&[twin, generalist]), Ok("a".to_owned()));
}

#[test]
fn every_other_agent_is_told_why_not() {
    let agents = [
        an_agent("f", ZH, &["refund"]),
        an_agent("e", ZH, &[]),
        an_agent("d", ZH, &["payment"]),
        an_agent("c", &["en"], &[]),
        Agent {
            load: 3,
            ..an_agent("b", ZH, &[])
        },
        Agent {
            presence: Presence::Away,
            ..an_agent("a", ZH, &[])
        },
    ];
    let decision = choose(&a_case("c1", 0), &agents, NOW);
    assert_eq!(decision.agent, Ok("f".to_owned()));
    let reasons: Vec<String> = decision.reasons.iter().map(ToString::to_string).collect();
    assert_eq!(
        reasons,
        [
            "speaks zh",
            "is a specialist for refund",
            "has 0 of 3 cases",
            "has been free for 60 s",
        ]
    );
    let rejected: Vec<(&str, &str)> = decision
        .rejected
        .iter()
        .map(|(id, why)| (id.as_str(), why.code()))
        .collect();
    assert_eq!(
        rejected,
        [
            ("a", "OFFLINE"),
            ("b", "AT_CAPACITY"),
            ("c", "LANGUAGE"),
            ("d", "SKILL"),
            ("e", "OUTRANKED"),
        ]
    );
}

#[test]
fn queue_reason_is_the_first_gate_that_nobody_passes() {
    let able = an_agent("a", ZH, &["refund"]);
    for (agents, reason) in [
        (vec![], QueueReason::NobodySpeaksLanguage),
        (
            vec![an_agent("a", &["en"], &[])],
            QueueReason::NobodySpeaksLanguage,
        ),
        (
            vec![an_agent("a", ZH, &["payment"])],
            QueueReason::NobodyHandlesIntent,
        ),
        (
            vec![Agent {
                presence: Presence::Offline,
                ..able.clone()
            }],
            QueueReason::NobodyOnline,
        ),
        (
            vec![Agent {
                load: 3,
                ..able.clone()
            }],
            QueueReason::EverybodyBusy,
        ),
        (
            vec![Agent {
                capacity: 0,
                ..able
            }],
            QueueReason::EverybodyBusy,
        ),
    ] {
        assert_eq!(choose(&a_case("c1", 0), &agents, NOW).agent, Err(reason));
    }
}

#[test]
fn skill_is_forgotten_after_a_long_wait_but_language_is_not() {
    let other = [an_agent("a", ZH, &["payment"])];
    let stranger = [an_agent("a", &["en"], &["refund"])];
    let case = a_case("c1", 0);
    let (before, after) = (UnixMillis(SKILL_RELAX_MS - 1), UnixMillis(SKILL_RELAX_MS));
    assert_eq!(
        choose(&case, &other, before).agent,
        Err(QueueReason::NobodyHandlesIntent)
    );
    let late = choose(&case, &other, after);
    assert_eq!(late.agent, Ok("a".to_owned()));
    assert!(late.reasons.contains(&RouteReason::SkillRelaxed));
    assert_eq!(
        choose(&case, &stranger, after).agent,
        Err(QueueReason::NobodySpeaksLanguage)
    );
    let of_no_language = QueuedCase {
        language: String::new(),
        ..case
    };
    assert_eq!(
        choose(&of_no_language, &stranger, before).agent,
        Ok("a".to_owned())
    );
}

#[test]
fn next_case_is_the_most_pressing_that_the_agent_can_take() {
    let angry = QueuedCase {
        base_points: 300,
        ..a_case("angry", 50_000)
    };
    let english = QueuedCase {
        language: "en".to_owned(),
        base_points: 900,
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
        load: 3,
        ..agent.clone()
    };
    assert_eq!(next_case(&queue, &full, NOW), None);
}

const INTENTS: [&str; 3] = ["other", "refund", "payment"];
const LANGUAGES: [&str; 3] = ["zh", "en", ""];

prop_compose! {
    fn any_case()(
        id in 0u32..1000, intent in 0usize..3, language in 0usize..3,
        base_points in 0i64..900, since in 0i64..1_200_000,
    ) -> QueuedCase {
        QueuedCase {
            intent: INTENTS[intent].to_owned(), language: LANGUAGES[language].to_owned(),
            base_points, ..a_case(&format!("c{id}"), since)
        }
    }
}

prop_compose! {
    fn any_agents()(rows in prop::collection::vec(
        (0usize..4, 0usize..4, any::<bool>(), 0u32..4, 0u32..4, 0i64..3), 0..8,
    )) -> Vec<Agent> {
        rows.into_iter().enumerate().map(|(n, (speaks, handles, online, capacity, load, idle))| {
            let presence = if online { Presence::Online } else { Presence::Offline };
            let subset = |bits: usize, of: [&str; 2]| -> BTreeSet<String> {
                (0..2).filter(|bit| bits >> bit & 1 == 1).map(|bit| of[bit].to_owned()).collect()
            };
            Agent {
                agent_id: format!("a{n}"), languages: subset(speaks, ["zh", "en"]),
                skills: subset(handles, ["refund", "payment"]), presence, capacity,
                load: load.min(capacity), idle_since: UnixMillis(idle),
            }
        }).collect()
    }
}

proptest! {
    #[test]
    fn choice_does_not_depend_on_the_order_of_agents(case in any_case(), agents in any_agents(), turn in 0usize..8) {
        let mut turned = agents.clone();
        turned.reverse();
        if !turned.is_empty() { let at = turn % turned.len(); turned.rotate_left(at); }
        let now = UnixMillis(1_200_000);
        prop_assert_eq!(choose(&case, &agents, now), choose(&case, &turned, now));
    }

    #[test]
    fn the_chosen_may_take_it_and_everybody_else_has_a_reason(case in any_case(), agents in any_agents()) {
        let now = UnixMillis(1_200_000);
        let decision = choose(&case, &agents, now);
        let able = agents.iter().filter(|agent| agent.eligible(&case, now).is_ok()).count();
        prop_assert_eq!(decision.agent.is_ok(), able > 0, "no able agent idles while a case waits");
        if let Ok(chosen) = &decision.agent {
            let agent = agents.iter().find(|agent| &agent.agent_id == chosen);
            prop_assert!(agent.is_some_and(|agent| agent.load < agent.capacity));
        }
        prop_assert_eq!(decision.rejected.len(), agents.len() - usize::from(able > 0));
    }

    #[test]
    fn taking_the_next_case_again_and_again_empties_what_the_agent_can_take(
        queue in prop::collection::vec(any_case(), 0..12), agents in any_agents(),
    ) {
        let now = UnixMillis(1_200_000);
        for agent in agents {
            let (mut agent, mut queue) = (Agent { capacity: 20, ..agent }, queue.clone());
            let mut last = i64::MAX;
            while let Some(next) = next_case(&queue, &agent, now).cloned() {
                prop_assert!(next.rank() <= last, "most urgent first");
                last = next.rank();
                queue.retain(|case| case != &next);
                agent.load += 1;
                prop_assert!(agent.load <= agent.capacity);
            }
            prop_assert!(queue.iter().all(|case| agent.eligible(case, now).is_err()));
        }
    }
}
