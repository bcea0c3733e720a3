//! What the layers know about one call: its policy, its label, when it came, when it must be over.
//!
//! The first layer puts [`Call`] into the request; the deadline layer opens the task-local
//! [`CallContext`], from which client channels take the remaining time and the trace.

use http::HeaderValue;
use rapport_api::policy::MethodPolicy;
use tokio::time::{Duration, Instant};
use tracing::Instrument as _;

/// Finds a method's policy by its HTTP/2 path. Tests bring their own; services use the contracts'.
pub type PolicyLookup = fn(&str) -> Option<&'static MethodPolicy>;

/// Where a path leads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Target {
    /// A method of our contracts.
    Contract(&'static MethodPolicy),
    /// Health or reflection: open to every caller, never shed.
    Standard,
    /// Nothing we know.
    Unknown,
}

/// One call, as the layers see it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Call {
    pub(crate) target: Target,
    /// `package.Service/Method`, or `_OTHER`: never raw input.
    pub(crate) label: &'static str,
    /// Whether either side streams.
    pub(crate) streaming: bool,
    pub(crate) arrived: Instant,
}

/// The standard services' methods: path, and whether it streams.
const STANDARD: [(&str, bool); 5] = [
    ("/grpc.health.v1.Health/Check", false),
    ("/grpc.health.v1.Health/List", false),
    ("/grpc.health.v1.Health/Watch", true),
    (
        "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo",
        true,
    ),
    (
        "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo",
        true,
    ),
];

impl Call {
    /// Classifies a path. `O(log n)` in the number of methods.
    pub(crate) fn of(path: &str, policies: PolicyLookup) -> Self {
        let arrived = Instant::now();
        if let Some(policy) = policies(path) {
            let label = policy.path.trim_start_matches('/');
            let streaming = policy.streaming;
            return Self {
                target: Target::Contract(policy),
                label,
                streaming,
                arrived,
            };
        }
        match STANDARD.iter().find(|(known, _)| *known == path) {
            Some((known, streaming)) => Self {
                target: Target::Standard,
                label: known.trim_start_matches('/'),
                streaming: *streaming,
                arrived,
            },
            None => Self {
                target: Target::Unknown,
                label: rapport_telemetry::names::OTHER,
                streaming: false,
                arrived,
            },
        }
    }

    /// Returns the longest that the server works on the call, `None` for streams that stay open.
    pub(crate) fn longest(&self) -> Option<Duration> {
        match self.target {
            Target::Contract(policy) => policy.deadline(),
            Target::Standard | Target::Unknown => (!self.streaming).then_some(STANDARD_DEADLINE),
        }
    }
}

/// The longest a standard unary call may take.
const STANDARD_DEADLINE: Duration = Duration::from_secs(5);

/// When the call must be over. In every request's extensions unless the call is an open-ended stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Expires(pub Instant);

impl Expires {
    /// Returns the time left, zero when it has passed.
    #[must_use]
    pub fn remaining(self) -> Duration {
        self.0.saturating_duration_since(Instant::now())
    }
}

/// What client channels take over from the call that they serve.
#[derive(Debug, Clone, Default)]
pub(crate) struct CallContext {
    pub(crate) expires: Option<Expires>,
    /// The caller's `traceparent`, forwarded as it came when no exporter makes spans of our own.
    pub(crate) traceparent: Option<HeaderValue>,
}

tokio::task_local! {
    pub(crate) static CONTEXT: CallContext;
}

/// Returns when the call that this task serves must be over; `None` outside of a call, in a task that
/// the handler spawned (use [`within`] there), or in an open-ended stream.
#[must_use]
pub fn expires() -> Option<Expires> {
    CONTEXT.try_with(|context| context.expires).ok().flatten()
}

/// Runs `work` with the deadline and trace of the present call, for work that a handler spawns:
/// `tokio::spawn(rapport_rpc::within(work))`.
pub fn within<F: Future>(work: F) -> impl Future<Output = F::Output> {
    let context = CONTEXT.try_with(CallContext::clone).unwrap_or_default();
    CONTEXT.scope(context, work).in_current_span()
}

/// Runs `work` as if it served a call that must be over in `limit`: for jobs, tools and tests that call
/// other services outside of any RPC.
pub fn with_deadline<F: Future>(limit: Duration, work: F) -> impl Future<Output = F::Output> {
    let mut context = CONTEXT.try_with(CallContext::clone).unwrap_or_default();
    let wanted = Instant::now() + limit;
    let expires = context.expires.map_or(wanted, |outer| outer.0.min(wanted));
    context.expires = Some(Expires(expires));
    CONTEXT.scope(context, work)
}
