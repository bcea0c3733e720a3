//! Queues played by hand, and laws.

use super::*;
use proptest::prelude::*;

fn class(priority: i64, cost: f64) -> CallClass {
    CallClass {
        priority,
        cost,
        mean_service_seconds: 10.0,
    }
}

/// Calls as `(arrival, service, patience, class)`.
fn calls(rows: &[(f64, f64, f64, usize)]) -> Vec<Call> {
    let call = |&(arrival_seconds, service_seconds, patience_seconds, class)| Call {
        arrival_seconds,
        service_seconds,
        patience_seconds,
        class,
    };
    rows.iter().map(call).collect()
}

#[track_caller]
fn check_waits(policy: Policy, agents: u32, rows: &[(f64, f64, f64, usize)], expected: &[f64]) {
    let classes = [class(0, 1.0), class(5, 4.0)];
    let queue = Queue {
        agents,
        policy,
        classes: &classes,
    };
    let found = replay(&calls(rows), &queue).unwrap();
    // Those who give up are written with a minus.
    let waits: Vec<f64> = found
        .iter()
        .map(|it| match it.fate {
            Fate::Answered(_) => it.wait_seconds,
            Fate::GaveUp => -it.wait_seconds,
        })
        .collect();
    assert_eq!(waits, expected, "{policy:?}");
}

const ENDLESS: f64 = f64::INFINITY;

#[test]
fn one_agent_by_hand() {
    // 0..10 the first; the second hangs up at 1 + 5; 10..20 and on by policy.
    let rows = [
        (0.0, 10.0, ENDLESS, 0),
        (1.0, 10.0, 5.0, 0),
        (2.0, 10.0, ENDLESS, 0),
        (4.0, 10.0, ENDLESS, 1),
        (5.0, 10.0, 15.0, 0),
    ];
    check_waits(Policy::Fifo, 1, &rows, &[0.0, -5.0, 8.0, 16.0, -15.0]);
    check_waits(
        Policy::LongestIdle,
        1,
        &rows,
        &[0.0, -5.0, 8.0, 16.0, -15.0],
    );
    // At 10 the fourth goes first, at 20 the third, and the last is answered at its very limit? 30 > 20.
    check_waits(
        Policy::StaticPriority,
        1,
        &rows,
        &[0.0, -5.0, 18.0, 6.0, -15.0],
    );
    // At 10: 1 · 8 against 4 · 6.
    check_waits(Policy::Cost, 1, &rows, &[0.0, -5.0, 18.0, 6.0, -15.0]);
    // Patience that ends as the agent gets free is enough.
    check_waits(
        Policy::Fifo,
        1,
        &[(0.0, 10.0, 0.0, 0), (3.0, 1.0, 7.0, 0)],
        &[0.0, 7.0],
    );
}

#[test]
fn cost_lets_the_cheap_go_first_once_they_have_waited_long() {
    // At 100: 1 · 99 against 4 · 20.
    let rows = [
        (0.0, 100.0, ENDLESS, 0),
        (1.0, 10.0, ENDLESS, 0),
        (80.0, 10.0, ENDLESS, 1),
    ];
    check_waits(Policy::Cost, 1, &rows, &[0.0, 99.0, 30.0]);
    check_waits(Policy::StaticPriority, 1, &rows, &[0.0, 109.0, 20.0]);
}

#[test]
fn the_longest_idle_agent_is_asked() {
    let rows = calls(&[(0.0, 1.0, 0.0, 0), (2.0, 1.0, 0.0, 0), (4.0, 1.0, 0.0, 0)]);
    let agents = |policy| -> Vec<Fate> {
        let classes = [class(0, 1.0)];
        let queue = Queue {
            agents: 2,
            policy,
            classes: &classes,
        };
        replay(&rows, &queue)
            .unwrap()
            .iter()
            .map(|it| it.fate)
            .collect()
    };
    let answered = |agents: [u32; 3]| agents.map(Fate::Answered).to_vec();
    assert_eq!(agents(Policy::Fifo), answered([0, 0, 0]));
    // Agent 1 has been free since the start, agent 0 since second 1.
    assert_eq!(agents(Policy::LongestIdle), answered([0, 1, 0]));
}

#[test]
fn what_is_not_sound_is_refused() {
    let classes = [class(0, 1.0)];
    let queue = Queue {
        agents: 1,
        policy: Policy::Fifo,
        classes: &classes,
    };
    let found = |rows: &[(f64, f64, f64, usize)]| replay(&calls(rows), &queue).unwrap_err();
    assert_eq!(found(&[(0.0, 1.0, 1.0, 1)]), ReplayError::Call(0));
    assert_eq!(
        found(&[(2.0, 1.0, 1.0, 0), (1.0, 1.0, 1.0, 0)]),
        ReplayError::Call(1)
    );
    assert_eq!(found(&[(0.0, f64::NAN, 1.0, 0)]), ReplayError::Call(0));
    assert_eq!(found(&[(0.0, 1.0, f64::NAN, 0)]), ReplayError::Call(0));
    let nobody = Queue { agents: 0, ..queue };
    assert_eq!(replay(&[], &nobody), Err(ReplayError::Agents(0)));
    assert_eq!(replay(&[], &queue), Ok(Vec::new()));
    for policy in Policy::ALL {
        assert_eq!(Policy::parse(policy.name()), Some(policy));
    }
}

fn any_calls() -> impl Strategy<Value = Vec<Call>> {
    let row = (0u32..10, 0u32..30, 0u32..60, 0usize..2);
    prop::collection::vec(row, 1..80).prop_map(|rows| {
        let mut now = 0.0;
        let rows: Vec<_> = rows
            .into_iter()
            .map(|(gap, service, patience, class)| {
                now += f64::from(gap);
                (now, f64::from(service), f64::from(patience), class)
            })
            .collect();
        calls(&rows)
    })
}

proptest! {
    #[test]
    fn nobody_is_lost_and_agents_do_one_thing_at_a_time(rows in any_calls(), agents in 1u32..5, which in 0usize..4) {
        let classes = [class(0, 1.0), class(5, 4.0)];
        let queue = Queue { agents, policy: Policy::ALL[which], classes: &classes };
        let found = replay(&rows, &queue).unwrap();
        prop_assert_eq!(found.len(), rows.len());
        let mut work: Vec<Vec<(f64, f64)>> = vec![Vec::new(); agents as usize];
        for (call, it) in rows.iter().zip(&found) {
            prop_assert!(it.wait_seconds >= 0.0 && it.wait_seconds <= call.patience_seconds);
            match it.fate {
                Fate::Answered(agent) => {
                    let start = call.arrival_seconds + it.wait_seconds;
                    work[agent as usize].push((start, start + call.service_seconds));
                }
                Fate::GaveUp => prop_assert_eq!(it.wait_seconds, call.patience_seconds),
            }
        }
        for mut spans in work {
            spans.sort_by(|a, b| a.0.total_cmp(&b.0).then(a.1.total_cmp(&b.1)));
            prop_assert!(spans.windows(2).all(|pair| pair[0].1 <= pair[1].0));
        }
    }

    #[test]
    fn an_agent_is_free_only_if_nobody_waits(rows in any_calls(), agents in 1u32..4, which in 0usize..4) {
        let classes = [class(0, 1.0), class(5, 4.0)];
        let queue = Queue { agents, policy: Policy::ALL[which], classes: &classes };
        let found = replay(&rows, &queue).unwrap();
        for (number, (call, it)) in rows.iter().zip(&found).enumerate() {
            if it.wait_seconds > 0.0 {
                // Just after it came, and with everybody before it, all agents were on calls.
                let moment = call.arrival_seconds;
                let busy = rows.iter().zip(&found).enumerate().filter(|(other, (theirs, them))| {
                    let start = theirs.arrival_seconds + them.wait_seconds;
                    matches!(them.fate, Fate::Answered(_)) && *other != number
                        && start <= moment && moment < start + theirs.service_seconds
                });
                prop_assert_eq!(busy.count(), agents as usize);
            }
        }
    }

    #[test]
    fn without_impatience_the_work_done_is_the_same_by_every_policy(rows in any_calls(), agents in 1u32..4) {
        let classes = [class(0, 1.0), class(5, 4.0)];
        // Equal services: then even the sum of waits is the same, whoever goes first.
        let rows: Vec<Call> =
            rows.into_iter().map(|call| Call { service_seconds: 7.0, patience_seconds: ENDLESS, ..call }).collect();
        let waits = |policy| -> f64 {
            let queue = Queue { agents, policy, classes: &classes };
            replay(&rows, &queue).unwrap().iter().map(|it| it.wait_seconds).sum()
        };
        let first = waits(Policy::Fifo);
        for policy in Policy::ALL {
            prop_assert_eq!(waits(policy), first);
        }
    }
}
