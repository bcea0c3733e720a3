//! A queue played call by call: who is answered when, by whom, and who gives up first. The calls are
//! real ones or drawn ones; nothing here is random.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};

/// Most calls of one replay; each takes about 100 bytes while it runs.
pub const CALLS_MAX: usize = 50_000_000;
/// Most agents of one replay.
pub const REPLAY_AGENTS_MAX: u32 = super::AGENTS_STAFFED_MAX;
/// Most classes of calls; choosing looks at the head of each.
pub const CLASSES_MAX: usize = 1_024;

/// One call to be played.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Call {
    /// When it comes, in seconds from the start; finite, `>= 0`.
    pub arrival_seconds: f64,
    /// How long it keeps its agent, in seconds; finite, `>= 0`.
    pub service_seconds: f64,
    /// How long it waits before it gives up, in seconds; `>= 0`, infinite for endless patience.
    pub patience_seconds: f64,
    /// Index of its class.
    pub class: usize,
}

/// What calls have in common.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct CallClass {
    /// Higher goes first under [`Policy::StaticPriority`].
    pub priority: i64,
    /// What a wait of `w` seconds costs is this, times `w²`; finite, `> 0`.
    pub cost: f64,
    /// Mean service, in seconds; finite, `> 0`.
    pub mean_service_seconds: f64,
}

/// Which call a free agent takes, and which free agent takes a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Policy {
    /// The call that came first; the free agent of the lowest number.
    Fifo,
    /// The call of the highest priority, then the one that came first.
    StaticPriority,
    /// The call that came first; the agent who has been free for longest, so that work is even.
    LongestIdle,
    /// The call whose waiting costs most per second of an agent's time: class cost times wait over
    /// mean service. The generalised cμ rule for quadratic costs, optimal in heavy traffic: van
    /// Mieghem, "Dynamic scheduling with convex delay costs", 1995; Mandelbaum and Stolyar, 2004.
    Cost,
}

impl Policy {
    /// Every policy, simplest first.
    pub const ALL: [Self; 4] = [
        Self::Fifo,
        Self::StaticPriority,
        Self::LongestIdle,
        Self::Cost,
    ];

    /// Returns the name: `fifo, static-priority, longest-idle, cost`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Fifo => "fifo",
            Self::StaticPriority => "static-priority",
            Self::LongestIdle => "longest-idle",
            Self::Cost => "cost",
        }
    }

    /// Returns the policy of a name, or `None` for another word.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|policy| policy.name() == name)
    }
}

/// Who serves, and by which rule.
#[derive(Debug, Clone, Copy)]
pub struct Queue<'a> {
    /// Agents, all of them always on duty and able to take every call.
    pub agents: u32,
    /// The rule.
    pub policy: Policy,
    /// The classes that calls point to.
    pub classes: &'a [CallClass],
}

/// How a call ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// An agent took it: the one of this number.
    Answered(u32),
    /// The person hung up first.
    GaveUp,
}

/// What became of a call.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Outcome {
    /// Seconds until the answer, or until giving up.
    pub wait_seconds: f64,
    /// How it ended.
    pub fate: Fate,
}

/// Why a replay was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ReplayError {
    /// Nobody to answer, or more than are played.
    #[error("a replay needs 1 to {REPLAY_AGENTS_MAX} agents, not {0}")]
    Agents(u32),
    /// Too many calls.
    #[error("a replay takes at most {CALLS_MAX} calls, not {0}")]
    Calls(usize),
    /// Too many classes.
    #[error("a replay takes at most {CLASSES_MAX} classes of calls, not {0}")]
    Classes(usize),
    /// A call of this index has a time that is none, comes before its predecessor, or has no class.
    #[error("call {0} has no sound times or class, or comes before its predecessor")]
    Call(usize),
}

/// Plays calls, given in the order of their arrival, and returns what became of each.
///
/// * Agents never idle while somebody waits. A person whose patience ends in the very moment in which
///   an agent is free is answered. Equal calls go by their place in `calls`: the order is total.
/// * Cost: `O(calls · (log(agents) + classes))`; memory `O(calls + agents)`.
///
/// # Errors
/// A limit is broken, or a call is not sound.
pub fn replay(calls: &[Call], queue: &Queue<'_>) -> Result<Vec<Outcome>, ReplayError> {
    check(calls, queue)?;
    let mut floor = Floor::open(calls, queue);
    for (number, call) in calls.iter().enumerate() {
        floor.free_until(call.arrival_seconds);
        match floor.idle.pop() {
            Some(Reverse((_, agent))) => floor.answer(number, agent, call.arrival_seconds),
            None => floor.waiting[call.class].push_back(number),
        }
    }
    floor.free_until(f64::INFINITY);
    Ok(floor.outcomes)
}

fn check(calls: &[Call], queue: &Queue<'_>) -> Result<(), ReplayError> {
    if !(1..=REPLAY_AGENTS_MAX).contains(&queue.agents) {
        return Err(ReplayError::Agents(queue.agents));
    }
    if calls.len() > CALLS_MAX {
        return Err(ReplayError::Calls(calls.len()));
    }
    if queue.classes.len() > CLASSES_MAX {
        return Err(ReplayError::Classes(queue.classes.len()));
    }
    let time = |seconds: f64| seconds.is_finite() && seconds >= 0.0;
    let mut before = 0.0;
    for (number, call) in calls.iter().enumerate() {
        let sound = time(call.arrival_seconds)
            && time(call.service_seconds)
            && call.patience_seconds >= 0.0
            && call.class < queue.classes.len()
            && call.arrival_seconds >= before;
        if !sound {
            return Err(ReplayError::Call(number));
        }
        before = call.arrival_seconds;
    }
    Ok(())
}

/// A moment as a number that orders as it does: bits of floats `>= 0` do.
fn order(seconds: f64) -> u64 {
    // Adding 0 turns -0, whose bits are the largest, into 0.
    (seconds + 0.0).to_bits()
}

/// The room with its agents and its queues, at one moment.
struct Floor<'a> {
    calls: &'a [Call],
    queue: &'a Queue<'a>,
    /// Agents on a call, by the moment they will be free.
    busy: BinaryHeap<Reverse<(u64, u32)>>,
    /// Free agents, the next to be asked on top.
    idle: BinaryHeap<Reverse<(u64, u32)>>,
    /// Calls by class, in order of arrival; those who gave up are found when they come to the head.
    waiting: Vec<VecDeque<usize>>,
    outcomes: Vec<Outcome>,
}

impl<'a> Floor<'a> {
    fn open(calls: &'a [Call], queue: &'a Queue<'a>) -> Self {
        let unknown = Outcome {
            wait_seconds: 0.0,
            fate: Fate::GaveUp,
        };
        Self {
            calls,
            queue,
            busy: BinaryHeap::new(),
            idle: (0..queue.agents).map(|agent| Reverse((0, agent))).collect(),
            waiting: vec![VecDeque::new(); queue.classes.len()],
            outcomes: vec![unknown; calls.len()],
        }
    }

    /// Lets agents finish up to a moment, each taking the next call at once.
    fn free_until(&mut self, seconds: f64) {
        while let Some(&Reverse((free_at, agent))) = self.busy.peek()
            && free_at <= order(seconds)
        {
            self.busy.pop();
            let now = f64::from_bits(free_at);
            match self.next(now) {
                Some(call) => self.answer(call, agent, now),
                None => {
                    let since = match self.queue.policy {
                        Policy::LongestIdle => free_at,
                        Policy::Fifo | Policy::StaticPriority | Policy::Cost => 0,
                    };
                    self.idle.push(Reverse((since, agent)));
                }
            }
        }
    }

    fn answer(&mut self, call: usize, agent: u32, now: f64) {
        self.outcomes[call] = Outcome {
            wait_seconds: now - self.calls[call].arrival_seconds,
            fate: Fate::Answered(agent),
        };
        let done = now + self.calls[call].service_seconds;
        self.busy.push(Reverse((order(done), agent)));
    }

    /// Takes the next call out of the queues, and everybody out of its way who gave up before now.
    fn next(&mut self, now: f64) -> Option<usize> {
        let mut best: Option<(usize, f64)> = None;
        for class in 0..self.waiting.len() {
            while let Some(&call) = self.waiting[class].front() {
                let patience = self.calls[call].patience_seconds;
                if now - self.calls[call].arrival_seconds <= patience {
                    let worth = self.worth(call, now);
                    let first = best.is_none_or(|(other, most)| {
                        // Numbers are in order of arrival: they break every tie.
                        worth.total_cmp(&most).then(other.cmp(&call)).is_gt()
                    });
                    if first {
                        best = Some((call, worth));
                    }
                    break;
                }
                self.waiting[class].pop_front();
                self.outcomes[call].wait_seconds = patience;
            }
        }
        let (call, _) = best?;
        self.waiting[self.calls[call].class].pop_front()
    }

    /// How urgent a waiting call is, beside others of other classes; in a class the oldest is.
    fn worth(&self, call: usize, now: f64) -> f64 {
        let class = &self.queue.classes[self.calls[call].class];
        match self.queue.policy {
            Policy::Fifo | Policy::LongestIdle => 0.0,
            Policy::StaticPriority => class.priority as f64,
            Policy::Cost => {
                let wait = now - self.calls[call].arrival_seconds;
                class.cost * wait / class.mean_service_seconds
            }
        }
    }
}

#[cfg(test)]
mod tests;
