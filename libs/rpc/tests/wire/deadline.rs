//! Fact 1: a deadline ends in DEADLINE_EXCEEDED and what is left of it travels with every call.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use rapport_rpc::{connect, expires, reason_of, with_deadline};
use tonic::{Code, Request, Status};

use crate::support::{READ, Raw, SLOW, call, call_with, client, client_config, frame, spawn, tiny};

#[tokio::test]
async fn a_slow_handler_ends_in_deadline_exceeded_with_its_reason() {
    let server = spawn(tiny(|_, _| std::future::pending()));
    // The method's own 100 ms, seen by a client without any timer.
    let status = Raw::connect(server.address)
        .await
        .post(SLOW, &[], &frame(b""))
        .await;
    assert_eq!(status.code(), Code::DeadlineExceeded);
    assert_eq!(reason_of(&status).unwrap(), "DEADLINE_EXCEEDED");
    // The caller's 50 ms, shorter than the method's 30 s.
    let timeout = [("grpc-timeout", "50m")];
    let status = Raw::connect(server.address)
        .await
        .post(READ, &timeout, &frame(b""))
        .await;
    assert_eq!(status.code(), Code::DeadlineExceeded);
}

#[tokio::test]
async fn our_client_says_deadline_exceeded_where_tonic_says_cancelled() {
    let server = spawn(tiny(|_, _| std::future::pending()));
    let timed = || {
        let mut request = Request::new(String::new());
        request.set_timeout(Duration::from_millis(50));
        request
    };
    let ours = call_with(client(&server), READ, timed()).await.unwrap_err();
    assert_eq!(ours.code(), Code::DeadlineExceeded);
    assert_eq!(reason_of(&ours).unwrap(), "DEADLINE_EXCEEDED");

    // A peer that accepts and says nothing: the time is kept at this end too.
    let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", silent.local_addr().unwrap());
    let ours = call_with(connect(&client_config(&url)).unwrap(), READ, timed())
        .await
        .unwrap_err();
    assert_eq!(ours.code(), Code::DeadlineExceeded);

    // The control: this is what makes the layer necessary.
    let stock = tonic::transport::Endpoint::from_shared(url)
        .unwrap()
        .connect_lazy();
    let stock = call_with(stock, READ, timed()).await.unwrap_err();
    assert_eq!(stock.code(), Code::Cancelled);
}

#[tokio::test]
async fn the_remaining_time_travels_over_two_hops() {
    // The leaf answers how long it has, the middle works 600 ms before it asks, the root asks at once.
    let remaining = || async { Ok(expires().unwrap().remaining().as_millis().to_string()) };
    let leaf = spawn(tiny(move |_, _| remaining()));
    let to_leaf = client(&leaf);
    let middle = spawn(tiny(move |_, _| {
        let to_leaf = to_leaf.clone();
        async move {
            tokio::time::sleep(Duration::from_millis(600)).await;
            call(to_leaf, READ, "").await
        }
    }));
    let to_middle = client(&middle);
    let root = spawn(tiny(move |_, _| call(to_middle.clone(), READ, "")));
    let asked = with_deadline(Duration::from_millis(1_000), call(client(&root), READ, ""));
    let left: u64 = asked.await.unwrap().parse().unwrap();
    assert!(left <= 400, "{left} ms are left at the leaf");
}

#[tokio::test]
async fn a_call_that_comes_too_late_never_starts() {
    let started = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&started);
    let server = spawn(tiny(move |_, _| {
        count.fetch_add(1, Ordering::SeqCst);
        async { Ok(String::new()) }
    }));
    let mut raw = Raw::connect(server.address).await;
    let status = raw.post(READ, &[("grpc-timeout", "0n")], &frame(b"")).await;
    assert_eq!(status.code(), Code::DeadlineExceeded);
    assert_eq!(started.load(Ordering::SeqCst), 0);
    // The client, too, does not send what cannot come back in time.
    let late = with_deadline(Duration::ZERO, call(client(&server), READ, "")).await;
    assert_eq!(
        late.map_err(|status: Status| status.code()),
        Err(Code::DeadlineExceeded)
    );
    assert_eq!(started.load(Ordering::SeqCst), 0);
}
