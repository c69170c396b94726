//! The one race of a revocation, in every interleaving: a worker that registers a request and then checks
//! it, against a follower that puts a tombstone in place and then has the worker scan its registry. The lines that
//! run are the gateway's own (`src/auth/ledger.rs`), over loom's atomics and locks.

use std::panic::catch_unwind;

use loom::sync::Arc;
use loom::sync::atomic::{AtomicBool, Ordering};
use loom::sync::mpsc::channel;
use loom::thread;

mod sync {
    pub(super) use std::sync::PoisonError;

    pub(super) use loom::sync::RwLock;
    pub(super) use loom::sync::atomic::{AtomicU64, Ordering};
}

#[path = "../src/auth/ledger.rs"]
#[allow(dead_code, reason = "what the gateway needs beside the race")]
mod ledger;

use ledger::Ledger;

/// One open request, and what is known against it.
struct Shared {
    ledger: Ledger<bool>,
    registered: AtomicBool,
    cut: AtomicBool,
}

impl Shared {
    fn new() -> Arc<Self> {
        Arc::new(Self {
            ledger: Ledger::new(false),
            registered: AtomicBool::new(false),
            cut: AtomicBool::new(false),
        })
    }

    /// Whether an answer that holds up to before the revocation may be used.
    fn admits(&self) -> bool {
        let revoked = self.ledger.since(0, |revoked| *revoked);
        !revoked.unwrap_or(false)
    }

    /// The registry is its worker's alone: what is ordered here is what that thread orders.
    fn register(&self) {
        self.registered.store(true, Ordering::Relaxed);
    }

    fn scan(&self) {
        if self.registered.load(Ordering::Relaxed) && !self.admits() {
            self.cut.store(true, Ordering::Relaxed);
        }
    }

    fn revoke(&self) {
        self.ledger.enter(1, |revoked| *revoked = true);
    }
}

/// Whether the worker's answer to the sweep comes before the follower's acknowledgement in every
/// interleaving, with nothing left open and nothing admitted.
fn none_escapes(order: Order) {
    loom::model(move || {
        let shared = Shared::new();
        let (sweep, swept) = (channel(), channel());
        let worker = {
            let (shared, requests, answers) = (Arc::clone(&shared), sweep.1, swept.0);
            thread::spawn(move || {
                shared.register();
                let opened = shared.admits();
                requests.recv().unwrap();
                if order != Order::ScanOnTheFollowersThread {
                    shared.scan();
                }
                answers.send(()).unwrap();
                opened
            })
        };
        if order != Order::SweepBeforeTheTombstone {
            shared.revoke();
        }
        if order == Order::ScanOnTheFollowersThread {
            shared.scan();
        }
        sweep.0.send(()).unwrap();
        swept.1.recv().unwrap();
        if order == Order::SweepBeforeTheTombstone {
            shared.revoke();
        }
        // Acknowledged.
        assert!(!shared.admits(), "one that begins later is admitted");
        let opened = worker.join().unwrap();
        let cut = shared.cut.load(Ordering::Relaxed);
        assert!(!opened || cut, "one that was open escaped");
    });
}

/// The protocol's order, and two that are wrong.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Order {
    TombstoneThenSweep,
    SweepBeforeTheTombstone,
    /// The scan need not see what the worker registers, nor the worker the tombstone.
    ScanOnTheFollowersThread,
}

#[test]
fn no_request_escapes_the_sweep() {
    none_escapes(Order::TombstoneThenSweep);
}

#[test]
fn an_order_that_is_wrong_is_caught() {
    for order in [
        Order::SweepBeforeTheTombstone,
        Order::ScanOnTheFollowersThread,
    ] {
        let escaped = catch_unwind(move || none_escapes(order));
        assert!(escaped.is_err(), "the race is not explored");
    }
}
