//! Training without being asked: the first time after a thousand events, then when the model is old
//! and something happened since.

use std::time::Duration;

use rapport_flow::Progress;
use tokio::time::{Instant, MissedTickBehavior, interval};

use super::Trainer;
use crate::error::Error;
use crate::refresh::applied;

/// Events before the first model: fewer say nothing.
const FIRST_EVENTS: u64 = 1_000;
const CHECK: Duration = Duration::from_secs(1);
/// The pause after a training that did not come about.
const PAUSE: Duration = Duration::from_secs(30);

/// Trains whenever a model is due until the trainer is stopped. With several replicas the first one
/// trains, because the age of the newest model is everybody's.
pub async fn train_for_ever(trainer: Trainer, timelines: Progress, every: Duration) {
    let every_ms = i64::try_from(every.as_millis()).unwrap_or(i64::MAX);
    let mut ticks = interval(CHECK);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut trained_at_event = 0;
    let mut not_before = Instant::now();
    loop {
        tokio::select! {
            () = trainer.stop.cancelled() => return,
            _ = ticks.tick() => {}
        }
        let events = applied(&timelines);
        let due = match trainer.refresh.served().newest_model {
            None => events >= FIRST_EVENTS,
            Some((_, at)) => events > trained_at_event && trainer.clock.now().since(at) >= every_ms,
        };
        if !due || Instant::now() < not_before {
            continue;
        }
        match trainer.train(None).await {
            Ok(_) => trained_at_event = events,
            Err(_) if trainer.stop.is_cancelled() => return,
            Err(error) => {
                not_before = Instant::now() + PAUSE;
                // Another replica may be at it, or nobody permits it yet: that is not worth a warning.
                let quiet = matches!(
                    error,
                    Error::TrainingRunning | Error::TrainingEmpty | Error::ConsentViewStale
                );
                let error = &error as &dyn std::error::Error;
                if quiet {
                    tracing::debug!(error, "no model was trained");
                } else {
                    tracing::warn!(error, "no model was trained");
                }
            }
        }
    }
}
