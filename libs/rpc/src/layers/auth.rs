//! Says who calls and whether the caller may: the policy table names the scope of each method, and
//! what it does not name is refused.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use http::{Request, Response, header};
use pin_project_lite::pin_project;
use rapport_telemetry::names::AUTHZ_DENIED;
use tokio::time::Instant;
use tonic::body::Body;
use tonic::{Code, Status};
use tower::Service;

use crate::call::{Call, Target};
use crate::layers::Answer;
use crate::layers::ending::EndingBody;
use crate::status::{DOMAIN, reason, rpc_error};
use crate::token::Caller;
use crate::token::{Refusal, Verifier};

/// How the server knows its callers.
#[derive(Debug)]
pub(crate) enum Authority {
    /// Everybody is the caller `local`: loopback only.
    Off,
    /// Bearer tokens.
    Tokens(Box<Verifier>),
}

/// Marks a request that came over an in-process connection, which nobody outside can open.
#[derive(Debug, Clone, Copy)]
pub(crate) struct InProcess;

/// The authentication layer.
#[derive(Debug, Clone)]
pub(crate) struct Auth<S> {
    inner: S,
    authority: Arc<Authority>,
}

impl<S> Auth<S> {
    pub(crate) fn new(inner: S, authority: Arc<Authority>) -> Self {
        Self { inner, authority }
    }

    /// Returns who calls, and when their token ends, if they have one.
    fn caller<B>(&self, request: &Request<B>) -> Result<(Caller, Option<Instant>), Refused> {
        let target = request.extensions().get::<Call>().map(|call| call.target);
        let policy = match target {
            Some(Target::Contract(policy)) => policy,
            Some(Target::Standard) => return Ok((Caller::anonymous(), None)),
            Some(Target::Unknown) | None => return Err(Refused::UnknownMethod),
        };
        let verifier = match self.authority.as_ref() {
            Authority::Tokens(verifier) if request.extensions().get::<InProcess>().is_none() => {
                verifier
            }
            Authority::Tokens(_) | Authority::Off => return Ok((Caller::local(), None)),
        };
        let value = request
            .headers()
            .get(header::AUTHORIZATION)
            .ok_or(Refused::NoToken)?;
        let token = bearer(value.as_bytes()).ok_or(Refused::Token(Refusal::Invalid))?;
        let (caller, left) = verifier.verify(token).map_err(Refused::Token)?;
        if !caller.has_scope(policy.scope) {
            return Err(Refused::Scope(policy.scope));
        }
        Ok((caller, Some(Instant::now() + left)))
    }
}

/// Returns the token of an `authorization` value. The scheme's case does not matter (RFC 9110, 11.1).
fn bearer(value: &[u8]) -> Option<&str> {
    let (scheme, token) = std::str::from_utf8(value).ok()?.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}

/// Why a call is refused.
#[derive(Debug)]
enum Refused {
    UnknownMethod,
    NoToken,
    Token(Refusal),
    Scope(&'static str),
}

impl From<Refused> for Status {
    fn from(refused: Refused) -> Self {
        let (rule, code, reason, message) = match refused {
            Refused::UnknownMethod => {
                let message = "no contract has this method";
                return rpc_error(Code::Unimplemented, reason::UNKNOWN_METHOD, DOMAIN, message);
            }
            Refused::NoToken => (
                "token_missing",
                Code::Unauthenticated,
                reason::TOKEN_MISSING,
                "the call needs a bearer token".to_owned(),
            ),
            Refused::Token(Refusal::Invalid) => (
                "token_invalid",
                Code::Unauthenticated,
                reason::TOKEN_INVALID,
                "the bearer token is not valid here".to_owned(),
            ),
            Refused::Token(Refusal::Expired) => (
                "token_expired",
                Code::Unauthenticated,
                reason::TOKEN_EXPIRED,
                "the bearer token has expired".to_owned(),
            ),
            Refused::Scope(scope) => (
                "scope_missing",
                Code::PermissionDenied,
                reason::SCOPE_MISSING,
                format!("the call needs the scope {scope}"),
            ),
        };
        AUTHZ_DENIED.add(1, &[rule]);
        rpc_error(code, reason, DOMAIN, message)
    }
}

impl<S, B> Service<Request<B>> for Auth<S>
where
    S: Service<Request<B>, Response = Response<Body>, Error = Infallible>,
{
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Authorised<S::Future>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, mut request: Request<B>) -> Self::Future {
        let streaming = request
            .extensions()
            .get::<Call>()
            .is_some_and(|call| call.streaming);
        match self.caller(&request) {
            Ok((caller, ends)) => {
                request.extensions_mut().insert(caller);
                let answer = Answer::Below {
                    future: self.inner.call(request),
                };
                Authorised {
                    answer,
                    ends: ends.filter(|_| streaming),
                }
            }
            Err(refused) => Authorised {
                answer: Answer::refuse(refused.into()),
                ends: None,
            },
        }
    }
}

pin_project! {
    /// The call's future; a stream ends together with its caller's token.
    #[derive(Debug)]
    pub(crate) struct Authorised<F> {
        #[pin]
        answer: Answer<F>,
        ends: Option<Instant>,
    }
}

impl<F> Future for Authorised<F>
where
    F: Future<Output = Result<Response<Body>, Infallible>>,
{
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let response = ready!(this.answer.poll(context))?;
        let expired = || Refused::Token(Refusal::Expired).into();
        Poll::Ready(Ok(match this.ends {
            Some(ends) => response.map(|body| Body::new(EndingBody::new(body, *ends, expired))),
            None => response,
        }))
    }
}
