//! What work cost: seconds of the processor and bytes of memory, never time on the wall, so that the
//! machine's other programs do not count.

use rustix::time::{ClockId, clock_gettime};

/// Returns what this process has used of the processor, all threads, user and system, in seconds.
pub(crate) fn process_cpu_seconds() -> f64 {
    seconds(ClockId::ProcessCPUTime)
}

/// Returns what this thread has used of the processor, in seconds.
pub(crate) fn thread_cpu_seconds() -> f64 {
    seconds(ClockId::ThreadCPUTime)
}

fn seconds(clock: ClockId) -> f64 {
    let time = clock_gettime(clock);
    time.tv_sec as f64 + time.tv_nsec as f64 * 1e-9
}

/// Runs `work` and returns its result with the seconds of the processor that it took.
pub(crate) fn timed<T>(work: impl FnOnce() -> T) -> (T, f64) {
    let before = process_cpu_seconds();
    let result = work();
    (result, process_cpu_seconds() - before)
}

/// Returns the largest resident set that this process has had, `None` where the system does not say.
pub(crate) fn peak_rss_bytes() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmHWM:"))?;
    let kilobytes: u64 = line.trim().trim_end_matches("kB").trim().parse().ok()?;
    Some(kilobytes * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn work_costs_something() {
        let (sum, cost) =
            timed(|| (0..2_000_000u64).fold(0, |sum, n| sum ^ std::hint::black_box(n)));
        assert!(std::hint::black_box(sum) < u64::MAX && cost > 0.0);
        assert!(thread_cpu_seconds() > 0.0 && peak_rss_bytes().unwrap() > 1 << 20);
    }
}
