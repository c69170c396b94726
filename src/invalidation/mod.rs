//! How a revocation reaches every instance.
//!
//! A revocation is written with its log entry in one transaction. Each gateway process *follows* the
//! log: it writes its lease, reads the log, applies what is new to whatever remembers keys
//! ([`Invalidate`]), and only then acknowledges. Whoever revoked waits until every registered instance
//! has acknowledged, deregistered, or let its lease run out ([`receipt::settle`]), and has then a
//! receipt: no request that begins later is accepted with that key.
//!
//! An instance that cannot renew its lease answers 503 when the lease is over ([`lease::Lease`]); it
//! measures that from *before* it asked, on a clock that goes on in suspend, less a margin for clock
//! drift. So its own view of the lease always ends before the database's.

pub mod follower;
pub mod lease;
pub mod receipt;

use crate::model::change::{Change, Sequence};

/// What remembers keys and must forget them. Implemented by the authenticator's cache; `server` ties
/// the two.
pub trait Invalidate: Send + Sync {
    /// From the return of this call on, no request is admitted against `change`.
    fn apply(&self, change: &Change);

    /// Nothing that was learned before `head` may be used any more.
    fn forget_before(&self, head: Sequence);
}
