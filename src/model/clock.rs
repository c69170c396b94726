//! Time is an argument. Two clocks, for two questions:
//!
//! - the wall clock ([`Timestamp`]) says what people mean by a date: creation, expiry;
//! - the boot clock ([`BootInstant`]) measures how long something took or may last. It is
//!   `CLOCK_BOOTTIME`, which goes on in suspend; `std::time::Instant` is `CLOCK_MONOTONIC` on Linux
//!   and stands still there, so a lease measured by it would outlive the database's view of it.

use std::fmt;
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

/// Milliseconds since 1970-01-01T00:00:00Z on the wall clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(i64);

/// The last moment that RFC 3339 can name in every zone: 9999-12-30T22:00:00Z.
const LAST_MILLIS: i64 = 253_402_207_200_000;

impl Timestamp {
    /// From milliseconds since the Unix epoch.
    pub const fn from_millis(millis: i64) -> Self {
        Self(millis)
    }

    /// Milliseconds since the Unix epoch.
    pub const fn as_millis(self) -> i64 {
        self.0
    }

    /// This much later, at most the last moment that can be written as a date.
    #[must_use]
    pub fn plus(self, duration: Duration) -> Self {
        let millis = i64::try_from(duration.as_millis()).unwrap_or(i64::MAX);
        Self(self.0.saturating_add(millis).min(LAST_MILLIS.max(self.0)))
    }

    /// This much earlier, at least the beginning of time.
    #[must_use]
    pub fn minus(self, duration: Duration) -> Self {
        Self(
            self.0
                .saturating_sub(i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)),
        )
    }

    /// RFC 3339 in UTC with milliseconds, where the order of moments matters.
    pub fn with_millis(self) -> String {
        match jiff::Timestamp::from_millisecond(self.0) {
            Ok(time) => time.strftime("%Y-%m-%dT%H:%M:%S.%3fZ").to_string(),
            Err(_) => format!("{} ms", self.0),
        }
    }
}

/// RFC 3339 in UTC with whole seconds, as people read it in tables and receipts.
impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match jiff::Timestamp::from_millisecond(self.0) {
            Ok(time) => write!(f, "{}", time.strftime("%Y-%m-%dT%H:%M:%SZ")),
            Err(_) => write!(f, "{} ms", self.0),
        }
    }
}

/// Nanoseconds since the machine booted, suspend included.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct BootInstant(u64);

impl BootInstant {
    /// From nanoseconds since boot.
    pub const fn from_nanos(nanos: u64) -> Self {
        Self(nanos)
    }

    /// Nanoseconds since boot.
    pub const fn as_nanos(self) -> u64 {
        self.0
    }

    /// Milliseconds since boot.
    pub const fn as_millis(self) -> i64 {
        (self.0 / 1_000_000).cast_signed()
    }

    /// How long before `self` the `earlier` reading was; zero if it was not before.
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }

    /// This much later.
    #[must_use]
    pub fn plus(self, duration: Duration) -> Self {
        Self(
            self.0
                .saturating_add(u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)),
        )
    }
}

/// Where time is read. Handed down as an argument, so that tests can turn it.
pub trait Clock: Send + Sync {
    /// The wall clock.
    fn now(&self) -> Timestamp;
    /// The boot clock.
    fn boot(&self) -> BootInstant;
}

/// The machine's own clocks.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> Timestamp {
        let time = clock_gettime(ClockId::Realtime);
        Timestamp(
            time.tv_sec
                .saturating_mul(1_000)
                .saturating_add(time.tv_nsec / 1_000_000),
        )
    }

    fn boot(&self) -> BootInstant {
        let time = clock_gettime(ClockId::Boottime);
        let seconds = u64::try_from(time.tv_sec).unwrap_or(0);
        let nanos = u64::try_from(time.tv_nsec).unwrap_or(0);
        BootInstant(seconds.saturating_mul(1_000_000_000).saturating_add(nanos))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_timestamp_reads_as_rfc_3339() {
        assert_eq!(
            Timestamp::from_millis(1_795_000_000_123).to_string(),
            "2026-11-18T11:06:40Z"
        );
        assert_eq!(
            Timestamp::from_millis(1_795_000_000_123).with_millis(),
            "2026-11-18T11:06:40.123Z"
        );
    }

    #[test]
    fn the_sum_of_any_two_times_is_a_date() {
        let now = Timestamp::from_millis(1_795_000_000_123);
        for duration in [Duration::from_secs(u64::MAX), Duration::MAX] {
            assert_eq!(now.plus(duration).to_string(), "9999-12-30T22:00:00Z");
            assert_eq!(now.plus(duration).plus(duration), now.plus(duration));
        }
        let later = now.plus(Duration::from_millis(1));
        assert_eq!(later.as_millis(), now.as_millis() + 1);
        // What is beyond already, in an old row, stays where it is.
        let beyond = Timestamp::from_millis(i64::MAX);
        assert_eq!(beyond.plus(Duration::MAX), beyond);
        assert_eq!(beyond.minus(Duration::MAX).as_millis(), 0);
    }

    #[test]
    fn the_boot_clock_goes_forward_and_never_underflows() {
        let first = SystemClock.boot();
        let second = SystemClock.boot();
        assert!(second >= first);
        assert_eq!(
            first.since(first.plus(Duration::from_secs(1))),
            Duration::ZERO
        );
    }
}
