//! The way out: NOT_SERVING first, calls in flight finish, streams end with a reason, hooks run last.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rapport_rpc::{ServeConfig, healthcheck, reason_of};
use tokio::sync::Semaphore;
use tonic::Code;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;

use crate::support::{READ, call, client, run, server, tiny};

#[tokio::test]
async fn a_draining_server_finishes_what_it_began_and_then_runs_its_hooks() {
    let (arrived, release) = (Arc::new(Semaphore::new(0)), Arc::new(Semaphore::new(0)));
    let (arrivals, releases) = (Arc::clone(&arrived), Arc::clone(&release));
    let routes = tiny(move |_, _| {
        let (arrivals, releases) = (Arc::clone(&arrivals), Arc::clone(&releases));
        async move {
            arrivals.add_permits(1);
            releases.acquire().await.unwrap().forget();
            Ok("finished".to_owned())
        }
    });
    let flushed = Arc::new(AtomicBool::new(false));
    let flush = Arc::clone(&flushed);
    let server = server(ServeConfig::local_test(), routes)
        .before_exit("test", async move { flush.store(true, Ordering::SeqCst) });
    let server = run(server);
    let url = server.url();
    let channel = client(&server);
    let mut watcher = HealthClient::new(channel.clone());
    let request = HealthCheckRequest {
        service: "rapport.test.v1.Tiny".to_owned(),
    };
    let mut answers = watcher.watch(request).await.unwrap().into_inner();
    assert_eq!(
        answers.message().await.unwrap().unwrap().status(),
        ServingStatus::Serving
    );

    let in_flight = tokio::spawn(call(channel.clone(), READ, ""));
    arrived.acquire().await.unwrap().forget();
    let drained = server.begin_stop();
    assert_eq!(
        answers.message().await.unwrap().unwrap().status(),
        ServingStatus::NotServing
    );
    let ended = answers.message().await.unwrap_err();
    assert_eq!(ended.code(), Code::Unavailable);
    assert_eq!(
        reason_of(&ended).unwrap(),
        "SHUTTING_DOWN",
        "the stream was told to go elsewhere"
    );
    assert!(!flushed.load(Ordering::SeqCst), "a call is still in flight");

    release.add_permits(1);
    assert_eq!(in_flight.await.unwrap().unwrap(), "finished");
    drained.await.unwrap();
    assert!(flushed.load(Ordering::SeqCst), "the hook ran");
    assert!(
        !healthcheck(&url, "", Duration::from_secs(1)).await,
        "nobody is there any more"
    );
}

#[tokio::test]
async fn a_call_that_never_ends_does_not_keep_the_server() {
    let arrived = Arc::new(Semaphore::new(0));
    let arrivals = Arc::clone(&arrived);
    let routes = tiny(move |_, _| {
        arrivals.add_permits(1);
        std::future::pending()
    });
    let config = ServeConfig {
        drain_max: Duration::from_millis(50),
        ..ServeConfig::local_test()
    };
    let server = run(server(config, routes));
    let stuck = tokio::spawn(call(client(&server), READ, ""));
    arrived.acquire().await.unwrap().forget();
    server.stop().await;
    stuck.abort();
}
