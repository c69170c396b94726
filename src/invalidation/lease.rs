//! How long this instance may still answer from what it remembers.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::model::clock::BootInstant;

/// Two clocks that run apart by at most this many parts in a thousand each (ρ = 0.1 %: crystals are a
/// hundred times better, and NTP slews at most 0.05 %).
const CLOCK_DRIFT_PER_MILLE: u32 = 1;

/// The end of the lease; written by the follower, read for every request.
#[derive(Debug, Default)]
pub struct Lease {
    /// Nanoseconds since boot; 0: never held.
    until: AtomicU64,
    /// Nanoseconds since boot; 0: never.
    renewed: AtomicU64,
}

impl Lease {
    /// Holds from `asked_at`, read *before* the store was asked, for `duration` less the drift of both
    /// clocks. The end never moves back.
    pub fn extend(&self, asked_at: BootInstant, duration: Duration) {
        let margin = duration * 2 * CLOCK_DRIFT_PER_MILLE / 1_000;
        let until = asked_at.plus(duration.saturating_sub(margin));
        self.until.fetch_max(until.as_nanos(), Ordering::AcqRel);
        self.renewed.store(asked_at.as_nanos(), Ordering::Relaxed);
    }

    /// Ends now: nothing may be answered until it is extended.
    pub fn end(&self) {
        self.until.store(0, Ordering::Release);
    }

    /// Whether it still holds at `now`, which must be read after everything else was checked.
    pub fn holds(&self, now: BootInstant) -> bool {
        now.as_nanos() < self.until.load(Ordering::Acquire)
    }

    /// How long ago it was last extended, from before the store was asked.
    pub fn age(&self, now: BootInstant) -> Duration {
        now.since(BootInstant::from_nanos(
            self.renewed.load(Ordering::Relaxed),
        ))
    }

    /// How long it still holds.
    pub fn left(&self, now: BootInstant) -> Duration {
        BootInstant::from_nanos(self.until.load(Ordering::Acquire)).since(now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lease_ends_before_the_store_thinks_so() {
        let lease = Lease::default();
        let asked_at = BootInstant::from_nanos(1_000);
        lease.extend(asked_at, Duration::from_secs(3));
        assert!(lease.holds(asked_at.plus(Duration::from_millis(2_993))));
        assert!(!lease.holds(asked_at.plus(Duration::from_millis(2_994))));
    }

    #[test]
    fn a_lease_never_held_or_ended_does_not_hold() {
        let lease = Lease::default();
        assert!(!lease.holds(BootInstant::from_nanos(0)));
        lease.extend(BootInstant::from_nanos(0), Duration::from_secs(1));
        lease.end();
        assert!(!lease.holds(BootInstant::from_nanos(1)));
    }
}
