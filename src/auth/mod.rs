//! From a presented key to a caller: cache, else one look-up in flight per key, else 503; and whether
//! what was admitted may go on.
//!
//! **Invariant.** Every use of a cached answer, and every chunk of an open request, is checked against
//! what was revoked since the answer was read (`tombstones`) and against the lease, in this order. So
//! a stale cache entry is harmless however it came about, and nothing passes that a finished
//! revocation forbids.

mod authenticate;
mod caller;
pub mod credential;
mod key_cache;
mod ledger;
mod lookups;
mod open;
mod slots;
mod sweeps;
mod tombstones;

/// What [`ledger`] is made of; a test replaces it by parts that try every interleaving.
mod sync {
    pub(super) use std::sync::atomic::{AtomicU64, Ordering};
    pub(super) use std::sync::{PoisonError, RwLock};
}

pub use authenticate::{Authenticator, Decision, Refused};
pub use caller::Caller;
pub use lookups::Budget;
pub use open::{Admission, Direction, OpenRequest, OpenRequests};
