//! Two real processes on one Postgres race for the same cases and agents; one falls asleep and wakes,
//! the other is killed. No case may have two agents, no agent more than it can take, and in the end
//! every case has an agent or a reason to wait.

use std::collections::HashMap;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use rapport_api::care::v1 as pb;
use rapport_api::care::v1::agent_service_client::AgentServiceClient;
use rapport_api::care::v1::case_service_client::CaseServiceClient;
use rapport_flow::testing::FakeLog;
use rapport_store::Db;
use rapport_store::testing::{Engine, TestDb, free_port};
use rapport_types::SubjectId;
use tokio::task::JoinHandle;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Status};

use crate::support::{Row, an_agent, new_id, opening, rows};

const CASES: usize = 500;
const AGENTS: usize = 8;
const CAPACITY: u32 = 5;
const OPENERS: usize = 8;
const CLAIMERS: usize = 8;
const FINISHERS: usize = 3;
/// How long one try of one call may take before the other router is asked.
const TRY_MAX: Duration = Duration::from_secs(1);
/// The pause before the next try.
const TRY_PAUSE: Duration = Duration::from_millis(10);
/// How long anything may take: far above what it does.
pub(crate) const PATIENCE: Duration = Duration::from_secs(120);

/// One router.
pub(crate) struct Process {
    child: Child,
    pub(crate) channel: Channel,
}

impl Process {
    pub(crate) async fn start(url: &str, profile: &str, more: &[&str]) -> Self {
        let port = free_port();
        let child = Command::new(env!("CARGO_BIN_EXE_rapport-care"))
            .args(["--listen", &format!("127.0.0.1:{port}"), "--log", "off"])
            .args(["--database-url", url, "--profile-url", profile])
            .args(["--database-connections-max", "8", "--data", "/nonexistent"])
            .args(more)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        let endpoint = Endpoint::from_shared(format!("http://127.0.0.1:{port}")).unwrap();
        let channel = endpoint.connect_timeout(TRY_MAX).connect_lazy();
        let process = Self { child, channel };
        let asked = Instant::now();
        let mut agents = AgentServiceClient::new(process.channel.clone());
        while agents.get_queue(pb::GetQueueRequest {}).await.is_err() {
            assert!(asked.elapsed() < PATIENCE, "a router does not start");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        process
    }

    /// Kills it, as `kill -9` does.
    pub(crate) fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    #[expect(unsafe_code, reason = "a signal to our own child")]
    fn signal(&self, signal: i32) {
        // SAFETY: `kill` takes two numbers; the child is ours and was not waited for.
        assert_eq!(unsafe { libc::kill(self.child.id() as i32, signal) }, 0);
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What the clients share.
struct Race {
    routers: [Channel; 2],
    db: Db,
    opened: AtomicUsize,
    over: AtomicBool,
    /// Who was told to have which case under which epoch.
    told: Mutex<HashMap<(Vec<u8>, u64), String>>,
    wrongs: Mutex<Vec<String>>,
}

impl Race {
    /// Calls one router and then the other until one answers; the request id makes it one effect.
    async fn call<T, F: Future<Output = Result<tonic::Response<T>, Status>>>(
        &self,
        first: usize,
        ask: impl Fn(Channel) -> F,
    ) -> Result<T, Status> {
        let began = Instant::now();
        let mut turn = first;
        loop {
            let answer = tokio::time::timeout(TRY_MAX, ask(self.routers[turn % 2].clone())).await;
            match answer {
                Ok(Ok(response)) => return Ok(response.into_inner()),
                Ok(Err(status)) if is_final(&status) => return Err(status),
                Ok(Err(_)) | Err(_) => turn += 1,
            }
            assert!(began.elapsed() < PATIENCE, "no router answers");
            // Not all at once to the one that is left.
            tokio::time::sleep(TRY_PAUSE).await;
        }
    }

    /// Notes who was told to have a case, and whether somebody else was told the same.
    fn note(&self, case: &pb::Case) {
        if case.state() != pb::CaseState::Assigned {
            return;
        }
        let place = (case.case_id.clone(), case.epoch);
        let before = self
            .told
            .lock()
            .unwrap()
            .insert(place, case.agent_id.clone());
        if before.is_some_and(|before| before != case.agent_id) {
            self.wrongs
                .lock()
                .unwrap()
                .push("one case was given to two agents".to_owned());
        }
    }

    async fn open(&self, number: usize) {
        let request = opening(SubjectId::new([number as u8; 16]), "我要退款");
        let ask = |channel| {
            let request = request.clone();
            async move { CaseServiceClient::new(channel).open_case(request).await }
        };
        let opened = self.call(number, ask).await.unwrap();
        self.note(&opened.case.unwrap());
        self.opened.fetch_add(1, Ordering::SeqCst);
    }

    async fn claim(&self, number: usize) {
        let agent_id = format!("a{}", number % AGENTS);
        let request = pb::ClaimCaseRequest {
            request_id: new_id(),
            agent_id,
        };
        let ask = |channel| {
            let request = request.clone();
            async move { AgentServiceClient::new(channel).claim_case(request).await }
        };
        if let Some(case) = self.call(number, ask).await.unwrap().case {
            self.note(&case);
        }
    }

    /// Ends a case that an agent has. That the agent lost it meanwhile is no wrong.
    async fn finish(&self, number: usize) {
        let open: Vec<(Vec<u8>, i64, String)> = self
            .rows("select case_id, epoch, agent_id from assignments where ended_at_ms is null order by case_id")
            .await;
        let Some((case_id, epoch, agent_id)) = open.get(number % open.len().max(1)).cloned() else {
            return;
        };
        let request = pb::EndCaseRequest {
            request_id: new_id(),
            case_id,
            state: pb::CaseState::Resolved.into(),
            agent_id,
            epoch: epoch as u64,
        };
        let ask = |channel| {
            let request = request.clone();
            async move { CaseServiceClient::new(channel).end_case(request).await }
        };
        // STALE_EPOCH or STATE_FORBIDS: another finisher was there first.
        let _ = self.call(number, ask).await;
    }

    /// Looks whether the invariants hold in one snapshot of the database.
    async fn look(&self) {
        let overloaded: Vec<(String, i32, i64)> = self
            .rows(
                "select agent_id, a.load, (select count(*) from cases c
                    where c.agent_id = a.agent_id and c.state in (2, 3)) from agents a
                where a.load > a.capacity or a.load <> (select count(*) from cases c
                    where c.agent_id = a.agent_id and c.state in (2, 3))",
            )
            .await;
        let mut wrongs = self.wrongs.lock().unwrap();
        wrongs.extend(
            overloaded
                .iter()
                .map(|found| format!("load of an agent: {found:?}")),
        );
    }

    /// Looks at every case once all is quiet.
    async fn settle(&self) {
        self.look().await;
        // A case has an open assignment, the same one, exactly if it has an agent.
        let odd: Vec<(Vec<u8>, i32)> = self
            .rows(
                "select c.case_id, c.state from cases c left join assignments o
                    on o.case_id = c.case_id and o.ended_at_ms is null
                where case when c.state in (2, 3)
                    then o.agent_id is null or o.agent_id <> c.agent_id or o.epoch <> c.epoch
                    else o.agent_id is not null end",
            )
            .await;
        let forgotten: Vec<(Vec<u8>, i32)> = self
            .rows("select case_id, state from cases where state = 1 and queue_reason = ''")
            .await;
        let mut wrongs = self.wrongs.lock().unwrap();
        wrongs.extend(
            odd.iter()
                .map(|(_, state)| format!("assignment of a case in state {state}")),
        );
        wrongs.extend(
            forgotten
                .iter()
                .map(|_| "a case waits without a reason".to_owned()),
        );
    }

    async fn rows<T: Row>(&self, text: &'static str) -> Vec<T> {
        rows(&self.db, text).await
    }

    /// Waits until no waiting case fits an agent with room: everybody here fits everything.
    async fn quiet(&self) {
        let began = Instant::now();
        loop {
            let free: Vec<(i64,)> = self
                .rows("select count(*) from agents where load < capacity and presence = 1")
                .await;
            let waiting: Vec<(i64,)> = self
                .rows("select count(*) from cases where state = 1")
                .await;
            if free[0].0 == 0 || waiting[0].0 == 0 {
                return;
            }
            assert!(
                began.elapsed() < PATIENCE,
                "a case waits while an able agent is idle"
            );
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
}

/// Whether asking again, or elsewhere, would change nothing. A router that wakes up to many calls that
/// were given up meanwhile may also close the connection, which is no answer.
fn is_final(status: &Status) -> bool {
    [
        Code::InvalidArgument,
        Code::NotFound,
        Code::AlreadyExists,
        Code::FailedPrecondition,
        Code::PermissionDenied,
        Code::Internal,
    ]
    .contains(&status.code())
        || rapport_rpc::reason_of(status).as_deref() == Some("STALE_EPOCH")
}

/// Breaks routers as the race goes on.
#[derive(Clone, Copy)]
enum Nemesis {
    /// One sleeps from the 100th case to the 200th and the other is killed at the 300th.
    PauseAndKill,
    Nothing,
}

async fn race(nemesis: Nemesis, more: &[&str]) -> Vec<String> {
    let home = TestDb::create(Engine::Postgres).await;
    let (_log, profile) = FakeLog::serve().await;
    let mut killed = Process::start(home.url(), &profile, more).await;
    let paused = Process::start(home.url(), &profile, more).await;
    let race = Arc::new(Race {
        routers: [killed.channel.clone(), paused.channel.clone()],
        db: home.open().await,
        opened: AtomicUsize::new(0),
        over: AtomicBool::new(false),
        told: Mutex::default(),
        wrongs: Mutex::default(),
    });
    for agent in 0..AGENTS {
        let agent = Some(an_agent(&format!("a{agent}"), CAPACITY));
        let request = pb::UpsertAgentRequest {
            request_id: new_id(),
            agent,
        };
        let mut agents = AgentServiceClient::new(killed.channel.clone());
        agents.upsert_agent(request).await.unwrap();
    }
    let (openers, others) = spawn_clients(&race);
    if matches!(nemesis, Nemesis::PauseAndKill) {
        reach(&race, 100).await;
        paused.signal(libc::SIGSTOP);
        reach(&race, 200).await;
        paused.signal(libc::SIGCONT);
        reach(&race, 300).await;
        killed.kill();
    }
    for opener in openers {
        opener.await.unwrap();
    }
    race.over.store(true, Ordering::SeqCst);
    for other in others {
        other.await.unwrap();
    }
    let guarded = more.is_empty();
    if guarded {
        race.quiet().await;
    }
    race.settle().await;
    let cases: Vec<(i64,)> = race.rows("select count(*) from cases").await;
    assert_eq!(
        cases[0].0, CASES as i64,
        "each opened once, whoever answered"
    );
    let given: Vec<(i64,)> = race.rows("select count(*) from assignments").await;
    let at_once = AGENTS as i64 * i64::from(CAPACITY);
    assert!(
        !guarded || given[0].0 > at_once,
        "some were given from the queue"
    );
    std::mem::take(&mut race.wrongs.lock().unwrap())
}

/// Starts who opens cases, and who claims, ends and looks until the race is over.
fn spawn_clients(race: &Arc<Race>) -> (Vec<JoinHandle<()>>, Vec<JoinHandle<()>>) {
    let opener = |worker: usize| {
        let race = Arc::clone(race);
        tokio::spawn(async move {
            for number in (worker..CASES).step_by(OPENERS) {
                race.open(number).await;
            }
        })
    };
    let other = |worker: usize| {
        let race = Arc::clone(race);
        tokio::spawn(async move {
            let mut number = worker;
            while !race.over.load(Ordering::SeqCst) {
                match worker {
                    0..CLAIMERS => race.claim(number).await,
                    CLAIMERS.. if worker < CLAIMERS + FINISHERS => race.finish(number).await,
                    _ => race.look().await,
                }
                number += 7;
            }
        })
    };
    let others = (0..CLAIMERS + FINISHERS + 1).map(other).collect();
    ((0..OPENERS).map(opener).collect(), others)
}

async fn reach(race: &Race, opened: usize) {
    let began = Instant::now();
    while race.opened.load(Ordering::SeqCst) < opened {
        assert!(began.elapsed() < PATIENCE, "the race stands still");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn chaos_a_case_never_has_two_agents() {
    let wrongs = race(Nemesis::PauseAndKill, &[]).await;
    assert!(wrongs.is_empty(), "{wrongs:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn chaos_without_the_claims_guard_it_has() {
    let wrongs = race(Nemesis::Nothing, &["--without", "claim-guard"]).await;
    assert!(
        !wrongs.is_empty(),
        "the race did not need the guard: it proves nothing"
    );
}
