//! What the tests of several crates need of the machine: a port for a process that they start.

use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher as _, Hasher as _};
use std::net::TcpListener;
use std::ops::Range;

/// Ports for processes under test: the kernel hands out none of them by itself, and 10,000 above, where
/// a Redis Cluster has its bus, there are ports as well.
const PORTS: Range<u16> = 20_000..32_000;
/// Ports that are tried before the machine counts as full.
const PORT_TRIES_MAX: u32 = 1_000;

/// Returns a port of this machine that was free a moment ago.
///
/// It lies below the range from which the kernel takes ports for clients and for port 0, so that nobody
/// who does not ask for it by name can take it before the process that it is for.
///
/// # Panics
/// When the machine has none left.
#[must_use]
pub fn free_port() -> u16 {
    let free = (0..PORT_TRIES_MAX).find_map(|_| {
        // The keys of a fresh `RandomState` are the process's randomness: enough to spread tests.
        let random =
            RandomState::new().build_hasher().finish() % u64::from(PORTS.end - PORTS.start);
        let port = PORTS.start + u16::try_from(random).unwrap_or(0);
        TcpListener::bind(("127.0.0.1", port))
            .is_ok()
            .then_some(port)
    });
    free.expect("a port is free")
}
