//! The deadlines of a connection between its requests, without a timer for each; and how its task is
//! told that it has to end.
//!
//! A worker sweeps over its connections a few times a second and closes those that are over their time.
//! That costs a request two relaxed stores, where a timer would cost an allocation and two turns of
//! the timer wheel. A deadline is therefore met up to [`TICK_EVERY`] late.
//!
//! Every reason to end goes through one set of bits and one waker: a connection's task is polled several
//! times for each request, and every source that it waits for costs each of those polls.

use std::future::poll_fn;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU32, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::task::AtomicWaker;

use crate::config::limits::Limits;

/// How often a worker looks at its connections.
pub const TICK_EVERY: Duration = Duration::from_millis(250);

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

    /// How long a connection may stay in it. `None`: the requests have limits of their own.
    const fn limit_ms(self, limits: &Limits) -> Option<u64> {
        match self {
            Self::Handshake => Some(limits.handshake_timeout_ms),
            Self::Head => Some(limits.head_timeout_ms),
            Self::Busy => None,
            Self::Idle => Some(limits.keep_alive_timeout_ms),
        }
    }
}

/// Why a connection is to end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CloseReason {
    /// At once, whatever it is doing; by a reset, where [`Watch::reset_at_end`] says so.
    Reset,
    /// It is over its time.
    Expired,
    /// The server ends; what is in flight may finish.
    Drain,
}

impl CloseReason {
    /// The most urgent first.
    const ALL: [Self; 3] = [Self::Reset, Self::Expired, Self::Drain];

    const fn bit(self) -> u8 {
        match self {
            Self::Reset => 1,
            Self::Expired => 2,
            Self::Drain => 4,
        }
    }
}

/// One connection, as the sweep sees it.
#[derive(Debug)]
pub struct Watch {
    ticks: Ticks,
    phase: AtomicU8,
    since: AtomicU32,
    /// When it was last without a request; that it speaks of itself makes this no later.
    idle_since: AtomicU32,
    in_flight: AtomicU32,
    /// What the kernel still holds for the client is not to be delivered.
    is_reset_at_end: AtomicBool,
    /// The server ends: what is answered now is answered last.
    is_draining: AtomicBool,
    /// Bits of [`CloseReason`] that the connection's task has not taken yet.
    calls: AtomicU8,
    task: AtomicWaker,
}

impl Watch {
    /// A connection that was accepted now.
    pub fn new(ticks: Ticks) -> Self {
        let now = ticks.now();
        Self {
            ticks,
            phase: AtomicU8::new(Phase::Handshake.number()),
            since: AtomicU32::new(now),
            idle_since: AtomicU32::new(now),
            in_flight: AtomicU32::new(0),
            is_reset_at_end: AtomicBool::new(false),
            is_draining: AtomicBool::new(false),
            calls: AtomicU8::new(0),
            task: AtomicWaker::new(),
        }
    }

    /// Bytes came. Only the first of a head change anything.
    pub fn bytes_came(&self) {
        if matches!(self.phase(), Phase::Handshake | Phase::Idle) {
            self.enter(Phase::Head);
        }
    }

    /// The connection is ready for its next request.
    pub fn idle(&self) {
        if self.in_flight.load(Ordering::Relaxed) == 0 {
            self.enter(Phase::Idle);
            let now = self.since.load(Ordering::Relaxed);
            self.idle_since.store(now, Ordering::Relaxed);
        }
    }

    /// A frame of HTTP/2 came to its end. If it was a request's, that begins in a moment; else the connection is as
    /// idle as it was.
    pub fn frame_ended(&self) {
        if self.phase() == Phase::Head {
            self.enter(Phase::Idle);
            let idle_since = self.idle_since.load(Ordering::Relaxed);
            self.since.store(idle_since, Ordering::Relaxed);
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

    /// Returns when the connection has to end. Each reason is returned once, the most urgent first.
    pub async fn close_requested(&self) -> CloseReason {
        poll_fn(|cx| self.poll_close_requested(cx)).await
    }

    /// Returns when a connection that is being opened is to end. That the server ends is no reason: what
    /// was accepted before is still served, and [`Self::is_draining`] says so then.
    pub async fn close_requested_while_opening(&self) {
        while self.close_requested().await == CloseReason::Drain {}
    }

    /// The server ends.
    pub fn drain(&self) {
        self.is_draining.store(true, Ordering::Relaxed);
        self.call(CloseReason::Drain);
    }

    /// Whether the server ends.
    pub fn is_draining(&self) -> bool {
        self.is_draining.load(Ordering::Relaxed)
    }

    /// When the connection ends, it is reset rather than closed.
    pub fn reset_at_end(&self) {
        self.is_reset_at_end.store(true, Ordering::Relaxed);
    }

    /// The connection ends now, by a reset, whatever it is doing.
    pub fn reset_now(&self) {
        self.reset_at_end();
        self.call(CloseReason::Reset);
    }

    /// The connection ends now, whatever it is doing. What was sent before is still delivered.
    pub fn end_now(&self) {
        self.call(CloseReason::Reset);
    }

    /// Whether its end is to be a reset.
    pub fn is_reset_at_end(&self) -> bool {
        self.is_reset_at_end.load(Ordering::Relaxed)
    }

    /// The connection's task has ended. A tunnel may keep the watch; it is not to keep the task as well.
    pub fn leave(&self) {
        drop(self.task.take());
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
        let is_over = |sweeps: u32, limit_ms: u64| {
            TICK_EVERY.saturating_mul(sweeps) > Duration::from_millis(limit_ms)
        };
        // One part of a frame after the other makes an idle HTTP/2 connection no younger.
        let idle = self
            .ticks
            .now()
            .wrapping_sub(self.idle_since.load(Ordering::Relaxed));
        let idle_ms = limits
            .keep_alive_timeout_ms
            .saturating_add(limits.head_timeout_ms);
        let is_idle = self.phase() == Phase::Head && is_over(idle, idle_ms);
        if is_over(elapsed, limit_ms) || is_idle {
            self.call(CloseReason::Expired);
        }
    }

    fn call(&self, call: CloseReason) {
        self.calls.fetch_or(call.bit(), Ordering::Release);
        self.task.wake();
    }

    /// The waker first: a call that comes in between is seen by one of the two.
    fn poll_close_requested(&self, cx: &Context<'_>) -> Poll<CloseReason> {
        self.task.register(cx.waker());
        let calls = self.calls.load(Ordering::Acquire);
        let urgent = CloseReason::ALL
            .into_iter()
            .find(|it| calls & it.bit() != 0);
        let Some(call) = urgent else {
            return Poll::Pending;
        };
        self.calls.fetch_and(!call.bit(), Ordering::AcqRel);
        Poll::Ready(call)
    }

    fn enter(&self, phase: Phase) {
        // It moved on: a call for what it did before is no longer true. All of this is on one thread.
        if self.calls.load(Ordering::Relaxed) & CloseReason::Expired.bit() != 0 {
            self.calls
                .fetch_and(!CloseReason::Expired.bit(), Ordering::Relaxed);
        }
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
        watch.close_requested().now_or_never() == Some(CloseReason::Expired)
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

    #[test]
    fn a_request_that_comes_when_its_time_is_just_over_is_served() {
        let ticks = Ticks::default();
        let watch = Arc::new(Watch::new(ticks.clone()));
        watch.idle();
        (0..76 * 4).for_each(|_| ticks.advance());
        watch.sweep(&Limits::default());
        // In the same turn of the worker, before the connection's task was told.
        watch.bytes_came();
        assert_eq!(watch.close_requested().now_or_never(), None);
    }

    #[test]
    fn one_half_of_a_frame_after_the_other_keeps_no_connection() {
        let ticks = Ticks::default();
        let watch = Watch::new(ticks.clone());
        watch.idle();
        let ended = (0..200).position(|_| {
            watch.frame_ended();
            watch.bytes_came();
            after(&watch, &ticks, 1)
        });
        // 75 s and 10 s.
        assert!(matches!(ended, Some(80..=90)), "{ended:?}");
    }

    #[test]
    fn a_connection_that_speaks_of_itself_is_as_idle_as_it_was() {
        let ticks = Ticks::default();
        let watch = Watch::new(ticks.clone());
        watch.idle();
        for _ in 0..7 {
            assert!(!after(&watch, &ticks, 9));
            watch.bytes_came();
            assert!(!after(&watch, &ticks, 1));
            watch.frame_ended();
            assert_eq!(watch.phase(), Phase::Idle);
        }
        assert!(after(&watch, &ticks, 6));
    }

    #[test]
    fn every_call_is_told_once_and_the_most_urgent_first() {
        let watch = Watch::new(Ticks::default());
        assert_eq!(watch.close_requested().now_or_never(), None);
        watch.drain();
        watch.reset_now();
        assert_eq!(
            watch.close_requested().now_or_never(),
            Some(CloseReason::Reset)
        );
        assert_eq!(
            watch.close_requested().now_or_never(),
            Some(CloseReason::Drain)
        );
        assert_eq!(watch.close_requested().now_or_never(), None);
        assert!(watch.is_draining() && watch.is_reset_at_end());
    }
}
