//! How every failure looks on the wire: a code, a message for people, and details for programs.
//!
//! Each non-OK status carries `ErrorInfo{reason, domain}`, and every reason is a row of
//! `docs/errors.md`: declare them with [`crate::reasons!`], which is what the check reads.

use std::collections::HashMap;
use std::time::Duration;

use tonic::{Code, Status};
pub use tonic_types::FieldViolation;
use tonic_types::{ErrorDetails, StatusExt};

/// The domain of the reasons that this crate and the protocol itself give.
pub const DOMAIN: &str = "rpc.rapport";

/// The most field violations that one status names: the rest would not fit the header list.
pub const FIELD_VIOLATIONS_MAX: usize = 32;

/// The longest message of a status, in bytes; longer ones are cut at a character.
pub const MESSAGE_BYTES_MAX: usize = 512;

/// Declares a crate's error reasons as `&'static str` constants that equal their own names.
///
/// A test of `rapport-rpc` reads every use of this macro in the workspace and compares it with the
/// table in `docs/errors.md`, in both directions.
///
/// ```
/// rapport_rpc::reasons! {
///     /// The subject has not granted a purpose that the call needs.
///     CONSENT_MISSING,
/// }
/// assert_eq!(CONSENT_MISSING, "CONSENT_MISSING");
/// ```
#[macro_export]
macro_rules! reasons {
    ($($(#[$doc:meta])* $name:ident),+ $(,)?) => {
        $($(#[$doc])* pub const $name: &str = stringify!($name);)+
    };
}

/// The reasons of this crate.
pub mod reason {
    crate::reasons! {
        /// A field of the request is missing or wrong; `BadRequest` names every one.
        INVALID_REQUEST,
        /// The request is not a valid message of its type, or not a valid gRPC frame.
        MALFORMED_REQUEST,
        /// The message is longer than the server takes.
        MESSAGE_TOO_LARGE,
        /// No contract has this method.
        UNKNOWN_METHOD,
        /// A standard gRPC service (health, reflection) answered; its code and message say all.
        STANDARD_SERVICE,
        /// The server failed; the log of the server says why, under the same trace.
        INTERNAL,
        /// The call took longer than its caller, or its method, allows.
        DEADLINE_EXCEEDED,
        /// The server is at its limit for calls of this class; `RetryInfo` says when to come back.
        OVERLOADED,
        /// The server is going away; another one, or this one after `RetryInfo`, goes on.
        SHUTTING_DOWN,
        /// The call has no bearer token, and the server asks for one.
        TOKEN_MISSING,
        /// The token is not one of ours: form, algorithm, signature, issuer or audience.
        TOKEN_INVALID,
        /// The token was valid once.
        TOKEN_EXPIRED,
        /// The token does not carry the scope that the method asks for.
        SCOPE_MISSING,
        /// The client has no server that says SERVING.
        NO_ENDPOINT,
        /// The connection failed before or during the call.
        TRANSPORT,
    }
}

/// Returns a status with `ErrorInfo{reason, domain}`.
///
/// `message`: lower case, no full stop, no SQL, no secrets; cut at [`MESSAGE_BYTES_MAX`].
#[must_use]
pub fn rpc_error(code: Code, reason: &str, domain: &str, message: impl Into<String>) -> Status {
    RpcError::new(code, reason, domain, message).into()
}

/// A status in the making. `Status::from` finishes it.
#[derive(Debug, Clone)]
pub struct RpcError {
    code: Code,
    message: String,
    details: ErrorDetails,
}

impl RpcError {
    /// Starts a status with `ErrorInfo{reason, domain}`.
    #[must_use]
    pub fn new(code: Code, reason: &str, domain: &str, message: impl Into<String>) -> Self {
        let details = ErrorDetails::with_error_info(reason, domain, HashMap::new());
        Self {
            code,
            message: cut(message.into()),
            details,
        }
    }

    /// Adds `RetryInfo`: when the same call may be tried again.
    #[must_use]
    pub fn retry_after(mut self, delay: Duration) -> Self {
        self.details.set_retry_info(Some(delay));
        self
    }

    /// Adds `BadRequest` with the first [`FIELD_VIOLATIONS_MAX`] violations.
    #[must_use]
    pub fn violations(mut self, mut violations: Vec<FieldViolation>) -> Self {
        violations.truncate(FIELD_VIOLATIONS_MAX);
        self.details.set_bad_request(violations);
        self
    }

    /// Adds `ResourceInfo`: what was not found, or exists already.
    #[must_use]
    pub fn resource(mut self, kind: &str, name: &str) -> Self {
        self.details.set_resource_info(kind, name, "", "");
        self
    }

    /// Adds one pair to the metadata of `ErrorInfo`: a value that a program may act on.
    #[must_use]
    pub fn with(mut self, key: &str, value: impl Into<String>) -> Self {
        if let Some(info) = self.details.error_info().cloned() {
            let mut metadata = info.metadata;
            metadata.insert(key.to_owned(), value.into());
            self.details
                .set_error_info(info.reason, info.domain, metadata);
        }
        self
    }
}

impl From<RpcError> for Status {
    fn from(error: RpcError) -> Self {
        Self::with_error_details(error.code, error.message, error.details)
    }
}

/// Returns INVALID_ARGUMENT / INVALID_REQUEST with every bad field at once.
#[must_use]
pub fn invalid_request(domain: &str, violations: Vec<FieldViolation>) -> Status {
    let message = format!("request has {} invalid field(s)", violations.len());
    RpcError::new(
        Code::InvalidArgument,
        reason::INVALID_REQUEST,
        domain,
        message,
    )
    .violations(violations)
    .into()
}

/// Returns INTERNAL / INTERNAL. The caller learns whose failure it is, the server's log what it was.
#[must_use]
pub fn internal(domain: &str, why: &str) -> Status {
    tracing::error!(error = why, "internal error");
    let service = domain.split('.').next().unwrap_or(domain);
    let message = format!("{service} failed");
    rpc_error(Code::Internal, reason::INTERNAL, domain, message)
}

/// Returns the reason of a status, `None` when it carries no `ErrorInfo`.
#[must_use]
pub fn reason_of(status: &Status) -> Option<String> {
    status.get_details_error_info().map(|info| info.reason)
}

/// Returns when the same call may be tried again, `None` when the status does not say.
#[must_use]
pub fn retry_after_of(status: &Status) -> Option<Duration> {
    status.get_details_retry_info()?.retry_delay
}

/// Returns the code's name as the conventions write it, such as `DEADLINE_EXCEEDED`.
#[must_use]
pub fn code_name(code: Code) -> &'static str {
    match code {
        Code::Ok => "OK",
        Code::Cancelled => "CANCELLED",
        Code::Unknown => "UNKNOWN",
        Code::InvalidArgument => "INVALID_ARGUMENT",
        Code::DeadlineExceeded => "DEADLINE_EXCEEDED",
        Code::NotFound => "NOT_FOUND",
        Code::AlreadyExists => "ALREADY_EXISTS",
        Code::PermissionDenied => "PERMISSION_DENIED",
        Code::ResourceExhausted => "RESOURCE_EXHAUSTED",
        Code::FailedPrecondition => "FAILED_PRECONDITION",
        Code::Aborted => "ABORTED",
        Code::OutOfRange => "OUT_OF_RANGE",
        Code::Unimplemented => "UNIMPLEMENTED",
        Code::Internal => "INTERNAL",
        Code::Unavailable => "UNAVAILABLE",
        Code::DataLoss => "DATA_LOSS",
        Code::Unauthenticated => "UNAUTHENTICATED",
    }
}

pub(crate) fn deadline_exceeded() -> Status {
    let message = "the deadline of the call has passed";
    rpc_error(
        Code::DeadlineExceeded,
        reason::DEADLINE_EXCEEDED,
        DOMAIN,
        message,
    )
}

fn cut(mut message: String) -> String {
    if message.len() > MESSAGE_BYTES_MAX {
        message.truncate(message.floor_char_boundary(MESSAGE_BYTES_MAX));
    }
    message
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn details_survive_the_wire_and_lists_are_bounded() {
        let many = (0..40)
            .map(|n| FieldViolation::new(format!("f{n}"), "bad"))
            .collect();
        let status: Status = RpcError::new(Code::InvalidArgument, "SOME_REASON", "d", "m")
            .violations(many)
            .retry_after(Duration::from_millis(250))
            .resource("item", "i-1")
            .with("limit", "7")
            .into();
        let info = status.get_details_error_info().unwrap();
        assert_eq!(
            (info.reason.as_str(), info.domain.as_str()),
            ("SOME_REASON", "d")
        );
        assert_eq!(info.metadata.get("limit").map(String::as_str), Some("7"));
        let fields = status.get_details_bad_request().unwrap().field_violations;
        assert_eq!(fields.len(), FIELD_VIOLATIONS_MAX);
        assert_eq!(retry_after_of(&status), Some(Duration::from_millis(250)));
        assert_eq!(
            status.get_details_resource_info().unwrap().resource_name,
            "i-1"
        );
    }

    #[test]
    fn a_long_message_is_cut_at_a_character() {
        let status = rpc_error(Code::Internal, "R", "d", "語".repeat(400));
        assert_eq!(status.message().len(), 510, "170 characters of three bytes");
    }
}
