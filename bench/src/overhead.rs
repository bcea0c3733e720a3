//! CPU of a unary call through the whole layer chain, over the same call on a bare tonic server.
//!
//! The call is `GetAssignments` where no experiment runs: its handler looks at memory and answers
//! nothing, so what it costs above the bare server, which answers the same, is the chain: admission,
//! deadline, authorisation, consent, metrics, trace.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use futures::future::join_all;
use opentelemetry_proto::tonic::collector::trace::v1::trace_service_server::{
    TraceService, TraceServiceServer,
};
use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTraceServiceRequest, ExportTraceServiceResponse,
};
use rapport_api::evaluate::v1::experiment_service_client::ExperimentServiceClient;
use rapport_api::evaluate::v1::{GetAssignmentsRequest, GetAssignmentsResponse};
use rapport_stories::{binary, free_port};
use serde_json::json;
use tonic::transport::{Endpoint, Server as Bare};
use tonic::{Request, Response, Status};

use crate::server::{Server, cpu_seconds};

/// Calls measured, after as many tenths to warm up.
const CALLS: u64 = 200_000;
/// Calls in flight, on one connection.
const LANES: u64 = 32;
/// Bytes of a subject's id.
const SUBJECT_BYTES: usize = 16;

pub(crate) async fn run() -> io::Result<()> {
    let port = free_port();
    let mut echo = std::process::Command::new(binary("rapport-bench"))
        .args(["--echo-server", &port.to_string()])
        .spawn()?;
    let url = format!("http://127.0.0.1:{port}");
    wait_for(&url).await?;
    let bare = call_cost(&url, || cpu_seconds(echo.id())).await;
    echo.kill()?;
    echo.wait()?;
    let bare = bare?;
    crate::print(&json!({"name": "unary call, bare tonic", "server_cpu_us_per_call": bare}))?;
    let sink = sink();
    for (sampling, ratio) in [
        ("no traces", None),
        ("1 %", Some("0.01")),
        ("all", Some("1")),
    ] {
        let folder = tempfile::tempdir()?;
        let mut launch = rapport_stories::Launch::new("rapport", folder.path())
            .arg("serve")
            .arg("--only")
            .arg("evaluate")
            .arg("--data")
            .arg(folder.path().join("data"))
            // Spans exist at `info`.
            .arg("--log=info");
        if let Some(ratio) = ratio {
            launch = launch
                .env("RAPPORT_OTLP_ENDPOINT", format!("http://{sink}"))
                .env("RAPPORT_TRACE_SAMPLE_RATIO", ratio);
        }
        let server = Server::start(launch).await?;
        let cost = call_cost(server.process.url(), || server.cpu_seconds()).await?;
        crate::print(&json!({
            "name": format!("unary call, rapport serve, traces kept: {sampling}"),
            "server_cpu_us_per_call": cost,
            "over_bare": cost / bare,
        }))?;
        server.process.stop().await?;
    }
    Ok(())
}

/// Returns the server's CPU per call in microseconds.
async fn call_cost(url: &str, cpu_seconds: impl Fn() -> f64) -> io::Result<f64> {
    call(url, CALLS / 10).await?;
    let before = cpu_seconds();
    call(url, CALLS).await?;
    Ok(((cpu_seconds() - before) * 1e6 / CALLS as f64 * 10.0).round() / 10.0)
}

async fn call(url: &str, calls: u64) -> io::Result<()> {
    let endpoint = Endpoint::from_shared(url.to_owned()).map_err(io::Error::other)?;
    let channel = endpoint.connect().await.map_err(io::Error::other)?;
    let lanes = (0..LANES).map(|_| {
        let mut client = ExperimentServiceClient::new(channel.clone());
        async move {
            for _ in 0..calls / LANES {
                let request = GetAssignmentsRequest {
                    subject_id: vec![7; SUBJECT_BYTES],
                };
                client
                    .get_assignments(request)
                    .await
                    .map_err(io::Error::other)?;
            }
            Ok::<(), io::Error>(())
        }
    });
    join_all(lanes).await.into_iter().collect()
}

async fn wait_for(url: &str) -> io::Result<()> {
    for _ in 0..200 {
        if call(url, LANES).await.is_ok() {
            return Ok(());
        }
        tokio::time::sleep(Duration::from_millis(25)).await;
    }
    Err(io::Error::other("the bare server does not answer"))
}

/// Serves `GetAssignments` and nothing else, with tonic's defaults and no layer, for ever.
pub(crate) async fn echo(port: u16) -> io::Result<()> {
    let address = SocketAddr::from(([127, 0, 0, 1], port));
    let served = Bare::builder().add_service(Echo).serve(address).await;
    served.map_err(io::Error::other)
}

/// The bare server: one method, answered from memory.
#[derive(Debug, Clone, Copy)]
struct Echo;

impl tonic::server::NamedService for Echo {
    const NAME: &'static str = "rapport.evaluate.v1.ExperimentService";
}

impl tonic::server::UnaryService<GetAssignmentsRequest> for Echo {
    type Response = GetAssignmentsResponse;
    type Future = std::future::Ready<Result<Response<Self::Response>, Status>>;

    fn call(&mut self, _request: Request<GetAssignmentsRequest>) -> Self::Future {
        std::future::ready(Ok(Response::new(GetAssignmentsResponse::default())))
    }
}

impl tonic::codegen::Service<tonic::codegen::http::Request<tonic::body::Body>> for Echo {
    type Response = tonic::codegen::http::Response<tonic::body::Body>;
    type Error = std::convert::Infallible;
    type Future = tonic::codegen::BoxFuture<Self::Response, Self::Error>;

    fn poll_ready(
        &mut self,
        _context: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Result<(), Self::Error>> {
        std::task::Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: tonic::codegen::http::Request<tonic::body::Body>) -> Self::Future {
        Box::pin(async move {
            let codec = tonic_prost::ProstCodec::default();
            Ok(tonic::server::Grpc::new(codec).unary(Echo, request).await)
        })
    }
}

/// Takes spans and forgets them, so that exporting costs what it costs.
fn sink() -> SocketAddr {
    let address = SocketAddr::from(([127, 0, 0, 1], free_port()));
    let service = TraceServiceServer::new(Sink);
    tokio::spawn(async move { Bare::builder().add_service(service).serve(address).await });
    address
}

#[derive(Debug, Clone, Copy)]
struct Sink;

#[tonic::async_trait]
impl TraceService for Sink {
    async fn export(
        &self,
        _request: Request<ExportTraceServiceRequest>,
    ) -> Result<Response<ExportTraceServiceResponse>, Status> {
        Ok(Response::new(ExportTraceServiceResponse::default()))
    }
}
