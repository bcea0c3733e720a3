//! Frequency caps on shared counters: tested over all of a person's subjects, counted on the anchor.
//!
//! A cap's window is a fixed one, counted from the epoch, so every replica agrees on it. Counters that
//! were lost are rebuilt; until then whatever is capped counts as at its cap.

mod rebuild;

use std::sync::Arc;
use std::time::Duration;

use ads_domain::{CANDIDATES_MAX, LineItem, Window};
use rapport_cache::{CacheError, Cap, Counter, Counters, READ_MAX, Reservation};
use rapport_types::{SubjectId, UnixMillis};
use tokio::time::timeout;

pub use rebuild::{SETTLE, keep_complete};

/// Longest wait for the counters in a decision; after it, what is capped counts as at its cap.
const WAIT_MAX: Duration = Duration::from_millis(150);
/// Longest counter name that holds an id as it is, in bytes.
const PLAIN_ID_BYTES_MAX: usize = 100;
const HOUR_MS: i64 = 3_600_000;
/// A window that no decision outlives.
const FOR_EVER_MS: i64 = i64::MAX / 4;

/// The counters did not answer in time, or they are being rebuilt.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the frequency counters do not answer")]
pub struct NoAnswer;

/// A person's subjects, as counters see them.
#[derive(Debug, Clone)]
pub struct Counted {
    /// Whose counters are raised.
    pub anchor: SubjectId,
    /// Whose counters count as well.
    pub others: Vec<SubjectId>,
}

/// The counters. Cloning shares them.
#[derive(Debug, Clone)]
pub struct Frequency {
    counters: Arc<dyn Counters>,
}

/// The caps of one line item: one per window, the strictest.
struct Caps {
    name: String,
    /// Window in milliseconds, most impressions.
    caps: Vec<(i64, u32)>,
}

impl Caps {
    fn of(line_item: &LineItem) -> Self {
        let mut caps: Vec<(i64, u32)> = line_item
            .caps
            .iter()
            .map(|cap| (window_ms(cap.window), cap.impressions_max))
            .collect();
        // The strictest of a window sorts first and stays.
        caps.sort_unstable();
        caps.dedup_by_key(|(window_ms, _)| *window_ms);
        Self {
            name: name_of(&line_item.id),
            caps,
        }
    }

    fn counters<'a>(&'a self, key: &'a SubjectId) -> impl Iterator<Item = Counter<'a>> {
        self.caps.iter().map(|(window_ms, _)| Counter {
            key: key.as_bytes(),
            name: &self.name,
            window_ms: *window_ms,
        })
    }
}

impl Frequency {
    /// Returns caps on these counters.
    #[must_use]
    pub fn new(counters: Arc<dyn Counters>) -> Self {
        Self { counters }
    }

    /// Returns which of the line items the person has seen enough of, at most the first 50.
    ///
    /// # Errors
    /// [`NoAnswer`].
    pub async fn reached(
        &self,
        person: &Counted,
        line_items: &[&LineItem],
        now: UnixMillis,
    ) -> Result<Vec<bool>, NoAnswer> {
        let line_items = &line_items[..line_items.len().min(CANDIDATES_MAX)];
        let caps: Vec<Caps> = line_items
            .iter()
            .map(|line_item| Caps::of(line_item))
            .collect();
        let members: Vec<SubjectId> = std::iter::once(person.anchor)
            .chain(person.others.iter().copied())
            .collect();
        let mut wanted = Vec::new();
        for of_item in &caps {
            members
                .iter()
                .for_each(|member| wanted.extend(of_item.counters(member)));
        }
        let counts = self.read(&wanted, now).await?;
        let mut counts = counts.into_iter();
        let mut reached = Vec::with_capacity(caps.len());
        for of_item in &caps {
            let mut seen = vec![0u32; of_item.caps.len()];
            for _member in &members {
                for total in &mut seen {
                    *total = total.saturating_add(counts.next().unwrap_or(u32::MAX));
                }
            }
            let mut pairs = of_item.caps.iter().zip(seen);
            reached.push(pairs.any(|((_, most), seen)| seen >= *most));
        }
        Ok(reached)
    }

    /// Counts one impression on the anchor if every cap permits it for the person.
    ///
    /// # Errors
    /// [`NoAnswer`]: it may have been counted.
    pub async fn reserve(
        &self,
        person: &Counted,
        line_item: &LineItem,
        now: UnixMillis,
    ) -> Result<bool, NoAnswer> {
        let of_item = Caps::of(line_item);
        let mut wanted = Vec::new();
        let others = person.others.iter();
        others.for_each(|member| wanted.extend(of_item.counters(member)));
        let counts = self.read(&wanted, now).await?;
        let width = of_item.caps.len().max(1);
        let elsewhere = |at: usize| counts.iter().skip(at).step_by(width).copied().sum();
        let caps: Vec<Cap<'_>> = of_item
            .caps
            .iter()
            .enumerate()
            .map(|(at, (window_ms, max))| Cap {
                name: &of_item.name,
                window_ms: *window_ms,
                max: *max,
                elsewhere: elsewhere(at),
            })
            .collect();
        let reserved = self.counters.reserve(person.anchor.as_bytes(), now, &caps);
        Ok(limited(reserved).await? == Reservation::Reserved)
    }

    /// Gives a reservation back: its ad is not shown. What cannot be given back stays counted.
    pub async fn release(&self, anchor: SubjectId, line_item: &LineItem, at: UnixMillis) {
        for counter in Caps::of(line_item).counters(&anchor) {
            if limited(self.counters.add(counter, at, at, -1))
                .await
                .is_err()
            {
                tracing::debug!("a frequency reservation was not given back");
            }
        }
    }

    async fn read(&self, wanted: &[Counter<'_>], now: UnixMillis) -> Result<Vec<u32>, NoAnswer> {
        let mut counts = Vec::with_capacity(wanted.len());
        for wanted in wanted.chunks(READ_MAX) {
            counts.extend(limited(self.counters.read(wanted, now)).await?);
        }
        Ok(counts)
    }
}

async fn limited<T>(call: impl Future<Output = Result<T, CacheError>>) -> Result<T, NoAnswer> {
    match timeout(WAIT_MAX, call).await {
        Ok(Ok(answer)) => Ok(answer),
        // Said once, where it is noticed: not for each decision.
        Ok(Err(CacheError::Incomplete)) => Err(NoAnswer),
        Ok(Err(error)) => {
            tracing::warn!(error = &error as &dyn std::error::Error, "counters failed");
            Err(NoAnswer)
        }
        Err(_elapsed) => {
            tracing::warn!("counters are late");
            Err(NoAnswer)
        }
    }
}

fn window_ms(window: Window) -> i64 {
    match window {
        Window::Hours(hours) => i64::from(hours) * HOUR_MS,
        Window::Lifetime => FOR_EVER_MS,
    }
}

/// Ids may be longer in bytes than a counter's name: those are named by their hash.
fn name_of(line_item: &str) -> String {
    if line_item.len() <= PLAIN_ID_BYTES_MAX {
        return format!("li/{line_item}");
    }
    let half = |salt: &[u8]| rapport_math::stable_hash64(&[salt, line_item.as_bytes()]);
    format!("lh/{:016x}{:016x}", half(b"a"), half(b"b"))
}

#[cfg(test)]
mod tests;
