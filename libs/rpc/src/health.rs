//! Health: the server's switch, and the question that probes and people ask.

use std::sync::Arc;
use std::time::Duration;

use tonic::transport::Endpoint;
use tonic_health::ServingStatus;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus as Answer;
use tonic_health::pb::health_client::HealthClient;
use tonic_health::pb::health_server::HealthServer;
use tonic_health::server::{HealthReporter, HealthService};

/// Says of each service whether it serves. `""` stands for the process: it serves when all do.
#[derive(Debug, Clone)]
pub struct Health {
    reporter: HealthReporter,
    services: Arc<[&'static str]>,
}

impl Health {
    pub(crate) fn new(services: &[&'static str]) -> (Self, HealthServer<HealthService>) {
        let reporter = HealthReporter::new();
        let service = HealthService::from_health_reporter(reporter.clone());
        (
            Self {
                reporter,
                services: Arc::from(services),
            },
            HealthServer::new(service),
        )
    }

    /// Sets every service and the process.
    pub async fn set_all(&self, serving: bool) {
        for service in self.services.iter().copied().chain([""]) {
            self.set(service, serving).await;
        }
    }

    /// Sets one service, by its full name.
    pub async fn set(&self, service: &str, serving: bool) {
        let status = if serving {
            ServingStatus::Serving
        } else {
            ServingStatus::NotServing
        };
        self.reporter.set_service_status(service, status).await;
    }
}

/// Asks the server at `url` whether `service` (`""` for the process) serves. `false` also means that it
/// is not there, or did not answer within `limit`.
pub async fn healthcheck(url: &str, service: &str, limit: Duration) -> bool {
    let ask = async {
        let endpoint = Endpoint::from_shared(url.to_owned())
            .ok()?
            .connect_timeout(limit);
        let channel = endpoint.connect().await.ok()?;
        let request = HealthCheckRequest {
            service: service.to_owned(),
        };
        let response = HealthClient::new(channel).check(request).await.ok()?;
        Some(response.into_inner().status() == Answer::Serving)
    };
    tokio::time::timeout(limit, ask)
        .await
        .ok()
        .flatten()
        .unwrap_or(false)
}
