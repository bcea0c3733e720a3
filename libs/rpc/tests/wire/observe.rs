//! What a scrape of a live server shows: only listed metrics, no raw input as a label; and the trace that
//! a caller began goes on to the next service.

use rapport_rpc::ServeConfig;
use rapport_telemetry::names::of_sample;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use tonic::{Code, Status};

use crate::support::{READ, Raw, Running, call, client, echo, frame, run, server, spawn, tiny};

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

#[tokio::test]
async fn reflection_names_what_is_served_and_can_be_turned_off() {
    use tonic_reflection::pb::v1::server_reflection_client::ServerReflectionClient;
    use tonic_reflection::pb::v1::server_reflection_request::MessageRequest;
    use tonic_reflection::pb::v1::server_reflection_response::MessageResponse;
    use tonic_reflection::pb::v1::{ServerReflectionRequest, ServiceResponse};
    async fn ask(running: &Running, question: MessageRequest) -> Result<MessageResponse, Status> {
        let request = ServerReflectionRequest {
            host: String::new(),
            message_request: Some(question),
        };
        let mut client = ServerReflectionClient::new(client(running));
        let mut answers = client
            .server_reflection_info(tokio_stream::once(request))
            .await?
            .into_inner();
        Ok(answers.message().await?.unwrap().message_response.unwrap())
    }
    let on = spawn(echo());
    let listed = ask(&on, MessageRequest::ListServices(String::new()))
        .await
        .unwrap();
    let MessageResponse::ListServicesResponse(listed) = listed else {
        panic!("{listed:?}")
    };
    let mut names: Vec<_> = listed
        .service
        .into_iter()
        .map(|ServiceResponse { name }| name)
        .collect();
    names.sort();
    let own = "rapport.test.v1.Tiny";
    assert_eq!(
        names,
        [
            "grpc.health.v1.Health",
            "grpc.reflection.v1.ServerReflection",
            own
        ]
    );
    for symbol in [
        "google.rpc.ErrorInfo",
        "grpc.health.v1.Health",
        "rapport.type.v1.Money",
    ] {
        let found = ask(&on, MessageRequest::FileContainingSymbol(symbol.to_owned()))
            .await
            .unwrap();
        assert!(
            matches!(found, MessageResponse::FileDescriptorResponse(_)),
            "{symbol}: {found:?}"
        );
    }
    let off = ServeConfig {
        reflection: false,
        ..ServeConfig::local_test()
    };
    let off = run(server(off, echo()));
    let refused = ask(&off, MessageRequest::ListServices(String::new()))
        .await
        .unwrap_err();
    assert_eq!(refused.code(), Code::Unimplemented);
}
