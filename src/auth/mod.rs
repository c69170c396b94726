//! From a presented key to a caller: cache, else one look-up in flight per key, else 503.
//!
//! **Invariant.** Every use of a cached answer is checked against what was revoked since the answer
//! was read (`tombstones`) and against the lease, in this order. So a stale cache entry is harmless
//! however it came about, and no answer is given that a finished revocation forbids.

mod authenticate;
mod caller;
mod lookups;
mod tombstones;

pub use authenticate::{Authenticator, Decision};
pub use caller::Caller;
