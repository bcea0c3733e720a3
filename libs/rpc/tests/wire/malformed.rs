//! Fact 2: what a caller sends wrong is the caller's error, with its reason, and the connection lives on;
//! what a handler answers keeps its code.

use rapport_rpc::{REQUEST_BYTES_MAX, reason_of};
use tonic::{Code, Status};

use crate::support::{ONCE, READ, Raw, call, client, frame, spawn, tiny};

#[tokio::test]
async fn every_kind_of_bad_request_has_its_code_and_reason() {
    let server = spawn(crate::support::echo());
    let mut raw = Raw::connect(server.address).await;
    let (malformed, too_large) = (
        (Code::InvalidArgument, "MALFORMED_REQUEST"),
        (Code::ResourceExhausted, "MESSAGE_TOO_LARGE"),
    );
    let text_of = |length: usize| prost_text(&"x".repeat(length));
    let announced = [[0].as_slice(), &u32::MAX.to_be_bytes()].concat();
    let cases: [(&str, Vec<u8>, (Code, &str)); 9] = [
        ("a varint without end", frame(&[0xff; 12]), malformed),
        (
            "text that is not UTF-8",
            frame(&[0x0a, 0x01, 0xff]),
            malformed,
        ),
        (
            "a field longer than the message",
            frame(&[0x0a, 0x7f, b'x']),
            malformed,
        ),
        ("half a header", vec![0, 0], malformed),
        ("half a message", vec![0, 0, 0, 0, 9, 0x0a], malformed),
        ("no message", vec![], malformed),
        (
            "compressed without an encoding",
            vec![1, 0, 0, 0, 0],
            malformed,
        ),
        ("a flag that does not exist", vec![7, 0, 0, 0, 0], malformed),
        ("four gigabytes announced", announced, too_large),
    ];
    for (what, body, (code, reason)) in cases {
        let status = raw.post(READ, &[], &body).await;
        assert_eq!(
            (status.code(), reason_of(&status).unwrap().as_str()),
            (code, reason),
            "{what}"
        );
        let alive = raw.post(READ, &[], &frame(&[])).await;
        assert_eq!(
            alive.code(),
            Code::Ok,
            "the connection lives on after {what}"
        );
    }
    let exact = raw
        .post(READ, &[], &frame(&text_of(REQUEST_BYTES_MAX - 4)))
        .await;
    assert_eq!(exact.code(), Code::Ok, "exactly the limit");
    let over = raw
        .post(READ, &[], &frame(&text_of(REQUEST_BYTES_MAX - 3)))
        .await;
    assert_eq!(over.code(), Code::ResourceExhausted, "one byte more");
}

/// A `StringValue` of `text`: one tag byte, three of length (for texts of 2^14 to 2^21 bytes), the text.
fn prost_text(text: &str) -> Vec<u8> {
    let length = text.len();
    let byte = |shift: usize| u8::try_from((length >> shift) & 0x7f).unwrap();
    [
        &[0x0a, byte(0) | 0x80, byte(7) | 0x80, byte(14)],
        text.as_bytes(),
    ]
    .concat()
}

#[tokio::test]
async fn a_method_may_take_more_than_the_others() {
    let config = rapport_rpc::ServeConfig {
        request_bytes_max: 64,
        ..rapport_rpc::ServeConfig::local_test()
    };
    let server =
        crate::support::server(config, crate::support::echo()).request_bytes_max(ONCE, 256);
    let server = crate::support::run(server);
    let channel = client(&server);
    let text = "x".repeat(100);
    let refused = call(channel.clone(), READ, &text).await.unwrap_err();
    assert_eq!(reason_of(&refused).unwrap(), "MESSAGE_TOO_LARGE");
    assert_eq!(call(channel, ONCE, &text).await.unwrap(), text);
}

#[tokio::test]
async fn a_handlers_own_status_keeps_its_code_even_if_it_reads_like_tonics() {
    let server = spawn(tiny(|path, _| async move {
        Err(match path {
            READ => Status::internal("failed to decode Protobuf message: of a neighbour"),
            _ => Status::out_of_range("Error, decoded message length too large: says a neighbour"),
        })
    }));
    let mut raw = Raw::connect(server.address).await;
    for (path, code) in [(READ, Code::Internal), (ONCE, Code::OutOfRange)] {
        let status = raw.post(path, &[], &frame(&[])).await;
        assert_eq!(status.code(), code);
        assert_eq!(
            reason_of(&status).unwrap(),
            "INTERNAL",
            "it had no reason of its own"
        );
    }
}

#[tokio::test]
async fn unknown_methods_and_unknown_health_services_carry_a_reason() {
    let server = spawn(crate::support::echo());
    let mut raw = Raw::connect(server.address).await;
    for path in ["/rapport.test.v1.Tiny/Nothing", "/", "/a/b/c"] {
        let status = raw.post(path, &[], &frame(&[])).await;
        assert_eq!(status.code(), Code::Unimplemented, "{path}");
        assert_eq!(reason_of(&status).unwrap(), "UNKNOWN_METHOD", "{path}");
    }
    let status = raw
        .post(
            "/grpc.health.v1.Health/Check",
            &[],
            &frame(&[0x0a, 1, b'x']),
        )
        .await;
    assert_eq!(status.code(), Code::NotFound);
    assert_eq!(reason_of(&status).unwrap(), "STANDARD_SERVICE");
}

#[tokio::test]
async fn a_panic_in_a_handler_is_internal_and_the_server_lives_on() {
    let server = spawn(tiny(|path, _| async move {
        assert_ne!(path, READ, "a panic made by the test");
        Ok(String::new())
    }));
    let mut raw = Raw::connect(server.address).await;
    let status = raw.post(READ, &[], &frame(&[])).await;
    assert_eq!(
        (status.code(), status.message()),
        (Code::Internal, "the server failed")
    );
    assert_eq!(raw.post(ONCE, &[], &frame(&[])).await.code(), Code::Ok);
}
