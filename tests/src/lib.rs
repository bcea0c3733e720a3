//! What stories share: starting the real binaries on private ports, waiting until they serve, stopping
//! them, and reading what they left on disk. No assertion lives here.

mod five;
mod process;
mod scan;

pub use five::{Five, SERVICES};
pub use process::{Launch, Process, binary, real_data};
pub use rapport_types::testing::free_port;
pub use scan::{FRAME, Hit, scan, scan_postgres, scan_redis};
