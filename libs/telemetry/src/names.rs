//! Every metric of the suite: nothing else may record one. Names follow the OpenTelemetry RPC
//! conventions in their Prometheus form; a test compares this list with a live scrape.

use metrics::Unit;

use crate::metric::{Kind, Label, Metric, Values};

/// The label value for a method that no contract has: raw input never becomes a label.
pub const OTHER: &str = "_OTHER";

const METHOD: Label = Label {
    name: "rpc_method",
    values: Values::Method,
};
const CODE: Label = Label {
    name: "rpc_response_status_code",
    values: Values::Code,
};
const CRITICALITY: Label = Label {
    name: "criticality",
    values: Values::Of(&["vital", "spend", "serve", "report", "stream"]),
};

/// How long calls took at the server, from the request's headers to the last byte of the answer.
pub const RPC_SERVER_CALL_DURATION: Metric = Metric {
    name: "rpc_server_call_duration_seconds",
    kind: Kind::Histogram,
    unit: Unit::Seconds,
    help: "Time from a call's headers to the end of its answer, at the server.",
    labels: &[METHOD, CODE],
};

/// How long calls took at the client, retries included.
pub const RPC_CLIENT_CALL_DURATION: Metric = Metric {
    name: "rpc_client_call_duration_seconds",
    kind: Kind::Histogram,
    unit: Unit::Seconds,
    help: "Time of a call as its caller saw it, retries included.",
    labels: &[METHOD, CODE],
};

/// Second and third attempts that clients made.
pub const RPC_CLIENT_RETRIES: Metric = Metric {
    name: "rpc_client_retries_total",
    kind: Kind::Counter,
    unit: Unit::Count,
    help: "Second and third attempts of calls.",
    labels: &[METHOD],
};

/// Retries that the budget refused.
pub const RPC_CLIENT_RETRIES_REFUSED: Metric = Metric {
    name: "rpc_client_retries_refused_total",
    kind: Kind::Counter,
    unit: Unit::Count,
    help: "Retries that were not made because the retry budget was spent.",
    labels: &[],
};

/// Calls refused because the server was busy, by shedding class.
pub const SHED: Metric = Metric {
    name: "shed_total",
    kind: Kind::Counter,
    unit: Unit::Count,
    help: "Calls refused because the server was at its limit, by shedding class.",
    labels: &[CRITICALITY],
};

/// Calls that are being worked on.
pub const RPC_SERVER_CALLS_ACTIVE: Metric = Metric {
    name: "rpc_server_calls_active",
    kind: Kind::Gauge,
    unit: Unit::Count,
    help: "Calls that are being worked on, by shedding class.",
    labels: &[CRITICALITY],
};

/// Calls that authentication or authorisation refused.
pub const AUTHZ_DENIED: Metric = Metric {
    name: "authz_denied_total",
    kind: Kind::Counter,
    unit: Unit::Count,
    help: "Calls that authentication or authorisation refused, by rule.",
    labels: &[Label {
        name: "rule",
        values: Values::Of(&[
            "token_missing",
            "token_invalid",
            "token_expired",
            "scope_missing",
        ]),
    }],
};

/// Open connections.
pub const RPC_SERVER_CONNECTIONS: Metric = Metric {
    name: "rpc_server_connections",
    kind: Kind::Gauge,
    unit: Unit::Count,
    help: "Open connections.",
    labels: &[],
};

/// Connections that were closed at once because the server held its maximum.
pub const RPC_SERVER_CONNECTIONS_REFUSED: Metric = Metric {
    name: "rpc_server_connections_refused_total",
    kind: Kind::Counter,
    unit: Unit::Count,
    help: "Connections closed at once because the server held its maximum.",
    labels: &[],
};

/// Connections that were told to calm down: an attack by rapid resets, or a caller of ours that gives up
/// more calls than one connection may.
pub const RPC_SERVER_CONNECTIONS_CALMED: Metric = Metric {
    name: "rpc_server_connections_calmed_total",
    kind: Kind::Counter,
    unit: Unit::Count,
    help: "Connections closed with ENHANCE_YOUR_CALM because their peer reset too many streams.",
    labels: &[],
};

/// Endpoints that client channels may use.
pub const RPC_CLIENT_ENDPOINTS: Metric = Metric {
    name: "rpc_client_endpoints_serving",
    kind: Kind::Gauge,
    unit: Unit::Count,
    help: "Endpoints that said SERVING and receive calls.",
    labels: &[],
};

const READER: Label = Label {
    name: "reader",
    values: Values::Source,
};
const PROJECTION: Label = Label {
    name: "projection",
    values: Values::Source,
};

/// How often readers of the log had to connect again.
pub const LOG_READER_RECONNECTS: Metric = Metric {
    name: "log_reader_reconnects_total",
    kind: Kind::Counter,
    unit: Unit::Count,
    help: "Connections to the log that were lost and opened again, by reader.",
    labels: &[READER],
};

/// Batches that did not continue their partition: any at all needs a look at the log.
pub const LOG_READER_GAPS: Metric = Metric {
    name: "log_reader_gaps_total",
    kind: Kind::Counter,
    unit: Unit::Count,
    help: "Batches of the log that did not continue their partition and were read again, by reader.",
    labels: &[READER],
};

/// Events refused because their id was used for another event: each is a caller's mistake or an attempt
/// to suppress an event.
pub const LOG_DEDUP_CONFLICTS: Metric = Metric {
    name: "log_dedup_conflicts_total",
    kind: Kind::Counter,
    unit: Unit::Count,
    help: "Events refused because their id was used for another event of the same source.",
    labels: &[],
};

/// How old the view of consent, persons and erasures is.
pub const PEOPLE_VIEW_AGE: Metric = Metric {
    name: "people_view_age_seconds",
    kind: Kind::Gauge,
    unit: Unit::Seconds,
    help: "Time since the view of consent and persons was known to be complete; above 5 it permits nothing.",
    labels: &[],
};

/// Events that projections applied.
pub const PROJECTION_EVENTS: Metric = Metric {
    name: "projection_events_total",
    kind: Kind::Counter,
    unit: Unit::Count,
    help: "Events applied, by projection.",
    labels: &[PROJECTION],
};

/// Committed events that projections have not applied yet.
pub const PROJECTION_LAG: Metric = Metric {
    name: "projection_lag_events",
    kind: Kind::Gauge,
    unit: Unit::Count,
    help: "Committed sequences that are not applied yet, by projection.",
    labels: &[PROJECTION],
};

/// How long projections took to write state and offset.
pub const PROJECTION_FLUSH_DURATION: Metric = Metric {
    name: "projection_flush_duration_seconds",
    kind: Kind::Histogram,
    unit: Unit::Seconds,
    help: "Time to write state and offset in one transaction, by projection.",
    labels: &[PROJECTION],
};

/// Partitions whose state had to be loaded again: lost leases, lost answers, failovers.
pub const PROJECTION_RELOADS: Metric = Metric {
    name: "projection_reloads_total",
    kind: Kind::Counter,
    unit: Unit::Count,
    help: "Times that state was loaded again after a lost lease or an unknown outcome, by projection.",
    labels: &[PROJECTION],
};

/// Events that wait to be sent to the log.
pub const OUTBOX_DEPTH: Metric = Metric {
    name: "outbox_depth",
    kind: Kind::Gauge,
    unit: Unit::Count,
    help: "Decisions and other events that wait to be acknowledged by the log.",
    labels: &[],
};

/// What became of the outbox's events.
pub const OUTBOX_EVENTS: Metric = Metric {
    name: "outbox_events_total",
    kind: Kind::Counter,
    unit: Unit::Count,
    help: "Events of the outbox, by outcome; full means that the decision was not made.",
    labels: &[Label {
        name: "outcome",
        values: Values::Of(&["acknowledged", "rejected", "full"]),
    }],
};

/// Sends of the outbox that failed and are tried again.
pub const OUTBOX_SEND_FAILURES: Metric = Metric {
    name: "outbox_send_failures_total",
    kind: Kind::Counter,
    unit: Unit::Count,
    help: "Sends of the outbox that failed and were tried again.",
    labels: &[],
};

/// How old the list of running experiments is.
pub const EXPERIMENTS_AGE: Metric = Metric {
    name: "experiments_view_age_seconds",
    kind: Kind::Gauge,
    unit: Unit::Seconds,
    help: "Time since the list of running experiments was last read.",
    labels: &[],
};

/// Answers of the recommender, by why they were less than they could be.
pub const RECOMMENDATIONS: Metric = Metric {
    name: "recommendations_total",
    kind: Kind::Counter,
    unit: Unit::Count,
    help: "Answers of Recommend, by why they were less than they could be.",
    labels: &[Label {
        name: "degraded",
        values: Values::Of(&["no", "consent", "stale_consent", "dependency", "no_model"]),
    }],
};

/// How long trainings of the recommender took.
pub const RECOMMEND_TRAINING_DURATION: Metric = Metric {
    name: "recommend_training_duration_seconds",
    kind: Kind::Histogram,
    unit: Unit::Seconds,
    help: "Time to read histories, train and save a model.",
    labels: &[],
};

/// How long building a serving snapshot took.
pub const RECOMMEND_SNAPSHOT_DURATION: Metric = Metric {
    name: "recommend_snapshot_duration_seconds",
    kind: Kind::Histogram,
    unit: Unit::Seconds,
    help: "Time to build the snapshot of catalogue, model and popularity that answers read.",
    labels: &[],
};

/// How long trainings of the model of customer value took.
pub const PROFILE_TRAINING_DURATION: Metric = Metric {
    name: "profile_training_duration_seconds",
    kind: Kind::Histogram,
    unit: Unit::Seconds,
    help: "Time to read purchases, train and save a model of customer value.",
    labels: &[],
};

/// How old the served model of customer value is.
pub const PROFILE_MODEL_AGE: Metric = Metric {
    name: "profile_model_age_seconds",
    kind: Kind::Gauge,
    unit: Unit::Seconds,
    help: "Time since the served model of customer value was trained.",
    labels: &[],
};

/// Every metric.
pub const METRICS: &[&Metric] = &[
    &RPC_SERVER_CALL_DURATION,
    &RPC_CLIENT_CALL_DURATION,
    &RPC_CLIENT_RETRIES,
    &RPC_CLIENT_RETRIES_REFUSED,
    &SHED,
    &RPC_SERVER_CALLS_ACTIVE,
    &AUTHZ_DENIED,
    &RPC_SERVER_CONNECTIONS,
    &RPC_SERVER_CONNECTIONS_REFUSED,
    &RPC_SERVER_CONNECTIONS_CALMED,
    &RPC_CLIENT_ENDPOINTS,
    &LOG_READER_RECONNECTS,
    &LOG_READER_GAPS,
    &LOG_DEDUP_CONFLICTS,
    &PEOPLE_VIEW_AGE,
    &PROJECTION_EVENTS,
    &PROJECTION_LAG,
    &PROJECTION_FLUSH_DURATION,
    &PROJECTION_RELOADS,
    &OUTBOX_DEPTH,
    &OUTBOX_EVENTS,
    &OUTBOX_SEND_FAILURES,
    &EXPERIMENTS_AGE,
    &RECOMMENDATIONS,
    &RECOMMEND_TRAINING_DURATION,
    &RECOMMEND_SNAPSHOT_DURATION,
    &PROFILE_TRAINING_DURATION,
    &PROFILE_MODEL_AGE,
];

/// Returns the metric that a line of the scrape belongs to, `None` for a name that is not listed.
#[must_use]
pub fn of_sample(name: &str) -> Option<&'static Metric> {
    METRICS.iter().copied().find(|metric| match metric.kind {
        Kind::Counter | Kind::Gauge => metric.name == name,
        Kind::Histogram => name
            .strip_prefix(metric.name)
            .is_some_and(|rest| ["_bucket", "_sum", "_count"].contains(&rest)),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique_and_end_in_their_unit() {
        let mut names: Vec<_> = METRICS.iter().map(|metric| metric.name).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), METRICS.len());
        for metric in METRICS {
            assert_eq!(
                metric.kind == Kind::Counter,
                metric.name.ends_with("_total"),
                "{}",
                metric.name
            );
            let seconds = metric.unit == Unit::Seconds;
            assert_eq!(
                seconds,
                metric.name.ends_with("_seconds"),
                "{}",
                metric.name
            );
            assert!(metric.help.ends_with('.'), "{}", metric.name);
        }
    }
}
