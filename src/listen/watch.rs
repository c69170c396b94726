//! The deadlines of a connection between its requests, without a timer for each.
//!
//! A worker sweeps over its connections a few times a second and closes those that are over their time.
//! That costs a request two relaxed stores, where a timer would cost an allocation and two turns of
//! the timer wheel. A deadline is therefore met up to [`SWEEP_EVERY`] late.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU32, Ordering};
use std::time::Duration;

use tokio::sync::Notify;

use crate::config::limits::Limits;

/// How often a worker looks at its connections.
pub const SWEEP_EVERY: Duration = Duration::from_millis(250);

/// Time of one worker in sweeps; shared by all its connections.
#[derive(Debug, Clone, Default)]
pub struct Ticks(Arc<AtomicU32>);

impl Ticks {
    /// One sweep has gone by.
    pub fn advance(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    fn now(&self) -> u32 {
        self.0.load(Ordering::Relaxed)
    }
}

/// What a connection is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// TLS, or waiting for the first byte.
    Handshake,
    /// Part of a request's head has come.
    Head,
    /// At least one request is in flight.
    Busy,
    /// Between requests.
    Idle,
}

impl Phase {
    const ALL: [Self; 4] = [Self::Handshake, Self::Head, Self::Busy, Self::Idle];

    const fn number(self) -> u8 {
        match self {
            Self::Handshake => 0,
            Self::Head => 1,
            Self::Busy => 2,
            Self::Idle => 3,
        }
    }

    /// How long a connection may stay in it; none: the requests have limits of their own.
    const fn limit_ms(self, limits: &Limits) -> Option<u64> {
        match self {
            Self::Handshake => Some(limits.handshake_timeout_ms),
            Self::Head => Some(limits.head_timeout_ms),
            Self::Busy => None,
            Self::Idle => Some(limits.keep_alive_timeout_ms),
        }
    }
}

/// One connection, as the sweep sees it.
#[derive(Debug)]
pub struct Watch {
    ticks: Ticks,
    phase: AtomicU8,
    since: AtomicU32,
    in_flight: AtomicU32,
    expired: Notify,
    /// What the kernel still holds for the client is not to be delivered.
    is_reset_at_end: AtomicBool,
    reset: Notify,
}

impl Watch {
    /// A connection that was accepted now.
    pub fn new(ticks: Ticks) -> Self {
        let since = AtomicU32::new(ticks.now());
        Self {
            ticks,
            phase: AtomicU8::new(Phase::Handshake.number()),
            since,
            in_flight: AtomicU32::new(0),
            expired: Notify::new(),
            is_reset_at_end: AtomicBool::new(false),
            reset: Notify::new(),
        }
    }

    /// Bytes came. Only the first of a head change anything.
    pub fn bytes_came(&self) {
        if matches!(self.phase(), Phase::Handshake | Phase::Idle) {
            self.enter(Phase::Head);
        }
    }

    /// The connection is ready for its first request, or spoke only of itself (HTTP/2).
    pub fn idle(&self) {
        if self.in_flight.load(Ordering::Relaxed) == 0 {
            self.enter(Phase::Idle);
        }
    }

    /// A request's head is complete. It is in flight until the guard is dropped.
    pub fn begin(self: &Arc<Self>) -> InFlight {
        self.in_flight.fetch_add(1, Ordering::Relaxed);
        self.enter(Phase::Busy);
        InFlight(Arc::clone(self))
    }

    /// How many requests are in flight.
    pub fn in_flight(&self) -> u32 {
        self.in_flight.load(Ordering::Relaxed)
    }

    /// What it is doing.
    pub fn phase(&self) -> Phase {
        let number = self.phase.load(Ordering::Relaxed);
        Phase::ALL
            .into_iter()
            .find(|phase| phase.number() == number)
            .unwrap_or(Phase::Busy)
    }

    /// Returns when the sweep found the connection over its time.
    pub async fn expired(&self) {
        self.expired.notified().await;
    }

    /// When the connection ends, it is reset rather than closed.
    pub fn reset_at_end(&self) {
        self.is_reset_at_end.store(true, Ordering::Relaxed);
    }

    /// The connection ends now, by a reset, whatever it is doing.
    pub fn reset_now(&self) {
        self.reset_at_end();
        self.reset.notify_one();
    }

    /// Returns when the connection is to be reset now.
    pub async fn reset(&self) {
        self.reset.notified().await;
    }

    /// Whether its end is to be a reset.
    pub fn is_reset_at_end(&self) -> bool {
        self.is_reset_at_end.load(Ordering::Relaxed)
    }

    /// Tells the connection's task if its time is over.
    pub fn sweep(&self, limits: &Limits) {
        let Some(limit_ms) = self.phase().limit_ms(limits) else {
            return;
        };
        let elapsed = self
            .ticks
            .now()
            .wrapping_sub(self.since.load(Ordering::Relaxed));
        if SWEEP_EVERY.saturating_mul(elapsed) > Duration::from_millis(limit_ms) {
            self.expired.notify_one();
        }
    }

    fn enter(&self, phase: Phase) {
        self.since.store(self.ticks.now(), Ordering::Relaxed);
        self.phase.store(phase.number(), Ordering::Relaxed);
    }
}

/// A request in flight.
#[derive(Debug)]
pub struct InFlight(Arc<Watch>);

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.in_flight.fetch_sub(1, Ordering::Relaxed);
        self.0.idle();
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    fn after(watch: &Watch, ticks: &Ticks, seconds: u32) -> bool {
        (0..seconds * 4).for_each(|_| ticks.advance());
        watch.sweep(&Limits::default());
        watch.expired().now_or_never().is_some()
    }

    #[test]
    fn a_client_that_says_nothing_or_dawdles_over_its_head_is_closed() {
        let ticks = Ticks::default();
        let watch = Watch::new(ticks.clone());
        assert!(!after(&watch, &ticks, 9));
        watch.bytes_came();
        assert!(!after(&watch, &ticks, 9));
        watch.bytes_came();
        assert!(
            after(&watch, &ticks, 2),
            "more bytes of the same head give no more time"
        );
    }

    #[test]
    fn a_request_in_flight_has_no_deadline_here_and_keep_alive_begins_after_it() {
        let ticks = Ticks::default();
        let watch = Arc::new(Watch::new(ticks.clone()));
        let first = watch.begin();
        let second = watch.begin();
        assert!(!after(&watch, &ticks, 1_000));
        drop(first);
        assert_eq!(watch.phase(), Phase::Busy);
        drop(second);
        assert!(!after(&watch, &ticks, 74));
        assert!(after(&watch, &ticks, 2));
    }
}
