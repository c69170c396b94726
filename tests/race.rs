//! The one race of a revocation, in every interleaving: a worker that registers a request and then checks
//! it, against a follower that puts a tombstone in place and then has the worker scan. The lines that
//! run are the gateway's own (`src/auth/ledger.rs`), over loom's atomics and locks.

use std::panic::catch_unwind;

use loom::sync::Arc;
use loom::sync::atomic::{AtomicBool, Ordering};
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

/// What the worker and the follower have in common.
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

    fn register(&self) {
        self.registered.store(true, Ordering::SeqCst);
    }

    fn scan(&self) {
        if self.registered.load(Ordering::SeqCst) {
            self.cut.store(true, Ordering::SeqCst);
        }
    }
}

/// Runs a worker's opening of a request against a revocation whose scan comes on the follower's thread,
/// which is harder than what the gateway does: there, it comes on the worker's own.
fn opened_and_not_cut(open: fn(&Shared) -> bool, revoke: fn(&Shared)) {
    loom::model(move || {
        let shared = Shared::new();
        let worker = {
            let shared = Arc::clone(&shared);
            thread::spawn(move || open(&shared))
        };
        revoke(&shared);
        // Acknowledged. A request that opened must have been found by the scan.
        let opened = worker.join().unwrap();
        assert!(!opened || shared.cut.load(Ordering::SeqCst), "it escaped");
        assert!(!shared.admits(), "one that begins later is admitted");
    });
}

fn register_then_check(shared: &Shared) -> bool {
    shared.register();
    shared.admits()
}

fn tombstone_then_scan(shared: &Shared) {
    shared.ledger.enter(1, |revoked| *revoked = true);
    shared.scan();
}

#[test]
fn no_request_escapes_the_scan() {
    opened_and_not_cut(register_then_check, tombstone_then_scan);
}

#[test]
fn a_check_before_the_registration_lets_one_escape() {
    fn check_then_register(shared: &Shared) -> bool {
        let admitted = shared.admits();
        shared.register();
        admitted
    }
    let escaped = catch_unwind(|| opened_and_not_cut(check_then_register, tombstone_then_scan));
    assert!(escaped.is_err(), "the race is not explored");
}

#[test]
fn a_scan_before_the_tombstone_lets_one_escape() {
    fn scan_then_tombstone(shared: &Shared) {
        shared.scan();
        shared.ledger.enter(1, |revoked| *revoked = true);
    }
    let escaped = catch_unwind(|| opened_and_not_cut(register_then_check, scan_then_tombstone));
    assert!(escaped.is_err(), "the race is not explored");
}
