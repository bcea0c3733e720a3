//! Two real processes on one database, one of which dies or falls asleep, and what the money says.

use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rapport_api::ads::v1::*;
use rapport_cache::testing::redis_url;
use rapport_store::testing::{Engine, TestDb, free_port};
use rapport_store::{Db, on_db};

use crate::support::{Clients, home, line_item};
use rapport_flow::testing::FakeLog;

const LEASE_SECONDS: u64 = 2;
/// One impression costs this: bid and floor are the same.
const CHARGE: i64 = 1_000;
const BID: i64 = 1_000 * CHARGE;
const IMPRESSIONS: i64 = 1_000;
const BUDGET: i64 = IMPRESSIONS * CHARGE;
/// How long anything may take: far above what it does.
const PATIENCE: Duration = Duration::from_secs(60);

struct Process {
    child: Child,
    clients: Clients,
}

impl Process {
    async fn start(world: &World, name: &str, more: &[&str]) -> Self {
        let port = free_port();
        let seconds = LEASE_SECONDS.to_string();
        let child = Command::new(env!("CARGO_BIN_EXE_rapport-ads"))
            .args(["--listen", &format!("127.0.0.1:{port}"), "--replica", name])
            .args([
                "--database-url",
                world.test.url(),
                "--redis-url",
                &redis_url(),
            ])
            .args(["--profile-url", &world.profile, "--lease-seconds", &seconds])
            .args(["--data", world.data.path().to_str().unwrap()])
            .args(more)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let clients = Clients::new(&format!("http://127.0.0.1:{port}"));
        let process = Self { child, clients };
        let asked = Instant::now();
        while process.clients.ledger("").await.is_err() {
            assert!(asked.elapsed() < PATIENCE, "{name} does not start");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        process
    }

    #[expect(unsafe_code, reason = "a signal to our own child")]
    fn signal(&self, signal: i32) {
        // SAFETY: `kill` takes two numbers; the child is ours and was not waited for.
        assert_eq!(unsafe { libc::kill(self.child.id() as i32, signal) }, 0);
    }

    /// Decides for the placement; `None` for no fill or no answer.
    async fn fill(&self) -> Option<Vec<u8>> {
        let request = DecideRequest {
            floor_micros: BID,
            ..home(None)
        };
        let decision = self.clients.decide(request).await.ok()?;
        decision.winner.map(|_| decision.decision_id)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

struct World {
    test: TestDb,
    db: Db,
    profile: String,
    data: tempfile::TempDir,
    _log: FakeLog,
}

impl World {
    async fn new(engine: Engine) -> Self {
        let (log, profile) = FakeLog::serve().await;
        let test = TestDb::create(engine).await;
        let db = test.open().await;
        Self {
            test,
            db,
            profile,
            data: tempfile::tempdir().unwrap(),
            _log: log,
        }
    }

    /// Returns the decisions that a replica stored under an epoch up to `epoch`.
    async fn promised(&self, replica: &str, epoch: i64) -> i64 {
        const COUNT: &str = "select count(*) from decision where replica = $1 and epoch <= $2";
        on_db!(&self.db, |pool| sqlx::query_scalar(COUNT)
            .bind(replica)
            .bind(epoch)
            .fetch_one(pool)
            .await)
        .unwrap()
    }

    async fn last_epoch(&self) -> i64 {
        const EPOCH: &str = "select last_epoch from ledger where line_item_id = 'li'";
        on_db!(&self.db, |pool| sqlx::query_scalar(EPOCH)
            .fetch_one(pool)
            .await)
        .unwrap()
    }
}

async fn put(process: &Process) {
    process.clients.put_campaign("c").await;
    process
        .clients
        .put(line_item("li", BID, BUDGET))
        .await
        .unwrap();
}

/// Checks what must hold at every instant.
async fn check_books(process: &Process) -> crate::support::Books {
    let books = process.clients.ledger("li").await.unwrap();
    assert_eq!(books.sum, 0, "{books:?}");
    assert!(books.spent <= BUDGET, "{books:?}");
    assert_eq!(books.free + books.leased + books.spent, BUDGET, "{books:?}");
    books
}

/// Waits until no lease of a replica is left.
async fn without_lease(process: &Process, replica: &str) {
    let asked = Instant::now();
    let name = format!("lease:li:{replica}");
    while check_books(process).await.leases.contains(&name) {
        assert!(
            asked.elapsed() < PATIENCE,
            "the lease of {replica} does not end"
        );
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// Decides on one replica and records on the other, until the budget is gone or `fills` are recorded;
/// returns what recording said it cost.
async fn drive(decider: &Process, recorder: &Process, fills: usize) -> i64 {
    let (mut cost, mut filled, mut empty) = (0, 0, Instant::now());
    while filled < fills && empty.elapsed() < Duration::from_secs(3 * LEASE_SECONDS) {
        let Some(id) = decider.fill().await else {
            tokio::time::sleep(Duration::from_millis(20)).await;
            continue;
        };
        (filled, empty) = (filled + 1, Instant::now());
        if let Ok(recorded) = recorder.clients.record(&id, AdEventKind::Impression).await {
            cost += recorded.cost_micros;
        }
    }
    cost
}

async fn a_killed_replica_costs_nothing_but_time(engine: Engine) {
    let world = World::new(engine).await;
    let mut first = Process::start(&world, "first", &[]).await;
    let second = Process::start(&world, "second", &[]).await;
    put(&first).await;
    // Both at once, each recording at the other: decisions are found by whoever is asked.
    let (a, b) = tokio::join!(drive(&first, &second, 150), drive(&second, &first, 150));
    assert_eq!(a + b, 300 * CHARGE);
    assert_eq!(check_books(&second).await.spent, a + b);
    // Promises that nobody will record, and a death in the middle of the work.
    for _ in 0..10 {
        first.fill().await.unwrap();
    }
    let killed = async {
        tokio::time::sleep(Duration::from_millis(30)).await;
        first.signal(libc::SIGKILL);
    };
    let (c, d, ()) = tokio::join!(
        drive(&first, &second, 100),
        drive(&second, &second, 100),
        killed
    );
    let _ = first.child.wait();
    without_lease(&second, "first").await;
    // All that is left can be spent, to the last impression.
    let rest = drive(&second, &second, usize::MAX).await;
    let books = check_books(&second).await;
    assert_eq!((books.spent, books.free, books.leased), (BUDGET, 0, 0));
    let acknowledged = a + b + c + d + rest;
    assert!(
        (BUDGET - 2 * CHARGE..=BUDGET).contains(&acknowledged),
        "{acknowledged}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn chaos_a_killed_replica_costs_nothing_but_time_on_postgres() {
    a_killed_replica_costs_nothing_but_time(Engine::Postgres).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn chaos_a_killed_replica_costs_nothing_but_time_on_sqlite() {
    a_killed_replica_costs_nothing_but_time(Engine::Sqlite).await;
}

/// Puts a replica to sleep for more than twice its lease and wakes it up; returns how many promises it
/// made afterwards from the lease that was taken back.
async fn promises_of_a_zombie(more: &[&str]) -> i64 {
    let world = World::new(Engine::Postgres).await;
    let zombie = Process::start(&world, "zombie", more).await;
    let other = Process::start(&world, "other", &[]).await;
    put(&zombie).await;
    zombie.fill().await.unwrap();
    drive(&other, &other, 1).await; // it has read the campaign by then
    stop(&zombie, &other).await;
    let asleep = Instant::now();
    without_lease(&other, "zombie").await;
    let left = Duration::from_secs(2 * LEASE_SECONDS + 1).saturating_sub(asleep.elapsed());
    tokio::time::sleep(left).await;
    drive(&other, &other, 50).await;
    let epoch = world.last_epoch().await;
    let before = world.promised("zombie", epoch).await;
    zombie.signal(libc::SIGCONT);
    for _ in 0..20 {
        zombie.fill().await;
    }
    let after = world.promised("zombie", epoch).await;
    check_books(&other).await;
    after - before
}

/// Stops a process while it holds no lock: others must be able to go on.
async fn stop(process: &Process, other: &Process) {
    for _ in 0..10 {
        process.signal(libc::SIGSTOP);
        let free = tokio::time::timeout(Duration::from_secs(1), other.fill()).await;
        if matches!(free, Ok(Some(_))) {
            return;
        }
        process.signal(libc::SIGCONT);
    }
    panic!("the process always holds a lock");
}

#[tokio::test(flavor = "multi_thread")]
async fn chaos_a_zombie_promises_nothing_from_its_old_lease() {
    assert_eq!(promises_of_a_zombie(&[]).await, 0);
}

/// The negative control: the same with the fence off must be noticed.
#[tokio::test(flavor = "multi_thread")]
async fn chaos_without_the_fence_a_zombie_promises_money_it_does_not_hold() {
    assert!(promises_of_a_zombie(&["--without", "lease-fence"]).await > 0);
}
