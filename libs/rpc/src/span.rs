//! The span of a call, named by the OpenTelemetry conventions for gRPC as they became stable (semantic
//! conventions 1.45): the method's full name holds its service, so `rpc.service` is gone.

use tonic::Code;
use tracing::Span;
use tracing::field::Empty;

use crate::status::code_name;

/// Which side of a call a span describes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Side {
    Client,
    Server,
}

/// Opens the span of a call that this process serves. `label` is `package.Service/Method` or `_OTHER`.
pub(crate) fn server(label: &'static str) -> Span {
    tracing::info_span!(
        "rpc",
        otel.name = label,
        otel.kind = "server",
        otel.status_code = Empty,
        rpc.system.name = "grpc",
        rpc.method = label,
        rpc.response.status_code = Empty,
        "error.type" = Empty,
    )
}

/// Opens the span of a call that this process makes to `host`.
pub(crate) fn client(label: &'static str, host: &str, port: Option<u16>) -> Span {
    tracing::info_span!(
        "rpc",
        otel.name = label,
        otel.kind = "client",
        otel.status_code = Empty,
        rpc.system.name = "grpc",
        rpc.method = label,
        rpc.response.status_code = Empty,
        "error.type" = Empty,
        server.address = host,
        server.port = port,
    )
}

/// Writes how the call ended.
pub(crate) fn end(span: &Span, side: Side, code: Code) {
    span.record("rpc.response.status_code", code_name(code));
    if is_error(side, code) {
        span.record("error.type", code_name(code));
        span.record("otel.status_code", "ERROR");
    }
}

/// Returns whether a status is an error of this side: a caller's own mistake is not the server's.
fn is_error(side: Side, code: Code) -> bool {
    match code {
        Code::Ok => false,
        Code::Unknown
        | Code::DeadlineExceeded
        | Code::Unimplemented
        | Code::Internal
        | Code::Unavailable
        | Code::DataLoss => true,
        Code::Cancelled
        | Code::InvalidArgument
        | Code::NotFound
        | Code::AlreadyExists
        | Code::PermissionDenied
        | Code::ResourceExhausted
        | Code::FailedPrecondition
        | Code::Aborted
        | Code::OutOfRange
        | Code::Unauthenticated => side == Side::Client,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_callers_mistake_is_an_error_of_the_caller_only() {
        for (code, client, server) in [
            (Code::Ok, false, false),
            (Code::NotFound, true, false),
            (Code::Unauthenticated, true, false),
            (Code::Internal, true, true),
            (Code::DeadlineExceeded, true, true),
        ] {
            assert_eq!(is_error(Side::Client, code), client, "{code:?}");
            assert_eq!(is_error(Side::Server, code), server, "{code:?}");
        }
    }
}
