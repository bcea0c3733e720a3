//! R2: what is repeated, how often, and how much in all.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use rapport_rpc::{ATTEMPTS_MAX, BUDGET_RESERVE, connect, reason_of, rpc_error};
use tonic::{Code, Status};

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
