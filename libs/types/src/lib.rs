//! The vocabulary that every crate shares: identifiers, money, probabilities, time and purposes.
//!
//! Standard library and serde only. No I/O lives here: the one real clock, [`SystemClock`], is the
//! single place in the workspace that reads the machine's time. `testing` is for tests only.

mod clock;
mod currency;
mod id;
mod money;
mod probability;
mod purpose;
mod secret;
#[cfg(feature = "testing")]
pub mod testing;

pub use clock::{Clock, ManualClock, SystemClock, UnixMillis};
pub use currency::Currency;
pub use id::{CONTROL_PARTITION, DecisionId, IdError, PARTITIONS, SubjectId, partition_of};
pub use money::Micros;
pub use probability::{Probability, ProbabilityError};
pub use purpose::{ConsentState, Purpose, PurposeSet};
pub use secret::Secret;
