//! What stories share: starting the real binaries on private ports, waiting until they serve, stopping
//! them, and reading what they left on disk. No assertion lives here.

mod five;
mod process;
mod scan;

pub use five::{Five, SERVICES};
pub use process::{Launch, Process, binary, free_port, real_data};
pub use scan::{Hit, scan};
