//! A service of one text in, one text out, whose methods differ only in their policy; servers of it;
//! and three clients: ours, tonic's own, and one that sends any bytes.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::uri::PathAndQuery;
use http_body_util::{BodyExt, Full};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rapport_api::policy::{Criticality, Idempotency, MethodPolicy, OnRefusal};
use rapport_rpc::{Channel, ClientConfig, ServeConfig, Server, connect};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tonic::body::Body;
use tonic::server::NamedService;
use tonic::service::Routes;
use tonic::{Request, Response, Status};
use tonic_prost::ProstCodec;
use tower::Service;

pub(crate) type Answer = Pin<Box<dyn Future<Output = Result<Response<String>, Status>> + Send>>;

type Handler = Arc<dyn Fn(&'static str, Request<String>) -> Answer + Send + Sync>;

const fn policy(
    path: &'static str,
    criticality: Criticality,
    idempotency: Idempotency,
    deadline_ms: u32,
) -> MethodPolicy {
    MethodPolicy {
        path,
        scope: "tiny",
        purposes: &[],
        on_refusal: OnRefusal::None,
        subject_field: "",
        criticality,
        idempotency,
        deadline_ms,
        streaming: false,
    }
}

/// A long deadline: tests that hold calls must not race it.
const LONG_MS: u32 = 30_000;

pub(crate) const READ: &str = "/rapport.test.v1.Tiny/Read";
pub(crate) const ONCE: &str = "/rapport.test.v1.Tiny/Once";
pub(crate) const SLOW: &str = "/rapport.test.v1.Tiny/Slow";
pub(crate) const VITAL: &str = "/rapport.test.v1.Tiny/Vital";
pub(crate) const SPEND: &str = "/rapport.test.v1.Tiny/Spend";
pub(crate) const REPORT: &str = "/rapport.test.v1.Tiny/Report";

static POLICIES: [MethodPolicy; 6] = [
    policy(READ, Criticality::Serve, Idempotency::ReadOnly, LONG_MS),
    policy(ONCE, Criticality::Serve, Idempotency::None, LONG_MS),
    policy(SLOW, Criticality::Serve, Idempotency::ReadOnly, 100),
    policy(VITAL, Criticality::Vital, Idempotency::ReadOnly, LONG_MS),
    policy(SPEND, Criticality::Spend, Idempotency::ReadOnly, LONG_MS),
    policy(REPORT, Criticality::Report, Idempotency::ReadOnly, LONG_MS),
];

pub(crate) fn policies(path: &str) -> Option<&'static MethodPolicy> {
    POLICIES.iter().find(|policy| policy.path == path)
}

/// The service.
#[derive(Clone)]
pub(crate) struct Tiny(Handler);

impl NamedService for Tiny {
    const NAME: &'static str = "rapport.test.v1.Tiny";
}

struct Unary(Handler, &'static str);

impl tonic::server::UnaryService<String> for Unary {
    type Response = String;
    type Future = Answer;

    fn call(&mut self, request: Request<String>) -> Answer {
        (self.0)(self.1, request)
    }
}

impl Service<http::Request<Body>> for Tiny {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        let path = policies(request.uri().path()).unwrap().path;
        let unary = Unary(Arc::clone(&self.0), path);
        Box::pin(async move {
            let mut grpc = tonic::server::Grpc::new(ProstCodec::<String, String>::default());
            Ok(grpc.unary(unary, request).await)
        })
    }
}

/// Returns routes whose every method is `handler(path, request)`.
pub(crate) fn tiny<F, A>(handler: F) -> Routes
where
    F: Fn(&'static str, Request<String>) -> A + Send + Sync + 'static,
    A: Future<Output = Result<String, Status>> + Send + 'static,
{
    Routes::new(Tiny(Arc::new(move |path, request| {
        let answer = handler(path, request);
        Box::pin(async move { answer.await.map(Response::new) })
    })))
}

/// Routes that answer what they were asked.
pub(crate) fn echo() -> Routes {
    tiny(|_, request| async move { Ok(request.into_inner()) })
}

/// A running server.
pub(crate) struct Running {
    pub(crate) address: SocketAddr,
    pub(crate) metrics: Option<SocketAddr>,
    stop: oneshot::Sender<()>,
    task: JoinHandle<()>,
}

impl Running {
    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Tells the server to stop and returns the task that drains it.
    pub(crate) fn begin_stop(self) -> JoinHandle<()> {
        let _ = self.stop.send(());
        self.task
    }

    pub(crate) async fn stop(self) {
        self.begin_stop().await.unwrap();
    }
}

pub(crate) fn server(config: ServeConfig, routes: Routes) -> Server {
    Server::new(config, routes, &[Tiny::NAME]).policies(policies)
}

pub(crate) fn run(server: Server) -> Running {
    let bound = server.bind().unwrap();
    let (stop, stopped) = oneshot::channel::<()>();
    let (address, metrics) = (bound.address(), bound.metrics_address());
    let task = tokio::spawn(bound.run(async {
        let _ = stopped.await;
    }));
    Running {
        address,
        metrics,
        stop,
        task,
    }
}

pub(crate) fn spawn(routes: Routes) -> Running {
    run(server(ServeConfig::local_test(), routes))
}

pub(crate) fn client_config(url: &str) -> ClientConfig {
    ClientConfig {
        policies,
        ..ClientConfig::new(url)
    }
}

pub(crate) fn client(running: &Running) -> Channel {
    connect(&client_config(&running.url())).unwrap()
}

/// Calls `path` through any channel.
pub(crate) async fn call<C>(channel: C, path: &'static str, text: &str) -> Result<String, Status>
where
    C: tonic::client::GrpcService<Body>,
    C::Error: std::fmt::Debug,
    C::ResponseBody: http_body::Body<Data = Bytes> + Send + 'static,
    <C::ResponseBody as http_body::Body>::Error: Into<tonic::codegen::StdError>,
{
    call_with(channel, path, Request::new(text.to_owned())).await
}

pub(crate) async fn call_with<C>(
    channel: C,
    path: &'static str,
    request: Request<String>,
) -> Result<String, Status>
where
    C: tonic::client::GrpcService<Body>,
    C::Error: std::fmt::Debug,
    C::ResponseBody: http_body::Body<Data = Bytes> + Send + 'static,
    <C::ResponseBody as http_body::Body>::Error: Into<tonic::codegen::StdError>,
{
    let mut grpc = tonic::client::Grpc::new(channel);
    grpc.ready().await.unwrap();
    let codec = ProstCodec::<String, String>::default();
    let path = PathAndQuery::from_static(path);
    grpc.unary(request, path, codec)
        .await
        .map(Response::into_inner)
}

/// A client that sends what it is told: any bytes, any header, no timer of its own.
pub(crate) struct Raw {
    sender: hyper::client::conn::http2::SendRequest<Full<Bytes>>,
}

impl Raw {
    pub(crate) async fn connect(address: SocketAddr) -> Self {
        let socket = tokio::net::TcpStream::connect(address).await.unwrap();
        socket.set_nodelay(true).unwrap();
        let (sender, connection) =
            hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(socket))
                .await
                .unwrap();
        tokio::spawn(connection);
        Self { sender }
    }

    /// Sends `body` as it is and returns the status of the answer.
    pub(crate) async fn post(
        &mut self,
        path: &str,
        headers: &[(&'static str, &str)],
        body: &[u8],
    ) -> Status {
        let mut request = http::Request::post(format!("http://localhost{path}"))
            .header("content-type", "application/grpc")
            .header("te", "trailers");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request
            .body(Full::from(Bytes::copy_from_slice(body)))
            .unwrap();
        self.sender.ready().await.unwrap();
        let response = self.sender.send_request(request).await.unwrap();
        if let Some(status) = Status::from_header_map(response.headers()) {
            return status;
        }
        let whole = response.into_body().collect().await.unwrap();
        Status::from_header_map(whole.trailers().unwrap()).unwrap()
    }
}

/// One gRPC frame, uncompressed.
pub(crate) fn frame(message: &[u8]) -> Vec<u8> {
    let length = u32::try_from(message.len()).unwrap().to_be_bytes();
    [&[0], length.as_slice(), message].concat()
}
