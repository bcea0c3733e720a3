//! R3: the least critical calls are refused first, with their reason and a time to come back; health
//! always answers.

use std::sync::Arc;
use std::time::Duration;

use rapport_rpc::{ServeConfig, healthcheck, reason_of};
use tokio::sync::Semaphore;
use tonic::Code;
use tonic_types::StatusExt;

use crate::support::{READ, REPORT, SPEND, VITAL, call, client, run, server, tiny};

#[tokio::test]
async fn calls_are_shed_from_reports_up_to_vital_ones() {
    let arrived = Arc::new(Semaphore::new(0));
    let release = Arc::new(Semaphore::new(0));
    let (arrivals, releases) = (Arc::clone(&arrived), Arc::clone(&release));
    let routes = tiny(move |_, _| {
        let (arrivals, releases) = (Arc::clone(&arrivals), Arc::clone(&releases));
        async move {
            arrivals.add_permits(1);
            releases.acquire().await.unwrap().forget();
            Ok(String::new())
        }
    });
    let server = run(server(
        ServeConfig {
            calls_max: 8,
            ..ServeConfig::local_test()
        },
        routes,
    ));
    let channel = client(&server);
    let mut held = Vec::new();
    // By hand for a limit of 8: reports fill 4 places, serving 6, money 7, vital calls 8.
    for (path, room) in [(REPORT, 4), (READ, 2), (SPEND, 1), (VITAL, 1)] {
        for _ in 0..room {
            held.push(tokio::spawn(call(channel.clone(), path, "")));
            arrived.acquire().await.unwrap().forget();
        }
        let refused = call(channel.clone(), path, "").await.unwrap_err();
        assert_eq!(refused.code(), Code::ResourceExhausted, "{path}");
        assert_eq!(reason_of(&refused).unwrap(), "OVERLOADED");
        let delay = refused.get_details_retry_info().unwrap().retry_delay;
        assert!(delay.is_some_and(|delay| delay > Duration::ZERO), "{path}");
    }
    assert!(
        healthcheck(&server.url(), "", Duration::from_secs(5)).await,
        "health is never shed"
    );
    release.add_permits(9);
    for call in held {
        call.await.unwrap().unwrap();
    }
    call(channel, REPORT, "").await.unwrap();
}
