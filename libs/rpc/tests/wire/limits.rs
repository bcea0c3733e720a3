//! Facts 7 and 8, A3, A6: what one peer may take is bounded, and an attacker's connection ends while
//! other callers go on.

use std::time::Duration;

use h2::client::SendRequest;
use rapport_rpc::{HEADER_LIST_BYTES_MAX, STREAMS_PER_CONNECTION_MAX, ServeConfig};
use rapport_telemetry::{names, prometheus};
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;
use tokio::task::JoinHandle;

use crate::support::{ONCE, READ, call, client, echo, run, server, spawn};

async fn attacker(
    address: std::net::SocketAddr,
) -> (SendRequest<bytes::Bytes>, JoinHandle<Result<(), h2::Error>>) {
    let socket = TcpStream::connect(address).await.unwrap();
    let (sender, connection) = h2::client::handshake(socket).await.unwrap();
    (sender, tokio::spawn(connection))
}

fn request() -> http::Request<()> {
    http::Request::post(format!("http://localhost{READ}"))
        .header("content-type", "application/grpc")
        .header("te", "trailers")
        .body(())
        .unwrap()
}

#[tokio::test]
async fn connections_beyond_the_limit_are_closed_at_once_and_places_come_back() {
    let config = ServeConfig {
        connections_max: 1,
        ..ServeConfig::local_test()
    };
    let server = run(server(config, echo()));
    let channel = client(&server);
    call(channel.clone(), READ, "x").await.unwrap();
    let mut second = TcpStream::connect(server.address).await.unwrap();
    assert!(
        matches!(second.read(&mut [0; 16]).await, Ok(0) | Err(_)),
        "closed without a byte"
    );
    call(channel.clone(), READ, "x").await.unwrap();
    drop(channel);
    let third = client(&server);
    // The server notices the end of the first connection by itself; a few tries cover that moment.
    for _ in 0..200 {
        if call(third.clone(), READ, "x").await.is_ok() {
            return;
        }
    }
    panic!("the place of the closed connection did not come back");
}

#[tokio::test]
async fn a_connection_is_told_that_it_may_hold_200_streams() {
    let server = spawn(echo());
    let (sender, _connection) = attacker(server.address).await;
    let told = || sender.current_max_send_streams() == STREAMS_PER_CONNECTION_MAX as usize;
    let settings = async {
        while !told() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(5), settings)
        .await
        .expect("the settings say 200");
}

#[tokio::test]
async fn rapid_resets_end_the_attackers_connection_and_nobody_elses() {
    const STREAMS_MAX: usize = 20_000;
    let server = spawn(echo());
    let before = calmed();
    let honest = client(&server);
    call(honest.clone(), READ, "x").await.unwrap();
    let (mut sender, connection) = attacker(server.address).await;
    let mut opened = 0;
    while opened < STREAMS_MAX {
        match sender.ready().await {
            Ok(ready) => sender = ready,
            Err(_) => break,
        }
        let Ok((_, mut stream)) = sender.send_request(request(), false) else {
            break;
        };
        // A stream that is reset before it was sent is never sent: let the connection write first.
        tokio::task::yield_now().await;
        tokio::task::yield_now().await;
        stream.send_reset(h2::Reason::CANCEL);
        opened += 1;
    }
    assert!(opened < STREAMS_MAX, "the server never hung up");
    let ended = connection.await.unwrap().unwrap_err();
    assert_eq!(ended.reason(), Some(h2::Reason::ENHANCE_YOUR_CALM));
    call(honest, READ, "x").await.unwrap();
    let counted = async {
        while calmed() == before {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(5), counted)
        .await
        .expect("the server counts it");
}

/// How many connections a scrape says were told to calm down.
fn calmed() -> u64 {
    let name = names::RPC_SERVER_CONNECTIONS_CALMED.name;
    let scrape = prometheus::render();
    let mut counts = scrape.lines().filter_map(|line| line.strip_prefix(name));
    counts
        .next()
        .map_or(0, |count| count.trim().parse().unwrap())
}

#[tokio::test]
async fn a_header_list_beyond_the_limit_is_refused() {
    let server = spawn(echo());
    let (sender, _connection) = attacker(server.address).await;
    let mut sender = sender.ready().await.unwrap();
    let mut request = request();
    let value = "x".repeat(HEADER_LIST_BYTES_MAX as usize);
    request
        .headers_mut()
        .insert("x-long", value.parse().unwrap());
    let (response, _stream) = sender.send_request(request, true).unwrap();
    let refused = match response.await {
        Ok(response) => response.status() == http::StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
        Err(_) => true,
    };
    assert!(refused);
}

#[tokio::test]
async fn an_old_connection_is_replaced_without_losing_a_call() {
    let connection_age_max = Duration::from_millis(20);
    let config = ServeConfig {
        connection_age_max,
        ..ServeConfig::local_test()
    };
    let server = run(server(config, echo()));
    let (_sender, idle) = attacker(server.address).await;
    let channel = client(&server);
    // The idle connection is asked to go after 18 to 22 ms; until then, and a while longer, all is well.
    let mut calls = 0;
    while !idle.is_finished() || calls < 300 {
        call(channel.clone(), ONCE, "x").await.unwrap();
        calls += 1;
    }
    idle.await.unwrap().expect("a GOAWAY without an error");
}
