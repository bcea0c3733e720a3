//! Feeding the view from profile: a snapshot, then the control partition, for ever.

use std::collections::BTreeMap;
use std::time::Duration;

use rapport_api::profile::v1::GetControlSnapshotRequest;
use rapport_api::profile::v1::consent_service_client::ConsentServiceClient;
use rapport_telemetry::names;
use rapport_types::CONTROL_PARTITION;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::{ControlError, People, Snapshot};
use crate::Channel;
use crate::backoff::Backoff;
use crate::origin::applying;
use crate::tail::{LogReader, TailError, TailOptions};

const NAME: &str = "people";
/// The longest wait for one part of the snapshot.
const PART_MAX: Duration = Duration::from_secs(5);
const BACKOFF_FIRST: Duration = Duration::from_millis(100);
const BACKOFF_MAX: Duration = Duration::from_secs(2);

/// Why the view must start again from a snapshot.
#[derive(Debug, thiserror::Error)]
enum Interrupted {
    #[error("{0}")]
    Control(#[from] ControlError),
    #[error("{0}")]
    Tail(#[from] TailError),
    #[error("the snapshot cannot be read: {0}")]
    Snapshot(String),
}

impl People {
    /// Returns a view that a task feeds from profile until `stop` is cancelled.
    ///
    /// Outages are waited out; meanwhile the view answers, ages, and goes stale after
    /// [`super::STALE_AFTER`]. Must be called inside a tokio runtime.
    #[must_use]
    pub fn follow(profile: Channel, stop: CancellationToken) -> Self {
        let people = Self::new();
        let fed = people.clone();
        tokio::spawn(async move {
            tokio::select! {
                () = stop.cancelled() => {}
                () = feed_for_ever(&fed, &profile) => {}
                () = report_age(&fed) => {}
            }
        });
        people
    }
}

/// Keeps the gauge of the view's age moving, most of all when nothing arrives.
async fn report_age(people: &People) {
    let mut ticks = tokio::time::interval(Duration::from_secs(1));
    loop {
        ticks.tick().await;
        let age = people.age().map_or(f64::INFINITY, |age| age.as_secs_f64());
        names::PEOPLE_VIEW_AGE.set(age, &[]);
    }
}

async fn feed_for_ever(people: &People, profile: &Channel) {
    let mut backoff = Backoff::new(BACKOFF_FIRST, BACKOFF_MAX);
    loop {
        let Err(why) = feed(people, profile, &mut backoff).await;
        tracing::warn!(%why, "the view of people starts again from a snapshot");
        tokio::time::sleep(backoff.next()).await;
    }
}

async fn feed(
    people: &People,
    profile: &Channel,
    backoff: &mut Backoff,
) -> Result<std::convert::Infallible, Interrupted> {
    people.load(read_snapshot(profile).await?)?;
    let options = TailOptions {
        name: NAME,
        cursors: BTreeMap::from([(CONTROL_PARTITION, people.control_sequence())]),
        types: Vec::new(),
        follow: true,
    };
    let mut reader = LogReader::spawn(profile.clone(), options);
    let mut live = false;
    while let Some(tailed) = reader.next().await? {
        let events = tailed.batch.as_ref().map_or(&[][..], |batch| &batch.events);
        // What is old news joins no trace: its request is long over.
        let traced = if live {
            applying(NAME, events)
        } else {
            Vec::new()
        };
        for event in events {
            people.apply_control(event)?;
        }
        drop(traced);
        live |= tailed.caught_up;
        if tailed.caught_up {
            people.heartbeat_at(tailed.received);
            backoff.reset();
        }
    }
    Err(Interrupted::Snapshot("the reader stopped".to_owned()))
}

async fn read_snapshot(profile: &Channel) -> Result<Snapshot, Interrupted> {
    let lost = |status: tonic::Status| Interrupted::Snapshot(status.code().to_string());
    let late = |_elapsed| Interrupted::Snapshot("no answer".to_owned());
    let mut client = ConsentServiceClient::new(profile.clone());
    let opened = timeout(
        PART_MAX,
        client.get_control_snapshot(GetControlSnapshotRequest {}),
    );
    let mut parts = opened.await.map_err(late)?.map_err(lost)?.into_inner();
    let mut snapshot = Snapshot::default();
    while let Some(part) = timeout(PART_MAX, parts.message())
        .await
        .map_err(late)?
        .map_err(lost)?
    {
        snapshot.add(&part)?;
    }
    Ok(snapshot)
}
