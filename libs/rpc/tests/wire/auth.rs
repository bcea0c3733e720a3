//! A1, A2: every method of the contracts × {no token, wrong scope, right scope, unsigned, expired, wrong
//! audience, ...}. The matrix is made from the policy table, so a new method is in it at once.

use std::io::Write;

use rapport_api::policy::{MethodPolicy, methods};
use rapport_rpc::token::{Claims, sign};
use rapport_rpc::{AuthConfig, AuthMode, Caller, ServeConfig, Server, reason_of};
use rapport_types::{Clock, Secret, SystemClock};
use tonic::Code;
use tonic::body::Body;
use tonic::service::Routes;
use tower::service_fn;

use crate::support::{Raw, frame, run};

const KEY: &str = "0123456789abcdef0123456789abcdef";

/// Routes that answer OK to everything, with the caller's name as a header: the layers alone decide.
fn anything() -> Routes {
    let answer = service_fn(|request: http::Request<_>| async move {
        let _: &http::Request<Body> = &request;
        let name = request
            .extensions()
            .get::<Caller>()
            .unwrap()
            .name
            .to_string();
        let response = http::Response::builder()
            .header("content-type", "application/grpc")
            .header("grpc-status", "0")
            .header("x-caller", name);
        Ok::<_, std::convert::Infallible>(response.body(Body::empty()).unwrap())
    });
    let mut routes = Routes::default();
    let router = std::mem::take(routes.axum_router_mut());
    let answer =
        tower::util::MapRequest::new(answer, |request: http::Request<_>| request.map(Body::new));
    *routes.axum_router_mut() = router.fallback_service(answer);
    routes
}

fn claims(scope: &str) -> Claims {
    Claims {
        iss: "rapport".to_owned(),
        aud: "rapport".to_owned(),
        sub: "ads".to_owned(),
        exp: SystemClock.now().0 / 1_000 + 600,
        nbf: None,
        scope: scope.to_owned(),
    }
}

fn signed(claims: &Claims) -> String {
    sign(claims, &Secret::new(KEY)).unwrap().expose().to_owned()
}

/// Replaces the header of a token by `{"alg":"none","typ":"JWT"}` and cuts the signature off.
fn unsigned(token: &str) -> String {
    let payload = token.split('.').nth(1).unwrap();
    format!("eyJhbGciOiJub25lIiwidHlwIjoiSldUIn0.{payload}.")
}

/// Every way to knock, and what each must bring.
fn knocks(policy: &MethodPolicy) -> Vec<(&'static str, Option<String>, Code, &'static str)> {
    let right = claims(&format!("other {} third", policy.scope));
    let change = |change: fn(&mut Claims)| {
        let mut claims = right.clone();
        change(&mut claims);
        signed(&claims)
    };
    let invalid = (Code::Unauthenticated, "TOKEN_INVALID");
    let mut forged = signed(&right);
    forged.truncate(forged.len() - 4);
    let longer_scope = claims(&format!("{}x", policy.scope));
    vec![
        ("no token", None, Code::Unauthenticated, "TOKEN_MISSING"),
        ("right", Some(signed(&right)), Code::Ok, ""),
        ("right, remembered", Some(signed(&right)), Code::Ok, ""),
        (
            "no scope",
            Some(signed(&claims(""))),
            Code::PermissionDenied,
            "SCOPE_MISSING",
        ),
        (
            "longer scope",
            Some(signed(&longer_scope)),
            Code::PermissionDenied,
            "SCOPE_MISSING",
        ),
        (
            "alg none",
            Some(unsigned(&signed(&right))),
            invalid.0,
            invalid.1,
        ),
        ("forged", Some(forged), invalid.0, invalid.1),
        (
            "not a token",
            Some("hello".to_owned()),
            invalid.0,
            invalid.1,
        ),
        (
            "other audience",
            Some(change(|claims| "else".clone_into(&mut claims.aud))),
            invalid.0,
            invalid.1,
        ),
        (
            "other issuer",
            Some(change(|claims| "else".clone_into(&mut claims.iss))),
            invalid.0,
            invalid.1,
        ),
        (
            "nobody",
            Some(change(|claims| claims.sub.clear())),
            invalid.0,
            invalid.1,
        ),
        (
            "not yet",
            Some(change(|claims| claims.nbf = Some(claims.exp))),
            invalid.0,
            invalid.1,
        ),
        (
            "expired",
            Some(change(|claims| claims.exp -= 1_200)),
            Code::Unauthenticated,
            "TOKEN_EXPIRED",
        ),
    ]
}

#[tokio::test]
async fn every_method_lets_in_whom_the_policy_names_and_nobody_else() {
    let mut key = tempfile::NamedTempFile::new().unwrap();
    writeln!(key, "{KEY}").unwrap();
    let auth = AuthConfig {
        auth: AuthMode::Hs256,
        auth_key_file: Some(key.path().to_owned()),
        ..AuthConfig::default()
    };
    let config = ServeConfig {
        auth,
        ..ServeConfig::local_test()
    };
    let server = run(Server::new(config, anything(), &[]));
    let mut raw = Raw::connect(server.address).await;
    assert!(methods().len() > 20, "the contracts are loaded");
    for policy in methods() {
        for (what, token, code, reason) in knocks(policy) {
            let value = token.map(|token| format!("Bearer {token}"));
            let headers: Vec<_> = value
                .iter()
                .map(|value| ("authorization", value.as_str()))
                .collect();
            let status = raw.post(policy.path, &headers, &frame(&[])).await;
            assert_eq!(status.code(), code, "{} with {what}", policy.path);
            assert_eq!(reason_of(&status).unwrap_or_default(), reason, "{what}");
            let caller = status.metadata().get("x-caller");
            assert_eq!(
                caller.is_some_and(|name| name == "ads"),
                code == Code::Ok,
                "{what}"
            );
        }
    }
    let unknown = raw
        .post("/rapport.ads.v1.AdsService/Nothing", &[], &frame(&[]))
        .await;
    assert_eq!(unknown.code(), Code::Unimplemented);
    let health = raw
        .post("/grpc.health.v1.Health/Check", &[], &frame(&[]))
        .await;
    assert_eq!(health.code(), Code::Ok, "probes have no token");
}

#[tokio::test]
async fn without_tokens_everybody_on_this_machine_is_local() {
    let server = run(Server::new(ServeConfig::local_test(), anything(), &[]));
    let mut raw = Raw::connect(server.address).await;
    let status = raw
        .post(
            methods()[0].path,
            &[("x-rapport-caller", "root")],
            &frame(&[]),
        )
        .await;
    assert_eq!(
        status.metadata().get("x-caller").unwrap(),
        "local",
        "no header makes a caller"
    );
}
