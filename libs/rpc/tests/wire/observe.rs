//! What a scrape of a live server shows: only listed metrics, no raw input as a label; and the trace that
//! a caller began goes on to the next service.

use rapport_rpc::ServeConfig;
use rapport_telemetry::names::of_sample;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::support::{READ, Raw, call, client, echo, frame, run, server, spawn, tiny};

#[tokio::test]
async fn a_scrape_shows_listed_metrics_only_and_no_raw_input() {
    let metrics_listen = Some(([127, 0, 0, 1], 0).into());
    let server = run(server(
        ServeConfig {
            metrics_listen,
            ..ServeConfig::local_test()
        },
        echo(),
    ));
    call(client(&server), READ, "x").await.unwrap();
    Raw::connect(server.address)
        .await
        .post("/secret.Person/Alice", &[], &frame(&[]))
        .await;

    let mut socket = TcpStream::connect(server.metrics.unwrap()).await.unwrap();
    socket
        .write_all(b"GET /metrics HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")
        .await
        .unwrap();
    let mut text = String::new();
    socket.read_to_string(&mut text).await.unwrap();
    let (head, body) = text.split_once("\r\n\r\n").unwrap();
    assert!(head.starts_with("HTTP/1.1 200"), "{head}");
    assert!(!body.contains("Alice"), "{body}");
    let call = "rpc_method=\"rapport.test.v1.Tiny/Read\",rpc_response_status_code=\"OK\"";
    let other = "rpc_method=\"_OTHER\",rpc_response_status_code=\"UNIMPLEMENTED\"";
    for labels in [call, other] {
        assert!(
            body.contains(&format!(
                "rpc_server_call_duration_seconds_count{{{labels}}}"
            )),
            "{body}"
        );
    }
    for line in body
        .lines()
        .filter(|line| line.contains(' ') && !line.starts_with('#'))
    {
        let name = line.split(['{', ' ']).next().unwrap();
        assert!(of_sample(name).is_some(), "{name} is not in names.rs");
    }
}

#[tokio::test]
async fn a_callers_trace_goes_on_to_the_next_service() {
    const TRACE: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    let (sender, mut seen) = tokio::sync::mpsc::unbounded_channel();
    let leaf = spawn(tiny(move |_, request| {
        let trace = request.metadata().get("traceparent").cloned();
        sender
            .send(trace.unwrap().to_str().unwrap().to_owned())
            .unwrap();
        async { Ok(String::new()) }
    }));
    let to_leaf = client(&leaf);
    let root = spawn(tiny(move |_, _| call(to_leaf.clone(), READ, "")));
    let mut raw = Raw::connect(root.address).await;
    raw.post(READ, &[("traceparent", TRACE)], &frame(&[])).await;
    assert_eq!(seen.recv().await.unwrap(), TRACE);
}
