//! One clock for everything that is compared, and the dice.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// Nanoseconds since the check began, on the monotonic clock of the checker's process; never zero.
pub type Nanos = u64;

#[derive(Debug, Clone, Copy)]
pub struct Stopwatch(Instant);

impl Stopwatch {
    pub fn start() -> Self {
        Self(Instant::now())
    }

    pub fn now(self) -> Nanos {
        nanos(self.0.elapsed()).max(1)
    }
}

pub fn nanos(duration: Duration) -> Nanos {
    u64::try_from(duration.as_nanos()).unwrap()
}

/// A moment that comes once.
#[derive(Debug, Default)]
pub struct Moment(AtomicU64);

impl Moment {
    /// The first one counts.
    pub fn set(&self, now: Nanos) {
        let order = Ordering::SeqCst;
        let _already = self.0.compare_exchange(0, now, order, order);
    }

    pub fn get(&self) -> Option<Nanos> {
        Some(self.0.load(Ordering::SeqCst)).filter(|&at| at > 0)
    }
}

/// Whether a fault is on, and when the last one ended.
#[derive(Debug, Default)]
pub struct Weather(AtomicU64);

impl Weather {
    const BAD: u64 = u64::MAX;

    pub fn turns_bad(&self) {
        self.0.store(Self::BAD, Ordering::SeqCst);
    }

    pub fn turns_good(&self, now: Nanos) {
        self.0.store(now, Ordering::SeqCst);
    }

    /// Since when it is calm: a gateway has a while after a fault to be well again. None: it is not.
    pub fn calm_since(&self, now: Nanos, recovery: Duration) -> Option<Nanos> {
        match self.0.load(Ordering::SeqCst) {
            0 => Some(0),
            Self::BAD => None,
            ended => Some(ended + nanos(recovery)).filter(|&calm| calm <= now),
        }
    }
}

/// Random numbers that a seed repeats (`SplitMix64`).
#[derive(Debug, Clone)]
pub struct Dice(u64);

impl Dice {
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub fn roll(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    /// Below `sides`.
    pub fn below(&mut self, sides: usize) -> usize {
        usize::try_from(self.roll() % sides as u64).unwrap()
    }

    pub fn between(&mut self, least: Duration, most: Duration) -> Duration {
        let span = nanos(most.saturating_sub(least)) + 1;
        least + Duration::from_nanos(self.roll() % span)
    }

    /// Dice of their own for a part of the check.
    pub fn fork(&mut self) -> Self {
        Self(self.roll())
    }
}
