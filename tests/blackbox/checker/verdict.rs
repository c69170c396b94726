//! What was seen: counters and histograms of a fixed size, however long the check runs.

use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use genkan::invalidation::receipt::Outcome;
use hdrhistogram::Histogram;

use super::faults::Fault;
use super::time::Nanos;

/// A promise that was not kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Breach {
    /// A client whose request began after the receipt was answered as if nothing had happened.
    AcceptedAfterReceipt,
    /// The upstream got a request that began after the receipt.
    RelayedAfterReceipt,
    /// A gateway that had refused the key accepted a later request with it.
    AcceptedAfterRefusal,
    /// 401 for a key that nobody had revoked.
    LiveKeyRefused,
    /// 503 for a live key although nothing was wrong with that gateway.
    UnavailableInCalm,
    /// Any other failure for a live key although nothing was wrong with that gateway.
    FailedInCalm,
    /// A revocation that ended in an error.
    NoReceipt,
    /// The stream of a live key ended or stood still although nothing was wrong with that gateway.
    LiveStreamCut,
    /// A request that began before the receipt reached the upstream later than the plan allows.
    RelayedLate,
    /// What one side of a stream sent more than 100 ms after the receipt reached the other.
    StreamedAfterReceipt,
    /// A stream's byte arrived, or its end came, later than the plan allows.
    StreamLate,
    /// A stream was still open long after the receipt.
    StreamOutlived,
}

impl Breach {
    pub const ALL: [Self; 12] = [
        Self::AcceptedAfterReceipt,
        Self::RelayedAfterReceipt,
        Self::AcceptedAfterRefusal,
        Self::LiveKeyRefused,
        Self::UnavailableInCalm,
        Self::FailedInCalm,
        Self::NoReceipt,
        Self::LiveStreamCut,
        Self::RelayedLate,
        Self::StreamedAfterReceipt,
        Self::StreamLate,
        Self::StreamOutlived,
    ];

    pub const fn words(self) -> &'static str {
        match self {
            Self::AcceptedAfterReceipt => "requests accepted that began after the receipt",
            Self::RelayedAfterReceipt => "requests relayed that began after the receipt",
            Self::AcceptedAfterRefusal => "requests accepted by who had refused the key before",
            Self::LiveKeyRefused => "401 for a live key",
            Self::UnavailableInCalm => "503 for a live key without a fault",
            Self::FailedInCalm => "other failures for a live key without a fault",
            Self::NoReceipt => "revocations without a receipt",
            Self::LiveStreamCut => "streams of live keys cut or stuck without a fault",
            Self::RelayedLate => "requests relayed later than allowed after the receipt",
            Self::StreamedAfterReceipt => "stream events sent later than 100 ms after the receipt",
            Self::StreamLate => "stream bytes or ends later than allowed",
            Self::StreamOutlived => "streams still open long after the receipt",
        }
    }
}

/// Nanoseconds up to a minute, exact to 1 %.
pub fn histogram() -> Histogram<u64> {
    Histogram::new_with_bounds(1, 60_000_000_000, 2).unwrap()
}

/// How many breaches of each kind are told in full.
const TOLD_MAX: u64 = 5;

#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    pub fn add(&self, number: u64) {
        self.0.fetch_add(number, Ordering::Relaxed);
    }

    pub fn raise_to(&self, number: u64) {
        self.0.fetch_max(number, Ordering::Relaxed);
    }

    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// Latencies of receipts: in calm, and for each fault.
#[derive(Debug)]
pub struct Receipts {
    pub calm: Histogram<u64>,
    pub under: Vec<Histogram<u64>>,
    pub acknowledged: u64,
    pub fenced: u64,
    pub deregistered: u64,
}

#[derive(Debug)]
pub struct Verdict {
    pub requests: Counter,
    pub accepted: Counter,
    pub refused: Counter,
    pub unavailable: Counter,
    pub failed: Counter,
    /// Requests that began after their key's receipt.
    pub asked_after: Counter,
    pub relayed: Counter,
    pub streams: Counter,
    pub polls: Counter,
    pub sockets: Counter,
    /// Of all three, those that were open when their key was revoked, and ended.
    pub ended: Counter,
    /// The longest that a timer of the checker itself came too late: what its times are worth.
    pub own_delay: Counter,
    pub injected: Vec<Counter>,
    pub receipts: Mutex<Receipts>,
    /// Last bytes and ends of revoked streams after their receipts.
    pub late_bytes: Mutex<Histogram<u64>>,
    pub late_ends: Mutex<Histogram<u64>>,
    breaches: Vec<Counter>,
    message: Mutex<Vec<String>>,
}

impl Default for Verdict {
    fn default() -> Self {
        let counters = |number: usize| (0..number).map(|_| Counter::default()).collect();
        Self {
            requests: Counter::default(),
            accepted: Counter::default(),
            refused: Counter::default(),
            unavailable: Counter::default(),
            failed: Counter::default(),
            asked_after: Counter::default(),
            relayed: Counter::default(),
            streams: Counter::default(),
            polls: Counter::default(),
            sockets: Counter::default(),
            ended: Counter::default(),
            own_delay: Counter::default(),
            injected: counters(Fault::ALL.len()),
            receipts: Mutex::new(Receipts {
                calm: histogram(),
                under: Fault::ALL.iter().map(|_| histogram()).collect(),
                acknowledged: 0,
                fenced: 0,
                deregistered: 0,
            }),
            late_bytes: Mutex::new(histogram()),
            late_ends: Mutex::new(histogram()),
            breaches: counters(Breach::ALL.len()),
            message: Mutex::new(Vec::new()),
        }
    }
}

impl Verdict {
    /// Counts a breach; the first few are told in full.
    pub fn breach(&self, breach: Breach, story: impl FnOnce() -> String) {
        let counter = &self.breaches[breach as usize];
        counter.add(1);
        if counter.get() <= TOLD_MAX {
            let story = format!("{breach:?}: {}", story());
            self.message.lock().unwrap().push(story);
        }
    }

    pub fn breaches(&self, breach: Breach) -> u64 {
        self.breaches[breach as usize].get()
    }

    pub fn message(&self) -> Vec<String> {
        self.message.lock().unwrap().clone()
    }

    /// A receipt that took so long, in calm or while `under` was on (or just over).
    pub fn receipt(&self, took: Nanos, under: Option<Fault>, outcomes: &[Outcome]) {
        let mut receipts = self.receipts.lock().unwrap();
        let histogram = match under {
            None => &mut receipts.calm,
            Some(fault) => &mut receipts.under[fault as usize],
        };
        histogram.saturating_record(took);
        for outcome in outcomes {
            match outcome {
                Outcome::Acknowledged => receipts.acknowledged += 1,
                Outcome::Fenced => receipts.fenced += 1,
                Outcome::Deregistered => receipts.deregistered += 1,
            }
        }
    }
}
