//! How often one person sees ads: counters by hour, caps over windows, reserved at decision time.
//!
//! Counters are kept per subject and add up over a person's subjects. A window is read in whole
//! hours and always covers at least its length, so that a cap is never passed, at most met early.

use rapport_types::UnixMillis;
use std::collections::BTreeMap;

/// Longest window of hours: thirty days.
pub const WINDOW_HOURS_MAX: u32 = 720;
/// Hours kept per counter: the longest window and the hour that has begun.
pub const HOURS_KEPT: i64 = WINDOW_HOURS_MAX as i64 + 1;
/// Most counters of one subject: campaigns and line items shown to it so far.
pub const KEYS_MAX: usize = 2_000;

const HOUR_MS: i64 = 3_600_000;

/// The time over which a cap counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Window {
    /// The last so many hours, 1 to [`WINDOW_HOURS_MAX`].
    Hours(u32),
    /// For ever.
    Lifetime,
}

impl Window {
    /// One hour.
    pub const HOUR: Self = Self::Hours(1);
    /// One day.
    pub const DAY: Self = Self::Hours(24);
    /// One week.
    pub const WEEK: Self = Self::Hours(168);
}

/// At most so many impressions in a window.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Cap {
    /// Impressions, at least 1.
    pub impressions_max: u32,
    /// Over which time.
    pub window: Window,
}

/// What a counter counts.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum CapKey {
    /// Every ad: the attention budget.
    Attention,
    /// Ads of one campaign.
    Campaign(String),
    /// Ads of one line item.
    LineItem(String),
}

/// Why an impression may not happen.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CapReached {
    /// The window holds as many as the cap permits.
    #[error("{key:?} had {seen} of {} impressions in {:?}", cap.impressions_max, cap.window)]
    Cap {
        /// Which counter.
        key: CapKey,
        /// Which cap.
        cap: Cap,
        /// What the window holds, over all members.
        seen: u64,
    },
    /// The subject has [`KEYS_MAX`] counters: what cannot be counted is not shown.
    #[error("more than {KEYS_MAX} counters")]
    Full,
}

/// Impressions of one counter.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct HourCounts {
    /// `(hour since the epoch, impressions)`, ascending, within [`HOURS_KEPT`] of the newest.
    hours: Vec<(i64, u32)>,
    lifetime: u64,
}

/// One subject's counters. Mergeable by addition.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FrequencyCounters {
    counts: BTreeMap<CapKey, HourCounts>,
}

/// An impression counted at decision time; give it back if it was never shown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reservation {
    keys: Vec<CapKey>,
    at: UnixMillis,
}

impl Reservation {
    /// Returns the counters that were raised.
    #[must_use]
    pub fn keys(&self) -> &[CapKey] {
        &self.keys
    }

    /// Returns when it was made.
    #[must_use]
    pub fn at(&self) -> UnixMillis {
        self.at
    }
}

impl HourCounts {
    fn add(&mut self, hour: i64, impressions: u32) {
        self.lifetime = self.lifetime.saturating_add(u64::from(impressions));
        let newest = self
            .hours
            .last()
            .map_or(hour, |(newest, _)| (*newest).max(hour));
        let oldest = newest.saturating_sub(HOURS_KEPT - 1);
        if hour >= oldest {
            match self.hours.binary_search_by_key(&hour, |(kept, _)| *kept) {
                Ok(at) => self.hours[at].1 = self.hours[at].1.saturating_add(impressions),
                Err(at) => self.hours.insert(at, (hour, impressions)),
            }
        }
        let gone = self.hours.partition_point(|(kept, _)| *kept < oldest);
        self.hours.drain(..gone);
    }

    fn remove(&mut self, hour: i64) {
        self.lifetime = self.lifetime.saturating_sub(1);
        if let Ok(at) = self.hours.binary_search_by_key(&hour, |(kept, _)| *kept) {
            self.hours[at].1 = self.hours[at].1.saturating_sub(1);
        }
    }

    fn within(&self, window: Window, now: UnixMillis) -> u64 {
        match window {
            Window::Lifetime => self.lifetime,
            Window::Hours(hours) => {
                // The hour that has begun, and as many whole ones before it: at least the window.
                let oldest = hour_of(now).saturating_sub(i64::from(hours));
                let from = self.hours.partition_point(|(hour, _)| *hour < oldest);
                self.hours[from..]
                    .iter()
                    .map(|(_, count)| u64::from(*count))
                    .sum()
            }
        }
    }
}

fn hour_of(at: UnixMillis) -> i64 {
    at.0.div_euclid(HOUR_MS)
}

impl FrequencyCounters {
    /// Counts one impression that happened: for rebuilding from the log.
    ///
    /// # Errors
    /// [`CapReached::Full`] when a new counter finds no room; nothing changes then.
    pub fn record(&mut self, keys: &[CapKey], at: UnixMillis) -> Result<(), CapReached> {
        let new = keys
            .iter()
            .filter(|key| !self.counts.contains_key(*key))
            .count();
        if self.counts.len() + new > KEYS_MAX {
            return Err(CapReached::Full);
        }
        for key in keys {
            self.counts
                .entry(key.clone())
                .or_default()
                .add(hour_of(at), 1);
        }
        Ok(())
    }

    /// Returns the impressions of a counter in a window that ends at `now`.
    #[must_use]
    pub fn seen(&self, key: &CapKey, window: Window, now: UnixMillis) -> u64 {
        self.counts
            .get(key)
            .map_or(0, |counts| counts.within(window, now))
    }

    /// Adds another subject's counters. Associative and commutative.
    pub fn merge(&mut self, other: &Self) {
        for (key, theirs) in &other.counts {
            let ours = self.counts.entry(key.clone()).or_default();
            let lifetime = ours.lifetime.saturating_add(theirs.lifetime);
            theirs
                .hours
                .iter()
                .for_each(|(hour, count)| ours.add(*hour, *count));
            ours.lifetime = lifetime; // counts older than the kept hours are in it, too
        }
    }

    /// Tests every cap against the sum over a person's members, without counting anything.
    ///
    /// # Errors
    /// [`CapReached`] for the first cap, in the order given, that one more impression would pass.
    pub fn test<'a>(
        members: impl Iterator<Item = &'a Self> + Clone,
        caps: &[(CapKey, Cap)],
        now: UnixMillis,
    ) -> Result<(), CapReached> {
        for (key, cap) in caps {
            let seen: u64 = members
                .clone()
                .map(|member| member.seen(key, cap.window, now))
                .sum();
            if seen >= u64::from(cap.impressions_max) {
                return Err(CapReached::Cap {
                    key: key.clone(),
                    cap: *cap,
                    seen,
                });
            }
        }
        Ok(())
    }

    /// Counts one impression on this, the anchor's counters, if every cap permits it for the person:
    /// `others` are the counters of the remaining members. `keys` are raised whether capped or not,
    /// so that a cap set later finds its history.
    ///
    /// # Errors
    /// [`CapReached`]; nothing changes then.
    pub fn reserve(
        &mut self,
        others: &[&Self],
        keys: &[CapKey],
        caps: &[(CapKey, Cap)],
        now: UnixMillis,
    ) -> Result<Reservation, CapReached> {
        Self::test(others.iter().copied().chain([&*self]), caps, now)?;
        self.record(keys, now)?;
        Ok(Reservation {
            keys: keys.to_vec(),
            at: now,
        })
    }

    /// Gives a reservation back: its ad was never shown.
    pub fn release(&mut self, reservation: &Reservation) {
        for key in &reservation.keys {
            if let Some(counts) = self.counts.get_mut(key) {
                counts.remove(hour_of(reservation.at));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn key(id: &str) -> CapKey {
        CapKey::LineItem(id.to_owned())
    }

    fn cap(impressions_max: u32, window: Window) -> Cap {
        Cap {
            impressions_max,
            window,
        }
    }

    #[track_caller]
    fn check(shown_hours: &[i64], cap: Cap, now_hour: i64, expected: bool) {
        let mut counters = FrequencyCounters::default();
        for hour in shown_hours {
            counters
                .record(&[key("a")], UnixMillis(hour * HOUR_MS))
                .unwrap();
        }
        let now = UnixMillis(now_hour * HOUR_MS);
        let answer = counters.reserve(&[], &[key("a")], &[(key("a"), cap)], now);
        assert_eq!(answer.is_ok(), expected, "{answer:?}");
    }

    #[test]
    fn windows_match_the_table() {
        check(&[], cap(1, Window::HOUR), 0, true);
        check(&[0], cap(1, Window::HOUR), 0, false);
        check(&[0], cap(1, Window::HOUR), 1, false); // exactly an hour ago may still be inside
        check(&[0], cap(1, Window::HOUR), 2, true);
        check(&[0, 5, 23], cap(3, Window::DAY), 24, false);
        check(&[0, 5, 23], cap(3, Window::DAY), 25, true);
        check(&[0, 100], cap(2, Window::WEEK), 168, false);
        check(&[0], cap(1, Window::Lifetime), 1_000_000, false);
        check(&[0], cap(2, Window::Lifetime), 1_000_000, true);
        check(&[0], cap(1, Window::Hours(720)), 720, false);
    }

    #[test]
    fn the_cap_counts_the_whole_person_and_the_attention_budget_all_campaigns() {
        let now = UnixMillis(0);
        let (mut phone, mut laptop) = (FrequencyCounters::default(), FrequencyCounters::default());
        let day = cap(2, Window::DAY);
        let keys = |id: &str| [CapKey::Attention, CapKey::Campaign("c".to_owned()), key(id)];
        let caps = |id: &str| [(CapKey::Attention, cap(3, Window::DAY)), (key(id), day)];
        phone
            .reserve(&[&laptop], &keys("a"), &caps("a"), now)
            .unwrap();
        laptop
            .reserve(&[&phone], &keys("a"), &caps("a"), now)
            .unwrap();
        let refused = phone
            .reserve(&[&laptop], &keys("a"), &caps("a"), now)
            .unwrap_err();
        assert_eq!(
            refused,
            CapReached::Cap {
                key: key("a"),
                cap: day,
                seen: 2
            }
        );
        let third = phone
            .reserve(&[&laptop], &keys("b"), &caps("b"), now)
            .unwrap();
        let refused = phone
            .reserve(&[&laptop], &keys("c"), &caps("c"), now)
            .unwrap_err();
        assert!(matches!(
            refused,
            CapReached::Cap {
                key: CapKey::Attention,
                seen: 3,
                ..
            }
        ));
        phone.release(&third);
        assert!(
            phone
                .reserve(&[&laptop], &keys("c"), &caps("c"), now)
                .is_ok()
        );
        assert_eq!(
            phone.seen(&CapKey::Campaign("c".to_owned()), Window::DAY, now),
            2
        );
    }

    #[test]
    fn what_cannot_be_counted_is_not_shown() {
        let mut counters = FrequencyCounters::default();
        for at in 0..KEYS_MAX {
            counters
                .record(&[key(&at.to_string())], UnixMillis(0))
                .unwrap();
        }
        let refused = counters.reserve(&[], &[key("new")], &[], UnixMillis(0));
        assert_eq!(refused, Err(CapReached::Full));
        assert!(
            counters
                .reserve(&[], &[key("0")], &[], UnixMillis(0))
                .is_ok()
        );
    }

    fn counters() -> impl Strategy<Value = FrequencyCounters> {
        prop::collection::vec(("[ab]", 0i64..2_000), 0..40).prop_map(|shown| {
            let mut counters = FrequencyCounters::default();
            for (id, hour) in shown {
                counters
                    .record(&[key(&id)], UnixMillis(hour * HOUR_MS))
                    .unwrap();
            }
            counters
        })
    }

    fn merged(a: &FrequencyCounters, b: &FrequencyCounters) -> FrequencyCounters {
        let mut sum = a.clone();
        sum.merge(b);
        sum
    }

    proptest! {
        #[test]
        fn merging_is_commutative_and_associative(a in counters(), b in counters(), c in counters()) {
            prop_assert_eq!(merged(&a, &b), merged(&b, &a));
            prop_assert_eq!(merged(&merged(&a, &b), &c), merged(&a, &merged(&b, &c)));
        }

        /// Whoever asks at whatever instants: no sliding window of the cap's length ever holds more.
        #[test]
        fn no_sliding_window_ever_holds_more_than_its_cap(
            mut asked in prop::collection::vec((0i64..100 * HOUR_MS, 0usize..3), 1..200),
            impressions_max in 1u32..4, hours in 1u32..30,
        ) {
            asked.sort_unstable();
            let caps = [(key("a"), cap(impressions_max, Window::Hours(hours)))];
            let mut members = vec![FrequencyCounters::default(); 3];
            let mut shown = Vec::new();
            for (at, member) in asked {
                let others: Vec<_> = (0..3).filter(|other| *other != member).map(|other| members[other].clone()).collect();
                let others: Vec<_> = others.iter().collect();
                if members[member].reserve(&others, &[key("a")], &caps, UnixMillis(at)).is_ok() {
                    shown.push(at);
                }
            }
            prop_assert!(!shown.is_empty());
            let window = i64::from(hours) * HOUR_MS;
            for at in &shown {
                let inside = shown.iter().filter(|other| (*at..*at + window).contains(other)).count();
                prop_assert!(inside <= impressions_max as usize);
            }
        }

        #[test]
        fn a_released_reservation_leaves_no_trace_in_any_window(mut kept in counters(), hour in 0i64..2_000) {
            let now = UnixMillis(hour * HOUR_MS);
            let windows = [Window::HOUR, Window::DAY, Window::WEEK, Window::Lifetime];
            let seen = |counters: &FrequencyCounters| windows.map(|window| counters.seen(&key("a"), window, now));
            let before = seen(&kept);
            // A reservation is never made before the newest impression: decisions have one clock.
            let is_newest = kept.seen(&key("a"), Window::Lifetime, now) == kept.counts.get(&key("a")).map_or(0, |counts| {
                counts.hours.iter().filter(|(kept, _)| *kept <= hour).map(|(_, count)| u64::from(*count)).sum()
            });
            if is_newest {
                let reservation = kept.reserve(&[], &[key("a")], &[], now).unwrap();
                kept.release(&reservation);
                prop_assert_eq!(seen(&kept), before);
            }
        }
    }
}
