//! R2: what is repeated, how often, and how much in all.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use rapport_rpc::{ATTEMPTS_MAX, BUDGET_RESERVE, connect, reason_of, rpc_error};
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;
use tonic::{Code, Status};
use tonic_types::StatusExt as _;

use crate::support::{ONCE, READ, Running, call, client, client_config, spawn, tiny};

fn failing(times: usize) -> (Running, Arc<AtomicUsize>) {
    let count = Arc::new(AtomicUsize::new(0));
    let seen = Arc::clone(&count);
    let server = spawn(tiny(move |_, _| {
        let number = seen.fetch_add(1, Ordering::SeqCst);
        async move {
            if number < times {
                Err(rpc_error(Code::Unavailable, "TEST", "test", "not now"))
            } else {
                Ok(number.to_string())
            }
        }
    }));
    (server, count)
}

#[tokio::test]
async fn a_read_is_repeated_twice_at_most_and_a_write_without_a_key_never() {
    let (server, _) = failing(2);
    assert_eq!(
        call(client(&server), READ, "").await.unwrap(),
        "2",
        "the third attempt"
    );

    let (server, count) = failing(usize::MAX);
    let status = call(client(&server), READ, "").await.unwrap_err();
    assert_eq!(
        reason_of(&status).unwrap(),
        "TEST",
        "the server's own status comes through"
    );
    assert_eq!(count.load(Ordering::SeqCst), ATTEMPTS_MAX as usize);

    let (server, count) = failing(usize::MAX);
    call(client(&server), ONCE, "").await.unwrap_err();
    assert_eq!(count.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn pushback_forbids_the_retry() {
    let count = Arc::new(AtomicUsize::new(0));
    let seen = Arc::clone(&count);
    let server = spawn(tiny(move |_, _| {
        seen.fetch_add(1, Ordering::SeqCst);
        let mut status = Status::unavailable("never");
        status
            .metadata_mut()
            .insert("grpc-retry-pushback-ms", "-1".parse().unwrap());
        async move { Err(status) }
    }));
    call(client(&server), READ, "").await.unwrap_err();
    assert_eq!(count.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn a_backend_that_always_fails_gets_a_tenth_more_load_not_three_times_as_much() {
    const CALLS: usize = 500;
    let (server, count) = failing(usize::MAX);
    let channel = client(&server);
    for _ in 0..CALLS {
        call(channel.clone(), READ, "").await.unwrap_err();
    }
    let offered = count.load(Ordering::SeqCst);
    let reserve = usize::try_from(BUDGET_RESERVE).unwrap();
    assert!(
        offered <= CALLS + CALLS / 10 + reserve,
        "{offered} attempts for {CALLS} calls"
    );
}

#[tokio::test]
async fn a_server_that_is_not_there_is_unavailable_and_was_never_reached() {
    let address = {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        listener.local_addr().unwrap()
    };
    let channel = connect(&client_config(&format!("http://{address}"))).unwrap();
    let status = call(channel, ONCE, "").await.unwrap_err();
    assert_eq!(status.code(), Code::Unavailable);
    assert_eq!(reason_of(&status).unwrap(), "TRANSPORT");
    let several = format!("http://{address},http://{address}");
    let status = call(connect(&client_config(&several)).unwrap(), READ, "")
        .await
        .unwrap_err();
    assert_eq!(reason_of(&status).unwrap(), "NO_ENDPOINT");
}

/// Forwards TCP to `server`. Each time `cut` rings, what is open breaks; what comes later works.
async fn through(server: SocketAddr, cut: Arc<Notify>) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        loop {
            let (mut near, _) = listener.accept().await.unwrap();
            let cut = Arc::clone(&cut);
            tokio::spawn(async move {
                let mut far = TcpStream::connect(server).await.unwrap();
                tokio::select! {
                    _ = copy_bidirectional(&mut near, &mut far) => {}
                    () = cut.notified() => {}
                }
            });
        }
    });
    address
}

/// Calls `path` over a connection that breaks once the server works on the first attempt. Returns the
/// answer, and how many attempts reached the server.
async fn broken_mid_flight(path: &'static str) -> (Result<String, Status>, usize) {
    let (cut, count) = (Arc::new(Notify::new()), Arc::new(AtomicUsize::new(0)));
    let (ring, seen) = (Arc::clone(&cut), Arc::clone(&count));
    let server = spawn(tiny(move |_, _| {
        let first = seen.fetch_add(1, Ordering::SeqCst) == 0;
        let ring = Arc::clone(&ring);
        async move {
            if first {
                ring.notify_waiters();
                std::future::pending::<()>().await;
            }
            Ok("again".to_owned())
        }
    }));
    let address = through(server.address, cut).await;
    let channel = connect(&client_config(&format!("http://{address}"))).unwrap();
    let answer = call(channel, path, "").await;
    (answer, count.load(Ordering::SeqCst))
}

/// Fact 5: what was sent may have had its effect, so only what may happen twice is sent again.
#[tokio::test]
async fn a_read_whose_connection_breaks_mid_flight_is_repeated_and_a_write_without_a_key_is_not() {
    let (answer, attempts) = broken_mid_flight(READ).await;
    assert_eq!((answer.unwrap().as_str(), attempts), ("again", 2));
    let (answer, attempts) = broken_mid_flight(ONCE).await;
    let status = answer.unwrap_err();
    let info = status.get_details_error_info().unwrap();
    assert_eq!(info.reason, "TRANSPORT");
    assert_eq!(info.metadata.get("sent").unwrap(), "maybe");
    assert_eq!((status.code(), attempts), (Code::Unavailable, 1));
}
